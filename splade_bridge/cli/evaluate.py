"""``splade-bridge evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import Json, Split, measures_flag
from splade_bridge.cli.telling import note, print_json, say
from splade_bridge.evaluation.choices import Missing

NAME = "evaluate"


def command(
    qrels: Annotated[
        Path,
        typer.Argument(
            help="Judgements: a TREC, BEIR or JSON file, a BEIR folder, an ir_datasets id."
        ),
    ],
    run: Annotated[
        Path, typer.Argument(help="Run: TREC, MS MARCO, qid docid score, JSON; - is stdin.")
    ],
    measures: Annotated[list[str] | None, measures_flag("nDCG@10 RR@10 R@1000 AP")] = None,
    split: Split = None,
    per_query: Annotated[
        bool, typer.Option("--per-query", help="Each query's values too.")
    ] = False,
    old_measures: Annotated[
        list[str] | None, typer.Option("-m", hidden=True, help="As -M, which it was before.")
    ] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            "--missing", help="A judged query without results counts as 0 (trec_eval -c) or not."
        ),
    ] = "zero",
    json: Json = False,
) -> None:
    """Measure a run against judgements. Ties are broken as trec_eval does."""
    from splade_bridge.errors import BadInputError
    from splade_bridge.evaluation.evaluate import DEFAULT_MEASURES
    from splade_bridge.evaluation.evaluate import evaluate as evaluate_run
    from splade_bridge.evaluation.qrels import read_qrels
    from splade_bridge.retrieval.runs import read_run

    if old_measures:
        note("note: -m is a model in all other commands; measures are -M, as -M nDCG@10")
    wanted = [*(measures or ()), *(old_measures or ())] or DEFAULT_MEASURES
    judgements, found = read_qrels(qrels, split=split), read_run(run)
    try:
        result = evaluate_run(judgements, found, wanted, missing=missing)
    except BadInputError as error:
        raise BadInputError(str(error), f"{run} by {qrels}") from error
    result.warn_beyond(str(run))
    if json:
        summary = {
            "measures": result.means,
            "queries": len(result.per_query),
            "missing": result.missing,
            "unjudged": result.unjudged,
            "depth": result.depth,
            "beyond_depth": result.beyond,
        }
        print_json(summary | ({"per_query": result.per_query} if per_query else {}))
        return
    width = max(16, *(len(name) + 1 for name in result.means))
    if per_query:
        for query_id, values in result.per_query.items():
            for name, value in values.items():
                say(f"{name:<{width}}{query_id}\t{value:.4f}")
    for name, value in result.means.items():
        say(f"{name:<{width}}all\t{value:.4f}")
    if result.missing:
        rule = "counted as 0" if missing == "zero" else "left out"
        note(
            f"{len(result.missing)} judged queries have no results and were {rule}: "
            f"{', '.join(result.missing[:10])}{' ...' if len(result.missing) > 10 else ''}"
        )
    if result.unjudged:
        note(f"{len(result.unjudged)} queries of the run have no judgements and do not count")
