"""``splade-bridge search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import (
    Clip,
    Json,
    MaxLength,
    Model,
    Overwrite,
    QueriesOption,
    RoundingOption,
    Scale,
    Threads,
    load_queries,
    note,
    print_json,
    progress,
    quantize_options,
)

NAME = "search"


def command(
    index: Annotated[Path, typer.Argument(help="An index of ours, or Anserini's impact index.")],
    queries: QueriesOption,
    out: Annotated[Path, typer.Option("--output", "-o", help="Run file; - is stdout.")],
    model: Model = None,
    max_length: MaxLength = 256,
    k: Annotated[int, typer.Option("-k", "--hits", min=1, help="Documents a query.")] = 1000,
    algorithm: Annotated[
        str | None,
        typer.Option(
            "--algorithm",
            help="pisa: block_max_wand (default), block_max_maxscore, maxscore, wand, ranked_or. "
            "lucene: exhaustive (default), block_max_maxscore. All are exact.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = 1,
    output_format: Annotated[
        str, typer.Option("--output-format", help="trec or msmarco.")
    ] = "trec",
    tag: Annotated[str, typer.Option("--tag", help="Last column of a TREC run.")] = "splade-bridge",
    remove_query: Annotated[
        bool,
        typer.Option("--remove-query", help="Leave out the document whose id is the query's."),
    ] = False,
    max_passage: Annotated[
        bool,
        typer.Option(
            "--max-passage",
            help="Rank documents by their best passage: ids lose their last #number.",
        ),
    ] = False,
    latencies: Annotated[
        Path | None,
        typer.Option("--latencies", help="Write query id and milliseconds as TSV."),
    ] = None,
    scale: Scale = None,
    rounding: RoundingOption = "nearest",
    clip: Clip = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search an index and write a run: integer scores, ties by document id ascending.

    Every query is answered; those that find nothing are named in a warning.
    """
    from splade_bridge.errors import UsageError
    from splade_bridge.files import STDIO, refuse_existing
    from splade_bridge.search import SearchOptions, search_to_run

    if output_format not in ("trec", "msmarco"):
        raise UsageError(f"--output-format is trec or msmarco, not {output_format!r}")
    if len(tag.split()) != 1:
        raise UsageError("--tag must be one word")
    if json and out == STDIO:
        raise UsageError("--json and -o - would both write to stdout")
    for target in (out, latencies):
        if target is not None:
            refuse_existing(target, overwrite=overwrite)
    options = SearchOptions(
        k=k,
        algorithm=algorithm,
        threads=threads,
        run_format="trec" if output_format == "trec" else "msmarco",
        tag=tag,
        remove_query=remove_query,
        max_passage=max_passage,
    )
    loaded = load_queries(queries, model, quantize_options(scale, rounding, clip), max_length)
    summary = search_to_run(
        index,
        loaded,
        out,
        options,
        latencies=latencies,
        watch=lambda hits: progress(hits, "searching", len(loaded.batch)),
    )
    if json:
        print_json(summary)
        return
    note(
        f"{out}: {summary.queries:,} queries, {summary.results:,} results; "
        f"{summary.mean_ms:.2f} ms a query on average"
    )
