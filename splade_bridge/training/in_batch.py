"""What a loss has to know of a batch besides its vectors: which documents answer which queries.

Rows may have a column ``known``: keys (:func:`~splade_bridge.training.texts.text_key`) of the texts
of all documents that answer the query, as far as the data say. Documents come into a batch with
other queries, and one that answers a query is no negative of it: NFCorpus has 38 answers a query.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers.base.data_collator import DEFAULT_LABEL_COLUMNS
from sentence_transformers.sparse_encoder.data_collator import SparseEncoderDataCollator
from sentence_transformers.util import all_gather, dot_score
from torch import Tensor

from splade_bridge.training.examples import KNOWN
from splade_bridge.training.texts import text_key

KEYS = "document_keys"
NONE = 0
"""Fills rows up; no key is 0."""


@dataclass
class Collator(SparseEncoderDataCollator):  # type: ignore[misc]
    """sentence-transformers' own, which tells of known answers besides.

    A batch gets ``known``, int64[B, K], and ``document_keys``, int64[B, 1 + n] of the documents of
    each row; neither where rows have no column ``known``.
    """

    valid_label_columns: list[str] = field(default_factory=lambda: [*DEFAULT_LABEL_COLUMNS, KNOWN])

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Features of the texts, labels, and what is known."""
        if not features or KNOWN not in features[0]:
            return dict(super().__call__(features))
        rows = [{k: v for k, v in row.items() if k != KNOWN} for row in features]
        batch = dict(super().__call__(rows))
        names = [n for n in rows[0] if n.startswith(("positive", "negative"))]
        batch[KEYS] = torch.tensor([[text_key(row[n]) for n in names] for row in rows])
        longest = max(len(row[KNOWN]) for row in features)
        batch[KNOWN] = torch.tensor(
            [[*row[KNOWN], *[NONE] * (longest - len(row[KNOWN]))] for row in features]
        )
        return batch


class Answers:
    """Dot products in which a known answer of a query is none of its negatives.

    It is what sentence-transformers' loss asks for similarities; what is known of the batch is told
    before.

    Attributes:
        rows: that were seen since the log was last written.
        alone: of these, how many had no negative at all.
    """

    def __init__(self, *, gather: bool) -> None:
        self._gather = gather
        self._known: Tensor | None = None
        self._keys: Tensor | None = None
        self.rows = 0
        self.alone = 0

    def tell(self, batch: dict[str, Any]) -> None:
        """Take note of what a batch of :class:`Collator` says."""
        self._known, self._keys = batch.get(KNOWN), batch.get(KEYS)

    def __call__(self, queries: Tensor, documents: Tensor) -> Tensor:
        """float[B, D]; minus infinity for known answers other than a row's own positive."""
        scores: Tensor = dot_score(queries, documents)
        hidden = torch.zeros_like(scores, dtype=torch.bool)
        own = torch.arange(len(queries), device=scores.device)
        first = own
        if self._known is not None and self._keys is not None:
            keys = self._keys
            if self._gather:
                own = own + torch.distributed.get_rank() * len(queries)
                keys = all_gather(keys)
            columns = keys.T.reshape(-1)  # as documents are put together: column by column
            hidden = (self._known[:, :, None] == columns).any(dim=1)
            hidden[first, own] = False
            scores = scores.masked_fill(hidden, float("-inf"))
        self.rows += len(scores)
        self.alone += int((hidden.sum(dim=1) + 1 == scores.shape[1]).sum())
        return scores

    def take(self) -> tuple[int, int]:
        """Rows, and those without a negative, since the last call."""
        seen, self.rows, self.alone = (self.rows, self.alone), 0, 0
        return seen
