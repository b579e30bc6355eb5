"""Rows to columns in bounded memory: documents -> posting lists, and posting lists -> documents.

An external transposition of a sparse integer matrix. Rows arrive in order and are collected up to
a budget, sorted by column and written as a run; at the end each column is gathered from all runs,
whose rows follow one another, so a gathered column is in row order without a merge.
"""

from __future__ import annotations

import logging
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np

from splade_bridge.vectors import Int32Array, Int64Array, row_pointers

log = logging.getLogger(__name__)

DEFAULT_MEMORY = 2_000_000_000
BYTES_WHILE_SORTING = 48
"""A posting needs 12 bytes in the buffer, 12 joined, 8 for its place and up to 16 while sorted."""
BYTES_WHILE_GATHERING = 40


class Columns(NamedTuple):
    """Some columns: column ``ids[i]`` holds rows ``rows[indptr[i]:indptr[i + 1]]``, ascending."""

    ids: Int32Array
    indptr: Int64Array
    rows: Int32Array
    values: Int32Array


class _Run(NamedTuple):
    offsets: Int64Array
    rows: Int32Array
    values: Int32Array


class _Spilled(NamedTuple):
    """Where a run lies in the file: offsets, then rows, then values."""

    start: int
    columns: int
    entries: int

    def load(self, file: mmap.mmap) -> _Run:
        rows = self.start + 8 * (self.columns + 1)
        return _Run(
            np.frombuffer(file, np.int64, self.columns + 1, self.start),
            np.frombuffer(file, np.int32, self.entries, rows),
            np.frombuffer(file, np.int32, self.entries, rows + 4 * self.entries),
        )


class Transposer:
    """Takes rows, gives columns; a context manager that removes its temporary file.

    Args:
        memory: budget in bytes for the arrays of this object.
        temporary: folder for runs; the system's, if None. Runs need 8 bytes a posting, and 8 a
            column each; they share one file without a name, which no kill can leave behind.
    """

    def __init__(self, memory: int = DEFAULT_MEMORY, temporary: Path | None = None) -> None:
        self._memory = memory
        self._parent = temporary
        self._file: IO[bytes] | None = None
        self._spilled: list[_Spilled] = []
        self._buffer: list[tuple[Int32Array, Int32Array, Int32Array]] = []
        self._buffered = 0
        self._runs: list[_Run] = []
        self.row_count = 0

    def __enter__(self) -> Transposer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._runs.clear()
        if self._file:
            self._file.close()

    def add(self, indptr: Int64Array, columns: Int32Array, values: Int32Array) -> None:
        """Append ``len(indptr) - 1`` rows; their numbers go on from the last ones.

        Args:
            indptr: int64[n + 1].
            columns: int32[nnz].
            values: int32[nnz].
        """
        count = len(indptr) - 1
        numbers = np.arange(self.row_count, self.row_count + count, dtype=np.int32)
        self._buffer.append((np.repeat(numbers, np.diff(indptr)), columns, values))
        self._buffered += len(columns)
        self.row_count += count
        if self._buffered * BYTES_WHILE_SORTING >= self._memory:
            self._spill()

    def column_counts(self, width: int) -> Int64Array:
        """int64[width]: entries of each column (the document frequency of a term)."""
        self._close_buffer()
        total = np.zeros(width, dtype=np.int64)
        for run in self._runs:
            total[: len(run.offsets) - 1] += np.diff(run.offsets)
        return total

    def column_sums(self, width: int) -> Int64Array:
        """int64[width]: sum of the values of each column (the collection frequency of a term)."""
        self._close_buffer()
        total = np.zeros(width, dtype=np.int64)
        for run in self._runs:
            running = np.zeros(len(run.values) + 1, dtype=np.int64)
            np.cumsum(run.values, dtype=np.int64, out=running[1:])
            total[: len(run.offsets) - 1] += np.diff(running[run.offsets])
        return total

    def columns(self, order: Int32Array) -> Iterator[Columns]:
        """The columns ``order`` names, in that order, empty ones too; some at a time.

        A block holds at least one column and else stays within the budget.
        """
        self._close_buffer()
        width = int(order.max()) + 1 if order.size else 0
        lengths = self.column_counts(max(width, self._width()))[order]
        ends = np.cumsum(lengths)
        limit = max(1, self._memory // BYTES_WHILE_GATHERING)
        start = 0
        while start < len(order):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
            yield self._gather(order[start:stop], lengths[start:stop])
            start = stop

    def _width(self) -> int:
        return max((len(run.offsets) - 1 for run in self._runs), default=0)

    def _gather(self, ids: Int32Array, lengths: Int64Array) -> Columns:
        indptr = row_pointers(lengths)
        rows = np.empty(int(indptr[-1]), dtype=np.int32)
        values = np.empty(int(indptr[-1]), dtype=np.int32)
        filled = indptr[:-1].copy()
        for run in self._runs:
            here = np.minimum(ids, len(run.offsets) - 2)  # the run may know fewer columns
            first = run.offsets[here]
            count = np.where(ids == here, run.offsets[here + 1] - first, 0)
            steps = np.arange(int(count.sum()), dtype=np.int64)
            steps -= np.repeat(np.cumsum(count) - count, count)
            source = np.repeat(first, count) + steps
            target = np.repeat(filled, count) + steps
            rows[target] = run.rows[source]
            values[target] = run.values[source]
            filled += count
        return Columns(ids, indptr, rows, values)

    def _close_buffer(self) -> None:
        if self._spilled and self._file:
            self._file.flush()
            file = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            self._runs += [run.load(file) for run in self._spilled]
            self._spilled = []
        if self._buffered:
            self._runs.append(self._sorted_run())

    def _sorted_run(self) -> _Run:
        rows, columns, values = (np.concatenate(part) for part in zip(*self._buffer, strict=True))
        self._buffer, self._buffered = [], 0
        width = int(columns.max()) + 1 if columns.size else 0
        # numpy sorts 16-bit keys by radix, several times faster than wider ones.
        key = columns.astype(np.uint16) if width <= 1 << 16 else columns
        order = np.argsort(key, kind="stable")
        offsets = row_pointers(np.bincount(columns, minlength=width))
        return _Run(offsets, rows[order], values[order])

    def _spill(self) -> None:
        run = self._sorted_run()
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._parent)  # noqa: SIM115
            folder = self._parent or tempfile.gettempdir()
            log.info("sorting on disk in %s: 8 bytes a posting until the end", folder)
        self._spilled.append(_Spilled(self._file.tell(), len(run.offsets) - 1, len(run.rows)))
        for array in run:
            self._file.write(array.data)
