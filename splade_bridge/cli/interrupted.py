"""What is left when a command was stopped, and whether giving it again goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from splade_bridge.cli import signals
from splade_bridge.errors import Interrupted
from splade_bridge.files.lines import STDIO

WORK = (".parts", ".training")
"""What the names of folders end with that hold the finished work of an unfinished output."""

State = tuple[int, int] | None


@contextlib.contextmanager
def keeping_steps(output: Path) -> Iterator[None]:
    """For a command that works in ``output`` by steps: a Ctrl-C says that these are kept.

    Raises:
        Interrupted: by Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        what = f"finished steps are kept in {output}, and the same command goes on"
        kept = output.is_dir()
        raise Interrupted(
            f"interrupted; {what if kept else f'nothing was written to {output}'}"
        ) from None


def states(outputs: Iterable[Path]) -> dict[Path, State]:
    """What is at each output: a thing that can be told from its successor, or None for nothing."""
    return {path: _state(path) for path in outputs}


def what_is_left(before: dict[Path, State]) -> str:
    """What to say of outputs that were in the states ``before`` when the command began."""
    if signals.times() > 1:
        return (
            "interrupted more than once, so that cleaning up may have been cut short: look for "
            "names that begin with a dot beside what was being written"
        )
    return "; ".join(["interrupted", *(_told(path, state) for path, state in before.items())])


def _told(path: Path, before: State) -> str:
    if path == STDIO:
        return "what stands on stdout is not all of it"
    for ending in WORK:
        work = path.with_name(f"{path.name}{ending}") if path.name else path
        if work != path and work.is_dir():
            return f"what is finished is kept in {work}, and the same command goes on from there"
    now = _state(path)
    if now == before:
        return f"nothing was written to {path}" if now is None else f"{path} is as it was"
    return f"{path} is whole"


def _state(path: Path) -> State:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    return None
