"""Why a document scores what it scores: the contribution of each query term, from the engine."""

from __future__ import annotations

from dataclasses import dataclass

from splade_bridge.engines.base import Searcher
from splade_bridge.errors import BadInputError
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.fit import check_queries


@dataclass(frozen=True)
class Contribution:
    """One term of a query in one document of one index; adds weight x impact to the score.

    ``impact`` is None where the index has no such document; whole but for float weights of others.
    """

    index: str
    doc_id: str
    term: str
    weight: int
    impact: float | None

    @property
    def score(self) -> float:
        """What the term adds."""
        return self.weight * (self.impact or 0)


def contributions(
    searcher: Searcher, queries: Queries, number: int, doc_id: str
) -> list[Contribution]:
    """Contributions of all terms of query ``number``, in the order of its vocabulary."""
    term_ids, weights = queries.batch.row(number)
    terms = [queries.vocabulary[int(i)] for i in term_ids]
    searcher.meet(queries.vocabulary)
    known = {t: i for t in terms if (i := searcher.vocabulary.get(t)) is not None}
    found = searcher.impacts(doc_id, list(known.values()))
    impacts = dict(zip(known, found, strict=True)) if found is not None else {}
    missing = None if found is None else 0
    return [
        Contribution(str(searcher.path), doc_id, term, int(weight), impacts.get(term, missing))
        for term, weight in zip(terms, weights, strict=True)
    ]


def explain(searcher: Searcher, queries: Queries, query_id: str, doc_id: str) -> list[Contribution]:
    """Contributions of all terms of a query, the largest first, equal ones by their strings.

    Raises:
        BadInputError: there is no such query or document.
        MismatchError: the queries do not belong to the index.
    """
    check_queries(searcher, queries)
    if query_id not in queries.batch.ids:
        raise BadInputError(f"no query {query_id!r}", str(queries.path))
    found = contributions(searcher, queries, queries.batch.ids.index(query_id), doc_id)
    if found and found[0].impact is None:
        raise BadInputError(f"no document {doc_id!r}", str(searcher.path))
    return sorted(found, key=lambda c: (-c.score, c.term))
