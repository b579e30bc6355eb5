"""Which processes another one has started."""

from __future__ import annotations

import os
from pathlib import Path


def children(pid: int = 0) -> set[int]:
    """Processes that ``pid`` has started (0: this one) and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == (pid or os.getpid()) and state != "Z":
            found.add(int(stat.parent.name))
    return found
