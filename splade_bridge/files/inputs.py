"""What is read: files that stay as they are meanwhile, pipes that come once, all files of a folder.

A pipe, a socket or a device has no beginning to come back to: whoever opens it twice, to see what
it is and then to read it, gets the rest and no error. So a path must lead to a regular file, and
only readers that go through once from beginning to end take a pipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from splade_bridge.errors import BadInputError

KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
WRITE_FIRST = "write it to a file first"

ENDS = 1 << 20
"""Bytes at either end of a file that identify it, beside its size."""


class Stamp(NamedTuple):
    """What changes with a file's content: which file it is, its bytes, its time in nanoseconds."""

    device: int
    inode: int
    bytes: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """Of what ``os.stat`` says."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def status(path: Path) -> os.stat_result:
    """What the file system says of that to which ``path`` leads.

    Raises:
        BadInputError: nothing, or it cannot be reached.
    """
    try:
        return path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise BadInputError(
                f"is a link to {path.readlink()}, which is not there", str(path)
            ) from error
        raise BadInputError(f"cannot be read ({error.strerror})", str(path)) from error
    except (OSError, ValueError) as error:  # a loop of links, no permission; NUL in the name
        why = getattr(error, "strerror", None) or error
        raise BadInputError(f"cannot be read ({why})", str(path)) from error


def is_there(path: Path) -> bool:
    """Whether ``path`` leads to anything.

    Raises:
        BadInputError: a link to nothing, or what cannot be looked at.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        pass  # status says why
    status(path)
    return True


def is_pipe(path: Path) -> bool:
    """Whether ``path`` leads to a pipe: it can be read, but only once."""
    with contextlib.suppress(BadInputError):
        return stat.S_ISFIFO(status(path).st_mode)
    return False


def check_file(path: Path, *, pipe: bool = False, remedy: str = WRITE_FIRST) -> os.stat_result:
    """Refuse what is no regular file, before it is opened: opening a pipe waits for its writer.

    Args:
        pipe: take a pipe too, for those who read it once from beginning to end.
        remedy: what to do about a pipe, for the message.

    Raises:
        BadInputError: it is a folder, a socket or a device, or a pipe; or it is not there.
    """
    found = status(path)
    if stat.S_ISREG(found.st_mode) or (pipe and is_pipe(path)):
        return found
    if stat.S_ISDIR(found.st_mode):
        raise BadInputError("cannot be read (it is a folder, and must be a file)", str(path))
    kind = kind_of(found.st_mode)
    why = "" if kind == "a device" else ", which can be read only once"
    raise BadInputError(f"is {kind}{why}, and no file: {remedy}", str(path))


def kind_of(mode: int) -> str:
    """What something is, from its ``st_mode``."""
    return next((name for fits, name in KINDS if fits(mode)), "a device")


@contextlib.contextmanager
def steady(path: Path, *, pipe: bool = False) -> Iterator[None]:
    """A block in which ``path`` is read; a file that changes before its end is an error.

    Args:
        pipe: see :func:`check_file`.

    Raises:
        BadInputError: no file; or at the end: it grew, shrank, was written to or replaced.
    """
    before = check_file(path, pipe=pipe)
    try:
        yield
    except Exception as error:  # what was found broken may be half of the old and half of the new
        if _differs(path, before):
            raise changed(path) from error
        raise
    if _differs(path, before):
        raise changed(path)


def _differs(path: Path, before: os.stat_result) -> bool:
    if not stat.S_ISREG(before.st_mode):
        return False
    try:
        return Stamp.of(before) != Stamp.of(path.stat())
    except OSError:
        return True


def changed(path: object) -> BadInputError:
    """What to raise where an input is not what it was when reading began."""
    return BadInputError(
        "changed while it was read: wait until nobody writes to it, and begin again", str(path)
    )


def fingerprint(file: Path) -> str:
    """The size of a file, and a digest of its first and last MiB.

    Cheap, and notices what grew, shrank or was replaced.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    with open(file, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest.update(stream.read(ENDS))
        if size > ENDS:
            stream.seek(max(ENDS, size - ENDS))
            digest.update(stream.read(ENDS))
    return f"{size} bytes, {digest.hexdigest()}"


def all_files(folder: Path) -> list[Path]:
    """All below ``folder`` that is no folder: names that begin with a dot, too, and what links
    lead to, as Anserini finds it. The order is that of the names on the way, by code point.

    A folder that a link leads back up to is not entered again.

    Raises:
        BadInputError: a link that leads nowhere, or what may not be looked at.
    """
    found = []
    waiting = [(folder, frozenset[tuple[int, int]]())]
    while waiting:
        place, above = waiting.pop()
        entry = status(place)
        if not stat.S_ISDIR(entry.st_mode):
            found.append(place)
            continue
        own = (entry.st_dev, entry.st_ino)
        if own in above:
            continue
        try:
            inside = sorted(place.iterdir(), reverse=True)
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror})", str(place)) from error
        waiting += [(inner, above | {own}) for inner in inside]
    return found


def stamps(path: Path) -> dict[Path, Stamp]:
    """Of a file, or of all files in a folder, in the order of :func:`all_files`."""
    return {file: Stamp.of(status(file)) for file in all_files(path)}
