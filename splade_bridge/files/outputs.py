"""What an output may replace: an artefact of ours, and nothing else.

An artefact is a folder with a manifest (finished), a plan (a vector store in the making) or the
mark (whatever has neither: checkpoints, work folders, the demo). What is replaced stays until the
new one is whole; then both are renamed as a whole, so a kill loses neither and shows half of none.
An output that is a link stands for what it points to, which is replaced; the link stays.

::

    OUT
    .OUT.lock                   held while OUT is written
    .OUT.partial                the new one in the making, a folder
    .OUT.partial-PID-RANDOM     the same for a file
    .OUT.splade-bridge-old      the old one, while the new one takes its place
    .OUT.splade-bridge-trash    what is being removed
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from splade_bridge.errors import UsageError
from splade_bridge.files.filesystem import sync_folder
from splade_bridge.files.lines import STDIO
from splade_bridge.files.locks import forsaken, remove_partials

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
STORE_MANIFEST = "_manifest.json"
"""Of a vector store or a shard: what reads a folder of Parquet files passes over such names."""
PLAN = "_plan.json"
OLD_PLAN = "plan.json"
"""Of vector stores whose manifest is a :data:`MANIFEST`: once their names had no ``_``."""
MARK = ".splade-bridge"
MARK_TEXT = "A folder that splade-bridge made and may replace.\n"

ADDED_LATER = ("algorithms.json", "write.lock", ".*.partial-*")
"""What we put into a finished artefact without its manifest listing it."""
UNFINISHED_STORE = (
    PLAN, "_vocabulary.json", OLD_PLAN, "vocabulary.json", "part-*.parquet", "_index/*",
    ".*.partial-*"
)  # fmt: skip
UNFINISHED = ".unfinished"
"""Stands in a marked folder as long as it is being filled."""
LOCKS = ("lock", "parts.lock", "work.lock", "training.lock")
"""What the locks of an output and of the work folders beside it are called."""
LONGEST_ADDITION = len(b"..splade-bridge-trash.lock")
DESCRIPTOR = re.compile(r"/(?:dev|proc/self|proc/thread-self)/fd/(\d+)")
NAMED = {"/dev/stdout": 1, "/dev/stderr": 2}


def manifest_file(folder: Path) -> Path:
    """The manifest of an artefact, under the name that it has or, where there is none, would have.

    Whoever wants to know whether ``folder`` is finished asks whether this file is there.
    """
    there = [name for name in (STORE_MANIFEST, MANIFEST) if (folder / name).is_file()]
    return folder / (there[0] if there else STORE_MANIFEST if has_plan(folder) else MANIFEST)


def plan_file(folder: Path) -> Path:
    """The plan of a vector store, under the name that it has or would have."""
    is_old = (folder / OLD_PLAN).is_file() and not (folder / PLAN).is_file()
    return folder / (OLD_PLAN if is_old else PLAN)


def has_plan(folder: Path) -> bool:
    """Whether ``folder`` is a vector store, finished or in the making."""
    return plan_file(folder).is_file()


def open_descriptor(path: Path) -> int | None:
    """The number of the open file that ``path`` names, as ``/dev/stdout`` does."""
    text = str(path)
    if text in NAMED:
        return NAMED[text]
    found = DESCRIPTOR.fullmatch(text)
    return int(found[1]) if found else None


def is_stream(path: Path) -> bool:
    """Whether what is written to ``path`` goes into what is there: ``-``, a FIFO, a device."""
    if path == STDIO or open_descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def is_stdout(path: Path) -> bool:
    """Whether ``path`` is a name of standard output."""
    return path == STDIO or open_descriptor(path) == 1


def real_place(out: Path) -> Path:
    """Where ``out`` is, without links and dots; what is not there yet has a place, too."""
    return Path(os.path.realpath(out))


def check_place(out: Path) -> None:
    """Refuse a place where nothing can be written, before any work.

    Raises:
        UsageError: the name is impossible, what should be a folder is a file, or the folder that
            it would lie in cannot be written.
    """
    if "\0" in str(out):
        raise UsageError(f"{str(out)!r}: no name of a file holds a NUL; name another output")
    place = real_place(out)
    if not place.name:
        raise UsageError(f"{out}: is the root of the file system; name a folder below it")
    for folder in place.parents:
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:  # a name too long, a circle of links, a folder that is closed
            if isinstance(error, NotADirectoryError):
                continue
            raise UsageError(f"{out}: {folder}: {error.strerror}; name another output") from error
        if not stat.S_ISDIR(mode):
            raise UsageError(f"{out}: {folder} is a file and not a folder; name another output")
        break
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: nothing can be written into {folder}; name another output")
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = 255
    most = longest - LONGEST_ADDITION
    for name in place.relative_to(folder).parts:
        if len(os.fsencode(name)) > most:
            raise UsageError(f"{out}: a name of over {most} bytes; name another output")
    try:
        place.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; name another output") from error


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is or contains one of ``inputs``; what is not there is passed over.

    Raises:
        UsageError: it does.
    """
    if out == STDIO or open_descriptor(out) is not None:
        return
    place = real_place(out)
    for path in inputs:
        if path == STDIO or not _exists(path):
            continue
        for spot in (real_place(path), real_place(path.absolute().parent) / path.name):
            if spot.is_relative_to(place) or _same_file(spot, place):
                if stat.S_ISCHR(path.stat().st_mode):  # a terminal is read and written
                    continue
                same = spot == place or not spot.is_relative_to(place)
                what = "is read, too" if same else f"contains {path}, which is read"
                raise UsageError(f"{out}: {what}; name another output")


def check_apart(outputs: Iterable[Path]) -> None:
    """Refuse outputs of one command that are the same place, or one of which contains another.

    Raises:
        UsageError: two are; also where only some file systems tell them apart.
    """
    known: list[Path] = []
    for out in outputs:
        for other in known:
            if is_stdout(out) and is_stdout(other):
                raise UsageError(f"{other} and {out}: both would be written to stdout")
            if STDIO in (out, other) or str(out) == str(other) == os.devnull:
                continue
            one, two = (Path(str(real_place(p)).casefold()) for p in (other, out))
            if one == two or _same_file(other, out):
                raise UsageError(f"{other} and {out}: two outputs, one place; name another output")
            if one.is_relative_to(two) or two.is_relative_to(one):
                raise UsageError(f"{other} and {out}: one lies in the other; name another output")
        known.append(out)


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
        kind: what is to be written; a FIFO or a device stands for a file, and is written into.

    Raises:
        UsageError: ``out`` is no place to write to (see :func:`check_place`); is or contains an
            input; exists, and ``overwrite`` is not set; or is not of ``kind``; or is a folder with
            something in it that is not ours.
    """
    if out == STDIO:
        return
    if kind == "file" and is_stream(out):
        check_inputs(out, inputs)
        return
    check_place(out)
    check_inputs(out, inputs)
    tidy(out)
    if not out.exists() or (kind == "folder" and out.is_dir() and not any(out.iterdir())):
        return
    if out.is_dir() != (kind == "folder") or not (out.is_dir() or out.is_file()):
        there = "folder" if out.is_dir() else "file" if out.is_file() else "device or socket"
        raise UsageError(
            f"{out}: is a {there}, and only a {kind} is replaced by a {kind}; name another output"
        )
    if not overwrite and not (out / UNFINISHED).exists():
        raise UsageError(f"{out}: exists already; name another output or pass --overwrite")
    if kind == "folder" and (why := why_not_ours(out)):
        raise UsageError(f"{out}: {why}, so it is not replaced; name another output")


def companion(out: Path) -> Path:
    """The manifest of an output that is a file; it lies beside it."""
    return out.with_name(f"{out.name}.{MANIFEST}")


def check_companion(out: Path) -> None:
    """Refuse an output if what has the name of its :func:`companion` is another tool's.

    Raises:
        UsageError: it is.
    """
    if is_stream(out):
        return
    path = companion(out)
    if os.path.lexists(path) and not (path.is_file() and _tools_in(path)):
        raise UsageError(f"{path}: is written, too, and was not made by splade-bridge; move it")


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


def discard(folder: Path, out: Path | None = None) -> None:
    """Remove a folder of ours, or an empty one; nothing is done where there is none.

    Args:
        out: the output that it belongs to, if it is not one itself.

    Raises:
        UsageError: it is not ours.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UsageError(f"{folder}: was not made by splade-bridge; move it away")
    if any(folder.iterdir()) and (why := why_not_ours(folder)):
        raise UsageError(f"{folder}: {why}, so it is not removed; move it away")
    throw_away(folder, out)


def throw_away(folder: Path, out: Path | None = None) -> None:
    """Remove a folder as a whole, if there is one: no kill leaves half of it under its name.

    Args:
        out: the output that it belongs to, if it is not one itself; its next run, if this one is
            killed, removes what is left.
    """
    trash = trash_of(out or folder)
    if trash.exists():
        shutil.rmtree(trash)
    if folder.exists():
        folder.replace(trash)
        shutil.rmtree(trash)


def mark(folder: Path) -> None:
    """Say that ``folder`` is ours, whatever it will hold."""
    (folder / MARK).write_text(MARK_TEXT)


def swap_in(new: Path, out: Path) -> None:
    """Give ``new``, which is whole, the name ``out``; what stood there is removed afterwards.

    Raises:
        OSError: it cannot be renamed; then ``out`` is as it was.
    """
    set_aside(out)
    try:
        new.replace(out)
    except OSError:
        bring_back(out)
        raise
    sync_folder(out.parent)
    remove_aside(out)


def set_aside(out: Path) -> None:
    """Rename what stands at ``out``, if anything does.

    Raises:
        UsageError: an earlier one waits there, and holds what is not ours.
    """
    if out.exists():
        old = aside(out)
        discard(old, out)
        out.replace(old)


def remove_aside(out: Path) -> None:
    """Remove what :func:`set_aside` renamed, now that there is a new ``out``.

    If somebody has put other things into it meanwhile, it stays, and a warning says so.
    """
    if (old := aside(out)).is_dir():
        if any(old.iterdir()) and (why := why_not_ours(old)):
            log.warning("%s: the one that it replaced %s, and is kept in %s", out, why, old)
        else:
            throw_away(old, out)


def bring_back(out: Path) -> None:
    """Undo :func:`set_aside` where a kill came before there was a whole new ``out``."""
    if (old := aside(out)).exists():
        if not out.exists():
            old.replace(out)
        elif is_unfinished(out):
            throw_away(out)  # what is finished is worth more
            old.replace(out)
        else:
            remove_aside(out)


def is_unfinished(folder: Path) -> bool:
    """Whether a folder of ours is still to be filled."""
    is_store = has_plan(folder) and not manifest_file(folder).exists()
    return (is_store and not (folder / MARK).exists()) or (folder / UNFINISHED).exists()


def aside(out: Path) -> Path:
    """Where the old ``out`` waits while the new one takes its place."""
    return _beside(out, "splade-bridge-old")


def staging_of(out: Path) -> Path:
    """Where a new ``out`` is made."""
    return _beside(out, "partial")


def lock_of(out: Path) -> Path:
    """The lock of ``out``."""
    return _beside(out, "lock")


def trash_of(out: Path) -> Path:
    """Where what belongs to ``out`` is removed."""
    return _beside(out, "splade-bridge-trash")


def tidy(out: Path) -> None:
    """Remove what killed processes left of ``out`` and no later one needs.

    What can be gone on with stays, and so does all of it while somebody is at work.
    """
    out = real_place(out)
    with contextlib.suppress(OSError, UsageError):
        beginning = f".{out.name}."
        if not any(entry.name.startswith(beginning) for entry in os.scandir(out.parent)):
            return
        remove_partials(out)
        locks = [_beside(out, role) for role in LOCKS]
        for lock in locks[1:]:
            with forsaken(lock) if lock.exists() else contextlib.nullcontext():
                pass  # it goes as it is let go
        staging, trash = staging_of(out), trash_of(out)
        old_staging = staging.is_dir() and ((staging / MARK).exists() or not any(staging.iterdir()))
        replaced = aside(out).exists() and out.exists() and not is_unfinished(out)
        if not (locks[0].exists() or old_staging or replaced or trash.exists()):
            return
        with forsaken(locks[0]) as is_forsaken:
            if not is_forsaken:
                return
            if trash.exists():
                shutil.rmtree(trash)
            if old_staging:
                throw_away(staging, out)
            if replaced:
                remove_aside(out)


def _beside(out: Path, role: str) -> Path:
    return out.with_name(f".{out.name}.{role}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or no name: it is refused where it is read
        return False


def _same_file(one: Path, two: Path) -> bool:
    """Whether two paths are one file by hard links, or by a file system that knows no case."""
    try:
        return one.samefile(two)
    except (OSError, ValueError):
        return False


def _tools_in(manifest: Path) -> Any:
    """What a manifest was made with; None if it is not of ours."""
    try:
        found = orjson.loads(manifest.read_bytes())
        return found if "splade-bridge" in found["tools"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listed(folder: Path) -> list[str] | None:
    """Patterns of the files that belong into ``folder``; None if it is no artefact of ours."""
    manifest, plan = manifest_file(folder), plan_file(folder)
    if manifest.is_file():
        try:
            found = orjson.loads(manifest.read_bytes())
            assert "splade-bridge" in found["tools"]
            listed = [_escaped(file["path"]) for file in found["files"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
            return None  # damaged, so nobody knows whose it is
        return [manifest.name, plan.name, *listed, *ADDED_LATER]
    if plan.is_file():
        try:
            if not isinstance(orjson.loads(plan.read_bytes()), dict):
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
