"""Long work that ends in one file, done in parts, each of which appears whole in ``OUT.parts/``.

The same command goes on after it was stopped; ``plan.json`` there says what decides the parts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from splade_bridge.errors import UsageError
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import discard, mark, throw_away
from splade_bridge.files.writing import atomic_writer

PLAN = "plan.json"


@contextlib.contextmanager
def parts_folder(out: Path, plan: Mapping[str, Any], *, overwrite: bool) -> Iterator[Path]:
    """The folder of the parts of ``out``, locked; whoever has made ``out`` throws it away.

    One without parts is removed at the end: nothing could go on from it.

    Args:
        plan: all that decides the parts; JSON, or what has a name.
        overwrite: begin again where parts of another plan are.

    Raises:
        UsageError: another process works there, or it holds parts of another plan.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = _folder(out)
    with folder_lock(parts.with_name(f".{parts.name}.lock"), out):
        _prepare(parts, plan, out, overwrite=overwrite)
        try:
            yield parts
        finally:
            if parts.exists() and not any(parts.glob("part-*")):
                throw_away(parts, out)


def part_file(parts: Path, number: int) -> Path:
    """The file of a part: JSON lines."""
    return parts / f"part-{number:05d}.jsonl"


def goes_on(out: Path, plan: Mapping[str, Any]) -> bool:
    """Whether parts of this plan are there, so that ``out``, if it is, is not yet all of the work.

    A kill may come between an output and what is written beside it.
    """
    held = _folder(out) / PLAN
    return held.is_file() and held.read_bytes() == _told(plan)


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _told(plan: Mapping[str, Any]) -> bytes:
    return orjson.dumps(plan, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _prepare(parts: Path, plan: Mapping[str, Any], out: Path, *, overwrite: bool) -> None:
    if parts.exists():
        if goes_on(out, plan):
            return
        if any(parts.glob("part-*")) and not overwrite:
            raise UsageError(
                f"{parts}: holds parts of a job with other options or other inputs; pass "
                "--overwrite to begin again"
            )
        discard(parts, out)
    parts.mkdir(parents=True)
    mark(parts)
    with atomic_writer(parts / PLAN) as stream:
        stream.write(_told(plan))
