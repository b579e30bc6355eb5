"""Lines of JSON vectors read column by column: all terms of a block at once, then all numbers.

That takes half of the time that one object after another takes, for lines as programs write them:
the vector last, and nothing but terms and numbers in it. Whatever else a line may be, and
whatever is wrong with one, is for who reads it alone; so nothing here says what a fault is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from splade_bridge.data.vectors import Int32Array, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import COUNTED_FROM, json_object
from splade_bridge.formats.records import VectorColumns, VectorRecord

if TYPE_CHECKING:
    import pyarrow as pa

ToRecord = Callable[[Any, str], VectorRecord]
"""A record of an object and its place; a function of a module, which travels by its name."""

WORTH_BYTES = 1 << 17
"""Bytes of lines below which one after another is as fast."""

MOST_SPELLED = 1 << 16
"""Terms that are remembered as they are spelled: for each block they are all hashed anew."""

_FIELD = b'"vector"'
_QUOTE, _COLON, _COMMA, _BLANK, _NEWLINE = b'":, \n'


class SpelledTerms:
    """Terms of a vocabulary as lines spell them; one that was met is not made into a string again.

    Args:
        vocabulary: grows by what is new.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._spelled: pa.Array | None = None
        self._ids = np.empty(0, dtype=np.int32)

    def ids(self, pieces: pa.Array) -> Int32Array:
        """int32[len(pieces)]: of terms with the quote before them, as ``"term``.

        Raises:
            JSONDecodeError: one is no string.
            BadInputError: one that no index can hold.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        spelled = pa.array([], pa.binary()) if self._spelled is None else self._spelled
        places = pc.index_in(pieces, value_set=spelled).fill_null(-1).to_numpy()
        unknown = places < 0
        if unknown.any():
            new = pieces.filter(pa.array(unknown)).dictionary_encode()
            terms = orjson.loads(b'[%b"]' % b'",'.join(new.dictionary.to_pylist()))
            ids = np.concatenate([self._ids, self._vocabulary.add_all(terms)])
            places = places.copy()
            places[unknown] = new.indices.to_numpy() + len(self._ids)
            if len(self._ids) < MOST_SPELLED:
                self._ids = ids[:MOST_SPELLED]
                self._spelled = pa.concat_arrays([spelled, new.dictionary])[:MOST_SPELLED]
        else:
            ids = self._ids
        found: Int32Array = ids[places]
        return found

    def forget(self, length: int) -> None:
        """Drop the terms behind the first ``length``, which the vocabulary has forgotten."""
        if self._spelled is not None:
            import pyarrow as pa

            kept = self._ids < length
            self._ids, self._spelled = self._ids[kept], self._spelled.filter(pa.array(kept))


def columns(
    lines: Sequence[bytes], to_record: ToRecord, terms: SpelledTerms
) -> VectorColumns | None:
    """What ``lines`` hold; None where they are few, or one of them is to be read alone.

    Args:
        lines: of JSON, none of them blank.
        to_record: is given each object with an empty vector.
        terms: what the lines hold is numbered by them.
    """
    if sum(map(len, lines)) < WORTH_BYTES:
        return None
    ids, vectors = [], []
    for line in lines:
        start = line.find(_FIELD)
        opened = line.find(b"{", start)
        end = line.rfind(b"}") - 1
        # A quote within a string follows a backslash, so that this is a string of its own; what is
        # before a colon and a brace is the name of a field, and of this object where the head is
        # one with it.
        if (
            start < 1
            or len(line) >= COUNTED_FROM
            or line[start - 1] not in b"{, "
            or line[start + len(_FIELD) : opened] not in (b":", b": ")
            or line[end : end + 2] != b"}}"
            or line[end + 2 :].strip(b" \t\r\n")
        ):
            return None
        try:
            record = to_record(json_object(line[:start] + _FIELD + b":{}}", ""), "")
        except BadInputError:
            return None
        ids.append(record.id)
        vector = line[opened + 1 : end]
        if b"\\" in vector:  # of two ways to write them, the one without a quote in a term
            vector = vector.replace(rb"\\", rb"\u005c").replace(rb"\"", rb"\u0022")
        vectors.append(vector)
    return _postings(ids, vectors, terms)


def _postings(ids: list[str], vectors: list[bytes], terms: SpelledTerms) -> VectorColumns | None:
    """The same, of what stands between the braces: ``"term": number, ...``."""
    import pyarrow as pa

    lengths = np.zeros(len(ids), dtype=np.int64)
    full = np.fromiter(map(bool, vectors), bool, len(vectors))
    if not full.any():
        return VectorColumns(ids, lengths, np.empty(0, dtype=np.int32), [])
    text = b",\n".join(filter(None, vectors)) + b",\n"
    characters = np.frombuffer(text, dtype=np.uint8)
    quotes = np.flatnonzero(characters == _QUOTE).astype(np.int32)
    if len(quotes) % 2 or not len(quotes):
        return None
    begins, ends = quotes[0::2], quotes[1::2]
    # Each number stands alone between `":` and a comma, which a blank or a new line may follow.
    before, further = characters[begins[1:] - 1], characters[begins[1:] - 2]
    blank = (before == _BLANK) | (before == _NEWLINE)
    if (
        begins[0]
        or not (characters[ends + 1] == _COLON).all()
        or not ((before == _COMMA) | (blank & (further == _COMMA))).all()
    ):
        return None
    pieces = pa.Array.from_buffers(  # `"term` and `": number, ` in turns
        pa.binary(),
        len(quotes),
        [None, pa.py_buffer(np.append(quotes, np.int32(len(text)))), pa.py_buffer(text)],
    )
    turns = np.arange(0, len(quotes), 2, dtype=np.int32)
    if (numbers := _numbers(pieces.take(pa.array(turns + 1)))) is None:
        return None
    try:
        indices = terms.ids(pieces.take(pa.array(turns)))
    except (orjson.JSONDecodeError, BadInputError):
        return None
    rows = np.flatnonzero(characters == _NEWLINE)
    lengths[full] = np.diff(np.searchsorted(begins, rows), prepend=0)
    return VectorColumns(ids, lengths, indices, numbers)


def _numbers(told: pa.Array) -> list[Any] | Int64Array | None:
    """The numbers of pieces as ``": 12, ``; int64 where they are integers."""
    text = told.buffers()[2].to_pybytes()
    if any(map(text.__contains__, b".eE")):
        return _parsed(text, len(told))
    found = told.dictionary_encode()  # few are different
    distinct = _parsed(b"".join(found.dictionary.to_pylist()), len(found.dictionary))
    if distinct is None or set(map(type, distinct)) != {int}:
        return None
    try:
        integers = np.array(distinct, dtype=np.int64)
    except OverflowError:
        return None
    numbers: Int64Array = integers[found.indices.to_numpy()]
    return numbers


def _parsed(text: bytes, count: int) -> list[Any] | None:
    if text.count(b",") != count or text.count(b":") != count:
        return None
    try:
        values: list[Any] = orjson.loads(b"[%b]" % text.translate(None, b'":').rstrip(b", \n"))
    except orjson.JSONDecodeError:
        return None
    return values if len(values) == count else None
