"""JSON that is not one object a line: an array, or objects that span lines, read as a stream."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import orjson

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import (
    COUNTED_FROM,
    MAX_LINE,
    check_values,
    open_reader,
    too_long,
    unique_keys,
)

CHUNK = 1 << 20
BLANKS = re.compile(r"[ \t\r\n]*")


def is_json_lines(path: Path) -> bool:
    """Whether the first line is an object; the suffix says as little to Anserini."""
    with open_reader(path) as stream:
        for line in iter(partial(stream.readline, MAX_LINE + 1), b""):
            if len(line) > MAX_LINE:  # perhaps an array, which is read object by object
                return False
            line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                try:
                    check_values(line, str(path))
                    with contextlib.suppress(orjson.JSONDecodeError):
                        return isinstance(orjson.loads(line), dict)
                    # orjson takes less: half a surrogate pair is an error of that line
                    return isinstance(json.loads(line), dict)
                except (BadInputError, ValueError, RecursionError):
                    return False
    return True


def json_objects(path: Path) -> Iterator[tuple[Any, str]]:
    """What a file of JSON holds, and the place (``file:line``) where each value begins.

    They may span lines and stand one after another or in one array, whose items are yielded; one is
    in memory at a time.

    Raises:
        BadInputError: not JSON, a value that is longer than :data:`.lines.MAX_LINE` or holds too
            many others, or an object with a key twice; the message names file and line.
    """
    number = 1  # the line of text[at]
    decoder = json.JSONDecoder(
        object_pairs_hook=unique_keys(lambda: f"{path}:{number}"),
        parse_constant=lambda name: _bad_json(f"{name} is no number", f"{path}:{number}"),
    )
    text, at, done = "", 0, False
    in_array, first, comma = False, True, False  # where in an array it is
    with open_reader(path) as raw:
        decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        while True:
            start = BLANKS.match(text, at).end()  # type: ignore[union-attr]
            number += text.count("\n", at, start)
            at = start
            sign = text[at : at + 1]
            if not in_array and sign == "[":
                in_array, first, comma, at = True, True, False, at + 1
                continue
            if in_array and not comma and sign == "]":
                in_array, at = False, at + 1
                continue
            if in_array and not comma and not first:
                if sign == ",":
                    comma, at = True, at + 1
                    continue
                if sign:
                    _bad_json("not JSON (no comma before this object)", f"{path}:{number}")
            try:
                if at == len(text):
                    raise json.JSONDecodeError("the file ends inside an array", text, at)
                obj, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                # What is merely incomplete fails at the end of the text or in an open string.
                cut = error.pos > len(text) - 16 or error.msg.startswith("Unterminated")
                if cut and not done:
                    check_values(text[at:], f"{path}:{number}")
                    if len(text) - at > MAX_LINE:
                        raise too_long("an object", f"{path}:{number}") from None
                    try:
                        chunk = raw.read(max(CHUNK, len(text) - at))
                        text, at = text[at:] + decode(chunk, not chunk), 0
                    except UnicodeDecodeError as broken:
                        raise BadInputError(f"not UTF-8 ({broken})", str(path)) from broken
                    done = not chunk
                    continue
                if at == len(text) and not in_array:
                    return
                line = number + text.count("\n", at, error.pos)
                raise BadInputError(f"not JSON ({error.msg})", f"{path}:{line}") from error
            except (ValueError, RecursionError) as error:  # a number too long, nesting too deep
                raise BadInputError(f"not JSON ({error})", f"{path}:{number}") from error
            if end - at >= COUNTED_FROM:  # those that came in one chunk
                check_values(text[at:end], f"{path}:{number}")
            yield obj, f"{path}:{number}"
            number += text.count("\n", at, end)
            at = end
            first, comma = False, False


def _bad_json(message: str, place: str) -> NoReturn:
    raise BadInputError(message, place)
