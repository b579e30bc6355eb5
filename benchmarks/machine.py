"""What a figure was measured on; every benchmark prints it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import date
from pathlib import Path

from splade_bridge.files.cores import usable_cores


def describe(*distributions: str) -> str:
    """One line: date, processor, cores, memory, Python and the versions asked for."""
    processor = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{d} {importlib.metadata.version(d)}" for d in ("splade-bridge", *distributions)]
    return (
        f"{date.today()}, {processor}, {usable_cores()} cores, {gigabytes:.0f} GiB, "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )
