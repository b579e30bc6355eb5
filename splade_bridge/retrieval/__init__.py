"""From an open index and queries to ranked lists and runs."""
