"""Children of a command that are killed from outside: the JVM, PISA's worker, encoders' processes.

The command ends with an error that says why, or with its whole and right result.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from soak.commands import OUT, ShopSubject, choose
from soak.frame import Finding
from soak.processes import Running, members, name_of

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT)
PARENTS = ("lucene", "pisa", "two processes", "compare")
"""What is in the names of commands that have children."""


class Children(ShopSubject):
    """One command that loses a child, then the same one again."""

    name: ClassVar[str] = "children"
    share: ClassVar[float] = 10

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        command = choose(rng, [c for c in self.shop.commands if any(p in c.name for p in PARENTS)])
        whole = self.shop.reference(command)
        work = folder / "work"
        work.mkdir()
        words = self.shop.begin(command, work, overwrite=False)
        number = rng.choice(SIGNALS)
        running = self.shop.start(words, work)
        what = f"{' '.join(words)}\n{number.name} for "
        victim = _kill_child(rng, running, number, whole.seconds)
        what += victim or "no child that was met"
        ended = running.finish(what)
        if ended.code == 0:
            self.shop.check_whole(command, work, what)
            return {"children killed" if victim else "no child met": 1}
        # A JVM that is asked for its version and does not tell it is one that does not run.
        wanted = (3, 6) if victim and victim.rstrip().endswith("-version") else (6,)
        if ended.code not in wanted or "Traceback" in ended.err or "error: " not in ended.last:
            raise Finding(f"{what}: exit code {ended.code}\n{ended.err}")
        state = self.shop.state(command, work / OUT, overwrite=False)
        if not command.grows and state != "nothing":
            raise Finding(f"{what}: failed, and the output is {state}\n{ended.err}")
        self.shop.finish(command, work, words, f"{what}\n{ended.last}")
        return {"children killed": 1}


def _kill_child(
    rng: random.Random, running: Running, number: signal.Signals, seconds: float
) -> str | None:
    """Wait for a child, and kill it some time later; its name, or None if there was none left."""
    deadline = time.monotonic() + 2 * seconds
    while not (found := [pid for pid in members(running.pid) if pid != running.pid]):
        if running.ended(0.005) or time.monotonic() > deadline:
            return None
    if running.ended(rng.uniform(0, 0.8 * seconds)):
        return None
    found = sorted(pid for pid in members(running.pid) if pid != running.pid)
    if not found:
        return None
    victim = rng.choice(found)
    name = name_of(victim)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, number)
    return name
