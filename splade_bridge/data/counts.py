"""What must be equal on both sides of every border."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from splade_bridge.data.vectors import ImpactBatch, SparseBatch


@dataclass
class Counts:
    """What must be equal on both sides of every border.

    Attributes:
        documents: rows, empty ones included.
        empty: rows without a posting.
        postings: non-zero entries.
        impact_sum: sum of all impacts (0 for float vectors).
        max_impact: largest impact (0 for float vectors).
    """

    documents: int = 0
    empty: int = 0
    postings: int = 0
    impact_sum: int = 0
    max_impact: int = 0
    empty_ids: list[str] = field(default_factory=list)
    """The first ids of empty rows, so that a report can name some."""

    KEEP_EMPTY_IDS = 20

    def add(self, batch: SparseBatch | ImpactBatch) -> None:
        """Count ``batch`` in."""
        self.documents += len(batch)
        self.postings += int(batch.indptr[-1])
        empty_rows = np.flatnonzero(batch.lengths == 0)
        self.empty += len(empty_rows)
        room = self.KEEP_EMPTY_IDS - len(self.empty_ids)
        self.empty_ids += [batch.ids[i] for i in empty_rows[:room].tolist()]
        if isinstance(batch, ImpactBatch) and batch.impacts.size:
            self.impact_sum += int(batch.impacts.sum(dtype=np.int64))
            self.max_impact = max(self.max_impact, int(batch.impacts.max()))

    def join(self, more: Counts) -> None:
        """Count in the rows that follow, which were counted elsewhere."""
        self.documents += more.documents
        self.empty += more.empty
        self.postings += more.postings
        self.impact_sum += more.impact_sum
        self.max_impact = max(self.max_impact, more.max_impact)
        room = self.KEEP_EMPTY_IDS - len(self.empty_ids)
        self.empty_ids += more.empty_ids[:room]
