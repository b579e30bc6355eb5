"""The two kinds of sparse block: float weights from a model, integer impacts for an engine.

They share no base class on purpose: a writer or an engine takes only :class:`ImpactBatch`, so
unquantized or twice-quantized weights are a type error instead of a silent factor of 10,000.
Both are CSR blocks of some thousand rows and check their invariants when they are made. What one
does with blocks (choose rows or postings, join, rename terms) are methods, the same in both; the
functions below them say it once, over plain CSR arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
Integers = Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """Float term weights of n texts.

    Attributes:
        ids: n non-empty strings.
        indptr: int64[n + 1], row i is ``indices[indptr[i]:indptr[i + 1]]``.
        indices: int32[nnz], positions in a vocabulary, strictly increasing in each row.
        weights: float32[nnz], finite and > 0.

    Raises:
        ValueError: an invariant does not hold.
    """

    ids: list[str]
    indptr: Int64Array
    indices: Int32Array
    weights: Float32Array

    def __post_init__(self) -> None:
        check_rows(len(self.ids), self.indptr, self.indices)
        check_values(self.weights, self.indices, np.dtype(np.float32))
        if self.weights.size and not (
            np.isfinite(self.weights).all() and float(self.weights.min()) > 0
        ):
            raise ValueError("weights must be finite and greater than 0")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int64Array:
        """int64[n]: postings of each row."""
        return np.diff(self.indptr)

    def row(self, i: int) -> tuple[Int32Array, Float32Array]:
        """Views ``(indices, weights)`` of row ``i``."""
        part = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[part], self.weights[part]

    def rows(self, start: int, stop: int) -> SparseBatch:
        """The batch of rows ``start`` to ``stop`` (exclusive), without copying postings."""
        part, indptr = sliced(self.indptr, start, stop)
        return SparseBatch(self.ids[start:stop], indptr, self.indices[part], self.weights[part])

    def take(self, rows: Integers) -> SparseBatch:
        """The batch of ``rows`` in that order; a row may come twice."""
        indptr, at = taken(self.indptr, rows)
        ids = [self.ids[row] for row in rows]
        return SparseBatch(ids, indptr, self.indices[at], self.weights[at])

    def where(self, keep: BoolArray) -> SparseBatch:
        """All rows with only the postings that the mask ``keep`` (bool[nnz]) names."""
        indptr = row_pointers(counted(keep, self.indptr))
        return SparseBatch(self.ids, indptr, self.indices[keep], self.weights[keep])

    def normalized(self) -> SparseBatch:
        """All rows with weights divided by their Euclidean length; empty rows stay empty."""
        lengths = self.lengths
        filled = self.indptr[:-1][lengths > 0]
        squares = self.weights.astype(np.float64) ** 2
        norms = np.sqrt(np.add.reduceat(squares, filled)) if len(filled) else np.empty(0)
        weights = (self.weights / np.repeat(norms, lengths[lengths > 0])).astype(np.float32)
        smallest = np.nextafter(np.float32(0), np.float32(1))  # what would vanish stays a posting
        return SparseBatch(self.ids, self.indptr, self.indices, np.maximum(weights, smallest))

    def remap(self, mapping: Int32Array) -> SparseBatch:
        """All rows in the term ids of another vocabulary.

        Args:
            mapping: the new id of every term, no two the same; postings of those with -1 are left
                out. See :meth:`.vocabulary.Vocabulary.mapping`.
        """
        indptr, indices, at = remapped(self.indptr, self.indices, mapping)
        return SparseBatch(self.ids, indptr, indices, self.weights[at])

    @classmethod
    def concat(cls, batches: Iterable[SparseBatch]) -> SparseBatch:
        """All rows of ``batches``, of which there may be none, as one batch."""
        parts = list(batches)
        return cls(*stacked(parts), joined([part.weights for part in parts], np.float32))

    @classmethod
    def of_rows(
        cls, ids: list[str], rows: Sequence[tuple[Int32Array, Float32Array]]
    ) -> SparseBatch:
        """A batch of rows that are given as ``(indices, weights)``."""
        return cls(
            ids,
            row_pointers([len(indices) for indices, _ in rows]),
            joined([indices for indices, _ in rows], np.int32),
            joined([weights for _, weights in rows], np.float32),
        )

    def row_sums(self) -> Float64Array:
        """float64[n]: the sum of each row's weights."""
        sums = np.bincount(row_numbers(self.indptr), self.weights, len(self))
        return sums.astype(np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class ImpactBatch:
    """Integer impacts of n texts; the other attributes are those of :class:`SparseBatch`.

    Attributes:
        impacts: int32[nnz], >= 1.
    """

    ids: list[str]
    indptr: Int64Array
    indices: Int32Array
    impacts: Int32Array

    def __post_init__(self) -> None:
        check_rows(len(self.ids), self.indptr, self.indices)
        check_values(self.impacts, self.indices, np.dtype(np.int32))
        if self.impacts.size and int(self.impacts.min()) < 1:
            raise ValueError("impacts must be 1 or more")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int64Array:
        """int64[n]: postings of each row."""
        return np.diff(self.indptr)

    def row(self, i: int) -> tuple[Int32Array, Int32Array]:
        """Views ``(indices, impacts)`` of row ``i``."""
        part = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[part], self.impacts[part]

    def rows(self, start: int, stop: int) -> ImpactBatch:
        """The batch of rows ``start`` to ``stop`` (exclusive), without copying postings."""
        part, indptr = sliced(self.indptr, start, stop)
        return ImpactBatch(self.ids[start:stop], indptr, self.indices[part], self.impacts[part])

    def take(self, rows: Integers) -> ImpactBatch:
        """The batch of ``rows`` in that order; a row may come twice."""
        indptr, at = taken(self.indptr, rows)
        ids = [self.ids[row] for row in rows]
        return ImpactBatch(ids, indptr, self.indices[at], self.impacts[at])

    def where(self, keep: BoolArray) -> ImpactBatch:
        """All rows with only the postings that the mask ``keep`` (bool[nnz]) names."""
        indptr = row_pointers(counted(keep, self.indptr))
        return ImpactBatch(self.ids, indptr, self.indices[keep], self.impacts[keep])

    def remap(self, mapping: Int32Array) -> ImpactBatch:
        """All rows in the term ids of another vocabulary.

        Args:
            mapping: the new id of every term, no two the same; postings of those with -1 are left
                out. See :meth:`.vocabulary.Vocabulary.mapping`.
        """
        indptr, indices, at = remapped(self.indptr, self.indices, mapping)
        return ImpactBatch(self.ids, indptr, indices, self.impacts[at])

    @classmethod
    def concat(cls, batches: Iterable[ImpactBatch]) -> ImpactBatch:
        """All rows of ``batches``, of which there may be none, as one batch."""
        parts = list(batches)
        return cls(*stacked(parts), joined([part.impacts for part in parts], np.int32))

    @classmethod
    def of_rows(cls, ids: list[str], rows: Sequence[tuple[Int32Array, Int32Array]]) -> ImpactBatch:
        """A batch of rows that are given as ``(indices, impacts)``."""
        return cls(
            ids,
            row_pointers([len(indices) for indices, _ in rows]),
            joined([indices for indices, _ in rows], np.int32),
            joined([impacts for _, impacts in rows], np.int32),
        )

    def row_sums(self) -> Int64Array:
        """int64[n]: the sum of each row's impacts."""
        return np.diff(row_pointers(self.impacts)[self.indptr])


def row_pointers(lengths: Integers | BoolArray) -> Int64Array:
    """int64[n + 1] offsets of n rows with the given lengths."""
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def row_numbers(indptr: Int64Array) -> Int64Array:
    """int64[nnz]: the row of each posting."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def sliced(indptr: Int64Array, start: int, stop: int) -> tuple[slice, Int64Array]:
    """Where the postings of rows ``start`` to ``stop`` (exclusive) lie, and their own offsets."""
    own = indptr[start : stop + 1]
    return slice(int(own[0]), int(own[-1])), own - own[0]


def counted(mask: BoolArray, indptr: Int64Array) -> Int64Array:
    """int64[n]: how many postings of each row ``mask`` names."""
    before: Int64Array = row_pointers(mask)[indptr]
    return np.diff(before)


def taken(indptr: Int64Array, rows: Integers) -> tuple[Int64Array, Int64Array]:
    """The offsets of ``rows`` put one after the other, and where their postings stood."""
    rows = np.asarray(rows, dtype=np.int64)
    starts = indptr[rows]
    lengths = indptr[rows + 1] - starts
    new = row_pointers(lengths)
    return new, np.arange(int(new[-1])) + np.repeat(starts - new[:-1], lengths)


def remapped(
    indptr: Int64Array, indices: Int32Array, mapping: Int32Array
) -> tuple[Int64Array, Int32Array, Int64Array]:
    """New offsets and term ids, rows sorted again, and where their postings stood."""
    targets = mapping[indices]
    at = np.flatnonzero(targets >= 0)
    rows = row_numbers(indptr)[at]
    at = at[np.argsort(rows << 32 | targets[at])]
    return row_pointers(np.bincount(rows, minlength=len(indptr) - 1)), targets[at], at


def stacked(
    parts: Sequence[SparseBatch] | Sequence[ImpactBatch],
) -> tuple[list[str], Int64Array, Int32Array]:
    """Ids, offsets and term ids of all rows of ``parts``, one after the other."""
    return (
        [row_id for part in parts for row_id in part.ids],
        row_pointers(joined([part.lengths for part in parts], np.int64)),
        joined([part.indices for part in parts], np.int32),
    )


def joined(parts: Sequence[npt.NDArray[Scalar]], dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    """``parts`` one after the other; an empty array where there are none."""
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def check_rows(count: int, indptr: Int64Array, indices: Int32Array) -> None:
    """Raise ValueError unless these are ``count`` rows of rising numbers, each once."""
    if indptr.dtype != np.int64 or indptr.shape != (count + 1,):
        raise ValueError(f"indptr must be int64[{count + 1}], not {indptr.dtype}{indptr.shape}")
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError("indptr must start at 0 and never fall")
    if indices.dtype != np.int32 or indices.shape != (int(indptr[-1]),):
        raise ValueError(
            f"indices must be int32[{int(indptr[-1])}], not {indices.dtype}{indices.shape}"
        )
    if indices.size:
        if int(indices.min()) < 0:
            raise ValueError("indices must not be negative")
        rising = indices[1:] > indices[:-1]
        starts = indptr[1:-1]
        starts = starts[(starts > 0) & (starts < indices.size)]
        rising[starts - 1] = True  # the step from one row to the next may fall
        if not rising.all():
            raise ValueError("indices must be strictly increasing in each row")


def check_values(
    values: npt.NDArray[np.generic], indices: Int32Array, dtype: np.dtype[np.generic]
) -> None:
    """Raise ValueError unless there is a value of this type for each of ``indices``."""
    if values.dtype != dtype or values.shape != indices.shape:
        raise ValueError(f"values must be {dtype}{indices.shape}, not {values.dtype}{values.shape}")
