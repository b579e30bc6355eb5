"""Documents as records of terms and numbers, wherever they stand, and the batches made of them."""

from __future__ import annotations

import abc
import logging
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
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
BLOCK_POSTINGS = 1 << 13
"""Postings that are checked and sorted together: what is made of them stays in the cache."""
MAX_WEIGHT = float(np.finfo(np.float32).max)


class VectorRecord(NamedTuple):
    """One vector as it stands in a file: terms and, in the same order, numbers."""

    id: str
    terms: Collection[str]
    values: Collection[float]
    place: str


class VectorColumns(NamedTuple):
    """Several vectors as they stand in a file, their terms and their numbers each together.

    Attributes:
        ids: of the documents.
        lengths: int64[documents], postings of each.
        indices: int32[postings], ids of the terms.
        numbers: [postings], the values as they stand; int64 where all are integers.
    """

    ids: list[str]
    lengths: Int64Array
    indices: Int32Array
    numbers: list[Any] | Int64Array


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

    def fill(self, builder: VectorBuilder) -> Iterator[None]:
        """Add all to ``builder``, and stop at least wherever a batch may be full.

        Raises:
            BadInputError: see :func:`added`.
        """
        return added(self.records(), builder)

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
        for _ in full_batches(self._documents.fill(builder), builder, self.path):
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
        for _ in full_batches(self._documents.fill(builder), builder, self.path):
            yield builder.take_weights()

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Those of the documents."""
        return self._documents.contents()


def full_batches(filling: Iterable[None], builder: VectorBuilder, path: Place) -> Iterator[None]:
    """Stop wherever a batch is to be taken from ``builder``.

    Args:
        filling: adds records to it, as :func:`added` does.

    Raises:
        BadInputError: see :meth:`VectorBuilder.add`; or an id that was there before.
        UsageError: there was a scale, and no float.
    """
    for _ in filling:
        if len(builder) == BATCH_ROWS or builder.postings >= BATCH_POSTINGS:
            yield
    if len(builder):
        yield
    builder.check_weights(path)
    if builder.zeros:
        log.warning("%s: left out %d weights of 0", path, builder.zeros)
    if builder.whole:
        log.warning("%s: %d integers are written as floats, as 3.0", path, builder.whole)


def added(records: Iterable[VectorRecord], builder: VectorBuilder) -> Iterator[None]:
    """Add ``records`` to ``builder``, and stop after each.

    Raises:
        BadInputError: of the first record that is broken, be it ``records`` or ``builder`` that
            says so.
    """
    try:
        for record in records:
            builder.add(record)
            yield
    except BadInputError:
        builder.check()  # what stands before it in the file is told before it
        raise
    builder.check()


class Tallies(NamedTuple):
    """What is counted while records are read; see :class:`VectorBuilder`.

    Attributes:
        fractions: there was a number that is not whole.
        numbers: there was a number.
    """

    zeros: int
    whole: int
    fractions: bool
    numbers: bool


class _Rows(NamedTuple):
    """Postings of documents, sorted by their terms, and without those of 0."""

    lengths: Int64Array
    indices: Int32Array
    numbers: np.ndarray
    zeros: int

    @classmethod
    def sorted(cls, lengths: Int64Array, indices: Int32Array, numbers: np.ndarray) -> _Rows:
        """Of postings as they come.

        Raises:
            BadInputError: a document has a term twice.
        """
        rows = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        keys = rows << 32 | indices
        order = np.argsort(keys)
        keys, indices, numbers = keys[order], indices[order], numbers[order]
        if (keys[1:] == keys[:-1]).any():
            raise BadInputError("a document has a term twice")
        if numbers.all():
            return cls(lengths, indices, numbers, 0)
        there = numbers != 0  # a weight of 0 says nothing; Anserini reads it so too
        lengths = np.bincount(rows[there], minlength=len(lengths))
        return cls(lengths, indices[there], numbers[there], int(there.size - there.sum()))


class VectorBuilder:
    """Collects records into batches; terms get their ids from a vocabulary that may grow.

    Args:
        quantizer: of weights, which :meth:`take` gives as impacts then.
        weights: the numbers are weights, which :meth:`take_weights` gives.

    Attributes:
        vocabulary: of the terms.
        weights: whether the numbers are taken as weights.
        zeros: weights of 0 that were left out.
        whole: integers that were written as floats (3.0) and taken as what they are.
    """

    def __init__(
        self, vocabulary: Vocabulary, quantizer: Quantizer | None, *, weights: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self._quantizer = quantizer
        self.weights = weights or quantizer is not None
        self._guard = DuplicateGuard()
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
        self._indices: list[Int32Array] = []
        self._values: list[np.ndarray] = []
        self._block: list[VectorRecord] = []
        self._in_block = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, record: VectorRecord) -> None:
        """Append one record, which is looked at with others of its kind: see :meth:`check`.

        Raises:
            BadInputError: one of the records since the last call that raised nothing is broken.
        """
        self._ids.append(record.id)
        self._block.append(record)
        self._in_block += len(record.terms)
        self.postings += len(record.terms)
        if self._in_block >= BLOCK_POSTINGS:
            self.check()

    def check(self) -> None:
        """Look at what was added: thousands of postings at once cost a tenth of one at a time.

        Raises:
            BadInputError: an id that was there before, a weight that cannot be an impact, or a term
                that no index can hold; of the first such record.
        """
        block, self._block, self._in_block = self._block, [], 0
        if not block:
            return
        lengths = np.fromiter((len(record.terms) for record in block), np.int64, len(block))
        values = list(chain.from_iterable([record.values for record in block]))
        numbers = self._all_at_once(values)
        try:
            if numbers is None:  # something is rare or wrong: one record after another
                numbers = np.concatenate([self._checked(record) for record in block])
            indices = self.vocabulary.add_all(
                list(chain.from_iterable([record.terms for record in block]))
            )
            rows = _Rows.sorted(lengths, indices, numbers)
            self._guard.check_all([record.id for record in block])
        except BadInputError:
            for record in block:
                self._guard.check(record.id, record.place)
                self._check_alone(record)
            raise
        self._extend(rows)

    def add_columns(self, columns: VectorColumns) -> bool:
        """Whether the documents of a block were added; else they are to be added one by one.

        They are in the terms of this vocabulary. They are not added where they may end a batch, or
        where one of them holds what is rare or wrong.
        """
        if not self._holds(len(columns.ids), len(columns.numbers)):
            return False
        self.check()
        if (numbers := self._all_at_once(columns.numbers)) is None:
            return False
        try:
            rows = _Rows.sorted(columns.lengths, columns.indices, numbers)
            self._guard.check_all(columns.ids)
        except BadInputError:
            return False
        self._ids.extend(columns.ids)
        self.postings += len(numbers)
        self._extend(rows)
        return True

    def _extend(self, rows: _Rows) -> None:
        self._numbers |= bool(len(rows.numbers) + rows.zeros)
        self.zeros += rows.zeros
        self.postings -= rows.zeros
        self._lengths.extend(rows.lengths.tolist())
        self._indices.append(rows.indices)
        self._values.append(rows.numbers)

    @property
    def tallies(self) -> Tallies:
        """Of all that was checked."""
        return Tallies(self.zeros, self.whole, self._fractions, self._numbers)

    def reserve(self, batch: ImpactBatch | SparseBatch) -> bool:
        """Whether rows can be appended as they are; their ids are noted then.

        They cannot where one of them ends a batch, has an id that was there before, or a weight
        that is too large for its scale.
        """
        if not self._holds(len(batch), len(batch.indices)):
            return False
        if isinstance(batch, SparseBatch) and self._overflow(batch.weights):
            return False
        try:
            self._guard.check_all(batch.ids)
        except BadInputError:
            return False
        return True

    def _holds(self, rows: int, postings: int) -> bool:
        """Whether so many more do not end a batch before the last of them."""
        return len(self) + rows <= BATCH_ROWS and self.postings + postings < BATCH_POSTINGS

    def append(self, batch: ImpactBatch | SparseBatch, tallies: Tallies) -> None:
        """Append rows that another builder has made of the same kind of numbers.

        Args:
            batch: in the terms of this vocabulary, its rows reserved here.
            tallies: of that builder.
        """
        self._ids.extend(batch.ids)
        self._lengths.extend(batch.lengths.tolist())
        self._indices.append(batch.indices)
        self._values.append(batch.impacts if isinstance(batch, ImpactBatch) else batch.weights)
        self.postings += len(batch.indices)
        self.zeros += tallies.zeros
        self.whole += tallies.whole
        self._fractions |= tallies.fractions
        self._numbers |= tallies.numbers

    def _all_at_once(self, values: list[Any] | Int64Array) -> np.ndarray | None:
        """The numbers of many records; None where :meth:`_checked` has more to say about one."""
        if isinstance(values, np.ndarray):
            kinds: set[type] = {int}
            numbers: np.ndarray = values
        else:
            kinds = set(map(type, values))
            if not kinds <= {int, float}:
                return None
            as_type = np.int64 if kinds == {int} else np.float64
            try:
                numbers = np.fromiter(values, as_type, len(values))
            except OverflowError:
                return None
        if not self.weights:
            impacts = numbers.astype(np.int32) if _all_between(numbers, 0, MAX_IMPACT) else None
            if impacts is None or kinds == {int}:
                return impacts
            if not (impacts == numbers).all():
                return None
            self.whole += len(values) - sum(type(value) is int for value in values)
            return impacts
        if not _all_between(numbers, 0, EXACT_SCORES_BELOW - 1):
            return None
        if float in kinds and not self._fractions:
            self._fractions = bool((numbers != np.floor(numbers)).any())
        weights = numbers.astype(np.float32)
        return None if self._overflow(weights) else weights

    def _overflow(self, weights: np.ndarray) -> str | None:
        return self._quantizer.overflow(weights) if self._quantizer else None

    def _check_alone(self, record: VectorRecord) -> None:
        """Raise what is wrong with one record."""
        try:
            ids = self.vocabulary.add_all(record.terms)
        except BadInputError as error:
            raise BadInputError(str(error), record.place) from None
        if len(np.unique(ids)) < len(ids):
            raise BadInputError("a term stands twice", record.place)
        self._checked(record)

    def _checked(self, record: VectorRecord) -> np.ndarray:
        values = list(record.values)
        for term, value in zip(record.terms, values, strict=True):
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
            if type(value) is int or value == int(value):
                continue
            self._fractions = True
            if not self.weights:
                raise BadInputError(
                    f"term {quoted(term)}: {value} is not an integer; give --scale to quantize "
                    "weights (100 is usual)",
                    record.place,
                )
        if self.weights:
            weights = _weights(record)
            if fault := self._overflow(weights):
                term = list(record.terms)[int(weights.argmax())]
                raise BadInputError(f"term {quoted(term)}: {fault}", record.place)
            return weights
        self.whole += sum(type(value) is float for value in values)
        if values and max(values) > MAX_IMPACT:
            raise BadInputError("an impact over 2^31 - 1", record.place)
        return np.array(values, dtype=np.int32)

    def take(self) -> ImpactBatch:
        """The batch of all records added since the last call."""
        if self._quantizer:
            return self._quantizer(self.take_weights())
        self.check()
        impacts = np.concatenate([np.empty(0, np.int32), *self._values])
        batch = ImpactBatch(*self._taken(), impacts)
        self._clear()
        return batch

    def take_weights(self) -> SparseBatch:
        """The same of a builder with a quantizer, not quantized."""
        self.check()
        weights = np.concatenate([np.empty(0, np.float32), *self._values])
        batch = SparseBatch(*self._taken(), weights)
        self._clear()
        return batch

    def _taken(self) -> tuple[list[str], Int64Array, Int32Array]:
        indices = np.concatenate([np.empty(0, np.int32), *self._indices])
        return self._ids, row_pointers(self._lengths), indices


def _all_between(numbers: np.ndarray, low: int, high: int) -> bool:
    """False where one is not a number, too."""
    return not numbers.size or (low <= numbers.min() and numbers.max() <= high)


def _weights(record: VectorRecord) -> np.ndarray:
    """float32, as weights are; a whole number that these do not hold is refused, and not rounded.

    Raises:
        BadInputError: there is one.
    """
    weights = np.array(list(record.values), dtype=np.float32)
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
