"""Two-step search: few documents from a pruned index, scored exactly from the full vectors.

Two-Step SPLADE (Lassance, Dejean, Clinchant and Tonellotto, ECIR 2024, arXiv 2404.13357): the first
step searches an index of pruned documents with pruned queries, whose short vectors suit dynamic
pruning; the second scores its candidates anew. All scores that are returned are exact; what the
first step missed is missing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splade_bridge.data.hits import Hits, best, string_ranks
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.engines.base import Searcher
from splade_bridge.engines.forward import ForwardSearcher
from splade_bridge.errors import MismatchError, UsageError
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.pruning.by_row import TopK
from splade_bridge.pruning.rows import Rows, TermOrder

DEFAULT_CANDIDATES = 1000
SAMPLE = 64
"""Queries whose exact answers tell the recall of an approximate index."""
AT_ONCE = 64
"""Queries of a first step before their second one, so that with one thread the steps of different
queries do not run side by side and each takes the time that it takes alone."""


@dataclass(frozen=True)
class TwoStepOptions:
    """One to one with flags of ``search``.

    Attributes:
        candidates: documents of the first step; ``k``, where that is more.
        first_query_terms: the heaviest terms of each query that the first step uses (of equal ones
            the smaller string goes first); None for all.
    """

    candidates: int = DEFAULT_CANDIDATES
    first_query_terms: int | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise UsageError(f"--candidates must be 1 or more, not {self.candidates}")
        if self.first_query_terms is not None and self.first_query_terms < 1:
            raise UsageError(f"--first-query-terms must be 1 or more, not {self.first_query_terms}")

    @classmethod
    def of(cls, k: int, candidates: int | None, first_query_terms: int | None) -> TwoStepOptions:
        """For the best ``k``, of candidates as many as usual where none are named.

        Raises:
            UsageError: fewer candidates than ``k``.
        """
        if candidates is not None and candidates < k:
            raise UsageError(f"--candidates {candidates} cannot give {k} documents: at least -k")
        return cls(candidates or max(DEFAULT_CANDIDATES, k), first_query_terms)


class TwoStepSearcher(Searcher):
    """A pruned index and a forward store, searched like any index. Closing closes the index.

    Queries come in the ids of the forward store's vocabulary. A result's time is that of the
    engine's retrieval and of looking up, scoring and sorting the candidates.

    Raises:
        MismatchError: index and forward store were made with different vocabularies.
    """

    approximate = True

    def __init__(
        self, first: Searcher, forward: ForwardStore, options: TwoStepOptions | None = None
    ) -> None:
        super().__init__(first.path, forward.manifest, forward.vocabulary)
        self.first = first
        self.forward = forward
        self.options = options or TwoStepOptions()
        self.algorithms = first.algorithms
        self.uses_threads = first.uses_threads
        self._order = TermOrder(forward.vocabulary)
        first.meet(forward.vocabulary)
        self._in_first = forward.vocabulary.mapping(first.vocabulary)
        ours, theirs = (m.vocabulary if m else None for m in (forward.manifest, first.manifest))
        known = ours and theirs and not ours.observed and not theirs.observed
        if not (self._in_first >= 0).any() or (known and ours.sha256 != theirs.sha256):  # type: ignore[union-attr]
            raise MismatchError(
                f"{first.path} and {forward.path} were made with different vocabularies"
            )

    @property
    def manifests(self) -> list[Manifest]:
        """The forward store's, and the first step's where it came from other vectors."""
        found = [m for m in (self.manifest, self.first.manifest) if m is not None]
        if len(found) == 2 and found[0].encoding == found[1].encoding:
            return found[:1]
        return found

    @cached_property
    def plain_text(self) -> str | None:
        """Of the first step."""
        return self.first.plain_text

    def use_memory(self, memory: int) -> bool:
        """Of the first step; the forward store is mapped."""
        return self.first.use_memory(memory)

    def algorithm_for(self, queries: ImpactBatch, k: int, algorithm: str | None) -> str:
        """The algorithm of the first step."""
        return self.first.algorithm_for(self.first_queries(queries), self._depth(k), algorithm)

    def first_queries(self, queries: ImpactBatch) -> ImpactBatch:
        """What the first step asks: the heaviest terms, in the ids of the index's vocabulary."""
        if self.options.first_query_terms is not None:
            rows = Rows(queries, self._order)
            queries = rows.where(TopK(self.options.first_query_terms).keep(rows, "impact")).batch
        return queries.remap(self._in_first)

    def _depth(self, k: int) -> int:
        return max(k, self.options.candidates)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        numbers = itertools.count()
        found = self.first.search(
            self.first_queries(queries), self._depth(k), threads=threads, algorithm=algorithm
        )
        while some := list(itertools.islice(found, AT_ONCE if threads == 1 else 1)):
            for hits in some:
                yield self._rescored(hits, *queries.row(next(numbers)), k)

    def _rescored(self, hits: Hits, terms: np.ndarray, weights: np.ndarray, k: int) -> Hits:
        started = time.perf_counter_ns()
        if not hits.doc_ids:
            return hits
        rows = self.forward.find(hits.doc_ids)
        if (rows < 0).any():
            missing = hits.doc_ids[int(np.argmax(rows < 0))]
            raise MismatchError(
                f"{self.forward.path}: document {missing!r}, which {self.path} holds, is not in "
                "it: export the vectors that the index was pruned from"
            )
        scores = self.forward.scores(rows, terms, weights)
        found = np.flatnonzero(scores > 0)

        def names(places: Int64Array) -> np.ndarray:
            return string_ranks(hits.doc_ids[i] for i in found[places].tolist())

        order = found[best(scores[found], k, names)]
        doc_ids = [hits.doc_ids[i] for i in order.tolist()]
        spent = hits.nanoseconds + time.perf_counter_ns() - started
        return Hits(hits.query_id, doc_ids, scores[order], spent)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """The impacts of the full vectors; see :class:`Searcher`."""
        return self.forward.impacts(doc_id, term_ids)

    def exact(self) -> Searcher:
        """The full vectors, all of them."""
        return ForwardSearcher(self.forward, self.path, self.manifest)

    def matching_terms(self, queries: ImpactBatch) -> float | None:
        """QD-FLOPS of the first step."""
        return self.first.matching_terms(self.first_queries(queries))

    def close(self) -> None:
        """Close the index."""
        self.first.close()


@dataclass(frozen=True)
class Kept:
    """How much of the exact ranking a search kept.

    Attributes:
        queries: those that have exact results; others do not count.
        share: mean share of the exact top c that is among the first c found, by c.
    """

    queries: int
    share: dict[int, float]


def sample_of(queries: int) -> Int64Array:
    """int64[n]: the queries that tell the recall of an approximate index, some from all over."""
    return np.linspace(0, queries - 1, min(queries, SAMPLE)).astype(np.int64)


class KeptShare:
    """Adds up, query by query, the share of the exact top that was found.

    Args:
        cutoffs: the ranks c at which both lists are cut.
    """

    def __init__(self, cutoffs: Iterable[int]) -> None:
        self._sums = dict.fromkeys(sorted(cutoffs), 0.0)
        self._queries = 0

    def add(self, found: Sequence[str], exact: Sequence[str]) -> None:
        """One query: ids, best first."""
        if not exact:
            return
        self._queries += 1
        for cut in self._sums:
            top = set(exact[:cut])
            self._sums[cut] += len(top.intersection(found[:cut])) / len(top)

    def result(self) -> Kept:
        """The means; 0 queries have none."""
        n = self._queries
        return Kept(n, {cut: total / n for cut, total in self._sums.items()} if n else {})
