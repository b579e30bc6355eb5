"""Files that appear whole or not at all, compressed or not, and errors that name them."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import zstandard

from splade_bridge.errors import BadInputError, ExternalProgramError, MissingToolError
from splade_bridge.files.filesystem import sync_file
from splade_bridge.files.lines import STDIO
from splade_bridge.files.locks import folder_lock, new_partial, remove_partials
from splade_bridge.files.outputs import (
    MARK,
    UNFINISHED,
    bring_back,
    check_output,
    discard,
    is_stream,
    is_unfinished,
    lock_of,
    manifest_file,
    mark,
    open_descriptor,
    real_place,
    remove_aside,
    set_aside,
    staging_of,
    swap_in,
    throw_away,
)
from splade_bridge.files.shown import ShownOnTerminal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BUFFER = 1 << 18
"""Bytes that are handed on at once: at 8 KiB, the default, the calls take a sixth of an export."""


@contextlib.contextmanager
def atomic_writer(path: Path, level: int = 6) -> Iterator[BinaryIO]:
    """:func:`atomic_writers` of one file."""
    with atomic_writers([path], level) as (stream,):
        yield stream


@contextlib.contextmanager
def atomic_writers(paths: Sequence[Path], level: int = 6) -> Iterator[list[BinaryIO]]:
    """Streams whose bytes become ``paths`` only when the block ends well and all of them are whole.

    Compresses by suffix, reproducibly (no time stamp in gzip headers). The content is synced
    before it is renamed. A link is followed, and stays. What is a stream itself (see
    :func:`.outputs.is_stream`) is written into, and so is stdout for ``-``, where a terminal gets
    no control characters. What killed processes left of the same files is removed.

    Raises:
        ExternalProgramError: the disk is full or a place cannot be written.
    """
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(_Output(path, level)) for path in paths]
        try:
            yield [output.stream for output in outputs]
        except OSError as error:
            raise write_error(error, paths[0]) from error
        for output in outputs:
            output.end()
        for output in outputs:
            output.publish()


class _Output(contextlib.AbstractContextManager["_Output"]):
    """A file on its way; leaving it throws away what was not published.

    Attributes:
        stream: to write into.
    """

    def __init__(self, path: Path, level: int) -> None:
        self._path = path
        self._place: Path | None = None
        self._partial: Path | None = None
        self._open = contextlib.ExitStack()
        with self._naming():
            self._raw = self._opened()
            self.stream = self._compressor = _compressing(self._raw, path, level)

    def _opened(self) -> BinaryIO:
        if self._path == STDIO:
            out = sys.stdout.buffer
            return cast(BinaryIO, ShownOnTerminal(out) if sys.stdout.isatty() else out)
        if is_stream(self._path):
            return self._open.enter_context(_opened_stream(self._path))
        self._place = real_place(self._path)
        self._place.parent.mkdir(parents=True, exist_ok=True)
        remove_partials(self._place)
        handle, self._partial = new_partial(self._place)
        raw = self._open.enter_context(NamedFile(handle, self._path))
        return self._open.enter_context(io.BufferedWriter(raw, BUFFER))

    def end(self) -> None:
        """Write the rest, and let the disk have it."""
        with self._naming():
            if self._compressor is not self._raw:
                self._compressor.close()
            self._raw.flush()
            if self._partial:
                sync_file(self._raw.fileno())

    def publish(self) -> None:
        """Give the whole file its name."""
        if self._partial and self._place:
            with self._naming():  # still locked: nobody takes it for a killed one's
                self._partial.replace(self._place)
            self._partial = None

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ValueError, zstandard.ZstdError, ExternalProgramError):
            if self._compressor is not self._raw:
                self._compressor.close()
        with contextlib.suppress(OSError, ExternalProgramError):
            self._open.close()
        if self._partial:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, self._path) from error


class NamedFile(io.FileIO):
    """A file whose faults name it, also where several are written at once."""

    def __init__(self, handle: int, path: Path) -> None:
        super().__init__(handle, "wb")
        self._path = path

    def write(self, data: ReadableBuffer) -> int:
        """See :class:`io.FileIO`; raises ExternalProgramError."""
        try:
            return super().write(data)
        except OSError as error:
            raise write_error(error, self._path) from error


def _compressing(raw: BinaryIO, path: Path, level: int) -> BinaryIO:
    """``raw``, or what compresses into it by the suffix of ``path`` and leaves it open."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.GzipFile("", "wb", level, raw, mtime=0))
    if path.suffix.lower() == ".zst":
        compressor = zstandard.ZstdCompressor(level=3)
        return cast(BinaryIO, compressor.stream_writer(raw, closefd=False))
    return raw


def _opened_stream(path: Path) -> BinaryIO:
    """Opened for writing where it stands, and not truncated, as ``>>`` had it opened."""
    number = open_descriptor(path)
    if number is None:
        return open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb")
    if number == 1:
        sys.stdout.flush()
    return open(os.dup(number), "wb")


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
    with _ours_alone(out, overwrite=overwrite, inputs=inputs) as out:
        staging = staging_of(out)
        discard(staging, out)
        try:
            staging.mkdir()
            mark(staging)
            yield staging
            if manifest_file(staging).exists():
                (staging / MARK).unlink()
            swap_in(staging, out)
        finally:
            throw_away(staging, out)


@contextlib.contextmanager
def _ours_alone(out: Path, *, overwrite: bool, inputs: Iterable[Path]) -> Iterator[Path]:
    """``out`` as it really is, where nobody else writes it, and what was aside is back.

    Raises:
        UsageError, ExternalProgramError: see :func:`staged_folder`.
    """
    inputs = list(inputs)
    check_output(out, overwrite=overwrite, inputs=inputs)
    out = real_place(out)  # "." has no name that a neighbour could be given
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(lock_of(out), out):
            bring_back(out)
            check_output(out, overwrite=overwrite, inputs=inputs)
            yield out
    except OSError as error:
        raise write_error(error, out) from error


@contextlib.contextmanager
def filled_folder(out: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> Iterator[None]:
    """``out`` as a new folder that is filled in its place: what is put in names its own path.

    The old one waits beside it, and is back if the block ends with an error or after a kill; what
    was made until then is removed.

    Raises:
        UsageError, ExternalProgramError: see :func:`staged_folder`.
    """
    with _ours_alone(out, overwrite=overwrite, inputs=inputs) as out:
        if is_unfinished(out):
            throw_away(out)
        set_aside(out)
        try:
            out.mkdir()
            mark(out)
            (out / UNFINISHED).touch()
            yield
            (out / UNFINISHED).unlink()
        except BaseException:
            throw_away(out)
            bring_back(out)
            raise
        remove_aside(out)


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


def write_error(error: OSError, path: Path) -> ExternalProgramError:
    """What to raise where ``path`` could not be written."""
    hint = {
        errno.ENOSPC: "; free some space and run the same command again",
        errno.EDQUOT: "; your quota is used up",
    }.get(error.errno or 0, "")
    return ExternalProgramError(f"{path}: cannot be written ({error.strerror or error}){hint}")


def mapped(path: Path) -> npt.NDArray[Any]:
    """The whole numbers in a ``.npy`` file of one dimension, mapped and not read.

    Raises:
        BadInputError: it is missing or damaged.
    """
    try:
        # A plain array: a slice of a memmap costs ten times as much.
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{array.dtype} of shape {array.shape}")
        return array
    except Exception as error:  # numpy parses the header as Python, which may fail in many ways
        raise BadInputError(f"missing or damaged ({error}): make it again", str(path)) from error


def pointers(array: npt.NDArray[Any], last: int, path: Path) -> npt.NDArray[Any]:
    """``array`` of the file ``path``, if it holds where runs begin: 0, rising, up to ``last``.

    Raises:
        BadInputError: it does not.
    """
    rises = len(array) and array[0] == 0 and array[-1] == last and (array[1:] >= array[:-1]).all()
    if not rises:
        raise BadInputError(
            "missing or damaged (its numbers do not rise as they must): make it again", str(path)
        )
    return array
