"""Commands that are killed at a random moment: nothing old is lost, and the same command finishes.

After the kill the output is not there, or the old one is there whole, or the new one is, or it is
one that is gone on with. Then the same command must lead to what an undisturbed run leaves, and to
nothing else.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from soak.commands import OUT, ShopSubject, choose
from soak.frame import Finding

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FRESH = 0.15
"""Share of tries in which the process also imports, as a user's does."""
IMPORTS = 4.0


class Kills(ShopSubject):
    """One command, killed once or more often, then run to its end."""

    name: ClassVar[str] = "kills"
    share: ClassVar[float] = 35

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        command = choose(rng, self.shop.commands)
        overwrite = command.old is not None and rng.random() < 0.4
        whole = self.shop.reference(command)
        work = folder / "work"
        work.mkdir()
        words = self.shop.begin(command, work, overwrite=overwrite)
        tried = {"kills": 0, "commands": 1}
        told = [" ".join(words)]
        for _ in range(rng.choice((1, 1, 2, 3))):
            number = rng.choice(SIGNALS)
            fresh, group = rng.random() < FRESH, rng.random() < 0.5
            moment = rng.uniform(0, 1.1 * whole.seconds + (IMPORTS if fresh else 0))
            told.append(
                f"{signal.Signals(number).name} after {moment:.3f} s"
                f"{' to its group' if group else ''}{', fresh' if fresh else ''}"
            )
            what = "\n".join(told)
            running = self.shop.start(words, work, fresh=fresh)
            if not running.ended(moment):
                running.signal(number, group=group)
                tried["kills"] += 1
            ended = running.finish(what)
            if ended.code == 0:
                break
            told[-1] += f": {ended.code}, {ended.last}"
            if ended.code not in (-number, 128 + number):
                raise Finding(f"{what}: exit code {ended.code}\n{ended.err}")
            if "Traceback" in ended.err and "splade_bridge/cli/app.py" in ended.err:
                raise Finding(f"{what}: a traceback\n{ended.err}")
            state = self.shop.state(command, work / OUT, overwrite=overwrite)
            told[-1] += f", left {state}"
            if state == "new" and not overwrite:
                break
        self.shop.finish(command, work, words, "\n".join(told))
        return tried
