"""What not every file system can do, and what is done there instead.

Lustre, CIFS and some FUSE file systems answer ``flock``, ``fsync`` of a folder or hard links with
one of :data:`LACKING`. The work goes on without, and a warning says once a process what is lost.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
from functools import lru_cache
from pathlib import Path

log = logging.getLogger(__name__)

LACKING = frozenset(
    {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK, errno.ENOTTY}
)
"""Error numbers of what a file system does not know."""


def try_lock(handle: int) -> bool | None:
    """Lock an open file for this process, without waiting.

    Returns:
        False if another one holds it; None where the file system has no locks.

    Raises:
        OSError: for any other reason.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LACKING:
            raise
        _warn("locks", "two processes that write the same output do not notice each other")
        return None
    return True


def sync_file(handle: int) -> None:
    """Make the content of an open file last."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _warn("fsync", "a power cut soon after the end may damage what was written")


def sync_folder(path: Path) -> None:
    """Make renames in ``path`` last."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # Some let no folder be opened; and one may be written into that must not be listed.
        if error.errno not in {*LACKING, errno.EACCES, errno.EISDIR, errno.EBADF}:
            raise
        _warn("fsync of folders", "a power cut soon after the end may undo a rename")


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file where links are to be had, else a synced copy.

    Raises:
        OSError: it can be neither linked nor copied.
    """
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links, or not our file
        with open(source, "rb") as stream, open(target, "xb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
            sync_file(copy.fileno())


@lru_cache
def _warn(what: str, lost: str) -> None:
    """Say once a process what is lost."""
    log.warning("this file system has no %s: %s", what, lost)
