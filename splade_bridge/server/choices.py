"""Where to listen, and what rankings are measured by, if nothing is said; loads nothing."""

from __future__ import annotations

LOCAL, PORT = "127.0.0.1", 7007
DEFAULT_MEASURE = "nDCG@10"
MOST_PORT = 65535


def is_local(host: str) -> bool:
    """Whether only this machine can ask there."""
    return host in (LOCAL, "localhost", "::1")
