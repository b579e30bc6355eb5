"""Bytes, lines and JSON lines of files that may be compressed; a fault names its place."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import zstandard

from splade_bridge.errors import BadInputError
from splade_bridge.files.decompressed import Decompress, Decompressed, gunzipped, unzstandard
from splade_bridge.files.inputs import steady

DECOMPRESS: dict[str, Decompress] = {".gz": gunzipped, ".zst": unzstandard}
COMPRESSED = tuple(DECOMPRESS)
STDIO = Path("-")
MARK = b"\xef\xbb\xbf"
"""A byte order mark, which is no part of a text."""

_read_stdin: object = None
"""The stdin that was read already."""

MAX_LINE = 1 << 26
"""Bytes of a line, and of any JSON object: what reads one holds it in memory."""
MAX_VALUES = 1 << 22
"""Values in one JSON object: each takes up to 100 bytes once it is read."""
COUNTED_FROM = 1 << 20
"""Bytes of JSON below which there cannot be too many values."""


def plain_suffix(path: Path) -> str:
    """The last suffix below a compression suffix, lower-cased: ``a.jsonl.gz`` -> ``.jsonl``."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextlib.contextmanager
def open_reader(path: Path, *, pipe: bool = False) -> Iterator[BinaryIO]:
    """The bytes of ``path``, decompressed by its suffix; ``-`` is stdin.

    Args:
        pipe: take a pipe too; whoever asks for that opens it once and reads all of it.

    Raises:
        BadInputError: the file cannot be opened, or its compressed stream is damaged or cut; it is
            no regular file; it changed before it was read to its end; or stdin was read before.
    """
    with contextlib.ExitStack() as stack:
        try:
            if path == STDIO:
                stream = _stdin()
            else:
                stack.enter_context(steady(path, pipe=pipe))
                stream = stack.enter_context(open(path, "rb"))
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror})", str(path)) from error
        if (decompress := DECOMPRESS.get(path.suffix.lower())) is not None:
            # Closing waits for a block that is being made; a pipe might never give it.
            plain = Decompressed(stream, decompress, ahead=not pipe)
            stream = stack.enter_context(io.BufferedReader(plain, 1 << 20))
        try:
            yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise BadInputError(
                f"the compressed file is cut off or damaged ({error})", str(path)
            ) from error


def _stdin() -> BinaryIO:
    """The bytes of stdin, once.

    Raises:
        BadInputError: the shell has closed it, or it was read already.
    """
    global _read_stdin
    if sys.stdin is None or sys.stdin.closed:
        raise BadInputError("stdin is closed: nothing can be read from it", str(STDIO))
    if _read_stdin is sys.stdin:
        raise BadInputError("was read already, and cannot be read again: use a file", "stdin")
    _read_stdin = sys.stdin
    return cast(BinaryIO, sys.stdin.buffer)


def numbered_lines(path: Path, *, pipe: bool = False) -> Iterator[tuple[int, bytes]]:
    """Lines of ``path`` with their numbers from 1; a UTF-8 byte order mark is dropped.

    Args:
        pipe: see :func:`open_reader`.

    Raises:
        BadInputError: a line of more than :data:`MAX_LINE` bytes.
    """
    with open_reader(path, pipe=pipe) as stream:
        lines = iter(partial(stream.readline, MAX_LINE + 1), b"")
        for number, line in enumerate(lines, start=1):
            if len(line) > MAX_LINE:
                raise too_long("a line", f"{path}:{number}")
            yield number, line.removeprefix(MARK) if number == 1 else line


def too_long(what: str, place: str) -> BadInputError:
    """The error of something that would take more memory than anything of its kind should."""
    return BadInputError(
        f"{what} of more than {MAX_LINE >> 20} MiB, the most that is read at once: cut it up, or "
        "is this another kind of file?",
        place,
    )


def text_lines(path: Path, *, empty: bool = False, pipe: bool = False) -> Iterator[tuple[str, str]]:
    """Lines without their ends, and where they stand (``file:line``).

    Args:
        empty: yield lines without a character, too.
        pipe: see :func:`open_reader`.

    Raises:
        BadInputError: a line is not UTF-8.
    """
    for number, line in numbered_lines(path, pipe=pipe):
        place = f"{path}:{number}"
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise BadInputError(f"not UTF-8 ({error})", place) from error
        if text or empty:
            yield text, place


def columns(
    lines: Iterable[tuple[str, bytes]], layouts: Mapping[int, tuple[int, ...]], wanted: str
) -> Iterator[tuple[list[str], int, str]]:
    """Lines of columns that white space divides; blank lines and comments are passed over.

    White space is that of C, as trec_eval has it, so that a no-break space is part of an id; and a
    line that begins with ``#`` is a comment, as in trec_eval 10. The first line decides which
    layout the file has: a line that was cut is not taken for one of another layout.

    Args:
        lines: places and lines, as :func:`placed_lines` has them.
        layouts: number of columns -> which of them are yielded.
        wanted: what a line must be, for the message.

    Yields:
        the columns, how many the line has, and its place.

    Raises:
        BadInputError: a line is not UTF-8, holds NUL, has a number of columns that no layout has,
            or another one than the first line.
    """
    width = None
    for place, line in lines:
        if line.startswith(b"#"):
            continue
        found = line.split()  # of bytes: C's white space and no other
        if not found:
            continue
        try:
            line.decode()
            if b"\0" in line:
                raise BadInputError("holds NUL, where C programs cut an id: remove it", place)
            if len(found) not in layouts:
                raise BadInputError(f"{len(found)} columns; a line must be {wanted}", place)
            chosen = [found[i].decode() for i in layouts[len(found)]]
        except UnicodeDecodeError as error:
            raise BadInputError(f"not UTF-8 ({error})", place) from error
        if len(found) != (width := width or len(found)):
            raise BadInputError(
                f"{len(found)} columns, where the first line has {width}: was the line cut, or two "
                "files put together?",
                place,
            )
        yield chosen, width, place


def placed_lines(path: Path, *, pipe: bool = False) -> Iterator[tuple[str, bytes]]:
    """Where each line stands (``file:line``), and the line.

    Args:
        pipe: see :func:`open_reader`.

    Raises:
        BadInputError: see :func:`numbered_lines`.
    """
    for number, line in numbered_lines(path, pipe=pipe):
        yield f"{path}:{number}", line


_OF_OBJECTS = re.compile(rb'\s*\{\s*("(?:[^"\\]|\\.)*"\s*(:|$)|\}|$)')
"""How a JSON object of objects begins, on one line or on several; an id may begin with a brace."""


def table_or_json(
    path: Path, *, pipe: bool = False
) -> tuple[Iterator[tuple[str, bytes]], dict[str, Any] | None]:
    """The lines of a file of columns; or the one object that a file of JSON holds.

    JSON is what begins with a brace. It is held in memory, and so may have :data:`MAX_LINE` bytes.

    Raises:
        BadInputError: no such file, or see :func:`json_object`.
    """
    lines = placed_lines(path, pipe=pipe)
    before: list[tuple[str, bytes]] = []
    for place, line in lines:
        before.append((place, line))
        if line.strip():
            break
    if not before or not _OF_OBJECTS.match(before[-1][1]):
        return chain(before, lines), None
    whole, size = [], 0
    for _, line in chain(before, lines):
        whole.append(line)
        if (size := size + len(line)) > MAX_LINE:
            raise too_long("a file of JSON", str(path))
    return iter(()), json_object(b"".join(whole), str(path))


def json_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file with one a line, and where they stand; blank lines are passed over.

    Raises:
        BadInputError: see :func:`json_object`.
    """
    for number, line in numbered_lines(path):
        if line.strip():
            place = f"{path}:{number}"
            yield json_object(line, place), place


_KEY = re.compile(rb'"\s*:')


def json_object(line: bytes, place: str) -> dict[str, Any]:
    """The object on one line.

    Raises:
        BadInputError: not JSON, not an object, of too many values, or an object in it has a key
            twice.
    """
    check_values(line, place)
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"not a line of JSON ({error})", place) from error
    if not isinstance(found, dict):
        raise BadInputError("not a JSON object: a line must be one, with an id", place)
    # orjson keeps the last of two equal keys. A key ends with a quote, perhaps blanks and a colon:
    # where there are no more of these than keys, none was lost; else the slow parser looks again.
    keys = len(found)
    for value in found.values():
        if type(value) is dict:
            keys += len(value)
    if line.count(b":") != keys and len(_KEY.findall(line)) != keys:
        try:
            json.loads(line, object_pairs_hook=unique_keys(lambda: place))
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"not a line of JSON ({error})", place) from error
    return found


def check_values(json_text: bytes | str, place: str) -> None:
    """Raise BadInputError where JSON holds more than :data:`MAX_VALUES` values."""
    if len(json_text) < COUNTED_FROM:
        return
    # Every value follows one of these, but for the first.
    if isinstance(json_text, bytes):
        values = sum(json_text.count(mark) for mark in (b",", b"[", b"{"))
    else:
        values = sum(json_text.count(mark) for mark in (",", "[", "{"))
    if values > MAX_VALUES:
        raise BadInputError(
            f"an object of more than {MAX_VALUES:,} values, the most that is read at once", place
        )


def unique_keys(place: Callable[[], str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """An ``object_pairs_hook`` that raises BadInputError where an object has a key twice."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise BadInputError(f"key {twice!r} stands twice in one object", place())
        return built

    return build
