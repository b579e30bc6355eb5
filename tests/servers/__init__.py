"""The real servers that tests ask: of pinned artifacts, laid out once, started on loopback."""
