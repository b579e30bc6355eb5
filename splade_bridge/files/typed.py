"""Trees of TOML and JSON as typed values: what is not of its type is an error that names the key.

Dataclasses are built from tables, and whatever their fields are declared as is checked: numbers,
texts, ``Literal`` choices, tuples, lists, dictionaries, paths, optional values, dataclasses.
"""

from __future__ import annotations

import difflib
import functools
import math
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import MAX_LINE

T = TypeVar("T")

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
        BadInputError: it cannot be read, or is not TOML.
    """
    try:
        text = _bounded(path, MOST_TOML).decode("utf-8").replace("\r\n", "\n")
        # Python's parser holds every beginning of a dotted key: the square of its dots.
        if sum(line.count(".") ** 2 for line in text.splitlines()) > MOST_DOTS**2:
            raise ValueError(f"over {MOST_DOTS:,} dots in a line")
        return tomllib.loads(text)
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", str(path)) from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, too long, or too deep
        raise BadInputError(f"not {what} ({error})", str(path)) from error


def json_file(where: Where) -> Any:
    """The tree of a JSON file.

    Raises:
        BadInputError: it cannot be read, or is not JSON.
    """
    try:
        return json_tree(_bounded(Path(where.file), MAX_LINE), where)
    except OSError as error:
        where.fail(f"cannot be read ({error.strerror})")
    except ValueError as error:
        where.fail(str(error))


def _bounded(path: Path, most: int) -> bytes:
    """The content of a file; raises ValueError where that is over ``most`` bytes."""
    with open(path, "rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"over {most >> 20} MiB")
    return content


def json_tree(content: bytes, where: Where) -> Any:
    """The tree of JSON from ``where``; raises BadInputError as :func:`json_file`."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        where.fail(f"not JSON ({error})")


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
        if value not in inner:
            where.fail(f"is {value!r}; it can be {', '.join(map(str, inner))}")
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
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool) and type(value) is kind:
        if isinstance(value, float) and not math.isfinite(value):
            where.fail(f"must be a finite number, not {value!r}")
        return value
    where.fail(f"must be {NAMES.get(origin, str(kind))}, not {value!r}")


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
    fixed = kind is tuple and inner[-1:] != (...,)
    if fixed and inner and len(inner) != len(found):
        where.fail(f"must be a list of {len(inner)}, not {found!r}")
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
        where.fail(f"must be a table, not {tree!r}")
    return tree


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: Where) -> None:
    """Raise BadInputError for a key that is not ``known``, and name the nearest one that is."""
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
            where.fail(f"unknown key {key!r}; {hint}")
