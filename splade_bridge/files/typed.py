"""Trees of TOML and JSON as typed values: what is not of its type is an error that names the key.

Dataclasses are built from tables, and whatever their fields are declared as is checked: numbers,
texts, ``Literal`` choices, tuples, lists, dictionaries, paths, optional values, dataclasses.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import reprlib
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import check_file
from splade_bridge.files.lines import MAX_LINE, unique_keys

T = TypeVar("T")

BLOCK = 1 << 20
PLAIN = (str, int, float, bool)

Convert = Callable[[Any, Any], Any]
"""Given a type and a value, the value to check: for texts whose type the key decides."""

NAMES: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    dict: "a table",
    list: "a list",
    tuple: "a list",
}


MOST_TOML, MOST_DOTS = 1 << 22, 5_000
"""Bytes of a TOML file, and dots of one line in it."""


@dataclass(frozen=True)
class Where:
    """A place in a file, for messages.

    Attributes:
        file: its name.
        at: keys up to here, as ``train.steps``; empty for the whole.
        joint: between keys.
        said: how the message is put, as ``damaged ({}): make it again``.
    """

    file: str
    at: str = ""
    joint: str = "."
    said: str = "{}"

    def inside(self, key: str) -> Where:
        """The place of ``key`` in the table that is here."""
        return replace(self, at=f"{self.at}{self.joint}{key}" if self.at else key)

    def item(self, number: int) -> Where:
        """The place of an entry of the list that is here."""
        return replace(self, at=f"{self.at}[{number}]")

    def fail(self, problem: str) -> NoReturn:
        """Raise BadInputError that names file and key."""
        problem = f"{self.at}: {problem}" if self.at else problem
        raise BadInputError(self.said.format(problem), self.file)


def toml_file(path: Path, what: str = "TOML") -> dict[str, Any]:
    """The tree of a TOML file.

    Args:
        what: the file should be, for the message.

    Raises:
        BadInputError: it cannot be read, is no file but a pipe or a device, or is not TOML.
    """
    check_file(path)
    try:
        text = _bounded(path, MOST_TOML).decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise BadInputError(f"cannot be read ({_why(error)})", str(path)) from error
    except ValueError as error:  # a NUL in its name, not UTF-8, too long
        raise BadInputError(f"not {what} ({_why(error)})", str(path)) from error
    try:
        # Python's parser holds every beginning of a dotted key: the square of its dots.
        if sum(line.count(".") ** 2 for line in text.splitlines()) > MOST_DOTS**2:
            raise ValueError(f"over {MOST_DOTS:,} dots in a line")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, a number of 5,000 digits, too deep
        raise BadInputError(f"not {what} ({error})", str(path)) from error


def json_file(where: Where) -> Any:
    """The tree of a JSON file.

    Raises:
        BadInputError: it cannot be read, is not JSON, or an object in it has a key twice.
    """
    try:
        content = _bounded(Path(where.file), MAX_LINE)
    except (OSError, ValueError) as error:  # a NUL in its name is a ValueError
        where.fail(f"cannot be read ({_why(error)})")
    return json_tree(content, where)


def _bounded(path: Path, most: int) -> bytes:
    """The content of a file; raises ValueError where that is over ``most`` bytes."""
    blocks, size = [], 0
    with open(path, "rb") as stream:  # read(most) would claim all of that first
        while block := stream.read(BLOCK):
            blocks.append(block)
            size += len(block)
            if size > most:
                raise ValueError(f"over {most >> 20} MiB")
    return b"".join(blocks)


def json_tree(content: bytes, where: Where) -> Any:
    """The tree of JSON from ``where``; raises BadInputError as :func:`json_file`."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        where.fail(f"not JSON ({error})")
    # orjson keeps the last of two equal keys. Each key has its colon, so with no more colons than
    # keys none was lost; else (a colon in a text) the slow parser looks again.
    if content.count(b":") != _keys(found):
        try:
            json.loads(content, object_pairs_hook=unique_keys(lambda: where.file))
        except BadInputError as error:
            where.fail(str(error).removeprefix(f"{where.file}: "))
        except (ValueError, RecursionError) as error:
            where.fail(f"not JSON ({error})")
    return found


def _keys(tree: Any) -> int:
    """How many keys all objects of ``tree`` have together."""
    count, left = 0, [tree]
    while left:
        values = left.pop()
        if isinstance(values, dict):
            count += len(values)
            values = values.values()
        elif not isinstance(values, list):
            continue
        left += [value for value in values if isinstance(value, dict | list)]
    return count


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 100


def shown(value: object) -> str:
    """``value`` for a message: cut where it is long or deep."""
    return _SHORT.repr(value)


def checked(kind: Any, value: object, where: Where, convert: Convert | None = None) -> Any:
    """``value`` as ``kind``: a type, dataclass, ``Literal``, union or container of these.

    Raises:
        BadInputError: it is of another type.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return _one_of(get_args(kind), value, where, convert)
    if convert is not None:
        value = convert(kind, value)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in inner):
            where.fail(f"is {shown(value)}; it can be {', '.join(map(str, inner))}")
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return typed(kind, value, where, convert)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return _entries(origin, inner, value, where, convert)
    if origin is dict and isinstance(value, dict):
        of = inner[1] if inner else Any
        return {k: checked(of, v, where.inside(str(k)), convert) for k, v in value.items()}
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int and abs(value) < 1 << 1000:
        return float(value)
    if kind in PLAIN and type(value) is kind:
        if isinstance(value, float) and not math.isfinite(value):
            where.fail(f"must be a finite number, not {shown(value)}")
        return value
    where.fail(f"must be {NAMES.get(origin, str(kind))}, not {shown(value)}")


def _one_of(kinds: tuple[Any, ...], value: object, where: Where, convert: Convert | None) -> Any:
    """``value`` as the first of ``kinds`` that it fits."""
    if convert is not None and convert(types.NoneType, value) is None:
        value = None
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    for kind in others[:-1]:
        try:
            return checked(kind, value, where, convert)
        except BadInputError:
            continue
    return checked(others[-1], value, where, convert)


def _entries(
    kind: Any, inner: tuple[Any, ...], values: Iterable[Any], where: Where, convert: Convert | None
) -> Any:
    found = list(values)
    plain = kind is list and inner and inner[0] in (str, int, bool) and convert is None
    if plain and all(type(value) is inner[0] for value in found):
        return found  # quickly: a vocabulary has millions
    fixed = kind is tuple and inner[-1:] != (...,)
    if fixed and inner and len(inner) != len(found):
        where.fail(f"must be a list of {len(inner)}, not {shown(found)}")
    kinds = inner if fixed and inner else (inner[:1] or (Any,)) * len(found)
    pairs = zip(kinds, found, strict=True)
    return kind(checked(k, v, where.item(i), convert) for i, (k, v) in enumerate(pairs))


def typed(kind: type[T], tree: object, where: Where, convert: Convert | None = None) -> T:
    """A dataclass from a table that has its fields as keys.

    Raises:
        BadInputError: not a table, an unknown key, one that is missing, or a value of the wrong
            type. ``__post_init__`` is not guarded.
    """
    table = as_table(tree, where)
    known = {f.name: f for f in fields(kind) if f.init}  # type: ignore[arg-type]
    refuse_unknown(table, known, where)
    for name, field in known.items():
        if name not in table and field.default is field.default_factory is MISSING:
            where.inside(name).fail("is missing")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    return kind(**{k: checked(hints[k], v, where.inside(k), convert) for k, v in table.items()})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def as_table(tree: object, where: Where) -> dict[str, Any]:
    """``tree``, which must be a table."""
    if not isinstance(tree, dict):
        where.fail(f"must be a table, not {shown(tree)}")
    return tree


def value_of(table: Mapping[str, Any], key: str, kind: Any, where: Where, *default: Any) -> Any:
    """What stands at ``key`` of a table whose other keys are somebody else's.

    Args:
        default: what a missing key means; a key must be there where none is given.

    Raises:
        BadInputError: it is missing, or of another type than ``kind``.
    """
    if key not in table:
        if not default:
            where.inside(key).fail("is missing")
        return default[0]
    return checked(kind, table[key], where.inside(key))


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: Where) -> None:
    """Raise BadInputError for a key that is not ``known``, and name the nearest one that is."""
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
            where.fail(f"unknown key {shown(key)}; {hint}")
