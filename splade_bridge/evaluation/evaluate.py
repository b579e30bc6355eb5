"""Measures of a run against judgements: ir_measures on top of pytrec_eval.

Ties are ordered as trec_eval does (score descending, then document id descending; the rank column
is not read), for every measure. A query with judgements but without results counts as 0, as
``trec_eval -c`` has it, unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from subprocess import CalledProcessError
from typing import Any

import numpy as np

from splade_bridge.data.choices import check_choice
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.choices import Missing
from splade_bridge.evaluation.qrels import Qrels
from splade_bridge.retrieval.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@1000", "AP")


@dataclass(frozen=True)
class Evaluation:
    """Means and values for each query.

    Attributes:
        means: measure (as it was asked for) -> mean, or sum for measures that count (num_ret).
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
        BadInputError: the run is empty, or run and judgements have no query in common.
    """
    check_choice("missing", missing, Missing)
    parsed = {name: _parse(name) for name in measures}
    if not run:
        raise BadInputError("the run is empty: no query has found anything")
    judged = [q for q in qrels if q in run]
    if not judged:
        raise BadInputError(
            f"none of the {len(run):,} queries of the run is among the {len(qrels):,} judged ones"
        )
    lacking = [q for q in qrels if q not in run]
    counted = list(qrels) if missing == "zero" else judged
    per_query = {query: dict.fromkeys(measures, 0.0) for query in counted}
    untied = {query: _without_ties(found) for query, found in run.items()}
    names: dict[Any, list[str]] = {}  # nDCG@10 and ndcg_cut_10 are one measure
    for name, measure in parsed.items():
        names.setdefault(measure, []).append(name)
    for query_id, measure, value in _values(names, qrels, untied):
        if query_id in per_query:
            per_query[query_id] |= dict.fromkeys(names[measure], value)
    means = {}
    for name, measure in parsed.items():
        total = measure.aggregator()  # a mean, but a sum where a measure counts
        for values in per_query.values():
            total.add(values[name])
        means[name] = total.result()
    return Evaluation(means, per_query, lacking, [q for q in run if q not in qrels])


CANNOT = (ValueError, AssertionError, ArithmeticError, OSError, CalledProcessError)
"""What ir_measures and the programs behind it raise."""


def _values(
    names: dict[Any, list[str]], qrels: Qrels, run: Run
) -> Iterator[tuple[str, Any, float]]:
    """Query, measure and value of all measures, for which the run is gone through once."""
    import ir_measures

    try:
        for found in ir_measures.iter_calc(list(names), qrels, run):
            yield found.query_id, found.measure, found.value
    except CANNOT as error:
        if len(names) > 1:  # ask one by one, to say which of them it is
            for measure, same in names.items():
                list(_values({measure: same}, qrels, run))
        listed = ", ".join(repr(name) for same in names.values() for name in same)
        raise UsageError(f"ir_measures cannot compute {listed} here: {error}") from error


def _without_ties(found: dict[str, float]) -> dict[str, float]:
    # The tools behind ir_measures order ties each in its own way: scores that fall by 1 leave
    # them no choice. trec_eval holds scores as float32, which makes ties too.
    by_id = sorted(found.items(), key=lambda item: item[0], reverse=True)
    by_score = sorted(by_id, key=lambda item: np.float32(item[1]), reverse=True)  # stable
    return {doc_id: float(len(found) - i) for i, (doc_id, _) in enumerate(by_score)}


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
