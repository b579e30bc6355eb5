"""What a training can be gone on with."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path


def checkpoints(work: Path) -> list[Path]:
    """The whole checkpoints that transformers' trainer left in ``work``, oldest first."""
    found = []
    for state in work.glob("checkpoint-*/trainer_state.json"):  # the last file that is written
        with contextlib.suppress(ValueError):
            json.loads(state.read_text("utf-8"))
            found.append(state.parent)
    return sorted(found, key=step_of)


def remove_unfinished(work: Path) -> None:
    """Remove what a kill in the middle of saving left in ``work``."""
    for folder in set(work.glob("checkpoint-*")) - set(checkpoints(work)):
        shutil.rmtree(folder)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved, which is in its name."""
    return int(checkpoint.name.rpartition("-")[2])
