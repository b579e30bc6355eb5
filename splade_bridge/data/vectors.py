"""The two kinds of sparse block: float weights from a model, integer impacts for an engine.

They share no base class on purpose: a writer or an engine takes only :class:`ImpactBatch`, so
unquantized or twice-quantized weights are a type error instead of a silent factor of 10,000.
Both are CSR blocks of some thousand rows and check their invariants when they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


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
        _check_rows(self.ids, self.indptr, self.indices)
        _check_values(self.weights, self.indices, np.dtype(np.float32))
        if self.weights.size and not (
            np.isfinite(self.weights).all() and float(self.weights.min()) > 0
        ):
            raise ValueError("weights must be finite and greater than 0")

    def __len__(self) -> int:
        return len(self.ids)


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
        _check_rows(self.ids, self.indptr, self.indices)
        _check_values(self.impacts, self.indices, np.dtype(np.int32))
        if self.impacts.size and int(self.impacts.min()) < 1:
            raise ValueError("impacts must be 1 or more")

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, i: int) -> tuple[Int32Array, Int32Array]:
        """Views ``(indices, impacts)`` of row ``i``."""
        part = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[part], self.impacts[part]

    def rows(self, start: int, stop: int) -> ImpactBatch:
        """The batch of rows ``start`` to ``stop`` (exclusive), without copying postings."""
        part = slice(int(self.indptr[start]), int(self.indptr[stop]))
        return ImpactBatch(
            self.ids[start:stop],
            self.indptr[start : stop + 1] - self.indptr[start],
            self.indices[part],
            self.impacts[part],
        )


def row_pointers(lengths: npt.NDArray[np.integer] | Sequence[int]) -> Int64Array:
    """int64[n + 1] offsets of n rows with the given lengths."""
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def _check_rows(ids: list[str], indptr: Int64Array, indices: Int32Array) -> None:
    if indptr.dtype != np.int64 or indptr.shape != (len(ids) + 1,):
        raise ValueError(f"indptr must be int64[{len(ids) + 1}], not {indptr.dtype}{indptr.shape}")
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


def _check_values(
    values: npt.NDArray[np.generic], indices: Int32Array, dtype: np.dtype[np.generic]
) -> None:
    if values.dtype != dtype or values.shape != indices.shape:
        raise ValueError(f"values must be {dtype}{indices.shape}, not {values.dtype}{values.shape}")
