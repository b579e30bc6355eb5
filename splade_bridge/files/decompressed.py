"""The content of a compressed file as a stream; most of it is made by a thread ahead of its reader.

Many look at the beginning of a file and no further, so the first block is made where it is wanted.
Blocks are large, because making one lets other threads run and then waits for Python's lock.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import zstandard

from splade_bridge.files.read_ahead import ReadAhead

GZIP_AT_ONCE = 1 << 18
"""Compressed bytes that are read at once."""
GZIP_FIRST, GZIP_BLOCK = 1 << 15, 1 << 21
"""Bytes of the first block, and of those after it, at most."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""What zlib calls a stream with gzip's frame around it."""
ZSTD_LEAST, ZSTD_MOST = 1 << 6, 1 << 12
"""Compressed bytes of zstd that are given at once, each of which may stand for 32 KiB: few at
first, and while they stand for much."""
ZSTD_BLOCK = 1 << 19
"""Bytes after which a block is handed on, but for the first, which is what comes first."""
ZSTD_WINDOW = 1 << 27
"""Bytes that a zstd frame may ask for, as zstd's own program allows without being told."""

Decompress = Callable[[BinaryIO], Iterator[bytes]]
"""Blocks, none of them empty, of what a stream stands for."""


def gunzipped(stream: BinaryIO) -> Iterator[bytes]:
    """Of gzip members one after another, with zeros behind them perhaps (RFC 1952, gzip(1)).

    Raises:
        EOFError: it ends inside a member.
        gzip.BadGzipFile: something else begins, or follows a member.
        zlib.error: a member is damaged.
    """
    compressed, first, most = b"", True, GZIP_FIRST
    member = zlib.decompressobj(GZIP_WINDOW)
    begun = False
    while True:
        if not begun:  # between two members
            compressed = _until(stream, compressed, len(GZIP_MAGIC), b"" if first else b"\0")
            if not compressed:
                return
            if not compressed.startswith(GZIP_MAGIC):
                raise gzip.BadGzipFile(f"Not a gzipped file ({compressed[:2]!r})")
            member, begun, first = zlib.decompressobj(GZIP_WINDOW), True, False
        ended = not (compressed := compressed or stream.read(GZIP_AT_ONCE))
        block = member.decompress(compressed, most)  # of nothing, too: it may hold some back
        if block:
            yield block
            most = GZIP_BLOCK
        if member.eof:
            compressed, begun = member.unused_data, False
        elif ended and not block:
            raise EOFError("Compressed file ended before the end-of-stream marker was reached")
        else:
            compressed = member.unconsumed_tail


def _until(stream: BinaryIO, there: bytes, size: int, padding: bytes) -> bytes:
    """What is ``there`` without ``padding`` before it, and more until it is so long or all."""
    while len(there := there.lstrip(padding) if padding else there) < size:
        more = stream.read(GZIP_AT_ONCE)
        if not more:
            break
        there += more
    return there


def unzstandard(stream: BinaryIO) -> Iterator[bytes]:
    """Of zstd frames one after another; zstandard's own reader ends a cut-off one without a word.

    Raises:
        EOFError: it ends inside a frame.
        zstandard.ZstdError: a frame is damaged.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    frame: zstandard.ZstdDecompressionObj | None = None
    compressed = b""
    plain: list[bytes] = []
    held, size, most = 0, ZSTD_LEAST, 1
    while compressed := compressed or stream.read(size):
        frame = frame or decompressor.decompressobj()
        try:
            block = frame.decompress(compressed)
        except zstandard.ZstdError:
            if held:
                yield b"".join(plain)
            raise
        compressed = frame.unused_data
        if frame.eof:
            frame = None
        size = min(2 * size, ZSTD_MOST) if len(block) < ZSTD_BLOCK else max(size // 2, ZSTD_LEAST)
        plain.append(block)
        held += len(block)
        if held >= most:
            yield b"".join(plain)
            plain, held, most = [], 0, ZSTD_BLOCK
    if held:
        yield b"".join(plain)
    if frame:
        raise EOFError("it ends inside a zstd frame")


class Decompressed(io.RawIOBase):
    """What ``decompress`` makes of a stream.

    Args:
        ahead: let a thread make all blocks but the first; it ends when this is closed.
    """

    def __init__(self, stream: BinaryIO, decompress: Decompress, *, ahead: bool) -> None:
        self._blocks = decompress(stream)
        self._ahead = ahead
        self._thread: ReadAhead[bytes] | None = None
        self._begun = False
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See :class:`io.RawIOBase`; raises what ``decompress`` raises."""
        if not self._plain:
            self._plain = memoryview(next(self._next_blocks(), b""))
        size = min(len(buffer), len(self._plain))
        buffer[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _next_blocks(self) -> Iterator[bytes]:
        if self._begun and self._ahead and self._thread is None:
            self._thread = ReadAhead(self._blocks)
        self._begun = True
        return self._thread or self._blocks

    def close(self) -> None:
        """Let the thread end."""
        if self._thread is not None:
            self._thread.close()
        super().close()
