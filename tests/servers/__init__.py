"""The real servers that tests ask: fetched by pinned checksums, laid out once, started on loopback."""
