"""Rows to columns in bounded memory: documents -> posting lists, and posting lists -> documents.

An external transposition of a sparse integer matrix. Rows arrive in order. About a million entries
at a time are sorted by column (small enough for the processor's cache) and kept as a run; when the
runs fill the budget they are merged into one on disk. At the end each column is gathered from all
runs, whose rows follow one another, so a gathered column is in row order without a comparison.
"""

from __future__ import annotations

import logging
import mmap
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from splade_bridge.data.closing import Closing
from splade_bridge.data.vectors import Int32Array, Int64Array, row_pointers
from splade_bridge.errors import ExternalProgramError

log = logging.getLogger(__name__)

DEFAULT_MEMORY = 2_000_000_000
RUN_ENTRIES = 1 << 20
BYTES_KEPT = 8
"""A row and a value of an entry in a run; 8 a column and run for offsets come to it."""
BYTES_WHILE_SORTING = 48
"""12 in the buffer, 12 joined, 8 for the place and up to 16 while sorted."""
BYTES_WHILE_GATHERING = 40
MOST_GATHERED = 1 << 20
"""Entries of one block, also where the budget would allow more: larger ones leave the cache."""


class Columns(NamedTuple):
    """Some columns: column ``ids[i]`` holds rows ``rows[indptr[i]:indptr[i + 1]]``, ascending."""

    ids: Int32Array
    indptr: Int64Array
    rows: Int32Array
    values: Int32Array


class _Run(NamedTuple):
    """Column c is ``rows[offsets[c]:offsets[c + 1]]``; a run may know fewer columns than others."""

    offsets: Int64Array
    rows: Int32Array
    values: Int32Array


class Transposer(Closing):
    """Takes rows, gives columns; a context manager that removes its temporary files.

    Args:
        memory: budget in bytes for the arrays of this object.
        temporary: folder for runs; the system's, if None. Runs need 8 bytes a posting, and 8 a
            column each. Their files have no names, so no kill can leave them behind.
        expected: entries to come, if known, so that a disk without room is noticed at once.

    Raises:
        ExternalProgramError: ``expected`` entries would not fit on the disk.
    """

    def __init__(
        self,
        memory: int = DEFAULT_MEMORY,
        temporary: Path | None = None,
        expected: int | None = None,
    ) -> None:
        self._memory = memory
        self._parent = temporary or Path(tempfile.gettempdir())
        if expected is not None and BYTES_KEPT * expected >= memory // 2:
            _state_space(BYTES_KEPT * expected, self._parent)
        self._buffer: list[tuple[Int32Array, Int32Array, Int32Array]] = []
        self._buffered = 0
        self._runs: list[_Run] = []
        self._kept_bytes = 0
        self._disk: _Disk | None = None
        self._width = 0
        self.row_count = 0

    def close(self) -> None:
        """Remove what is on disk."""
        self._runs.clear()
        if self._disk:
            self._disk.close()

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
        if len(columns):
            self._width = max(self._width, int(columns.max()) + 1)
        # Offsets cost 8 bytes a column and run: many columns ask for longer runs.
        most = min(max(RUN_ENTRIES, 4 * self._width), self._memory // 2 // BYTES_WHILE_SORTING)
        if self._buffered >= max(1, most):
            self._sort_buffer()
            if self._kept_bytes >= self._memory // 2:
                self._spill()

    @property
    def width(self) -> int:
        """Columns so far: one more than the largest."""
        return self._width

    def column_counts(self, width: int) -> Int64Array:
        """int64[width]: entries of each column (the document frequency of a term)."""
        total = np.zeros(width, dtype=np.int64)
        for run in self._all_runs():
            total[: len(run.offsets) - 1] += np.diff(run.offsets)
        return total

    def columns(self, order: Int32Array) -> Iterator[Columns]:
        """The columns ``order`` names, in that order, empty ones too; some at a time.

        A block holds at least one column and else stays within the budget.
        """
        width = int(order.max()) + 1 if order.size else 0
        lengths = self.column_counts(max(width, self._width))[order]
        return self._blocks(self._all_runs(), order, lengths)

    def _all_runs(self) -> list[_Run]:
        if self._buffered:
            self._sort_buffer()
        return [*(self._disk.runs() if self._disk else ()), *self._runs]

    def _sort_buffer(self) -> None:
        rows, columns, values = (np.concatenate(part) for part in zip(*self._buffer, strict=True))
        self._buffer, self._buffered = [], 0
        width = int(columns.max()) + 1 if columns.size else 0
        # numpy sorts 16-bit keys by radix, several times faster than wider ones.
        key = columns.astype(np.uint16) if width <= 1 << 16 else columns
        order = np.argsort(key, kind="stable")
        offsets = row_pointers(np.bincount(columns, minlength=width))
        self._runs.append(_Run(offsets, rows[order], values[order]))
        self._kept_bytes += BYTES_KEPT * len(rows) + offsets.nbytes

    def _spill(self) -> None:
        """Merge all runs in memory into one on disk."""
        if self._disk is None:
            self._disk = _Disk(self._parent)
            log.info("sorting on disk in %s: 8 bytes a posting until the end", self._parent)
        lengths = np.zeros(self._width, dtype=np.int64)
        for run in self._runs:
            lengths[: len(run.offsets) - 1] += np.diff(run.offsets)
        every = np.arange(self._width, dtype=np.int32)
        self._disk.write(row_pointers(lengths), self._blocks(self._runs, every, lengths))
        self._runs, self._kept_bytes = [], 0

    def _blocks(
        self, runs: list[_Run], order: Int32Array, lengths: Int64Array
    ) -> Iterator[Columns]:
        ends = np.cumsum(lengths)
        limit = min(MOST_GATHERED, max(1, self._memory // BYTES_WHILE_GATHERING))
        start = 0
        while start < len(order):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
            yield _gather(runs, order[start:stop], lengths[start:stop])
            start = stop


def _state_space(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ExternalProgramError(
            f"{folder}: sorting takes {needed / 1e9:.2f} GB for a while, and {free / 1e9:.2f} GB "
            "are free: make room, or write to another disk"
        )
    log.info(
        "sorting takes %.2f GB in %s until the end (%.0f GB are free)",
        needed / 1e9, folder, free / 1e9,
    )  # fmt: skip


def _gather(runs: list[_Run], ids: Int32Array, lengths: Int64Array) -> Columns:
    indptr = row_pointers(lengths)
    rows = np.empty(int(indptr[-1]), dtype=np.int32)
    values = np.empty(int(indptr[-1]), dtype=np.int32)
    filled = indptr[:-1].copy()
    for run in runs:
        here = np.minimum(ids, len(run.offsets) - 2)
        first = run.offsets[here]
        count = np.where(ids == here, run.offsets[here + 1] - first, 0)
        total = int(count.sum())
        if not total:
            continue
        steps = np.arange(total, dtype=np.int64)
        source = steps + np.repeat(first - (np.cumsum(count) - count), count)
        target = steps + np.repeat(filled - (np.cumsum(count) - count), count)
        rows[target] = run.rows[source]
        values[target] = run.values[source]
        filled += count
    return Columns(ids, indptr, rows, values)


class _Disk:
    """Runs in three unnamed files: offsets, rows, values."""

    def __init__(self, folder: Path) -> None:
        self._files: list[IO[bytes]] = [
            tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
            for _ in _Run._fields
        ]
        self._sizes: list[tuple[int, int]] = []  # offsets and entries of each run

    def write(self, offsets: Int64Array, blocks: Iterator[Columns]) -> None:
        """Append a run."""
        self._files[0].write(offsets.data)
        for block in blocks:
            self._files[1].write(block.rows.data)
            self._files[2].write(block.values.data)
        self._sizes.append((len(offsets), int(offsets[-1])))

    def runs(self) -> list[_Run]:
        """All runs, mapped and not read."""
        maps = []
        for file in self._files:
            file.flush()
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        found, offset, entry = [], 0, 0
        for columns, entries in self._sizes:
            found.append(
                _Run(
                    np.frombuffer(maps[0], np.int64, columns, 8 * offset),
                    np.frombuffer(maps[1], np.int32, entries, 4 * entry),
                    np.frombuffer(maps[2], np.int32, entries, 4 * entry),
                )
            )
            offset, entry = offset + columns, entry + entries
        return found

    def close(self) -> None:
        """Give the space back."""
        for file in self._files:
            file.close()
