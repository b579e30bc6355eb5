"""Runs a comparison and kills itself, with SIGKILL, when the given number of steps was begun."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from splade_bridge.comparison.compare import compare
from splade_bridge.comparison.read_spec import load_spec


def main() -> None:
    spec, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    begun = 0

    def say(what: str) -> None:
        nonlocal begun
        begun += 1
        if begun == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    compare(load_spec(spec), out, say=say)


if __name__ == "__main__":
    main()
