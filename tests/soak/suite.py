"""The tests that are marked ``soak``, many times, once in a campaign and beside all else in it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from soak.frame import Finding, Skip, Subject

ROOT = Path(__file__).resolve().parents[2]


MOST_BYTES = 6 << 30
"""Of one process of the tests; a network and its tokenizer take less than a third of it."""


def _too_much(pid: int) -> str:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        if (held := pages * os.sysconf("SC_PAGESIZE")) > MOST_BYTES:
            return f"grew to {held / 1e9:.1f} GB and was ended"
    return ""


class Suite(Subject):
    """One run of them."""

    name: ClassVar[str] = "suite"
    once: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def close(self) -> None:
        """End the tests, if they run: a campaign does not wait for them after Ctrl-C."""
        self._closed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        seed = rng.randrange(10**6)
        tests = [sys.executable, "-m", "pytest", "-m", "soak", "-n", "0", "-rfE"]
        process = self._process = subprocess.Popen(
            [*tests, "--basetemp", str(folder / "tests")],
            cwd=ROOT,
            env={
                **os.environ,
                "SPLADE_BRIDGE_SOAK": "1",
                "SPLADE_BRIDGE_SEED": str(seed),
                "TMPDIR": str(folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        too_much = ""
        try:
            while not too_much:
                try:
                    told, _ = process.communicate(timeout=5)
                    break
                except subprocess.TimeoutExpired:
                    too_much = _too_much(process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._closed:
            raise Skip("the campaign was ended before it")
        if too_much:
            told, _ = process.communicate()
            raise Finding(
                f"SPLADE_BRIDGE_SEED={seed} SPLADE_BRIDGE_SOAK=1: {too_much}\n{told[-6000:]}"
            )
        passed = re.search(r"(\d+) passed", told)
        if process.returncode or passed is None:
            raise Finding(f"SPLADE_BRIDGE_SEED={seed} SPLADE_BRIDGE_SOAK=1:\n{told[-6000:]}")
        return {"tests": int(passed[1])}
