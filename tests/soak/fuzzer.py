"""Reads damaged files, a batch for each line of JSON on stdin: see ``fuzz``."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, TextIO

from soak.frame import seed_of
from soak.readers import Reader, damage, readers, to_read
from splade_bridge.errors import SpladeBridgeError

MEMORY = 1 << 30
"""Bytes that a reader may take for files of some hundred bytes."""


def limit_memory(more: int | None) -> None:
    """No more than ``more`` bytes beyond what is used now; None takes the limit away."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = most if more is None else pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def fault(error: BaseException) -> str:
    """Exception and where it came from, the same for all cases of one fault."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "splade_bridge" in f.filename] or frames
    last = ours[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} ({last.name})"


class Batches:
    """Good files of every reader, and damaged copies of them.

    Args:
        memory: bytes that a batch may take beyond what its reader loads; None: as many as it likes.
    """

    def __init__(self, folder: Path, memory: int | None = None) -> None:
        self._folder = folder
        self._memory = memory
        self.readers = {reader.name: reader for reader in readers()}
        self._good: dict[Path, object] = {}

    def run(self, asked: dict[str, Any], answers: TextIO) -> None:
        """All cases of a batch; a line before each, so that a death or a hang is known."""
        reader = self.readers[asked["reader"]]
        if self._memory is not None:
            limit_memory(None)
        good = self._ready(reader)
        if self._memory is not None:
            limit_memory(self._memory)
        scratch = self._folder / "scratch"
        for case in range(asked["first"], asked["cases"]):
            rng = random.Random(seed_of(f"{asked['seed']}/{case}"))
            thing = rng.choice(to_read(reader, good))
            print(json.dumps({"case": case, "file": thing.name}), file=answers, flush=True)
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(good, scratch)
            if found := self._case(rng, reader, thing, scratch / thing.name):
                told = {"case": case, "fault": found[0], "what": found[1]}
                print(json.dumps(told), file=answers, flush=True)
        shutil.rmtree(scratch, ignore_errors=True)
        print(json.dumps({"done": True}), file=answers, flush=True)

    def _ready(self, reader: Reader) -> Path:
        """Good files, which are read once: what a reader loads is not what a case takes."""
        good = self._folder / "good" / reader.name
        if not good.exists():
            good.mkdir(parents=True)
            reader.make(good)
            for thing in to_read(reader, good):
                self._good[thing] = reader.read(thing)
        return good

    def _case(
        self, rng: random.Random, reader: Reader, good: Path, thing: Path
    ) -> tuple[str, str] | None:
        """What was wrong: the fault's name, and the story."""
        name, known = damage(rng, reader, thing)
        try:
            found = reader.read(thing)
        except SpladeBridgeError:
            return None
        except Exception as error:
            return fault(error), f"{name}: {traceback.format_exc()}"
        if reader.sealed and known and found != self._good[good]:
            return "another result", f"{name}: {found} instead of {self._good[good]}"
        return None


def main() -> None:
    """Until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        batches = Batches(Path(folder), MEMORY)
        print(
            json.dumps({"readers": {r.name: r.cases for r in readers()}}), file=answers, flush=True
        )
        for line in sys.stdin:
            batches.run(json.loads(line), answers)


if __name__ == "__main__":
    main()
