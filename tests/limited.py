"""Run by test_limits: a command line in a process of its own whose address space is bounded."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from splade_bridge.cli.app import main

LIMIT = int(sys.argv[1])
REPORT = Path(sys.argv[2])
sys.argv = ["splade-bridge", *sys.argv[3:]]


def peak() -> int:
    """Not getrusage's, which starts with the peak of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
try:
    main()
finally:
    REPORT.write_text(str(peak()))
