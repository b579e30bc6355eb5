"""Indexes on a page and behind a small JSON API, to be looked at: docs/serve.md."""
