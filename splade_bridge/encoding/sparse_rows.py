"""Dense weights to sparse rows on the host, on CUDA while the next batch is computed."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from splade_bridge.data.vectors import Float32Array, Int32Array

Row = tuple[Int32Array, Float32Array]
"""Rising term ids and their weights, without zeros."""


class NotFiniteError(ValueError):
    """Row ``row`` of a batch has weights that are not finite."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is not finite")
        self.row = row


class SparseRows:
    """Rows of a batch that is perhaps still being computed.

    Args:
        weights: float32[B, V].
        max_active: of each row keep only so many of the heaviest terms.

    Raises:
        NotFiniteError: a weight is not finite; on CUDA :meth:`fetch` raises it.
    """

    def __init__(self, weights: Tensor, max_active: int | None) -> None:
        self._max_active = max_active
        self._rows: list[Row] | None = None
        if not weights.is_cuda:
            self._rows = self._cut(*_extract(weights))
            return
        self._weights = weights
        self._computed = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._computed.record(torch.cuda.current_stream(weights.device))

    def fetch(self) -> list[Row]:
        """The rows; waits for them, but not for work that was queued behind them."""
        if self._rows is None:
            weights = self._weights
            stream = _copy_stream(weights.device)
            stream.wait_event(self._computed)
            with torch.inference_mode(), torch.cuda.stream(stream):
                # What is queued behind may not take this memory before the copy is done.
                weights.record_stream(stream)
                extracted = _extract(weights)
            stream.synchronize()
            self._rows = self._cut(*extracted)
        return self._rows

    def _cut(self, lengths: Tensor, indices: Tensor, values: Tensor) -> list[Row]:
        bounds = lengths.cumsum(0).tolist()
        all_indices, all_values = indices.numpy(), values.numpy()
        rows, start = [], 0
        for end in bounds:
            row, row_values = all_indices[start:end], all_values[start:end]
            if self._max_active is not None and len(row) > self._max_active:
                # Of equal weights the lower term id stays.
                kept = np.sort(np.lexsort((row, -row_values))[: self._max_active])
                row, row_values = row[kept], row_values[kept]
            rows.append((row, row_values))
            start = end
        return rows


def _extract(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths int64[B], term ids int32[nnz] and weights float32[nnz] on the host.

    On CUDA these may still be on their way when this returns.
    """
    if not bool(torch.isfinite(weights).all()):
        raise NotFiniteError(int((~torch.isfinite(weights)).any(1).nonzero()[0]))
    active = weights > 0
    places = active.nonzero()
    found = (active.sum(1), places[:, 1].to(torch.int32), weights[places[:, 0], places[:, 1]])
    if not weights.is_cuda:
        return found
    lengths, indices, values = (
        torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True)
        for t in found
    )
    return lengths, indices, values


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """A stream whose small kernels do not wait behind those of the next batch."""
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
