"""The tests that are marked ``soak``, many times, once in a campaign."""

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

from soak.frame import Finding, Subject

ROOT = Path(__file__).resolve().parents[2]


class Suite(Subject):
    """One run of them."""

    name: ClassVar[str] = "suite"
    once: ClassVar[bool] = True

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        seed = rng.randrange(10**6)
        tests = [sys.executable, "-m", "pytest", "-m", "soak", "-n", "0", "-q", "-rfE"]
        process = subprocess.Popen(
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
        try:
            told, _ = process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise Finding(f"SPLADE_BRIDGE_SEED={seed} SPLADE_BRIDGE_SOAK=1:\n{told[-6000:]}")
        passed = re.search(r"(\d+) passed", told)
        return {"tests": int(passed[1]) if passed else 0}
