"""Do several indexes give the same results? The check that the whole tool stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from splade_bridge.data.hits import Hits
from splade_bridge.data.quantize import warn_if_inexact
from splade_bridge.engines.base import Searcher
from splade_bridge.errors import UsageError
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.explain import Contribution, contributions
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.search import KEPT_AT
from splade_bridge.retrieval.two_step import KeptShare

MAX_REPORTED = 20


@dataclass(frozen=True)
class Difference:
    """The first rank of a query at which two indexes disagree.

    Attributes:
        index: the one that is compared with the first.
        rank: from 1.
        expected: (document, score) of the first index, None beyond the end of its list.
        found: the same of the other one.
        terms: for the documents at this rank, the query terms whose contributions differ.
    """

    index: str
    query_id: str
    rank: int
    expected: tuple[str, int] | None
    found: tuple[str, int] | None
    terms: list[Contribution] = field(default_factory=list)


@dataclass
class Verification:
    """What was compared and what was found.

    Attributes:
        differing: queries that differ, by index; of an approximate one those in which a score does.
        differences: the first ones in detail.
        recall: of each approximate index the mean share of the first one's top c that it found, by
            c.
    """

    queries: int = 0
    results: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    recall: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether all indexes gave the same for every query, as far as they are exact."""
        return not any(self.differing.values())


def check_count(indexes: Sequence[object]) -> None:
    """Raise UsageError for fewer than two indexes."""
    if len(indexes) < 2:
        raise UsageError("verify compares two or more indexes")


def verify(
    searchers: Sequence[Searcher],
    queries: Queries,
    k: int,
    *,
    algorithms: dict[str, str] | None = None,
) -> Verification:
    """Search all indexes with the same queries and compare each with the first.

    Scores are compared rank by rank, ids above the last tie: where a list is cut at ``k``, any
    of the documents that tie with the last one may stand at the end. What an approximate index
    does not find is its recall and no difference; a score that is another is one.

    Args:
        algorithms: by index path, where not the engine's default.

    Raises:
        UsageError: fewer than two indexes, or the first one is approximate.
        MismatchError: queries and an index have nothing in common.
    """
    check_count(searchers)
    if searchers[0].approximate:
        raise UsageError(
            f"{searchers[0].path}: answers approximately, and the first index is what the others "
            "must equal: name an exact one first"
        )
    shares = {str(s.path): KeptShare({min(KEPT_AT, k), k}) for s in searchers[1:] if s.approximate}
    result = Verification(differing={str(s.path): 0 for s in searchers[1:]})
    runs: list[Iterator[Hits]] = []
    for searcher in searchers:
        check_queries(searcher, queries)
        if searcher.manifest:
            warn_if_inexact(queries.batch, searcher.manifest.counts.max_impact, str(searcher.path))
        aligned = searcher.aligned(queries)
        chosen = (algorithms or {}).get(str(searcher.path))
        runs.append(searcher.search(aligned, k, algorithm=chosen))
    for number, (expected, *others) in enumerate(zip(*runs, strict=True)):
        result.queries += 1
        result.results += len(expected.doc_ids)
        for searcher, found in zip(searchers[1:], others, strict=True):
            path = str(searcher.path)
            if path in shares:
                shares[path].add(found.doc_ids, expected.doc_ids)
                rank = first_contradiction(expected, found, k) if searcher.exact_scores else None
            else:
                rank = first_difference(expected, found, k)
            if rank is None:
                continue
            result.differing[path] += 1
            if len(result.differences) < MAX_REPORTED:
                result.differences.append(
                    _difference(searchers[0], searcher, queries, number, rank, expected, found)
                )
    result.recall = {path: share.result().share for path, share in shares.items()}
    return result


def first_difference(expected: Hits, found: Hits, k: int) -> int | None:
    """Index from 0 of the first rank that differs, or None."""
    n = min(len(expected.scores), len(found.scores))
    unequal = np.flatnonzero(expected.scores[:n] != found.scores[:n])
    last_tie = int(expected.scores[-1]) if len(expected.scores) == k else 0
    for rank in range(int(unequal[0]) if len(unequal) else n):
        if expected.scores[rank] > last_tie and expected.doc_ids[rank] != found.doc_ids[rank]:
            return rank
    if len(unequal):
        return int(unequal[0])
    return None if len(expected.scores) == len(found.scores) else n


def first_contradiction(expected: Hits, found: Hits, k: int) -> int | None:
    """Index from 0 of the first document found whose score cannot be as an exact list has it.

    A document of that list must have the same score, and another one none that belongs into it.
    """
    scores = dict(zip(expected.doc_ids, expected.scores.tolist(), strict=True))
    most = int(expected.scores[-1]) if len(expected.scores) == k else 0
    for rank, (doc_id, score) in enumerate(zip(found.doc_ids, found.scores.tolist(), strict=True)):
        if score > most if doc_id not in scores else score != scores[doc_id]:
            return rank
    return None


def _difference(
    first: Searcher,
    other: Searcher,
    queries: Queries,
    number: int,
    rank: int,
    expected: Hits,
    found: Hits,
) -> Difference:
    pair = [
        (hits.doc_ids[rank], int(hits.scores[rank])) if rank < len(hits.doc_ids) else None
        for hits in (expected, found)
    ]
    terms = []
    for doc_id in dict.fromkeys(hit[0] for hit in pair if hit):
        ours = contributions(first, queries, number, doc_id)
        theirs = {c.term: c for c in contributions(other, queries, number, doc_id)}
        for mine in ours:
            if mine.impact != theirs[mine.term].impact:
                terms += [mine, theirs[mine.term]]
    return Difference(str(other.path), expected.query_id, rank + 1, pair[0], pair[1], terms)
