"""Commands that are killed at a random moment: nothing old is lost, and the same command finishes.

After the kill the output is not there, or the old one is there whole, or the new one is, or it is
one that is gone on with. Then the same command must lead to what an undisturbed run leaves, and to
nothing else.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from soak.commands import OUT, Command, Shop, choose, commands, listing
from soak.frame import Finding, Subject

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FRESH = 0.15
"""Share of tries in which the process also imports, as a user's does."""
IMPORTS = 4.0


class Kills(Subject):
    """One command, killed once or more often, then run to its end."""

    name: ClassVar[str] = "kills"
    share: ClassVar[float] = 30

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shop = Shop(folder)
        self.commands = commands()

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        command = choose(rng, self.commands)
        overwrite = command.old is not None and rng.random() < 0.4
        whole = self.shop.reference(command)
        work = folder / "work"
        work.mkdir()
        words = self.shop.words(command)
        if overwrite:
            old = self.shop.reference(command, old=True).out
            (shutil.copytree if old.is_dir() else shutil.copy2)(old, work / OUT)
            words.append("--overwrite")
        tried = {"kills": 0, "commands": 1}
        for _ in range(rng.choice((1, 1, 2, 3))):
            number = rng.choice(SIGNALS)
            fresh, group = rng.random() < FRESH, rng.random() < 0.5
            moment = rng.uniform(0, 1.1 * whole.seconds + (IMPORTS if fresh else 0))
            what = (
                f"{' '.join(words)}\n{signal.Signals(number).name} after {moment:.3f} s"
                f"{' to its group' if group else ''}{', fresh' if fresh else ''}"
            )
            running = self.shop.start(words, work, fresh=fresh)
            if not running.ended(moment):
                running.signal(number, group=group)
                tried["kills"] += 1
            ended = running.finish(what)
            if ended.code == 0:
                break
            self._after_kill(command, work, what, ended.code, ended.err, number, overwrite)
        finished = self._state(command, work, overwrite) == "new"
        ended = self.shop.start(words, work).finish(f"{what}\nthen again")
        if ended.code and not (finished and not overwrite and ended.code == 2):
            raise Finding(f"{what}\nthen again: exit code {ended.code}\n{ended.err}")
        found = self.shop.prints(command, work / OUT)
        if found != whole.prints:
            raise Finding(f"{what}\nthen again: other output: {differing(whole.prints, found)}")
        if more := listing(work) - whole.beside:
            raise Finding(f"{what}\nthen again: left beside the output: {sorted(more)}")
        return tried

    def _after_kill(
        self,
        command: Command,
        work: Path,
        what: str,
        code: int,
        err: str,
        number: int,
        overwrite: bool,
    ) -> None:
        if code not in (-number, 128 + number):
            raise Finding(f"{what}: exit code {code}\n{err}")
        if "Traceback" in err and "splade_bridge/cli/app.py" in err:
            raise Finding(f"{what}: a traceback\n{err}")
        self._state(command, work, overwrite)

    def _state(self, command: Command, work: Path, overwrite: bool) -> str:
        """What stands in the output's place: nothing, old, new, or part of what is gone on with."""
        out = work / OUT
        if not out.exists():
            return "nothing"
        found = self._prints(command, out)
        if found is not None:
            if found == self.shop.reference(command).prints:
                return "new"
            if overwrite and found == self.shop.reference(command, old=True).prints:
                return "old"
        if command.grows and not (out / "manifest.json").exists():
            return "part"
        raise Finding(f"{command.line}: what is there is neither old, new nor unfinished")

    def _prints(self, command: Command, out: Path) -> Mapping[str, object] | None:
        """Of an output that may be unfinished."""
        try:
            return self.shop.prints(command, out)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        self.shop.close()


def differing(expected: Mapping[str, object], found: Mapping[str, object]) -> str:
    """The keys that differ, and how."""
    keys = sorted(expected.keys() | found.keys())
    different = [key for key in keys if expected.get(key) != found.get(key)]
    told = [
        f"{key}: {'missing' if key not in found else 'new' if key not in expected else 'other'}"
        for key in different
    ]
    return "; ".join(told[:10])
