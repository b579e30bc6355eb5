"""Damaged files for every reader: an error of ours or a good reading, in time and in memory.

A batch of damaged files goes to a process of its own (``fuzzer.py``), so that an abort, a hang or a
memory without bounds is seen and told, and only that process is lost.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from soak.frame import Finding, Skip, Subject

START, CASE = 180.0, 60.0
"""Seconds that the process may take to start, and a case, on a machine that does other things."""


class Fuzz(Subject):
    """A try is a batch of damaged files of one reader."""

    name: ClassVar[str] = "fuzz"
    share: ClassVar[float] = 80
    size: ClassVar[float] = 1.0
    """Of a batch, times what the reader says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._batches: dict[str, int] = {}
        self._told: set[str] = set()

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        self._start(folder)
        reader = rng.choice(sorted(self._batches))
        return self.batch(reader, rng.getrandbits(48), folder)

    def batch(self, reader: str, seed: int, folder: Path) -> Mapping[str, int]:
        """Damaged files of one reader; see :meth:`attempt`."""
        self._start(folder)
        cases = max(1, int(self._batches[reader] * self.size))
        asked: dict[str, Any] = {"reader": reader, "seed": seed, "cases": cases, "first": 0}
        faults: dict[str, str] = {}
        while asked["first"] < cases:
            died, at = self._asked(asked, faults, folder)
            if died is None:
                break
            faults.setdefault(*died)
            asked["first"] = at + 1
        new = {name: what for name, what in faults.items() if f"{reader}: {name}" not in self._told}
        self._told |= {f"{reader}: {name}" for name in new}
        if new:
            raise Finding(
                f"{reader}, {cases} cases:\n"
                + "\n".join(f"{name}\n{what}" for name, what in new.items()),
                {reader: cases},
            )
        return {reader: cases}

    def _asked(
        self, asked: Mapping[str, Any], faults: dict[str, str], folder: Path
    ) -> tuple[tuple[str, str] | None, int]:
        """The rest of a batch: how the process died, if it did, and at which case."""
        process = self._start(folder)
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        case, name = asked["first"], ""
        while True:
            answer = self._answer(START if not name else CASE)
            if answer is None:
                hangs = process.poll() is None
                self.close()
                end = f"ended with {process.returncode}"
                how = f"takes more than {CASE:.0f} s" if hangs else end
                log_end = (self.folder / "log").read_text(errors="replace")[-3000:]
                return (f"the process {how}", f"case {case}, {name}\n{log_end}"), case
            if "done" in answer:
                return None, case
            if "fault" in answer:
                faults.setdefault(answer["fault"], f"case {answer['case']}, {answer['what']}")
            else:
                case, name = answer["case"], answer["file"]

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        if self._process is None:
            with open(self.folder / "log", "wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "soak.fuzzer"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,  # a line that waits in a buffer would not be seen by select
                    stderr=log,
                    start_new_session=True,
                    env={
                        **os.environ,
                        "TMPDIR": str(self.folder),
                        "HF_HUB_OFFLINE": "1",
                        "PYTHONPATH": os.pathsep.join(sys.path),
                    },
                )
            answer = self._answer(START)
            if answer is None:
                self.close()
                raise Skip("the process that reads damaged files does not start")
            self._batches = answer["readers"]
        return self._process

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """The next line; None if the process ends or says nothing for so long."""
        assert self._process is not None and self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
