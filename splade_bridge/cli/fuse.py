"""``splade-bridge fuse``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import needs, unless
from splade_bridge.cli.options import Hits, Json, Overwrite, Split, Tag, output_flag
from splade_bridge.cli.telling import note, print_json, progress
from splade_bridge.errors import UsageError
from splade_bridge.retrieval.choices import FusingEngine, Fusion, Normalization

if TYPE_CHECKING:
    from splade_bridge.evaluation.tune_fusion import Tuning

NAME = "fuse"


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Two or more: TREC, MS MARCO, qid docid score, JSON; one may be -, stdin.",
        ),
    ],
    output: Annotated[
        Path, output_flag("Run file; - is stdout. With --as-query the request, as JSON."), WRITES
    ],
    fusion: Annotated[
        Fusion,
        typer.Option(
            "--fusion",
            help="rrf: sum of weight / (constant + rank), ranks from 1. combsum: sum of weight x "
            "normalized score. combmnz: that, times the number of runs that hold the document.",
        ),
    ] = "rrf",
    normalization: Annotated[
        Normalization,
        typer.Option(
            "--normalization",
            help="Of a list's scores. min-max: lowest 0, highest 1, equal ones 1. z-score: mean 0, "
            "standard deviation 1, equal ones 0. What a list lacks has its lowest: 0 by min-max.",
        ),
        needs("--fusion", "combsum", "combmnz"),
    ] = "min-max",
    weights: Annotated[
        list[float] | None,
        typer.Option(
            "--weight",
            help="Of a run: one for each, in their order; 0 leaves it out; repeatable.",
            show_default="1 each",
        ),
    ] = None,
    rank_constants: Annotated[
        list[int] | None,
        typer.Option(
            "--rank-constant",
            help="Of rrf; with --tune several may be tried; repeatable.",
            show_default="60",
        ),
        needs("--fusion", "rrf"),
    ] = None,
    depth: Annotated[
        int,
        typer.Option("--depth", min=1, help="Documents of each list that count, its best."),
    ] = 1000,
    k: Hits = 1000,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune",
            metavar="MEASURE",
            help="Find weights by cross-validation over the judged queries, as for nDCG@10; each "
            "is fused with what was found without it, and that is the figure that is told.",
            show_default=False,
        ),
        needs("--qrels"),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="Judgements, for --tune.", show_default=False),
        needs("--tune"),
    ] = None,
    split: Annotated[Split, needs("--qrels")] = None,
    folds: Annotated[
        int,
        typer.Option("--folds", min=2, help="Parts that the judged queries are cut into."),
        needs("--tune"),
    ] = 5,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Of the folds."),
        needs("--tune"),
    ] = 0,
    weight_steps: Annotated[
        int,
        typer.Option(
            "--weight-steps",
            min=1,
            help="Weights that are tried are multiples of one over this, and add up to 1.",
        ),
        needs("--tune"),
        unless("--weight", name="weights"),
    ] = 10,
    as_query: Annotated[
        FusingEngine | None,
        typer.Option(
            "--as-query",
            help="Write the request by which an engine fuses itself, and no run.",
            show_default=False,
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--query-field",
            metavar="KIND:NAME",
            help="What a run stands for in the engine: text, sparse or dense, and a field, as "
            "sparse:splade; one for each run, in their order; repeatable.",
            show_default=False,
        ),
        needs("--as-query"),
    ] = None,
    tag: Annotated[Tag, unless("--as-query")] = "splade-bridge",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fuse runs into one. By reciprocal ranks, or sums of normalized scores.

    A list is ordered by its scores, equal ones by document id ascending; so is the run that is
    written, which has every query of any run. Scores are doubles; fused ones are rounded to 13
    digits. A run is held in 12 bytes a line, and each document's id once: docs/fusion.md.
    """
    import orjson

    from splade_bridge.evaluation.qrels import read_qrels
    from splade_bridge.evaluation.tune_fusion import TuneOptions
    from splade_bridge.evaluation.tune_fusion import tune as tune_fusion
    from splade_bridge.files.outputs import check_output, is_stdout
    from splade_bridge.files.writing import atomic_writer
    from splade_bridge.retrieval.fused_queries import Field, request
    from splade_bridge.retrieval.fusion import (
        RANK_CONSTANT,
        FusionOptions,
        RunLists,
        fuse,
        write_fused,
    )
    from splade_bridge.retrieval.runs import check_tag

    if json and is_stdout(output):
        raise UsageError(f"--json and -o {output} would both write to stdout")
    constants = tuple(rank_constants or (RANK_CONSTANT,))
    if tune is None and len(constants) > 1:
        raise UsageError("--rank-constant: several are for --tune; give one")
    options = FusionOptions(fusion, normalization, tuple(weights or ()), constants[0], depth)
    options.weights_of(len(runs))
    check_tag(tag)
    searched = [Field.parse(field) for field in fields or ()]
    if as_query and len(searched) != len(runs):
        raise UsageError(
            f"--as-query {as_query} needs --query-field KIND:NAME for each of the {len(runs)} "
            f"runs, not {len(searched)}"
        )
    check_output(output, overwrite=overwrite, kind="file")
    lists, names = RunLists(runs), list(map(str, runs))
    tuned = None
    if tune is not None and qrels is not None:
        tuning = TuneOptions(tune, folds, seed, weight_steps, constants)
        judged = read_qrels(qrels, split=split)
        watch = partial(progress, what="tuning")
        tuned = tune_fusion(lists, judged, options, tuning, k, names, watch=watch)
    used = tuned.final if tuned else options
    told: list[str] = []
    counts: dict[str, Any] = {"queries": None, "results": None, "without_results": []}
    if as_query:
        body, told = request(as_query, used, searched, k)
        with atomic_writer(output) as out:
            out.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        ranked = tuned.rankings(lists, k) if tuned else fuse(lists, options, k)
        bar = partial(progress, what="fusing", total=len(lists.query_ids))
        counts = asdict(write_fused(ranked, output, tag, watch=bar))
    if json:
        content = {
            "output": str(output),
            "runs": names,
            "fusion": fusion,
            "normalization": None if fusion == "rrf" else normalization,
            "weights": used.weights_of(len(runs)),
            "rank_constant": used.rank_constant if fusion == "rrf" else None,
            "depth": depth,
            "tuning": tuned.result if tuned else None,
        }
        print_json(content | counts | {"told": told})
        return
    for sentence in told:
        note(f"note: {sentence}")
    if tuned:
        _show(tuned.result, names)
    what = f"the request of {as_query}" if as_query else f"{counts['results']:,} results"
    asked = "" if as_query else f"{counts['queries']:,} queries, "
    how = "tuned" if tuned and not as_query else used.sentence(names)
    note(f"{output}: {asked}{what}; {how}")


def _show(found: Tuning, names: list[str]) -> None:
    """What tuning has found, the held-out figure first."""
    note(
        f"{found.measure} {found.held_out:.4f}, held out: {found.queries:,} judged queries in "
        f"{len(found.folds)} folds (seed {found.seed}), each fold fused with what was best on the "
        f"others, of {found.settings:,} settings"
    )
    note(f"untuned {found.untuned:.4f}")
    for name, value in zip(names, found.alone, strict=True):
        note(f"{name} alone {value:.4f}")
    for fold in found.folds:
        note(f"fold of {fold.queries:,}: {_setting(fold.weights, fold.rank_constant)}")
    for test in found.tests:
        note(test.sentence(found.measure))
    last = _setting(found.weights, found.rank_constant)
    note(f"for queries to come (found on all judged ones, so without a figure): {last}")


def _setting(weights: tuple[float, ...], rank_constant: int | None) -> str:
    told = " ".join(f"--weight {weight:.4g}" for weight in weights)
    return told if rank_constant is None else f"{told} --rank-constant {rank_constant}"
