"""Ctrl-C and SIGTERM in a training: the step that runs is ended and saved, and then it stops."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from splade_bridge.errors import Interrupted
from splade_bridge.training.checkpoints import checkpoints, step_of

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """Saves a checkpoint and ends the training after the step in which a signal came."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hold the first signal back until the training has ended; the second acts at once.

        At the end whatever handled signals before gets the one that was held back. Signals that
        are ignored stay so, and outside of the main thread nothing is listened to.
        """
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            before = {n: signal.getsignal(n) for n in SIGNALS}
            before = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}

        def give_back() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def ask(number: int, _: FrameType | None) -> None:
            if self._asked is None:
                self._asked = number
                self._say("stopping after this step, which is saved; once more stops at once")
            else:
                give_back()
                signal.raise_signal(number)

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            give_back()
        if self._asked is not None:
            signal.raise_signal(self._asked)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, in all processes after the same step."""
        if _in_any_process(self._asked is not None, args):
            control.should_save = control.should_training_stop = True


def _in_any_process(asked: bool, args: Any) -> bool:
    if args.world_size == 1:
        return asked
    from accelerate.utils import reduce

    return bool(reduce(torch.tensor(float(asked), device=args.device), "sum") > 0)


@contextlib.contextmanager
def resumable(work: Path) -> Iterator[None]:
    """Ctrl-C as an error that names the step from which the same command goes on.

    Raises:
        Interrupted: for KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = checkpoints(work)
        what = "no step was saved yet, and the same command begins at the first"
        if kept:
            what = f"the same command goes on from step {step_of(kept[-1]):,}"
        raise Interrupted(f"interrupted; {what}") from None
