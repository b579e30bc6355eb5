"""Vectors that are in memory already, as a source like any file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from splade_bridge.data.ids import checked_id
from splade_bridge.data.quantize import MAX_IMPACT, Clipper, QuantizeOptions, Quantizer, for_numbers
from splade_bridge.data.vector_set import MEMORY, Vectors, VectorsInMemory, vectors_of
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.records import (
    RecordImpacts,
    Records,
    VectorBuilder,
    VectorRecord,
    added,
    full_batches,
)
from splade_bridge.text.corpora import FRAME_IDS, ID_FIELDS, Role

VECTOR_FIELDS: dict[Role, tuple[str, ...]] = {
    "documents": ("vector", "toks"),
    "queries": ("vector", "query_toks"),
}
"""Names of the vector in a record: a JsonVectorCollection's, and PyTerrier's."""


def vector_records(items: Iterable[Any], role: Role = "documents") -> Iterator[VectorRecord]:
    """Records of ``(id, {term: number})``, or of mappings with an id and a vector.

    Raises:
        BadInputError: an item is neither, an id is none or a term no string; the item is named by
            its place, from 1.
    """
    for number, item in enumerate(items, start=1):
        place = f"{'document' if role == 'documents' else 'query'} {number}"
        if isinstance(item, Mapping):
            pair = _field(item, (*ID_FIELDS, *FRAME_IDS[role])), _field(item, VECTOR_FIELDS[role])
        else:
            pair = tuple(item) if isinstance(item, tuple | list) and len(item) == 2 else (None,) * 2
        key, vector = pair
        if not isinstance(vector, Mapping):
            raise BadInputError(
                "a vector is (id, {'term': 12}) or a record with an id and a vector, not "
                f"{str(item)[:60]!r}",
                place,
            )
        for term in vector:
            if not isinstance(term, str):
                raise BadInputError(f"a term must be a string, not {term!r}", place)
        values = [v.item() if isinstance(v, np.generic) else v for v in vector.values()]
        yield VectorRecord(checked_id(key, place), list(vector), values, place)


def _field(record: Mapping[Any, Any], names: Iterable[str]) -> Any:
    return next((record[name] for name in names if name in record), None)


def has_vector(item: object, role: Role) -> bool:
    """Whether an item of what was given is a vector, and not a text."""
    if isinstance(item, Mapping):
        return _field(item, VECTOR_FIELDS[role]) is not None
    return isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], Mapping)


def are_weights(records: Iterable[VectorRecord]) -> tuple[bool, Iterator[VectorRecord]]:
    """Whether ``records`` hold weights (floats) and not impacts, and all of them still to come.

    The first number decides. Where it is an integer, a float that follows is an error later on.
    """
    stream, seen = iter(records), []
    for record in stream:
        seen.append(record)
        if record.values:
            break
    floats = bool(seen) and any(type(v) is float for v in seen[-1].values)
    return floats, chain(seen, stream)


class _Stream(Records):
    """Records that come once."""

    def __init__(self, records: Iterator[VectorRecord]) -> None:
        super().__init__(MEMORY, Vocabulary(observed=True))
        self._records = records

    def records(self) -> Iterator[VectorRecord]:
        return self._records


class RecordSource(RecordImpacts):
    """Records as impacts: integers as they are, floats quantized.

    Args:
        records: read once.
        options: how to quantize; floats take the defaults for what it does not say. With a scale,
            integers among floats are weights, too; without floats, they can only be clipped.

    Raises:
        UsageError: options for weights, and these are integers (with a scale: when read).
        BadInputError: when read; a record that :class:`.VectorBuilder` refuses, a float behind
            integers, or an id that comes twice.
    """

    def __init__(
        self, records: Iterable[VectorRecord], options: QuantizeOptions | None = None
    ) -> None:
        floats, stream = are_weights(records)
        if floats:
            made: Quantizer | Clipper | None = Quantizer(options or QuantizeOptions())
        else:
            made = for_numbers(options, MEMORY, None)
        super().__init__(_Stream(stream), None, made)


def weights_in_memory(records: Iterable[VectorRecord]) -> VectorsInMemory:
    """Records whose numbers are weights, held as batches.

    Raises:
        BadInputError: as :class:`RecordSource`.
    """
    vocabulary = Vocabulary(observed=True)
    # It scales nothing, but tells weights from integers; clipped, no weight is too large for it.
    builder = VectorBuilder(vocabulary, Quantizer(QuantizeOptions(clip=MAX_IMPACT)))
    filled = full_batches(added(records, builder), builder, MEMORY)
    batches = [builder.take_weights() for _ in filled]
    return VectorsInMemory(batches, vocabulary)


class Impacts(Vectors):
    """Integer impacts that can be read any number of times.

    Iterating gives ``(id, {term: impact})`` of each text in its order.

    Args:
        open_source: opens them anew.
    """

    def __init__(self, open_source: Callable[[], ImpactSource]) -> None:
        self.open_source = open_source

    def __iter__(self) -> Iterator[tuple[str, dict[str, int]]]:
        source = self.open_source()
        for batch in source.batches():
            yield from vectors_of(batch, source.vocabulary)
