"""From ranked passages to ranked documents: a document scores what its best passage scores.

Passages are named ``id#0``, ``id#1`` and so on, as ``encode --long passages`` names them. The last
``#`` and the digits behind it are the passage's number, whatever else the id holds; an id that does
not end so is a document of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from splade_bridge.data.hits import Hits, by_score
from splade_bridge.data.manifest import Manifest
from splade_bridge.files.address import Place

log = logging.getLogger(__name__)

HITS_AT_ONCE = 2_000_000
"""Results of queries that are searched together, and again together where that was too shallow."""

LEAST_DEPTH = 100
"""Passages of a query that are asked for at first, though few documents are wanted."""

_NUMBER = re.compile(r"(?<=.)#\d+\Z", re.ASCII | re.DOTALL)


def document_of(passage_id: str) -> str:
    """The id without its passage's number: ``a#b#12`` -> ``a#b``."""
    return _NUMBER.sub("", passage_id)


class QueryRows(Protocol):
    """Vectors of queries, sparse or dense."""

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> Self:
        """Those from ``start`` up to ``stop``."""
        ...

    def take(self, rows: list[int]) -> Self:
        """Those of ``rows``, in their order."""
        ...


Rows = TypeVar("Rows", bound=QueryRows)


def fold_passages(
    search: Callable[[Rows, int], Iterator[Hits]], queries: Rows, k: int
) -> Iterator[Hits]:
    """The best ``k`` documents of every query, exactly.

    A ranking of passages that stops at score s holds the best passage of every document that
    scores more than s. So a query is searched deeper, four times as deep each time, until ``k``
    documents score more than the last passage found, or there are no more passages.

    Args:
        search: ranked passages of some queries, at most so many for each.

    Returns:
        Hits ordered by score descending, then document id ascending; their time is that of all
        searches together.
    """
    depth = max(2 * k, LEAST_DEPTH)
    size = max(1, HITS_AT_ONCE // k)
    for start in range(0, len(queries), size):
        batch = queries.rows(start, min(start + size, len(queries)))
        folded: list[Hits | None] = [None] * len(batch)
        spent = [0] * len(batch)
        still, deep = list(range(len(batch))), depth
        while still:
            open_ones = []
            for i, hits in zip(still, search(batch.take(still), deep), strict=True):
                spent[i] += hits.nanoseconds
                folded[i] = _folded(hits, k, complete=len(hits.doc_ids) < deep)
                if folded[i] is None:
                    open_ones.append(i)
            if len(open_ones) * 2 > len(batch):
                depth = 4 * deep  # most needed it, so most of the next ones will
            still, deep = open_ones, 4 * deep
        for hits_of, nanoseconds in zip(folded, spent, strict=True):
            assert hits_of is not None
            yield hits_of._replace(nanoseconds=nanoseconds)


def _folded(hits: Hits, k: int, *, complete: bool) -> Hits | None:
    """Documents of ranked passages, or None where deeper passages might change the first k."""
    best: dict[str, Any] = {}
    for passage, score in zip(hits.doc_ids, hits.scores.tolist(), strict=True):
        best.setdefault(document_of(passage), score)
    if not complete:
        last = hits.scores.tolist()[-1]
        best = {doc_id: score for doc_id, score in best.items() if score > last}
        if len(best) < k:
            return None
    doc_ids = by_score(best)[:k]
    scores = np.array([best[doc_id] for doc_id in doc_ids], dtype=hits.scores.dtype)
    return hits._replace(doc_ids=doc_ids, scores=scores)


def warn_without_passages(manifest: Manifest | None, index: Place) -> None:
    """Warn where the index says that its documents are no passages."""
    if manifest and manifest.encoding and manifest.encoding.long != "passages":
        log.warning(
            "%s: was not encoded with --long passages; ids that end with # and a number are taken "
            "for passages all the same",
            index,
        )
