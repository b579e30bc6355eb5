"""An output that is finished already: by the same plan and whole, it is there, and that is well.

Whoever requeues a long command must not see it fail because it had ended before. What was made by
another plan, or is not whole, is refused as any output that exists. A folder or file that has no
manifest of its own keeps its plan and the sizes of its files in a record beside or in it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.inputs import fingerprint
from splade_bridge.files.locks import remove_scratch
from splade_bridge.files.outputs import companion, tidy
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.files.writing import atomic_writer

log = logging.getLogger(__name__)

RECORD = "splade-bridge.json"
"""The record in a folder; that of a file is ``FILE.manifest.json``."""


def check_same(
    out: Path, plan: Mapping[str, Any], made: Mapping[str, Any] | None, files: Mapping[Path, int]
) -> None:
    """Whether ``out``, which exists, was made by ``plan`` and is whole.

    Args:
        made: the plan that it was made by; None where that is not known.
        files: its files and the bytes that each must have.

    Raises:
        UsageError: it may not be replaced, and is not what the plan makes.
    """
    remedy = "name another output or pass --overwrite"
    if made is None:
        raise UsageError(f"{out}: exists already; {remedy}")
    if differing := differences(made, plan):
        raise UsageError(f"{out}: exists already, by another plan ({differing}); {remedy}")
    for path, size in files.items():
        if not path.is_file() or path.stat().st_size != size:
            raise UsageError(f"{out}: exists already, but {path.name} is not whole; {remedy}")
    tidy(out)
    remove_scratch(out.parent)  # of one that was killed when ``out`` was there already


def tell(out: Path) -> None:
    """Say that nothing is done, because ``out`` is there; commands show it on stderr."""
    log.info("%s: already there, made by the same plan", out)


def differences(made: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The keys in which two plans differ with both values, in words; empty where they are equal."""
    one, other = plain(made), plain(plan)
    named = sorted(k for k in {*one, *other} if one.get(k) != other.get(k))
    return ", ".join(f"{k}: {_short(one.get(k))} -> {_short(other.get(k))}" for k in named)


def plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as it comes back from a file."""
    found: dict[str, Any] = json.loads(json.dumps(plan, default=str))
    return found


def record(plan: Mapping[str, Any], files: Iterable[Path], folder: Path) -> dict[str, Any]:
    """The keys of a record: the plan, and the sizes of ``files`` by their paths in ``folder``."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return {"plan": plain(plan), "files": sizes}


def write_record(folder: Path, plan: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Put a record into a finished folder; ``result`` is what its command tells."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    with atomic_writer(folder / RECORD) as out:
        content = {**record(plan, files, folder), "result": plain(result)}
        out.write(json.dumps(content, indent=2).encode() + b"\n")


def kept_result(
    out: Path, plan: Mapping[str, Any], *, overwrite: bool, result: str = "result"
) -> dict[str, Any] | None:
    """What the command told that made ``out``, where it is there, whole and by this plan.

    Args:
        out: a folder with a record in it, or a file with one beside it.
        result: key of the record.

    Returns:
        None where ``out`` is to be made.

    Raises:
        UsageError: see :func:`check_same`.
    """
    if overwrite or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    file, folder = companion(out), out.parent
    if out.is_dir():
        file, folder = out / RECORD, out
    made, sizes, told = None, {}, {}
    try:
        where = Where(str(file))
        held = as_table(json_file(where), where)
        made, told = as_table(held.get("plan"), where), as_table(held.get(result), where)
        sizes = {folder / k: int(v) for k, v in as_table(held.get("files"), where).items()}
    except (BadInputError, TypeError, ValueError):  # none, or an older or a damaged one
        made = None
    check_same(out, plan, made, sizes)
    tell(out)
    return dict(told)


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """Sizes of files, also of those in folders, and a digest of their first and last MiB, by path.

    Cheap, and notices what grew, shrank or was replaced. What is not there is left out.
    """
    found = {}
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                found[str(file)] = fingerprint(file)
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
