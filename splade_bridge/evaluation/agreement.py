"""How much two rankings of the same queries agree: overlap@k and rank-biased overlap.

Rankings are taken in their order (ours are totally ordered, so there are no ties to break), and a
query that only one side has counts as found by nobody on the other.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.retrieval.runs import Run

DEFAULT_DEPTHS = (10, 1000)
DEFAULT_PERSISTENCE = 0.9

Rankings = Mapping[str, Collection[Hashable]]
"""Query id -> document ids, best first; a :data:`Run` whose lines are in order is one."""


@dataclass(frozen=True)
class Agreement:
    """Means over queries and values for each query.

    Attributes:
        means: ``overlap@k`` for every depth, and ``RBO``, each from 0 to 1.
        per_query: query id -> the same names -> value.
        persistence: the p of RBO.
        only_first: queries that only the first side has; their values are 0.
        only_second: likewise.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    persistence: float
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)


def agreement(
    first: Rankings,
    second: Rankings,
    depths: Sequence[int] = DEFAULT_DEPTHS,
    persistence: float = DEFAULT_PERSISTENCE,
) -> Agreement:
    """Compare ``first`` with ``second`` query by query; the order of the two does not matter.

    Args:
        depths: the k of overlap@k.
        persistence: the p of RBO, 0 < p < 1: .9 gives the top 10 86 % of the weight, .98 the
            top 50.

    Raises:
        BadInputError: no query in common, or a document twice in a ranking.
        UsageError: a depth below 1, or p out of range.
    """
    _check_persistence(persistence)
    if any(k < 1 for k in depths):
        raise UsageError(f"the k of overlap@k must be 1 or more, not {min(depths)}")
    if not first.keys() & second.keys():
        raise BadInputError(
            f"the two sides ({len(first):,} and {len(second):,} queries) have none in common"
        )
    per_query = {}
    for query_id in dict.fromkeys([*first, *second]):
        ours, theirs = first.get(query_id, ()), second.get(query_id, ())
        try:
            common = _common(ours, theirs)
        except BadInputError as error:
            raise BadInputError(f"query {query_id}: {error}") from None
        values = {f"overlap@{k}": _overlap(common, len(ours), len(theirs), k) for k in depths}
        values["RBO"] = _rbo_ext(common, len(ours), len(theirs), persistence)
        per_query[query_id] = values
    names = [f"overlap@{k}" for k in depths] + ["RBO"]
    means = {n: float(np.mean([values[n] for values in per_query.values()])) for n in names}
    return Agreement(
        means,
        per_query,
        persistence,
        [q for q in first if q not in second],
        [q for q in second if q not in first],
    )


def rankings(run: Run) -> dict[str, list[str]]:
    """Documents of ``run`` by falling score; where scores tie, the run's own order is kept."""
    return {
        query_id: sorted(found, key=found.__getitem__, reverse=True)  # stable, also in reverse
        for query_id, found in run.items()
    }


def _check_persistence(p: float) -> None:
    if not 0 < p < 1:
        raise UsageError(f"the p of RBO must lie between 0 and 1, not {p}")


def _common(first: Collection[Hashable], second: Collection[Hashable]) -> np.ndarray:
    """int64[max length + 1]: at d, how many documents are in the first d of both."""
    ranks = {doc_id: rank for rank, doc_id in enumerate(first, start=1)}
    if len(ranks) != len(first) or len(set(second)) != len(second):
        raise BadInputError("a document stands twice in a ranking")
    get = ranks.get
    # A document is common from the deeper of its two ranks on.
    other = np.fromiter((get(doc_id, 0) for doc_id in second), np.int64, len(second))
    seen = np.flatnonzero(other)
    depths = np.maximum(other[seen], seen + 1)
    return np.bincount(depths, minlength=max(len(first), len(second)) + 1).cumsum()


def _overlap(common: np.ndarray, n_first: int, n_second: int, k: int) -> float:
    """The share of the top ``k`` that two rankings have in common; two empty ones agree (1)."""
    depth = min(k, max(n_first, n_second))
    return float(common[depth] / depth) if depth else 1.0


def _rbo_ext(common: np.ndarray, n_first: int, n_second: int, p: float) -> float:
    """RBO_ext of two rankings, from 0 (disjoint) to 1 (identical); two empty ones agree (1).

    Webber, Moffat, Zobel: A similarity measure for indefinite rankings, TOIS 28(4), 2010,
    equation 32: with s and l the shorter and the longer length and X_d the size of the overlap
    at depth d,

        (1-p)/p * (sum_{d=1..l} X_d/d p^d + sum_{d=s+1..l} X_s (d-s)/(s d) p^d)
        + ((X_l - X_s)/l + X_s/s) p^l

    which takes what is not seen, below the end of a list, to agree as what is seen does.
    """
    shorter, longer = sorted((n_first, n_second))
    if not shorter:
        return float(not longer)
    depths = np.arange(1, longer + 1, dtype=np.float64)
    at_end = int(common[shorter])  # X_s
    agreed = common[1:] / depths
    agreed[shorter:] += at_end * (depths[shorter:] - shorter) / (shorter * depths[shorter:])
    powers = p**depths
    tail = (int(common[longer]) - at_end) / longer + at_end / shorter
    return min(1.0, float((1 - p) / p * (agreed @ powers) + tail * powers[-1]))
