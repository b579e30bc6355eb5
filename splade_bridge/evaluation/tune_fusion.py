"""Weights of a fusion, found by cross-validation: what is reported is what was held out.

The judged queries are shuffled and cut into folds. For each fold those weights (and that constant
of ``rrf``) are taken that have the best mean over the queries of all other folds, and the fold is
measured with them. So no query has a part in choosing what it is measured with. The mean of the
weights that are best on the queries themselves would flatter them, and is told nowhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.measures import cutoff, parse_measures
from splade_bridge.evaluation.qrels import Qrels
from splade_bridge.evaluation.significance import (
    Comparison,
    SignificanceOptions,
    compare_pair,
    corrected,
)
from splade_bridge.retrieval.fusion import (
    FloatArray,
    FusionOptions,
    Parts,
    Ranking,
    RunLists,
    fuse_query,
    parts_of,
)
from splade_bridge.retrieval.runs import Run

MAX_SETTINGS = 10_000
HELD_OUT, UNTUNED = "tuned, held out", "untuned"


@dataclass(frozen=True)
class TuneOptions:
    """How a fusion is tuned.

    Attributes:
        measure: one of ir_measures or trec_eval, as :func:`.evaluate.evaluate` takes it; the
            highest mean is the best.
        folds: how many parts the judged queries are cut into, 2 or more.
        seed: of the shuffling; equal seeds give equal folds for the same query ids.
        weight_steps: weights that are tried are multiples of one over this, and add up to 1.
        rank_constants: of ``rrf``, that are tried; the first is that of what is not tuned.
    """

    measure: str
    folds: int = 5
    seed: int = 0
    weight_steps: int = 10
    rank_constants: tuple[int, ...] = (60,)

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UsageError(f"--folds must be 2 or more, not {self.folds}")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more, not {self.seed}")
        if self.weight_steps < 1:
            raise UsageError(f"--weight-steps must be 1 or more, not {self.weight_steps}")
        if not self.rank_constants:
            raise UsageError("--rank-constant: at least one is needed")


@dataclass(frozen=True)
class TunedFold:
    """One part of the queries.

    Attributes:
        queries: that were held out.
        weights: that were best on all others.
        rank_constant: that was best on all others; None but for ``rrf``.
        value: mean of the held-out queries.
    """

    queries: int
    weights: tuple[float, ...]
    rank_constant: int | None
    value: float


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
        measure: that was tuned for.
        seed: of the folds.
        settings: how many were tried.
        queries: that are judged, and count in every mean.
        held_out: mean over all queries, each with what was best on the other folds.
        untuned: mean of the same fusion with equal weights and the first constant.
        alone: mean of each run alone, in their order.
        folds: in the order of their making.
        tests: the held-out values against those of each run and of the untuned fusion, corrected
            for their number.
        weights: best on all queries: for queries to come, without a figure of their own.
        rank_constant: likewise; None but for ``rrf``.
    """

    measure: str
    seed: int
    settings: int
    queries: int
    held_out: float
    untuned: float
    alone: list[float]
    folds: list[TunedFold]
    tests: list[Comparison]
    weights: tuple[float, ...]
    rank_constant: int | None


@dataclass(frozen=True)
class Tuned:
    """A tuned fusion.

    Attributes:
        result: what is told of it.
        of_query: judged query -> how it is fused: with what was found without it.
        final: how any other query is fused: with what was found on all judged ones.
    """

    result: Tuning
    of_query: dict[str, FusionOptions]
    final: FusionOptions

    def rankings(self, runs: RunLists, k: int) -> Iterator[Ranking]:
        """All queries, as :func:`splade_bridge.retrieval.fusion.fuse` has them.

        Measuring them gives the held-out figure.
        """
        for query_id in runs.query_ids:
            yield fuse_query(runs, query_id, self.of_query.get(query_id, self.final), k)


def tune(
    runs: RunLists,
    qrels: Qrels,
    options: FusionOptions,
    tuning: TuneOptions,
    k: int,
    names: Sequence[str],
    significance: SignificanceOptions = SignificanceOptions(),
    *,
    watch: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> Tuned:
    """Find weights, and the constant of ``rrf`` if several are to be tried.

    Settings that are equally good go by how even their weights are, then by the order of the
    constants. For the time of a constant all lists of the judged queries are held in memory, 9
    bytes a document and list.

    Args:
        options: what is tuned; weights that are given are kept, and only the constant is sought.
        k: size of the fused rankings.
        names: of the runs, in the tests.
        watch: wraps the settings, for a progress bar.

    Raises:
        UsageError: not one measure, more folds than judged queries, nothing to be tuned, or more
            than 10,000 settings.
        BadInputError: a run and the judgements have no query in common.
    """
    parsed = parse_measures([tuning.measure])
    if len(parsed) != 1:
        raise UsageError(f"--tune takes one measure, not {', '.join(parsed)}")
    (name, measure), query_ids = next(iter(parsed.items())), sorted(qrels)
    if len(query_ids) < tuning.folds:
        raise UsageError(f"--folds {tuning.folds}: there are {len(query_ids)} judged queries only")
    if options.fusion != "rrf" and len(tuning.rank_constants) > 1:
        raise UsageError("--rank-constant is for --fusion rrf")
    settings = settings_of(options, tuning, len(runs))

    def measured(run: Run) -> FloatArray:
        found = evaluate(qrels, run, [name]).per_query
        return np.array([found[query_id][name] for query_id in query_ids])

    alone = []
    for i, run_name in enumerate(names):
        run = runs.run(i, query_ids)
        if not any(run.values()):
            raise BadInputError(f"has results for none of {len(run):,} judged queries", run_name)
        alone.append(measured(run))
    values = np.empty((len(settings), len(query_ids)))
    held: tuple[int, dict[str, Parts]] = -1, {}
    for i, setting in enumerate(watch(settings)):
        if held[0] != setting.rank_constant:
            lists = {q: runs.lists(q, options.depth) for q in query_ids if q in runs}
            parts = {q: parts_of(found, setting) for q, found in lists.items()}
            held = setting.rank_constant, parts
        fused = (fuse_query(runs, q, setting, k, parts) for q, parts in held[1].items())
        values[i] = measured({r.query_id: _seen(r, cutoff(measure)) for r in fused})
    order = _preferred(settings, tuning)
    fold_of = _folds(len(query_ids), tuning)
    chosen = [_best(values[:, fold_of != f], order) for f in range(tuning.folds)]
    held_out = values[np.array(chosen)[fold_of], np.arange(len(query_ids))]
    final, untuned = settings[_best(values, order)], values[order[0]]
    is_rrf = options.fusion == "rrf"
    result = Tuning(
        measure=name,
        seed=tuning.seed,
        settings=len(settings),
        queries=len(query_ids),
        held_out=float(held_out.mean()),
        untuned=float(untuned.mean()),
        alone=[float(found.mean()) for found in alone],
        folds=[
            TunedFold(
                int((fold_of == f).sum()),
                settings[best].weights,
                settings[best].rank_constant if is_rrf else None,
                float(held_out[fold_of == f].mean()),
            )
            for f, best in enumerate(chosen)
        ],
        tests=_tests(
            query_ids, held_out, [*zip(names, alone, strict=True), (UNTUNED, untuned)], significance
        ),
        weights=final.weights,
        rank_constant=final.rank_constant if is_rrf else None,
    )
    of_query = {q: settings[chosen[f]] for q, f in zip(query_ids, fold_of.tolist(), strict=True)}
    return Tuned(result, of_query, final)


def settings_of(options: FusionOptions, tuning: TuneOptions, runs: int) -> list[FusionOptions]:
    """All that is tried, constant by constant.

    Raises:
        UsageError: only one thing, or too many; another number of weights than of runs.
    """
    options.weights_of(runs)
    constants, steps = list(dict.fromkeys(tuning.rank_constants)), tuning.weight_steps
    count = (1 if options.weights else math.comb(steps + runs - 1, runs - 1)) * len(constants)
    if count > MAX_SETTINGS:
        raise UsageError(
            f"--tune: {count:,} settings of {runs} runs, more than {MAX_SETTINGS:,}: take a "
            f"smaller --weight-steps than {steps}"
        )
    weights = [options.weights] if options.weights else _grid(runs, steps)
    if len(weights) * len(constants) < 2:
        raise UsageError(
            "--tune: there is nothing to choose from; leave --weight out, or give several "
            "--rank-constant"
        )
    return [replace(options, weights=w, rank_constant=c) for c in constants for w in weights]


def _grid(runs: int, steps: int) -> list[tuple[float, ...]]:
    """Weights that are multiples of 1 / ``steps`` and add up to 1, and equal ones."""
    found = [
        # How many steps each run has, from where the dividers between them stand.
        tuple((b - a - 1) / steps for a, b in itertools.pairwise((-1, *dividers, steps + runs - 1)))
        for dividers in itertools.combinations(range(steps + runs - 1), runs - 1)
    ]
    return found if steps % runs == 0 else [(1 / runs,) * runs, *found]


def _preferred(settings: Sequence[FusionOptions], tuning: TuneOptions) -> list[int]:
    """Places of the settings, the more even weights first, then by the order of the constants."""
    constants = list(tuning.rank_constants)

    def unevenness(i: int) -> tuple[float, int, tuple[float, ...]]:
        s = settings[i]
        return round(sum(w * w for w in s.weights), 9), constants.index(s.rank_constant), s.weights

    return sorted(range(len(settings)), key=unevenness)


def _best(values: FloatArray, order: Sequence[int]) -> int:
    """The setting with the best mean: float64[settings, queries]; of equal ones by ``order``."""
    # Rounded, so that means which differ by the order of additions are equal.
    means = values.mean(axis=1).round(10)[list(order)]
    return order[int(means.argmax())]


def _folds(count: int, tuning: TuneOptions) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64[count]: the fold of each query, in the order of their ids."""
    shuffled = np.random.default_rng(tuning.seed).permutation(count)
    fold_of = np.empty(count, np.int64)
    fold_of[shuffled] = np.arange(count) % tuning.folds
    return fold_of


def _seen(ranking: Ranking, depth: int | None) -> dict[str, float]:
    """What a measure with that cutoff can look at: trec_eval breaks ties, of float32, otherwise."""
    scores = ranking.scores
    if depth is not None and depth < len(scores):
        rounded = scores.astype(np.float32)
        scores = scores[rounded >= rounded[depth - 1]]
    return dict(zip(ranking.doc_ids, scores.tolist(), strict=False))


def _tests(
    query_ids: Sequence[str],
    held_out: FloatArray,
    others: Sequence[tuple[str, FloatArray]],
    options: SignificanceOptions,
) -> list[Comparison]:
    def by_query(values: FloatArray) -> Mapping[str, float]:
        return dict(zip(query_ids, values.tolist(), strict=True))

    fused = by_query(held_out)
    return corrected(
        [compare_pair(by_query(v), fused, (name, HELD_OUT), options) for name, v in others]
    )
