"""The texts of a window as batches, longest first, cut when one is taken."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from splade_bridge.data.vectors import Int64Array
from splade_bridge.encoding.budget import TokenBudget
from splade_bridge.encoding.packed import Together

WIDTH, NARROWEST = 768, 128
"""Numbers of a hidden state that the figures below hold for. With fewer, as many times more tokens
are as much work, down to the fewest that were measured."""
PIECE_TOKENS = 1024
"""Of a core that computes alone: what it holds of them stays in its cache."""
SHARES, LEAST_TOKENS = 8, 256
"""A piece is at most so small a part of what is left, so that all cores end at about the same time;
with fewer tokens than that a product loses more than this saves."""
SMALLEST_TOKENS = 64
"""Of the last piece of a batch."""


class Batches(Iterator[slice]):
    """Runs of texts of which each fits into memory; one thread at a time may take the next.

    What a text is computed with depends on the texts and the budget, never on who takes it or when.

    Args:
        lengths: int64[n], of the texts in tokens, falling.
        budget: asked anew for every batch, because it is halved when memory runs out.
        most: texts of a batch.
        together: cut a batch into pieces, without tearing apart what is computed in one step; None
            where a text's last digits depend on all of its batch.
        cores: that compute a piece.
        width: numbers of a hidden state; None for as many as in most networks.
    """

    def __init__(
        self,
        lengths: Int64Array,
        budget: TokenBudget,
        most: int,
        together: Together | None = None,
        cores: int = 1,
        width: int | None = None,
    ) -> None:
        self._lengths = lengths
        self._budget = budget
        self._most = most
        self._together = together
        self._cores = cores
        self._width = width
        self._times = max(1, WIDTH // max(width or WIDTH, NARROWEST))
        self._ends = np.concatenate([[0], np.cumsum(lengths)])
        self._left = [slice(0, len(lengths))] if len(lengths) else []
        self._pieces: list[slice] = []

    def __next__(self) -> slice:
        if not self._pieces:
            self._pieces = list(self._cut(self._next_batch()))[::-1]
        return self._pieces.pop()

    def again(self, batch: slice) -> None:
        """Take back what did not fit into memory; the budget is smaller by now."""
        self._left.append(batch)

    def count(self) -> int:
        """Batches and pieces to come, if memory suffices."""
        return sum(
            1
            for _ in Batches(
                self._lengths, self._budget, self._most, self._together, self._cores, self._width
            )
        )

    def _next_batch(self) -> slice:
        if not self._left:
            raise StopIteration
        there = self._left.pop()
        start = there.start
        most = min(there.stop, start + self._most)
        room = self._ends[start] + self._budget.tokens
        fitting = int(np.searchsorted(self._ends[start + 1 : most + 1], room, side="right"))
        end = start + max(1, fitting)
        if end < there.stop:
            self._left.append(slice(end, there.stop))
        return slice(start, end)

    def _cut(self, batch: slice) -> Iterator[slice]:
        """The pieces of a batch."""
        if self._together is None:
            yield batch
            return
        sizes = PIECE_TOKENS, LEAST_TOKENS, SMALLEST_TOKENS
        most, least, smallest = (tokens * self._times for tokens in sizes)
        start = end = batch.start
        for step in self._steps(batch, self._together):
            left = int(self._ends[-1] - self._ends[start])
            room = self._cores * min(most, max(least, left // SHARES))
            full = end > start and self._ends[step] - self._ends[start] > room
            if full and self._ends[batch.stop] - self._ends[end] >= smallest:
                yield slice(start, end)
                start = end
            end = step
        yield slice(start, end)

    def _steps(self, batch: slice, together: Together) -> Iterator[int]:
        """The ends of what is computed together: some texts of one length."""
        lengths = self._lengths[batch]
        changes = np.flatnonzero(np.diff(lengths)) + 1
        bounds = [0, *changes.tolist(), len(lengths)]
        for start, end in pairwise(bounds):
            most = together(int(lengths[start]))
            for part in range(start + most, end, most):
                yield batch.start + part
            yield batch.start + end
