"""Measures of a run against judgements: ir_measures on top of pytrec_eval.

Ties are ordered as trec_eval does (score descending, then document id descending; the rank column
is not read), for every measure. A query with judgements but without results counts as 0, as
``trec_eval -c`` has it, unless asked otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splade_bridge.data.choices import check_choice
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.choices import Missing
from splade_bridge.evaluation.measures import cutoff, groups, highest_grade, parse_measures
from splade_bridge.evaluation.qrels import Qrels
from splade_bridge.retrieval.runs import Run

log = logging.getLogger(__name__)

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@1000", "AP")


@dataclass(frozen=True)
class Evaluation:
    """Means and values for each query.

    Attributes:
        means: measure (as it was asked for) -> mean, or sum for measures that count (num_ret).
        per_query: query id -> measure -> value.
        missing: judged queries without results.
        unjudged: queries of the run without judgements; they do not count.
        depth: the most documents that a judged query has in the run.
        beyond: measures that look deeper than that, as R@1000 of a run of 100 a query.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    missing: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    depth: int = 0
    beyond: list[str] = field(default_factory=list)

    def warn_beyond(self, place: str) -> None:
        """Say in the log that measures look deeper than the run of ``place`` goes."""
        if self.beyond:
            log.warning(
                "%s holds at most %d documents a query: %s cannot count what a deeper run "
                "would have found",
                place, self.depth, ", ".join(self.beyond),
            )  # fmt: skip


def evaluate(
    qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES, *, missing: Missing = "zero"
) -> Evaluation:
    """Evaluate ``run``.

    Args:
        measures: names of ir_measures (``nDCG@10``, ``RR@10``, ``R(rel=2)@1000``) or of trec_eval
            (``ndcg_cut_10``, ``recip_rank``, ``map``); one string may hold several.
        missing: what a judged query without results counts as; ``skip`` leaves it out of the
            means, as trec_eval without -c does.

    Raises:
        UsageError: a measure is unknown, or a parameter of it out of range.
        MissingToolError: what computes a measure is not installed.
        BadInputError: the run is empty, run and judgements have no query in common, or a grade is
            beyond those that a measure is defined for.
    """
    check_choice("missing", missing, Missing)
    parsed = parse_measures(measures)
    _check_grades(parsed, qrels)
    answered = {query: found for query, found in run.items() if found}
    if not answered:
        raise BadInputError("the run is empty: no query has found anything")
    judged = [q for q in qrels if q in answered]
    if not judged:
        raise BadInputError(
            f"none of the {len(run):,} queries of the run is among the {len(qrels):,} judged ones"
        )
    lacking = [q for q in qrels if q not in answered]
    per_query = {query: dict.fromkeys(parsed, 0.0) for query in qrels}
    names: dict[Any, list[str]] = {}  # nDCG@10 and ndcg_cut_10 are one measure
    for name, measure in parsed.items():
        names.setdefault(measure, []).append(name)
    for query_id, measure, value in _values(names, qrels, answered):
        per_query[query_id] |= dict.fromkeys(names[measure], value)
    for query_id in lacking:
        for measure, same in names.items():
            if measure.NAME in COUNTED:
                per_query[query_id] |= dict.fromkeys(
                    same, COUNTED[measure.NAME](measure, qrels[query_id])
                )
    if missing == "skip":
        per_query = {query: per_query[query] for query in judged}
    means = {}
    for name, measure in parsed.items():
        total = measure.aggregator()  # a mean, but a sum where a measure counts
        for values in per_query.values():
            total.add(values[name])
        means[name] = total.result()
    depth = max(len(answered[q]) for q in judged)
    beyond = [name for name, measure in parsed.items() if (cutoff(measure) or 0) > depth]
    unjudged = [q for q in run if q not in qrels]
    return Evaluation(means, per_query, lacking, unjudged, depth, beyond)


def _check_grades(parsed: Mapping[str, Any], qrels: Qrels) -> None:
    """Refuse grades beyond those that a measure is defined for.

    Raises:
        BadInputError: one is.
    """
    for name, measure in parsed.items():
        most = highest_grade(measure)
        for query_id, judged in qrels.items():
            for doc_id, grade in judged.items():
                if grade > most:
                    raise BadInputError(
                        f"{name} is defined for grades up to {most:,}, and document {doc_id} has "
                        f"{grade} for query {query_id}"
                    )


COUNTED: dict[str, Callable[[Any, Mapping[str, int]], float]] = {
    "NumQ": lambda measure, judged: 1.0,
    "NumRel": lambda measure, judged: float(sum(g >= measure["rel"] for g in judged.values())),
}
"""What is counted of a judged query without results, too, as ``trec_eval -c`` does."""


def _values(
    names: Mapping[Any, Sequence[str]], qrels: Qrels, run: Run
) -> Iterator[tuple[str, Any, float]]:
    """Query, measure and value of all measures.

    The programs behind ir_measures see numbers instead of ids: some take the topic 3 out of
    MED-3, some end at a NUL, some divide columns at what another calls a letter.
    """
    query_ids = list(qrels)
    judgements, ranking = _numbered(qrels, run)
    for together in groups(names):
        for metric in _computed(together, names, judgements, ranking):
            value = metric.value
            if math.isnan(value):
                # trec_eval's interpolated precision of a query whose documents are all left out.
                value = metric.measure.DEFAULT
            yield query_ids[int(metric.query_id) - 1], metric.measure, value


def _computed(
    together: list[Any], names: Mapping[Any, Sequence[str]], judgements: Qrels, ranking: Run
) -> list[Any]:
    """What ir_measures says, for which the run is gone through once.

    Raises:
        UsageError: a measure cannot be computed; it is the one that the message names.
    """
    import ir_measures

    try:
        return list(ir_measures.iter_calc(together, judgements, ranking))
    except Exception as error:  # whatever a provider, or a program behind it, ends with
        if len(together) > 1:  # ask one by one, to say which of them it is
            return [v for m in together for v in _computed([m], names, judgements, ranking)]
        listed = ", ".join(map(repr, names[together[0]]))
        raise UsageError(
            f"ir_measures cannot compute {listed} here ({type(error).__name__}: {error})"
        ) from error


def _numbered(qrels: Qrels, run: Run) -> tuple[Qrels, Run]:
    """Judgements and the ranking of the judged queries, ids as numbers from 1, without ties.

    The numbers of documents compare as their ids do. The tools behind ir_measures order ties each
    in its own way: scores that fall by 1 leave them no choice. trec_eval holds scores as float32,
    which makes ties too.
    """
    judgements: Qrels = {}
    ranking: Run = {}
    sizes = [len(judged.keys() | run.get(q, {}).keys()) for q, judged in qrels.items()]
    width = len(str(max(sizes)))
    numbers = [f"{i:0{width}}" for i in range(1, max(sizes) + 1)]  # held once for all queries
    for place, (query_id, judged) in enumerate(qrels.items(), start=1):
        found = run.get(query_id, {})
        ids = sorted(judged.keys() | found.keys())  # by code point, as UTF-8 has it
        number = dict(zip(ids, numbers, strict=False))
        # Every grade below 0 says the same, and pytrec_eval writes beside its memory at -2.
        judgements[str(place)] = {number[d]: max(grade, -1) for d, grade in judged.items()}
        if found:
            by_id = [doc_id for doc_id in reversed(ids) if doc_id in found]
            with np.errstate(over="ignore"):  # beyond float32 all tie, as in trec_eval
                ranked = sorted(by_id, key=lambda d: np.float32(found[d]), reverse=True)  # stable
            ranking[str(place)] = {
                number[doc_id]: float(len(ranked) - i) for i, doc_id in enumerate(ranked)
            }
    return judgements, ranking
