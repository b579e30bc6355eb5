"""What an approximate engine keeps beside its own index: the vectors, in a forward store.

They give exact scores to what it finds, the exact answers that its recall is measured against, and
the documents back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from splade_bridge.data.doc_ids import DocIds
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.engines.base import Searcher
from splade_bridge.files.address import Place
from splade_bridge.formats.forward import NOTHING, ForwardStore

AT_ONCE = 64
"""Queries of one look at all documents."""


class KeptVectors:
    """A forward store and the ids of its documents.

    Raises:
        BadInputError: it is damaged.
    """

    def __init__(self, store: ForwardStore) -> None:
        self.store = store
        self.doc_ids = DocIds(store.path)

    def rescored(
        self, query_id: str, terms: np.ndarray, weights: np.ndarray, rows: Int64Array, k: int
    ) -> Hits:
        """The best ``k`` of some documents, by their exact scores.

        Args:
            terms: of the query, in the ids of the store's vocabulary.
            rows: int64[n], of documents that were found.
        """
        if not len(rows):
            return Hits(query_id, [], NOTHING, 0)
        started = time.perf_counter_ns()
        scores = self.store.scores(rows, terms, weights)
        doc_ids, best = self.doc_ids.rank(rows[scores > 0], scores[scores > 0], k)
        return Hits(query_id, doc_ids, best, time.perf_counter_ns() - started)


class ForwardSearcher(Searcher):
    """Scores every document of a forward store; exact, and as slow as reading all of them.

    Args:
        path: of the index that the store belongs to, for messages.
    """

    algorithms = ("exhaustive",)
    uses_threads = False

    def __init__(self, store: ForwardStore, path: Place, manifest: Manifest | None) -> None:
        super().__init__(path, manifest, store.vocabulary)
        self._kept = KeptVectors(store)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        for start in range(0, len(queries), AT_ONCE):
            some = queries.rows(start, min(start + AT_ONCE, len(queries)))
            started = time.perf_counter_ns()
            answers = self._kept.store.best(some, k)
            each = (time.perf_counter_ns() - started) // len(some)
            for query_id, (rows, scores) in zip(some.ids, answers, strict=True):
                doc_ids, best = self._kept.doc_ids.rank(rows, scores, k)
                yield Hits(query_id, doc_ids, best, each)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        return self._kept.store.impacts(doc_id, term_ids)
