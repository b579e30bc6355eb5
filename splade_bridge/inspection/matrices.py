"""Matrices of documents x terms, of scipy or torch: what is wrong in a row is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from splade_bridge.conversion.detect import open_tensors
from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.quantize import MAX_IMPACT
from splade_bridge.data.vectors import BoolArray, ImpactBatch, Int64Array, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.matrix import ID_NAMES, Block, Matrix, Values, beside
from splade_bridge.formats.npz import NpzMatrix, matrix_at
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.tally import Tally
from splade_bridge.inspection.vectors import check_id, finish

Open = Callable[[Path, Vocabulary | None], Matrix]


def npz(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A CSR matrix in an ``.npz`` archive."""

    def opened(path: Path, terms: Vocabulary | None) -> Matrix:
        file = matrix_at(path)
        if file is None:
            raise BadInputError("not one .npz file", str(path))
        return NpzMatrix(file, terms)

    _describe(opened, path, found, options)


def tensors(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Tensors in a file of torch's or safetensors."""
    _describe(open_tensors, path, found, options)


def _describe(open_matrix: Open, path: Path, found: Inspection, options: InspectOptions) -> None:
    matrix = open_matrix(path, options.vocabulary)
    ids = beside(matrix.path, ID_NAMES)
    found.facts = {
        "file": matrix.path.name,
        "layout": matrix.layout,
        "shape": f"{matrix.rows:,} x {matrix.columns:,}",
        "type": str(matrix.dtype),
        "ids": ids.name if ids else None,
    }
    if options.quick:
        return
    found.facts["named_columns"] = len(matrix.vocabulary)
    reading = _Reading(matrix, found)
    for block in matrix.blocks():
        reading.add(block)
    if reading.lost:
        found.unknown.append("content: without the numbers that are none")
    finish(reading.tally, found, options, "impacts" if matrix.is_integer else "weights")


class _Reading:
    """Rows, counted block by block."""

    def __init__(self, matrix: Matrix, found: Inspection) -> None:
        self._matrix, self._found = matrix, found
        self._guard = DuplicateGuard()
        self._names: list[tuple[str, str]] = []
        self.tally = Tally(matrix.vocabulary)
        self.lost = 0

    def add(self, block: Block) -> None:
        """Count in some rows."""
        self._names = [(str(name), place) for name, place in block.names]
        for name, place in self._names:
            check_id(name, place, self._guard, self._found)
        size = len(block.names)
        rows = np.repeat(np.arange(size), np.diff(block.indptr))
        columns = block.columns.astype(np.int64)
        values = block.values if self._matrix.is_integer else block.values.astype(np.float32)
        good = self._good(rows, columns, values)
        rows, columns, values = rows[good], columns[good], values[good]
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        twice = (rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1])
        first = np.concatenate([[True], ~twice]) if len(rows) else np.empty(0, bool)
        self._fault("terms twice in a row", rows, columns, ~first, "call sum_duplicates()")
        rows, columns, values = rows[first], columns[first], values[first]
        pointers = row_pointers(np.bincount(rows, minlength=size))
        # An id that is empty is a fault already; a batch cannot hold it.
        ids = [name or "?" for name, _ in self._names]
        indices = columns.astype(np.int32)
        if self._matrix.is_integer:
            self.tally.add(ImpactBatch(ids, pointers, indices, values.astype(np.int32)))
        else:
            self.tally.add(SparseBatch(ids, pointers, indices, values))

    def _good(self, rows: Int64Array, columns: Int64Array, values: Values) -> BoolArray:
        """Which postings count; the others are faults."""
        fault, terms = self._fault, len(self._matrix.vocabulary)
        zero = values == 0
        fault("zeros that are stored", rows, columns, zero, "they are left out when it is read")
        beyond = ((columns < 0) | (columns >= terms)) & ~zero
        fault("numbers in columns without a term", rows, columns, beyond,
              "name the right --vocabulary")  # fmt: skip
        none = ~np.isfinite(values)
        fault("weights that are no numbers", rows, columns, none, "mend the matrix")
        low = values < 0
        fault("weights below 0", rows, columns, low, "mend the matrix")
        high = values > MAX_IMPACT if self._matrix.is_integer else np.zeros(len(values), bool)
        fault("weights beyond 2^31 - 1", rows, columns, high, "no format holds such impacts")
        bad = beyond | none | low | high
        self.lost += int(bad.sum())
        good: BoolArray = ~(zero | bad)
        return good

    def _fault(
        self, what: str, rows: Int64Array, columns: Int64Array, those: BoolArray, remedy: str
    ) -> None:
        if not those.any():
            return
        at = int(np.flatnonzero(those)[0])
        column = int(columns[at])
        known = 0 <= column < len(self._matrix.vocabulary)
        term = f"term {quoted(self._matrix.vocabulary[column])}" if known else f"column {column:,}"
        place = f"{self._names[int(rows[at])][1]} ({term})"
        self._found.fault(what, place, remedy, int(those.sum()))
