"""Who is at work: locks of outputs, working files and working folders.

A lock dies with its process, so what lies there without a holder was left by one that was killed,
and is removed by the next one. On a file system without locks nothing is removed that may still be
in use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from splade_bridge.errors import UsageError
from splade_bridge.files.filesystem import try_lock

SCRATCH = ".splade-bridge-scratch-"
PARTIAL = re.compile(r"\.(.+)\.partial-\d+-[0-9a-f]{6}")
"""The name of a file in the making, and in it that of the file."""
TRIES = 20


@contextlib.contextmanager
def folder_lock(lock: Path, out: Path) -> Iterator[None]:
    """Hold the file ``lock`` so that no second process writes ``out``; it is removed at the end.

    Raises:
        UsageError: another process holds it, or what has its name is not a lock of ours (a link,
            a file with content): it is left as it is.
        OSError: it cannot be made.
    """
    held = _take(lock, out)
    if held is None:
        raise UsageError(f"{out}: another process is writing it now")
    try:
        yield
    finally:
        _release(lock, held[0])


@contextlib.contextmanager
def forsaken(lock: Path) -> Iterator[bool]:
    """Whether nobody holds ``lock``, which then cannot be taken until the block ends.

    False, too, where that cannot be known.
    """
    held = None
    with contextlib.suppress(OSError, UsageError):
        held = _take(lock, lock)
    try:
        yield held is not None and held[1]
    finally:
        if held is not None:
            _release(lock, held[0])


@contextlib.contextmanager
def scratch_folder(near: Path | None = None) -> Iterator[Path]:
    """A working folder in ``near`` (the system's for temporary files, if None), gone at the end.

    Those that killed processes left there are removed.

    Raises:
        OSError: it cannot be made.
    """
    near = near or Path(tempfile.gettempdir())
    near.mkdir(parents=True, exist_ok=True)
    remove_scratch(near)
    folder = near / f"{SCRATCH}{secrets.token_hex(6)}"
    with folder_lock(folder.with_name(f"{folder.name}.lock"), folder):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_scratch(near: Path) -> None:
    """Remove the working folders in ``near`` that killed processes left."""
    for lock in near.glob(f"{SCRATCH}*.lock"):
        with forsaken(lock) as is_forsaken:
            if is_forsaken:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)


def new_partial(path: Path) -> tuple[int, Path]:
    """An open, empty file beside ``path`` that will become it, locked as long as it is open.

    Raises:
        OSError: it cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(TRIES):
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}-{secrets.token_hex(3)}")
        handle = os.open(partial, flags, 0o666)
        if try_lock(handle) is None or _is_at(handle, partial):
            break
        os.close(handle)  # taken for a forsaken one before it was locked
    return handle, partial


def remove_partials(path: Path) -> None:
    """Remove the files beside ``path`` that killed processes would have made it of."""
    with contextlib.suppress(OSError):
        beginning = f".{path.name}.partial-"
        names = [e.name for e in os.scandir(path.parent) if e.name.startswith(beginning)]
        for partial in (path.with_name(name) for name in names):
            handle = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if try_lock(handle):
                    partial.unlink(missing_ok=True)
            finally:
                os.close(handle)


def _take(lock: Path, out: Path) -> tuple[int, bool] | None:
    """The open lock, and whether the file system has locks; None if somebody else holds it."""
    for _ in range(TRIES):
        handle = _opened(lock, out)
        try:
            held = try_lock(handle)
        except BaseException:
            os.close(handle)
            raise
        # Its last holder may have removed it after it was opened: then it locks nothing.
        if held is None or (held and _is_at(handle, lock)):
            return handle, bool(held)
        os.close(handle)
        if not held:
            return None
    return None


def _opened(lock: Path, out: Path) -> int:
    """The open file ``lock``, never through a link and never truncated."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(lock, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UsageError(f"{lock}: is not a lock of splade-bridge; move it away") from error
        if error.errno in (errno.EACCES, errno.EPERM) and lock.exists():
            raise UsageError(
                f"{lock}: a lock of another user, who writes or wrote {out}; have it removed if "
                "nobody does"
            ) from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        os.close(handle)
        raise UsageError(f"{lock}: is not a lock of splade-bridge; move it away")
    return handle


def _release(lock: Path, handle: int) -> None:
    """Remove the lock while it is held, so that nobody else's is removed, and let it go."""
    try:
        with contextlib.suppress(OSError):
            if _is_at(handle, lock):
                lock.unlink()
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
