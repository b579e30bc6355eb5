"""Fusing runs in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from splade_bridge.errors import UsageError
from splade_bridge.evaluation.tune_fusion import TuneOptions, Tuning
from splade_bridge.evaluation.tune_fusion import tune as tune_fusion
from splade_bridge.library import given
from splade_bridge.library.keywords import Place
from splade_bridge.library.search_run import RankedRun
from splade_bridge.retrieval.choices import Fusion, Normalization
from splade_bridge.retrieval.fusion import (
    RANK_CONSTANT,
    FusedSummary,
    FusionOptions,
    Ranking,
    RunLists,
    write_fused,
)
from splade_bridge.retrieval.fusion import fuse as fuse_runs


class FusedRun(RankedRun):
    """A fused run.

    Attributes:
        summary: counts, and queries without results.
        tuning: what was found by cross-validation; None where nothing was tuned.
    """

    summary: FusedSummary
    tuning: Tuning | None


def fuse(
    runs: Iterable[Any],
    *,
    fusion: str = "rrf",
    normalization: str = "min-max",
    weight: Sequence[float] | None = None,
    rank_constant: int | Sequence[int] = RANK_CONSTANT,
    depth: int = 1000,
    k: int = 1000,
    tune: str | None = None,
    qrels: Any = None,
    split: str | None = None,
    folds: int = 5,
    seed: int = 0,
    weight_steps: int = 10,
    output: Place | None = None,
    tag: str = "splade-bridge",
    overwrite: bool = False,
) -> FusedRun:
    """Fuse runs into one, by reciprocal ranks or by sums of normalized scores.

    docs/fusion.md states the conventions: what a list lacks, one hit, equal scores, ties.

    Args:
        runs: two or more, each of any kind that :func:`evaluate` takes.
        fusion: ``rrf``, ``combsum`` (with ``weight`` a weighted sum) or ``combmnz``.
        normalization: ``min-max`` or ``z-score``, of the last two.
        weight: one a run; None is 1 for each; 0 leaves a run out.
        rank_constant: of ``rrf``; with ``tune`` several may be tried.
        depth: documents of each list that count, its best.
        k: documents a query.
        tune: a measure for which weights are found by cross-validation over the judged queries.
            Each of these is fused with what was found without it, so that measuring the result
            gives ``tuning.held_out``.
        qrels, split: judgements, as :func:`evaluate` takes them; for ``tune``.
        folds, seed: of the cross-validation.
        weight_steps: weights that are tried are multiples of one over this, and add up to 1.
        output: write a TREC run, too, whole or not at all.
        tag: last column of that.
        overwrite: replace the file ``output``.

    Returns:
        ``{query id: {document id: score}}``, documents best first, with ``summary`` and ``tuning``.

    Raises:
        BadInputError: a broken or empty run, or judgements of other queries.
        UsageError: fewer than two runs, an option out of range, ``output`` exists, or ``tune``
            without ``qrels``.
    """
    constants = (rank_constant,) if isinstance(rank_constant, int) else tuple(rank_constant)
    if not constants or (tune is None and len(constants) > 1):
        raise UsageError("rank_constant: one, or with tune several")
    if (tune is None) != (qrels is None):
        raise UsageError("tune and qrels: one needs the other")
    options = FusionOptions(
        cast("Fusion", fusion),
        cast("Normalization", normalization),
        tuple(weight or ()),
        constants[0],
        depth,
    )
    out = given.run_file(output, overwrite=overwrite)
    kept = list(runs)
    lists = RunLists(Path(r) if given.is_place(r) else given.run(r) for r in kept)
    names = [str(r) if given.is_place(r) else f"run {i}" for i, r in enumerate(kept, start=1)]
    ranked, tuning = fuse_runs(lists, options, k), None
    if tune is not None:
        how = TuneOptions(tune, folds, seed, weight_steps, constants)
        tuned = tune_fusion(lists, given.qrels(qrels, split), options, how, k, names)
        ranked, tuning = tuned.rankings(lists, k), tuned.result
    run = FusedRun()
    run.tuning = tuning

    def watch(stream: Iterable[Ranking]) -> Iterator[Ranking]:
        for ranking in stream:
            query_id, doc_ids, scores = ranking
            run[query_id] = dict(zip(doc_ids, scores.tolist(), strict=True))
            yield ranking

    run.summary = write_fused(ranked, out, tag, watch=watch)
    return run
