"""Whether files are still what they were: hashed before their first use, and that remembered.

What was found whole is remembered by device, inode, size, times and expected hash of its files, in
an empty file of the user's cache folder (``$XDG_CACHE_HOME/splade-bridge/checked``) whose name is
the hash of all these. So nothing is read or rewritten there, processes do not meet, and whatever
happens to the folder costs no more than another check.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from splade_bridge.errors import BadInputError
from splade_bridge.files.cores import usable_cores

log = logging.getLogger(__name__)

WORTH = 1 << 20
"""Bytes from which on it is worth remembering that files are whole; hashing less takes 1 ms."""
SETTLED = 2_000_000_000
"""Nanoseconds after a change until the next one has another time on every file system."""
MOST_REMEMBERED = 4096
THREADS = 8
BLOCK = 1 << 20
TOLD_AFTER, TOLD_EVERY = 1.0, 5.0
"""Seconds of hashing after which it is told of, and then how often."""

_wanted = ContextVar("check of contents", default=True)
_known: set[str] = set()


class Listed(Protocol):
    """One file of an artefact, as its manifest lists it."""

    @property
    def path(self) -> str:
        """Relative to the folder."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Of its content, as hex."""


@contextlib.contextmanager
def unchecked(asked: bool = True) -> Iterator[None]:
    """Open artefacts in this block without looking at the content of their files.

    Sizes are compared all the same. This is ``--no-check``.

    Args:
        asked: nothing is changed where this is False.
    """
    token = _wanted.set(_wanted.get() and not asked)
    try:
        yield
    finally:
        _wanted.reset(token)


def check_files(folder: Path, files: Sequence[Listed], *, anew: bool = False) -> None:
    """Compare files with what a manifest says of them: sizes always, contents unless unasked for.

    Args:
        anew: hash, whatever is remembered and wherever this is called.

    Raises:
        BadInputError: a file is missing, or of another size or content; the message names it.
    """
    for file in files:
        there = folder / file.path
        size = there.stat().st_size if there.is_file() else -1
        if size != file.bytes:
            what = "is missing" if size < 0 else f"has {size:,} bytes instead of {file.bytes:,}"
            raise BadInputError(f"{file.path} {what}: make it again", str(folder))

    def compare() -> None:
        digests = _digests(folder, [folder / f.path for f in files], sum(f.bytes for f in files))
        for file, digest in zip(files, digests, strict=True):
            if digest != file.sha256:
                raise BadInputError(
                    f"{file.path} was changed or damaged after it was written: its SHA-256 is "
                    f"{digest[:12]}..., and {file.sha256[:12]}... in the manifest; make it again "
                    "from what it was made of (--no-check reads it as it is)",
                    str(folder),
                )

    if anew:
        compare()
    else:
        check_once([(folder / f.path, f.sha256) for f in files], compare)


def check_once(files: Sequence[tuple[Path, str]], check: Callable[[], object]) -> None:
    """Call ``check``, unless it passed before on these files as they are now, or is unasked for.

    Args:
        files: each with what it is checked for.
    """
    if not _wanted.get():
        return
    try:
        stats = [path.stat() for path, _ in files]
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}", error.filename) from error
    told = "\n".join(
        f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {what}"
        for s, (_, what) in zip(stats, files, strict=True)
    )
    key = hashlib.sha256(told.encode()).hexdigest()
    # A file that is changed twice within a tick of the clock has the same times both times.
    newest = max((max(s.st_mtime_ns, s.st_ctime_ns) for s in stats), default=0)
    lasting = sum(s.st_size for s in stats) >= WORTH and newest < time.time_ns() - SETTLED
    if lasting and _is_known(key):
        return
    check()
    if lasting:
        _remember(key)


def cache_folder() -> Path | None:
    """Where we may keep what can be made again; None where the user has no such place."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no home
        return None
    return Path(root) / "splade-bridge" if Path(root).is_absolute() else None


def _is_known(key: str) -> bool:
    if key in _known:
        return True
    cache = cache_folder()
    try:
        return cache is not None and (cache / "checked" / key).is_file()
    except OSError:
        return False


def _remember(key: str) -> None:
    _known.add(key)
    cache = cache_folder()
    if cache is None:
        return
    try:
        folder = cache / "checked"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / key).touch()
        notes = [entry for entry in os.scandir(folder) if len(entry.name) == len(key)]
        if len(notes) > MOST_REMEMBERED:
            notes.sort(key=lambda entry: entry.stat().st_mtime_ns)
            for old in notes[: -MOST_REMEMBERED // 2]:
                Path(old).unlink(missing_ok=True)
    except OSError as error:  # then it is checked again the next time
        log.debug("%s: not remembered: %s", cache, error)


def _digests(folder: Path, paths: Sequence[Path], total: int) -> list[str]:
    """SHA-256 of each file, by several threads: hashing and reading let others run."""
    stopped = threading.Event()
    hashed = [0] * len(paths)

    def digest(number: int) -> str:
        found = hashlib.sha256()
        try:
            with open(paths[number], "rb", buffering=0) as stream:
                while not stopped.is_set() and (block := stream.read(BLOCK)):
                    found.update(block)
                    hashed[number] += len(block)
        except OSError as error:
            raise BadInputError(f"cannot be read: {error.strerror}", str(paths[number])) from error
        return found.hexdigest()

    if total < WORTH:
        return [digest(number) for number in range(len(paths))]
    with ThreadPoolExecutor(min(THREADS, usable_cores())) as pool:
        try:
            running = [pool.submit(digest, number) for number in range(len(paths))]
            patience = TOLD_AFTER
            while wait(running, patience).not_done:
                log.info(
                    "%s: comparing its files with its manifest, once: %.1f of %.1f GB",
                    folder, sum(hashed) / 1e9, total / 1e9,
                )  # fmt: skip
                patience = TOLD_EVERY
            return [one.result() for one in running]
        finally:
            stopped.set()
