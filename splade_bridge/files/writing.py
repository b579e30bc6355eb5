"""Files that appear whole or not at all, compressed or not, and errors that name them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import zstandard

from splade_bridge.errors import BadInputError, ExternalProgramError, MissingToolError, UsageError
from splade_bridge.files.lines import STDIO
from splade_bridge.files.outputs import (
    MANIFEST,
    MARK,
    bring_back,
    check_output,
    mark,
    remove_aside,
    set_aside,
)
from splade_bridge.files.shown import ShownOnTerminal


@contextlib.contextmanager
def atomic_writer(path: Path, level: int = 6) -> Iterator[BinaryIO]:
    """A stream whose bytes become ``path`` only when the block ends well; ``-`` is stdout, where
    a terminal gets no control characters.

    Compresses by suffix, reproducibly (no time stamp in gzip headers). The content is synced
    before it is renamed.

    Raises:
        ExternalProgramError: the disk is full or the place cannot be written.
    """
    if path == STDIO:
        out = sys.stdout.buffer
        yield cast(BinaryIO, ShownOnTerminal(out) if sys.stdout.isatty() else out)
        out.flush()
        return
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as raw:
            with contextlib.ExitStack() as stack:
                stream: BinaryIO = raw
                if path.suffix.lower() == ".gz":
                    stream = cast(
                        BinaryIO,
                        stack.enter_context(gzip.GzipFile("", "wb", level, raw, mtime=0)),
                    )
                elif path.suffix.lower() == ".zst":
                    compressor = zstandard.ZstdCompressor(level=3)
                    stream = cast(
                        BinaryIO, stack.enter_context(compressor.stream_writer(raw, closefd=False))
                    )
                yield stream
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(path)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # where it could not be made, the error above says why
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(out: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A working folder beside ``out`` that becomes ``out`` only when the block ends well.

    A working folder that a killed process left behind is removed by the next run. Two processes
    that write the same output meet a lock. The old ``out`` stays until the new one is whole.

    Raises:
        UsageError: ``out`` may not be replaced (see :func:`check_output`), or somebody is writing
            it now.
        ExternalProgramError: the disk is full or the place cannot be written.
    """
    inputs = list(inputs)
    check_output(out, overwrite=overwrite, inputs=inputs)
    out = out.resolve()  # "." has no name that a neighbour could be given
    staging = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(staging.with_name(f".{out.name}.lock"), out):
            bring_back(out)
            check_output(out, overwrite=overwrite, inputs=inputs)
            if staging.exists():
                shutil.rmtree(staging)
            try:
                staging.mkdir()
                mark(staging)
                yield staging
                if (staging / MANIFEST).exists():
                    (staging / MARK).unlink()
                set_aside(out)
                staging.replace(out)
                sync_folder(out.parent)
                remove_aside(out)
            finally:
                if staging.exists():
                    shutil.rmtree(staging)
    except OSError as error:
        raise write_error(error, out) from error


@contextlib.contextmanager
def folder_lock(lock: Path, out: Path) -> Iterator[None]:
    """Hold ``lock`` so that no second process writes ``out``; the lock dies with the process."""
    with open(lock, "wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder removes the file; opened before that, it locks nothing.
            if os.fstat(handle.fileno()).st_nlink == 0:
                raise BlockingIOError
        except BlockingIOError:
            raise UsageError(f"{out}: another process is writing it now") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def asset(name: str) -> Path:
    """Path of ``name`` (as ``java_conf/jvm.options``), from the wheel or from a checkout.

    Raises:
        MissingToolError: the installation lacks it.
    """
    package = Path(__file__).parents[1]
    for root in (package / "_assets", package.parent):
        if (root / name).exists():
            return root / name
    raise MissingToolError(f"{name} is missing from this installation: install splade-bridge again")


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes."""
    with open(path, "rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Make renames in ``path`` last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_error(error: OSError, path: Path) -> ExternalProgramError:
    """What to raise where ``path`` could not be written."""
    hint = {
        errno.ENOSPC: "; free some space and run the same command again",
        errno.EDQUOT: "; your quota is used up",
    }.get(error.errno or 0, "")
    return ExternalProgramError(f"{path}: cannot be written ({error.strerror or error}){hint}")


def mapped(path: Path) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file, mapped and not read.

    Raises:
        BadInputError: it is missing or damaged.
    """
    try:
        # A plain array: a slice of a memmap costs ten times as much.
        return np.asarray(np.load(path, mmap_mode="r"))
    except Exception as error:  # numpy parses the header as Python, which may fail in many ways
        raise BadInputError(f"missing or damaged ({error}): make it again", str(path)) from error
