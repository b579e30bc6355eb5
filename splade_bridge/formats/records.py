"""Documents as records of terms and numbers, wherever they stand, and the batches made of them."""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.quantize import (
    EXACT_SCORES_BELOW,
    MAX_IMPACT,
    Clipper,
    Quantizer,
    refuse_integers,
)
from splade_bridge.data.vectors import (
    ImpactBatch,
    Int32Array,
    Int64Array,
    SparseBatch,
    row_pointers,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.address import Place
from splade_bridge.formats.base import ImpactSource, WeightSource

log = logging.getLogger(__name__)

BATCH_ROWS = 2048
BATCH_POSTINGS = 1 << 22
"""A batch ends with the row that reaches it, however few its rows are."""
MAX_WEIGHT = float(np.finfo(np.float32).max)


class VectorRecord(NamedTuple):
    """One vector as it stands in a file: parallel lists of terms and numbers."""

    id: str
    terms: list[str]
    values: list[float]
    place: str


class Records(abc.ABC):
    """Documents that can be read as records.

    Attributes:
        path: where they are.
        vocabulary: the terms; one that is observed grows while batches are made.
    """

    def __init__(self, path: Place, vocabulary: Vocabulary) -> None:
        self.path = path
        self.vocabulary = vocabulary

    @abc.abstractmethod
    def records(self) -> Iterator[VectorRecord]:
        """All of them in order.

        Raises:
            BadInputError: one is broken, or what is read is not what it was before.
        """

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Id and text of each document in order, where texts stand beside the vectors."""
        return None


class RecordImpacts(ImpactSource):
    """Records as impacts.

    Args:
        made: what is done to their numbers: quantizing makes impacts of weights, else they are
            impacts, which may be clipped.

    Raises:
        BadInputError: when read, a broken record, or an id that comes twice.
        UsageError: when read, a scale, and not one weight.
    """

    def __init__(
        self,
        documents: Records,
        manifest: Manifest | None = None,
        made: Quantizer | Clipper | None = None,
    ) -> None:
        super().__init__(documents.path, documents.vocabulary, manifest)
        self._documents = documents
        self._quantizer = made if isinstance(made, Quantizer) else None
        self.clipper = None if isinstance(made, Quantizer) else made

    def _read(self) -> Iterator[ImpactBatch]:
        builder = VectorBuilder(self.vocabulary, self._quantizer)
        for _ in full_batches(self._documents.records(), builder, self.path):
            yield builder.take()

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Those of the documents."""
        return self._documents.contents()

    @property
    def _quantized(self) -> QuantizationInfo | None:
        return self._quantizer.info if self._quantizer else super()._quantized


class RecordWeights(WeightSource):
    """The numbers of records as weights, whatever they are.

    Raises:
        BadInputError: when read, a broken record, or an id that comes twice.
    """

    def __init__(self, documents: Records, manifest: Manifest | None = None) -> None:
        super().__init__(documents.path, documents.vocabulary, manifest)
        self._documents = documents

    def _read(self) -> Iterator[SparseBatch]:
        builder = VectorBuilder(self.vocabulary, None, weights=True)
        for _ in full_batches(self._documents.records(), builder, self.path):
            yield builder.take_weights()

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Those of the documents."""
        return self._documents.contents()


def full_batches(
    records: Iterable[VectorRecord], builder: VectorBuilder, path: Place
) -> Iterator[None]:
    """Add ``records`` to ``builder`` and stop wherever a batch is to be taken from it.

    Raises:
        BadInputError: see :meth:`VectorBuilder.add`; or an id that was there before.
        UsageError: there was a scale, and no float.
    """
    guard = DuplicateGuard()
    for record in records:
        guard.check(record.id, record.place)
        builder.add(record)
        if len(builder) == BATCH_ROWS or builder.postings >= BATCH_POSTINGS:
            yield
    if len(builder):
        yield
    builder.check_weights(path)
    if builder.zeros:
        log.warning("%s: left out %d weights of 0", path, builder.zeros)
    if builder.whole:
        log.warning("%s: %d integers are written as floats, as 3.0", path, builder.whole)


class VectorBuilder:
    """Collects records into batches; terms get their ids from a vocabulary that may grow.

    Args:
        quantizer: of weights, which :meth:`take` gives as impacts then.
        weights: the numbers are weights, which :meth:`take_weights` gives.

    Attributes:
        zeros: weights of 0 that were left out.
        whole: integers that were written as floats (3.0) and taken as what they are.
    """

    def __init__(
        self, vocabulary: Vocabulary, quantizer: Quantizer | None, *, weights: bool = False
    ) -> None:
        self._vocabulary = vocabulary
        self._quantizer = quantizer
        self._weights = weights or quantizer is not None
        self.zeros = 0
        self.whole = 0
        self._fractions = self._numbers = False
        self._clear()

    def check_weights(self, path: Place) -> None:
        """Look back at the end: where there is a quantizer, there must have been a fraction.

        Raises:
            UsageError: all numbers were whole.
        """
        if self._quantizer and self._numbers and not self._fractions:
            refuse_integers(self._quantizer.scale, path)

    def _clear(self) -> None:
        self.postings = 0
        self._ids: list[str] = []
        self._lengths: list[int] = []
        self._indices: list[Any] = []
        self._values: list[Any] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, record: VectorRecord) -> None:
        """Append one record.

        Raises:
            BadInputError: a weight that cannot be an impact, or a term that no index can hold.
        """
        add = self._vocabulary.add
        try:
            indices = np.fromiter(map(add, record.terms), np.int32, len(record.terms))
        except BadInputError as error:
            raise BadInputError(str(error), record.place) from None
        values = self._checked(record)
        order = np.argsort(indices)
        indices, values = indices[order], values[order]
        zero = values == 0
        if zero.any():  # a weight of 0 says nothing; Anserini reads it so too
            self.zeros += int(zero.sum())
            indices, values = indices[~zero], values[~zero]
        self.postings += len(indices)
        self._ids.append(record.id)
        self._lengths.append(len(indices))
        self._indices.append(indices)
        self._values.append(values)

    def _checked(self, record: VectorRecord) -> np.ndarray:
        integers = set(map(type, record.values)) <= {int}
        self._numbers |= bool(record.values)
        for term, value in zip(record.terms, record.values, strict=True):
            if type(value) not in (int, float):
                raise BadInputError(
                    f"term {quoted(term)}: {quoted(value)} is not a number", record.place
                )
            if not 0 <= value <= MAX_WEIGHT:
                raise BadInputError(
                    f"term {quoted(term)}: a weight must be from 0 to {MAX_WEIGHT:.1e}, not "
                    f"{str(value)[:20]}",
                    record.place,
                )
        if not integers:
            floats = [i for i, v in enumerate(record.values) if type(v) is float]
            broken = next((i for i in floats if record.values[i] != int(record.values[i])), None)
            self._fractions |= broken is not None
            if not self._weights:
                if broken is not None:
                    raise BadInputError(
                        f"term {quoted(record.terms[broken])}: {record.values[broken]} is not an "
                        "integer; give --scale to quantize weights (100 is usual)",
                        record.place,
                    )
                self.whole += len(floats)
        if self._weights:
            return _weights(record)
        if record.values and max(record.values) > MAX_IMPACT:
            raise BadInputError("an impact over 2^31 - 1", record.place)
        return np.array(record.values, dtype=np.int32)

    def take(self) -> ImpactBatch:
        """The batch of all records added since the last call."""
        if self._quantizer:
            return self._quantizer(self.take_weights())
        impacts = np.concatenate([np.empty(0, np.int32), *self._values])
        batch = ImpactBatch(*self._taken(), impacts)
        self._clear()
        return batch

    def take_weights(self) -> SparseBatch:
        """The same of a builder with a quantizer, not quantized."""
        weights = np.concatenate([np.empty(0, np.float32), *self._values])
        batch = SparseBatch(*self._taken(), weights)
        self._clear()
        return batch

    def _taken(self) -> tuple[list[str], Int64Array, Int32Array]:
        indices = np.concatenate([np.empty(0, np.int32), *self._indices])
        return self._ids, row_pointers(self._lengths), indices


def _weights(record: VectorRecord) -> np.ndarray:
    """float32, as weights are; a whole number that these do not hold is refused, and not rounded.

    Raises:
        BadInputError: there is one.
    """
    weights = np.array(record.values, dtype=np.float32)
    if weights.size and weights.max() >= EXACT_SCORES_BELOW:
        for term, value, weight in zip(record.terms, record.values, weights.tolist(), strict=True):
            if weight != value == int(value) <= MAX_IMPACT:
                raise BadInputError(
                    f"term {term!r}: {value:.0f} is no float32, as weights are, which would make "
                    f"{weight:.0f} of it: leave --scale out, so that integers are taken as they "
                    "are",
                    record.place,
                )
    return weights
