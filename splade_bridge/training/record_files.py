"""The objects of a file of training data: lines or an array of JSON, rows of Parquet or Arrow.

| what | read as |
|---|---|
| ``.json`` that begins with ``[`` | an array of objects, as DPR's files are, one after the other |
| ``.parquet``, ``.arrow`` | rows; Arrow as a stream or as a file |
| a folder | what ``datasets`` saved to disk, or the Parquet or Arrow files of a split |
| any other file | an object a line |

JSON may be compressed (``.gz``, ``.zst``). Nothing is held but what is being read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from splade_bridge.errors import BadInputError
from splade_bridge.files.inside import inside
from splade_bridge.files.lines import (
    MAX_LINE,
    json_lines,
    json_object,
    open_reader,
    plain_suffix,
    too_long,
)
from splade_bridge.files.typed import Where, checked, json_file
from splade_bridge.text.tables import TABLE_SUFFIXES, table_rows

Records = Iterator[tuple[dict[str, Any], str]]
"""Objects, and where each stands."""

AT_ONCE = 1 << 20
"""Characters of JSON that are read at once."""
BLANK = re.compile(r"[ \t\r\n]*")
SAVED, SPLITS = "state.json", "dataset_dict.json"
"""What ``datasets`` writes beside the Arrow files of a data set, and of several splits."""
SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")
"""Name of a file of the hub's data sets: the split, and which of how many."""


def json_records(path: Path) -> Records:
    """The objects of JSON lines, or of a JSON array.

    Raises:
        BadInputError: anything else; the message names the line, or the entry of the array.
    """
    if plain_suffix(path) in TABLE_SUFFIXES or path.is_dir():
        raise BadInputError('rows of a table: set data.format = "dataset"', str(path))
    if plain_suffix(path) == ".json" and _first(path) == b"[":
        return _array(path)
    return json_lines(path)


def table_records(path: Path, split: str) -> Records:
    """The rows of Parquet or Arrow files.

    Args:
        path: a file or a folder.
        split: of a folder that has several.

    Raises:
        BadInputError: no such file, folder or split, or one that is damaged.
    """
    for file in _tables(path, split):
        if plain_suffix(file) not in TABLE_SUFFIXES:
            raise BadInputError(
                f"neither Parquet nor Arrow ({', '.join(TABLE_SUFFIXES)}): objects of JSON are of "
                'data.format = "jsonl"',
                str(file),
            )
        yield from table_rows(file)


def _first(path: Path) -> bytes:
    """The first byte that is not white space."""
    with open_reader(path) as stream:
        for block in iter(partial(stream.read, 1 << 12), b""):
            if text := block.removeprefix(codecs.BOM_UTF8).lstrip():
                return text[:1]
    return b""


def _array(path: Path) -> Records:
    """The objects of a JSON array; each is read by the reader of lines."""
    with open_reader(path) as stream:
        text = _Text(stream, path)
        text.expect("[")
        number = 0
        while number or text.peek() != "]":
            number += 1
            place = f"{path}:entry {number}"
            if text.peek() not in ("{", ""):
                raise BadInputError("not a JSON object: an entry of the array must be one", place)
            yield json_object(text.value(place).encode("utf-8", "surrogatepass"), place), place
            if text.peek() != ",":
                break
            text.expect(",")
        text.expect("]")
        if text.peek():
            raise BadInputError("something follows the array", str(path))


class _Text:
    """The text of a stream, of which only what is not read yet is held."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._blocks = iter(partial(stream.read, AT_ONCE), b"")
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decoder = json.JSONDecoder()
        self._path = path
        self._held = ""
        self._ended = False

    def _more(self) -> None:
        block = next(self._blocks, b"")
        self._ended = not block
        try:
            self._held += self._decode(block, self._ended)
        except UnicodeDecodeError as error:
            raise BadInputError(f"not UTF-8 ({error})", str(self._path)) from error

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._held = self._held[BLANK.match(self._held).end() :]  # type: ignore[union-attr]
            if self._held or self._ended:
                return self._held[:1]
            self._more()

    def expect(self, wanted: str) -> None:
        """Read the character ``wanted``."""
        if (found := self.peek()) != wanted:
            said = f"{found!r}" if found else "its end"
            raise BadInputError(
                f"not a JSON array: {said} where there must be {wanted}", str(self._path)
            )
        self._held = self._held[1:]

    def value(self, place: str) -> str:
        """The text of the value that comes next."""
        while True:
            try:
                _, end = self._decoder.raw_decode(self._held)
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError):
                    raise BadInputError(f"not JSON ({error})", place) from error
                if len(self._held) > MAX_LINE:
                    raise too_long("an entry", place) from error
                for _ in range(1 + len(self._held) // AT_ONCE):  # twice as much each time
                    self._more()
            else:
                found, self._held = self._held[:end], self._held[end:]
                return found


def _tables(path: Path, split: str) -> list[Path]:
    """The files of a table, in their order."""
    if not path.is_dir():
        return [path]
    if (path / SPLITS).is_file():
        where = Where(str(path / SPLITS))
        names = checked(dict[str, list[str]], json_file(where), where).get("splits", [])
        if split not in names:
            raise _no_split(path, split, names)
        path = inside(path, split, where)
    if (path / SAVED).is_file():
        where = Where(str(path / SAVED))
        saved = checked(dict[str, Any], json_file(where), where)
        where = where.inside("_data_files")
        files = checked(list[dict[str, str]], saved.get("_data_files", []), where)
        if not files or any("filename" not in file for file in files):
            where.fail("names no files")
        return [inside(path, file["filename"], where) for file in files]
    found = sorted(f for f in path.rglob("*") if plain_suffix(f) in TABLE_SUFFIXES and f.is_file())
    if not found:
        raise BadInputError("holds neither Parquet nor Arrow files", str(path))
    splits = {match[1] for f in found if (match := SHARD.fullmatch(f.stem))}
    if splits and split not in splits:
        raise _no_split(path, split, sorted(splits))
    return [f for f in found if not splits or f.stem.startswith(f"{split}-")]


def _no_split(path: Path, split: str, there: list[str]) -> BadInputError:
    return BadInputError(
        f"no split {split!r}: set data.split to one of {', '.join(there)}", str(path)
    )
