"""How long `splade-bridge --help` takes: the median of 20 runs, each a new process.

.venv/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe

PROGRAM = str(Path(sys.executable).with_name("splade-bridge"))


def main() -> None:
    print(describe("typer"))
    for arguments in (["--help"], ["encode", "--help"], ["--version"]):
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            subprocess.run([PROGRAM, *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        print(f"{' '.join(arguments):<16}median {statistics.median(seconds):.3f} s, "
              f"slowest {max(seconds):.3f} s")  # fmt: skip


if __name__ == "__main__":
    main()
