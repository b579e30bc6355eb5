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
            "lucene: exhaustive (default), block_max_maxscore. auto: the fastest, measured once "
            "and remembered in the index. All are exact.",
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
    two_step: Annotated[
        Path | None,
        typer.Option(
            "--two-step",
            metavar="FORWARD",
            help="Score what INDEX (pruned) finds from these full vectors (export --format "
            "forward).",
        ),
    ] = None,
    first_query_terms: Annotated[
        int | None,
        typer.Option(
            "--first-query-terms",
            min=1,
            help="With --two-step: query terms, the heaviest, that INDEX is searched with.",
            show_default="all",
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            "--candidates",
            min=1,
            help="With --two-step: documents a query to be scored, at least -k.",
            show_default="1000, or -k if that is more",
        ),
    ] = None,
    exact_run: Annotated[
        Path | None,
        typer.Option(
            "--exact-run", metavar="RUN", help="Tell which share of this run's top was found."
        ),
    ] = None,
    check_against: Annotated[
        Path | None,
        typer.Option(
            "--check-against",
            metavar="INDEX",
            help="The same, but search this index (of the full vectors) to compare with.",
        ),
    ] = None,
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
    from splade_bridge.outputs import check_output
    from splade_bridge.reading.lines import STDIO
    from splade_bridge.retrieval.search import SearchOptions, search_to_run
    from splade_bridge.retrieval.two_step import DEFAULT_CANDIDATES

    if output_format not in ("trec", "msmarco"):
        raise UsageError(f"--output-format is trec or msmarco, not {output_format!r}")
    if len(tag.split()) != 1:
        raise UsageError("--tag must be one word")
    if json and out == STDIO:
        raise UsageError("--json and -o - would both write to stdout")
    for target in (out, latencies):
        if target is not None:
            check_output(target, overwrite=overwrite, kind="file")
    if two_step is None and (first_query_terms is not None or candidates is not None):
        raise UsageError("--first-query-terms and --candidates need --two-step FORWARD")
    if exact_run is not None and check_against is not None:
        raise UsageError("--exact-run and --check-against: one of them")
    options = SearchOptions(
        k=k,
        algorithm=algorithm,
        threads=threads,
        run_format="trec" if output_format == "trec" else "msmarco",
        tag=tag,
        remove_query=remove_query,
        max_passage=max_passage,
        two_step=two_step,
        first_query_terms=first_query_terms,
        candidates=max(DEFAULT_CANDIDATES, k) if candidates is None else candidates,
    )
    loaded = load_queries(queries, model, quantize_options(scale, rounding, clip), max_length)
    summary = search_to_run(
        index,
        loaded,
        out,
        options,
        latencies=latencies,
        exact_run=exact_run,
        check_against=check_against,
        watch=lambda hits: progress(hits, "searching", len(loaded.batch)),
    )
    if json:
        print_json(summary)
        return
    note(
        f"{out}: {summary.queries:,} queries, {summary.results:,} results; "
        f"{summary.mean_ms:.2f} ms a query on average with {summary.algorithm}"
    )
    if summary.kept:
        told = (f"{share:.2%} of the top {cut}" for cut, share in summary.kept.share.items())
        note(f"of the exact results of {summary.kept.queries:,} queries: {', '.join(told)}")
