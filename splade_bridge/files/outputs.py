"""What an output may replace: an artefact of ours, and nothing else.

An artefact is a folder with a manifest (finished), a plan (a vector store in the making) or the
mark (whatever has neither: checkpoints, work folders, the demo). What is replaced is renamed aside
first and removed when the new one is in its place, so a kill in between loses neither.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import orjson

from splade_bridge.errors import UsageError
from splade_bridge.files.lines import STDIO

MANIFEST = "manifest.json"
PLAN = "plan.json"
MARK = ".splade-bridge"
MARK_TEXT = "A folder that splade-bridge made and may replace.\n"

ADDED_LATER = ("algorithms.json", "write.lock", ".*.partial-*")
"""What we put into a finished artefact without its manifest listing it."""
UNFINISHED_STORE = (PLAN, "vocabulary.json", "part-*.parquet", ".*.partial-*")


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is or contains one of ``inputs``; what is not there is passed over.

    Raises:
        UsageError: it does.
    """
    if out == STDIO:
        return
    place = out.resolve()
    for path in inputs:
        if path == STDIO or not path.exists():
            continue
        for spot in (path.resolve(), path.absolute().parent.resolve() / path.name):  # a link, too
            if spot.is_relative_to(place):
                what = "is read, too" if spot == place else f"contains {path}, which is read"
                raise UsageError(f"{out}: {what}; name another output")


def check_output(
    out: Path,
    *,
    overwrite: bool,
    inputs: Iterable[Path] = (),
    kind: Literal["file", "folder"] = "folder",
) -> None:
    """Refuse an output that may not be written; called before any work begins.

    Args:
        inputs: see :func:`check_inputs`.
        kind: what is to be written.

    Raises:
        UsageError: ``out`` is or contains an input; exists, and ``overwrite`` is not set; or is
            not of ``kind``; or is a folder with something in it that is not ours.
    """
    if out == STDIO:
        return
    check_inputs(out, inputs)
    if not out.exists() or (kind == "folder" and out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{out}: exists already; name another output or pass --overwrite")
    if out.is_dir() != (kind == "folder"):
        there = "folder" if out.is_dir() else "file"
        raise UsageError(
            f"{out}: is a {there}, and only a {kind} is replaced by a {kind}; name another output"
        )
    if kind == "folder" and (why := why_not_ours(out)):
        raise UsageError(f"{out}: {why}, so it is not replaced; name another output")


def why_not_ours(folder: Path) -> str | None:
    """What keeps ``folder`` from being removed; None if all of it is ours."""
    if (folder / MARK).is_file():
        return None
    known = _listed(folder)
    if known is None:
        return "was not made by splade-bridge"
    for path in _files(folder):
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in known):
            return f"holds {path}, which splade-bridge did not put there"
    return None


def discard(folder: Path) -> None:
    """Remove a folder of ours.

    Raises:
        UsageError: it is not ours.
    """
    if why := why_not_ours(folder):
        raise UsageError(f"{folder}: {why}, so it is not removed; move it away")
    shutil.rmtree(folder)


def mark(folder: Path) -> None:
    """Say that ``folder`` is ours, whatever it will hold."""
    (folder / MARK).write_text(MARK_TEXT)


def set_aside(out: Path) -> None:
    """Rename what stands at ``out``, if anything does."""
    if out.exists():
        out.replace(aside(out))


def remove_aside(out: Path) -> None:
    """Remove what :func:`set_aside` renamed, now that there is a new ``out``."""
    if (old := aside(out)).is_dir():
        shutil.rmtree(old)


def bring_back(out: Path) -> None:
    """Undo :func:`set_aside` where a kill came before there was a new ``out``."""
    if (old := aside(out)).exists():
        if out.exists():
            remove_aside(out)
        else:
            old.replace(out)


def aside(out: Path) -> Path:
    """Where the old ``out`` waits for the new one to be whole."""
    return out.with_name(f".{out.name}.splade-bridge-old")


def _listed(folder: Path) -> list[str] | None:
    """Patterns of the files that belong into ``folder``; None if it is no artefact of ours."""
    if (folder / MANIFEST).is_file():
        try:
            found = orjson.loads((folder / MANIFEST).read_bytes())
            assert "splade-bridge" in found["tools"]
            listed = [_escaped(file["path"]) for file in found["files"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
            return None  # damaged, so nobody knows whose it is
        return [MANIFEST, PLAN, *listed, *ADDED_LATER]
    if (folder / PLAN).is_file():
        try:
            if not isinstance(orjson.loads((folder / PLAN).read_bytes()), dict):
                return None
        except (OSError, ValueError):
            return None
        return [*UNFINISHED_STORE]
    return None


def _escaped(path: str) -> str:
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def _files(folder: Path) -> Iterator[str]:
    """Everything below ``folder`` that is not a folder, and folders that are empty or links."""
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder)
        yield from ((below / name).as_posix() for name in files)
        yield from (
            (below / name).as_posix()
            for name in folders
            if (Path(place) / name).is_symlink() or not any((Path(place) / name).iterdir())
        )
