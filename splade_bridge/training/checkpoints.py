"""What a training can be gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splade_bridge.errors import BadInputError, ExternalProgramError
from splade_bridge.files.typed import Where, as_table, checked, refuse_unknown
from splade_bridge.files.writing import write_error

log = logging.getLogger(__name__)

STATE = "trainer_state.json"
KINDS: dict[str, Any] = {
    "epoch": float | None,
    "global_step": int,
    "max_steps": int,
    "num_train_epochs": int,
    "logging_steps": float,
    "eval_steps": float,
    "save_steps": float,
    "train_batch_size": int | None,
    "num_input_tokens_seen": int,
    "total_flos": float,
    "log_history": list[dict[str, Any]],
    "best_metric": float | None,
    "best_global_step": int | None,
    "best_model_checkpoint": str | None,
    "stateful_callbacks": dict[str, Any],
}
"""Keys of transformers' TrainerState that a resumed training reads."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
OF_WRITING = ("inline_container.cc", "iostream error", "PytorchStreamWriter")
"""What stands in the errors of torch's writer, which are RuntimeErrors without a number."""


def checkpoints(work: Path) -> list[Path]:
    """The whole checkpoints that transformers' trainer left in ``work``, oldest first.

    One whose state cannot be read is no whole one, and is warned about.
    """
    found = []
    for state in work.glob(f"checkpoint-*/{STATE}"):  # the last file that is written
        if not state.parent.name.rpartition("-")[2].isdecimal():
            continue
        try:
            _check_state(state)
        except BadInputError as error:
            log.warning("%s", error)
        else:
            found.append(state.parent)
    return sorted(found, key=step_of)


def _check_state(file: Path) -> None:
    """Raise BadInputError where transformers could not go on from ``file``."""
    from transformers.trainer_callback import TrainerState

    where = Where(str(file), said="damaged ({}): this checkpoint is not used")
    try:  # transformers writes what is no number as NaN, which is not JSON
        tree = as_table(json.loads(file.read_bytes()), where)
    except OSError as error:
        where.fail(f"cannot be read ({error.strerror})")
    except (ValueError, RecursionError) as error:
        where.fail(f"not JSON ({error})")
    refuse_unknown(tree, [field.name for field in dataclasses.fields(TrainerState)], where)
    for key, value in tree.items():
        checked(KINDS.get(key, Any), value, where.inside(key))
    for number, entry in enumerate(tree.get("log_history", [])):
        if type(entry.get("step")) is not int:
            where.inside("log_history").item(number).fail("has no step")
    if tree.get("global_step") != step_of(file.parent):
        where.inside("global_step").fail("is not the step in the folder's name")


@contextlib.contextmanager
def saving(place: Path) -> Iterator[None]:
    """What torch and safetensors raise where they cannot write, as every other error of a disk.

    Raises:
        ExternalProgramError: the disk is full, or a file may not grow.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise write_error(error, place) from error
    except Exception as error:
        said = str(error).strip()
        of_torch = isinstance(error, RuntimeError) and any(mark in said for mark in OF_WRITING)
        if not of_torch and type(error).__name__ != "SafetensorError":
            raise
        raise ExternalProgramError(
            f"{place}: cannot be written ({said.splitlines()[0]}); look for room on the disk and "
            "run the same command again"
        ) from error


@contextlib.contextmanager
def going_on(checkpoint: str | Path | None) -> Iterator[None]:
    """Whatever a damaged file of ``checkpoint`` raises, as an error that names it.

    Raises:
        BadInputError: it does.
    """
    try:
        yield
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises whatever its reader raises
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"damaged ({said}): remove this folder, and the training goes on from the checkpoint "
            "before it, or from its beginning",
            str(checkpoint),
        ) from error


class Resuming:
    """For a Trainer of transformers: what it cannot read of a checkpoint is named.

    The files are read with ``weights_only=True``: nothing in them is run.
    """

    def _load_from_checkpoint(self, checkpoint: str, *more: Any, **named: Any) -> None:
        with going_on(checkpoint):
            super()._load_from_checkpoint(checkpoint, *more, **named)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with going_on(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with going_on(checkpoint):
            super()._load_rng_state(checkpoint)  # type: ignore[misc]

    def _load_scaler(self, checkpoint: str | None) -> None:
        with going_on(checkpoint):
            super()._load_scaler(checkpoint)  # type: ignore[misc]

    def _load_callback_state(self) -> None:
        with going_on(STATE):
            super()._load_callback_state()  # type: ignore[misc]


def remove_unfinished(work: Path) -> None:
    """Remove what a kill in the middle of saving left in ``work``."""
    for folder in set(work.glob("checkpoint-*")) - set(checkpoints(work)):
        shutil.rmtree(folder)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved, which is in its name."""
    return int(checkpoint.name.rpartition("-")[2])
