"""Policies that look at one row (document or query) at a time."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from splade_bridge.data.vectors import BoolArray
from splade_bridge.errors import UsageError
from splade_bridge.pruning.policy import RowPolicy, check_share, check_whole
from splade_bridge.pruning.rows import (
    Rows,
    Unit,
    from_least,
    heaviest,
    key_of,
    sorted_blocks,
    values_of,
)

log = logging.getLogger(__name__)

SLACK = 1e-12
"""Of a share's bound: 0.07 x 100 is a little more than 7 in floating point, and 7 is meant."""
LIKELY_WEIGHT = 20
"""log(1 + logit) of a model does not come near it."""


@dataclass(frozen=True)
class TopK(RowPolicy):
    """The k heaviest terms of each row: document-centric pruning, arXiv 2304.12702, section 3.

    Two-Step SPLADE (arXiv 2404.13357) does the same to queries. Of terms with equal values the one
    whose UTF-8 string is smaller goes first.
    """

    method: ClassVar[str] = "top-k"
    k: int

    def __post_init__(self) -> None:
        check_whole(self.k, self.method)

    def keep(self, rows: Rows[Any], unit: Unit) -> BoolArray:
        """bool[nnz]: what stays."""
        batch = rows.batch
        counts = np.full(len(batch), self.k)
        return heaviest(batch.indptr, batch.indices, rows.keys, counts, rows.order)


@dataclass(frozen=True)
class Threshold(RowPolicy):
    """All values from ``least`` on: agnostic pruning, arXiv 2304.12702, section 3.

    In the unit of the source: weights of a vector store (compared as float32), impacts of an
    export. All that are equal to the threshold stay.
    """

    method: ClassVar[str] = "threshold"
    least: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.least) and self.least > 0):
            raise UsageError(f"{self.method}: must be above 0, not {self.least!r}")

    def check(self, unit: Unit, scale: float | None) -> None:
        """Refuse a fraction where values are impacts; warn of an impact where they are weights."""
        if unit == "impact" and self.least != int(self.least):
            usual = scale or 100
            raise UsageError(
                f"{self.method}: values are impacts here, whole numbers, and {self.least:g} looks "
                f"like a weight before scaling; x {usual:g} it is {self.least * usual:g}"
            )
        if unit == "weight" and self.least > LIKELY_WEIGHT:
            log.warning(
                "%s: values are weights here, before scaling, and %g looks like an impact",
                self.method, self.least,
            )  # fmt: skip

    def keep(self, rows: Rows[Any], unit: Unit) -> BoolArray:
        """bool[nnz]: what stays."""
        return np.asarray(rows.keys >= key_of(self.least, unit))


@dataclass(frozen=True)
class MaxShare(RowPolicy):
    """All values from ``share`` x the row's largest on; OpenSearch's ``max_ratio``.

    All that are equal to the bound stay.
    """

    method: ClassVar[str] = "max-share"
    share: float

    def __post_init__(self) -> None:
        check_share(self.share, self.method)

    def keep(self, rows: Rows[Any], unit: Unit) -> BoolArray:
        """bool[nnz]: what stays."""
        keys, indptr = rows.keys, rows.batch.indptr
        there = rows.lengths > 0
        bounds = np.zeros(len(there), dtype=np.float64)
        if there.any():
            largest = np.maximum.reduceat(keys, indptr[:-1][there])
            bounds[there] = values_of(largest, unit) * self.share * (1 - SLACK)
        return np.asarray(values_of(keys, unit) >= np.repeat(bounds, rows.lengths))


@dataclass(frozen=True)
class MassShare(RowPolicy):
    """The fewest, heaviest terms whose values sum to ``share`` of the row's sum.

    The alpha-mass subvector of Seismic (arXiv 2404.18812, definition 3.1); OpenSearch's
    ``alpha_mass``. Of terms with equal values the one whose UTF-8 string is smaller goes first.
    """

    method: ClassVar[str] = "mass-share"
    share: float

    def __post_init__(self) -> None:
        check_share(self.share, self.method)

    def keep(self, rows: Rows[Any], unit: Unit) -> BoolArray:
        """bool[nnz]: what stays."""
        batch = rows.batch
        counts = np.zeros(len(batch), dtype=np.int64)
        least = np.zeros(len(batch), dtype=np.int32)
        for part, matrix in sorted_blocks(batch.indptr, rows.keys):
            mass = np.cumsum(values_of(matrix, unit)[:, ::-1], axis=1, dtype=np.float64)
            wanted = mass[:, -1:] * (self.share * (1 - SLACK))
            counts[part] = np.argmax(mass >= wanted, axis=1) + 1
            least[part] = matrix[np.arange(len(matrix)), -counts[part]]
        return from_least(batch.indptr, batch.indices, rows.keys, least, counts, rows.order)
