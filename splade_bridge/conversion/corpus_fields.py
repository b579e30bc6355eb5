"""Further fields of a corpus, stored beside vectors so that filters have something to ask for.

A field has one type in all documents (:data:`.choices.FieldType`): that which was asked for, or
that which its values have. Cells of TSV and CSV are strings, so a number in them is asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import get_args

from splade_bridge.engines.remote.base import FieldValue
from splade_bridge.engines.remote.choices import FieldType
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.lines import STDIO
from splade_bridge.text.corpora import CorpusOptions, Text, read_texts

log = logging.getLogger(__name__)

TYPES: tuple[FieldType, ...] = get_args(FieldType)
TRUTH = {"true": True, "false": False}
INT64 = range(-(1 << 63), 1 << 63)
TEXT = "text"
"""The field of the text itself."""


def wanted_fields(told: str) -> dict[str, FieldType | None]:
    """What ``--fields`` says: names, each with the type that was asked for or None.

    Args:
        told: as ``year,language`` or ``year:integer,language``.

    Raises:
        UsageError: a name is empty, stands twice, or is that of the text.
    """
    found: dict[str, FieldType | None] = {}
    for part in told.split(","):
        name, _, last = part.strip().rpartition(":")
        kind = next((one for one in TYPES if one == last), None)
        if kind is None or not name:
            name, kind = part.strip(), None
        if not name or name in found:
            raise UsageError(
                f"--fields {told}: {f'{name} stands twice' if name else 'a name is empty'}; it is "
                f"NAME,NAME or NAME:TYPE, with a type of {', '.join(TYPES)}"
            )
        if name == TEXT:
            raise UsageError(f"--fields {told}: the field {TEXT} holds the text already")
        found[name] = kind
    return found


def texts_with(corpus: str, columns: Mapping[str, FieldType]) -> Iterator[Text]:
    """The texts of a corpus, each with its values of these fields as their types have them.

    Raises:
        BadInputError: see :func:`read_texts`; a value is of another type.
    """
    if not columns:
        yield from read_texts(corpus)
        return
    for text in read_texts(corpus, options=CorpusOptions(further=tuple(columns))):
        found = {
            name: as_type(value, name, columns[name], text.place)
            for name, value in (text.further or {}).items()
        }
        yield text._replace(further=found)


def types_of(corpus: str, wanted: Mapping[str, FieldType | None]) -> dict[str, FieldType]:
    """The type of each field; says how many documents lack it.

    The corpus is read to its end: a number may have a fraction in the last document alone.

    Raises:
        BadInputError: no document has a field, or its values are of several types, or of one that
            cannot be stored.
        UsageError: the corpus comes from a pipe, which cannot be read twice.
    """
    if corpus == str(STDIO):
        raise UsageError("--fields reads the corpus twice, and - can be read once: give a file")
    found = dict(wanted)
    having = dict.fromkeys(wanted, 0)
    first: dict[str, str] = {}
    documents = 0
    for text in read_texts(corpus, options=CorpusOptions(further=tuple(wanted))):
        documents += 1
        for name, value in (text.further or {}).items():
            having[name] += 1
            asked, known = wanted[name], found[name]
            if asked is not None:
                as_type(value, name, asked, text.place)
                continue
            kind = _kind(value, name, text.place)
            first.setdefault(name, text.place)
            if known is None or {known, kind} == {"integer", "number"}:
                found[name] = kind if known is None else "number"
            elif kind != known:
                raise BadInputError(
                    f"field {name!r} is {_said(kind)}, and {_said(known)} at {first[name]}: say "
                    f"--fields {name}:TYPE, of {', '.join(TYPES)}",
                    text.place,
                )
    types: dict[str, FieldType] = {}
    for name, kind_or_none in found.items():
        if not having[name]:
            raise BadInputError(f"no document has a field {name!r}", corpus)
        assert kind_or_none is not None
        types[name] = kind_or_none
        if lacking := documents - having[name]:
            log.warning(
                "%s: %s of %s documents have no field %s", corpus, f"{lacking:,}",
                f"{documents:,}", name,
            )  # fmt: skip
    return types


def as_type(value: object, name: str, kind: FieldType, place: str) -> FieldValue:
    """A value as a field of this type holds it: cells of a table, which are strings, are read.

    Raises:
        BadInputError: it is none.
    """
    match kind, value:
        case "keyword", str():
            return value
        case "boolean", bool():
            return value
        case "boolean", str() if value.strip().lower() in TRUTH:
            return TRUTH[value.strip().lower()]
        case "integer" | "number", int() if not isinstance(value, bool) and value in INT64:
            return value if kind == "integer" else float(value)
        case "number", float() if math.isfinite(value):
            return value
        case "integer" | "number", str():
            read = _number(value.strip(), kind)
            if read is not None:
                return read
        case "keyword", bool():
            return str(value).lower()
        case "keyword", int():
            return str(value)
    raise BadInputError(f"field {name!r} is {_shown(value)}, which is not {_said(kind)}", place)


def _number(text: str, kind: FieldType) -> int | float | None:
    try:
        whole = int(text)
    except ValueError:
        whole = None
    if kind == "integer":
        return whole if whole is not None and whole in INT64 else None
    try:
        read = float(text)
    except ValueError:
        return None
    return read if math.isfinite(read) else None


def _kind(value: object, name: str, place: str) -> FieldType:
    """The type that a value has.

    Raises:
        BadInputError: it cannot be stored.
    """
    match value:
        case bool():
            return "boolean"
        case str():
            return "keyword"
        case int() if value in INT64:
            return "integer"
        case float() if math.isfinite(value):
            return "number"
    raise BadInputError(
        f"field {name!r} is {_shown(value)}, and a stored field holds one string, one number "
        "or true or false in a document: leave it out of --fields, or write it as one of these",
        place,
    )


def _said(kind: FieldType) -> str:
    return {
        "keyword": "a string", "integer": "an integer", "number": "a number",
        "boolean": "true or false",
    }[kind]  # fmt: skip


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)[:80]
