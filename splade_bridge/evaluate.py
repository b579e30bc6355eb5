"""Measures of a run against judgements: ir_measures on top of pytrec_eval.

Ties are ordered as trec_eval does (score descending, then document id descending; the rank column
is not read), for every measure. A query with judgements but without results counts as 0, as
``trec_eval -c`` has it, unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.qrels import Qrels
from splade_bridge.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@1000", "AP")

Missing = Literal["zero", "skip"]


@dataclass(frozen=True)
class Evaluation:
    """Means and values for each query.

    Attributes:
        means: measure (as it was asked for) -> mean.
        per_query: query id -> measure -> value.
        missing: judged queries without results.
        unjudged: queries of the run without judgements; they do not count.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    missing: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)


def evaluate(
    qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES, *, missing: Missing = "zero"
) -> Evaluation:
    """Evaluate ``run``.

    Args:
        measures: names of ir_measures (``nDCG@10``, ``RR@10``, ``R(rel=2)@1000``) or of trec_eval
            (``ndcg_cut_10``, ``recip_rank``, ``map``).
        missing: what a judged query without results counts as; ``skip`` leaves it out of the
            means, as trec_eval without -c does.

    Raises:
        UsageError: a measure is unknown.
        BadInputError: run and judgements have no query in common.
    """
    parsed = {name: _parse(name) for name in measures}
    judged = [q for q in qrels if q in run]
    if not judged:
        raise BadInputError(
            f"none of the {len(run):,} queries of the run is among the {len(qrels):,} judged ones"
        )
    lacking = [q for q in qrels if q not in run]
    counted = list(qrels) if missing == "zero" else judged
    per_query = {query: dict.fromkeys(measures, 0.0) for query in counted}
    for name, measure in parsed.items():
        for query_id, value in _values(measure, qrels, run):
            if query_id in per_query:
                per_query[query_id][name] = value
    means = {n: sum(v[n] for v in per_query.values()) / len(per_query) for n in measures}
    return Evaluation(means, per_query, lacking, [q for q in run if q not in qrels])


def _values(measure: Any, qrels: Qrels, run: Run) -> list[tuple[str, float]]:
    import ir_measures

    if measure.NAME == "RR" and "cutoff" in measure.params:
        # ir_measures takes RR@k from another tool, which orders ties the other way; trec_eval's
        # own is recip_rank on a run cut to k (-M k).
        parameters = {k: v for k, v in measure.params.items() if k != "cutoff"}
        run = {q: _cut(found, measure["cutoff"]) for q, found in run.items()}
        measure = ir_measures.RR(**parameters) if parameters else ir_measures.RR
    return [(m.query_id, m.value) for m in ir_measures.iter_calc([measure], qrels, run)]


def _cut(found: dict[str, float], k: int) -> dict[str, float]:
    # Stable sorts: document id descending, then score descending.
    by_id = sorted(found.items(), key=lambda item: item[0], reverse=True)
    return dict(sorted(by_id, key=lambda item: item[1], reverse=True)[:k])


def _parse(name: str) -> Any:
    import ir_measures

    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError, TypeError):
        pass
    try:
        found = ir_measures.parse_trec_measure(name)
    except (NameError, ValueError, KeyError):
        found = []
    if len(found) != 1:
        raise UsageError(
            f"no measure {name!r}; known are ir_measures' names (nDCG@10, RR@10, R@1000, AP, P@10, "
            "Judged@10, R(rel=2)@1000) and trec_eval's (ndcg_cut_10, recip_rank, recall_1000, map)"
        )
    return found[0]
