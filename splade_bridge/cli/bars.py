"""Bars of eighths of a letter, for a terminal."""

from __future__ import annotations

import sys

EIGHTHS = " ▏▎▍▌▋▊▉█"
WIDTH = 12


def bar(share: float, width: int = WIDTH) -> str:
    """A bar that fills ``share`` of ``width`` letters; of ``#`` where its own cannot be shown."""
    eighths = max(1, round(min(1.0, share) * width * 8)) if share > 0 else 0
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return ("#" * -(-eighths // 8)).ljust(width)
    return (EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8]).strip().ljust(width)
