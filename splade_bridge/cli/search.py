"""``splade-bridge search``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.groups import (
    AskingFlags,
    ModelFlags,
    QuantizeFlags,
    QueryFlags,
    TwoStepFlags,
)
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import Needs, needs
from splade_bridge.cli.options import (
    CheckAgainst,
    Hits,
    IndexMemory,
    Json,
    NoCheck,
    Overwrite,
    RemoveQuery,
    Tag,
    Threads,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, progress
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.retrieval.choices import RunFormat

if TYPE_CHECKING:
    from splade_bridge.retrieval.search import Beside, SearchOptions, SearchSummary

NAME = "search"
ADDRESS = Needs(
    "where INDEX is no address",
    "filter the run, or load the vectors into an engine that filters: docs/engines.md",
    lambda given: isinstance(given["index"], Address),
)


def command(
    index: Annotated[
        Place,
        typer.Argument(help="An index of ours, Anserini's impact index, or an address."),
    ],
    asked: QueryFlags,
    output: Annotated[Path, output_flag("Run file; - is stdout."), WRITES],
    k: Hits = 1000,
    algorithm: Annotated[
        str | None,
        typer.Option(
            "--algorithm",
            help="pisa: block_max_wand (default), block_max_maxscore, maxscore, wand, ranked_or. "
            "impact-index: maxscore (default), wand. lucene: block_max_maxscore (default, in "
            "Lucene 9 up to -k 100), exhaustive. auto: the fastest, measured once and remembered "
            "in the index. All are exact.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = 1,
    output_format: Annotated[
        RunFormat, typer.Option("--output-format", help="Of the run.")
    ] = "trec",
    tag: Annotated[Tag, needs("--output-format", "trec")] = "splade-bridge",
    remove_query: RemoveQuery = False,
    max_passage: Annotated[
        bool,
        typer.Option(
            "--max-passage",
            help="Rank documents by their best passage: ids lose their last #number.",
        ),
    ] = False,
    steps: TwoStepFlags = TwoStepFlags(),
    exact_run: Annotated[
        Path | None,
        typer.Option(
            "--exact-run", metavar="RUN", help="Tell which share of this run's top was found."
        ),
    ] = None,
    check_against: CheckAgainst = None,
    ef_search: Annotated[
        int | None,
        typer.Option(
            "--ef-search",
            min=1,
            help="Of a graph of dense vectors: candidates of a query, at least -k; more find more "
            "of the exact results.",
            show_default="128, or -k if that is more",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="Find no other documents than these, as the engine of the address filters: JSON "
            "of a query (Elasticsearch, OpenSearch) or a filter (Qdrant), an expression (Milvus), "
            "a condition in SQL (PostgreSQL).",
            show_default=False,
        ),
        ADDRESS,
    ] = None,
    latencies: Annotated[
        Path | None,
        typer.Option("--latencies", help="Write query id and milliseconds as TSV."),
        WRITES,
    ] = None,
    asking: AskingFlags = AskingFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    memory: IndexMemory = None,
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search an index and write a run. Scores are integers, ties by document id ascending.

    Every query is answered; those that find nothing are named in a warning. Scores of a dense index
    are similarities, rounded to float32. How much an approximate engine finds of the exact results
    is told, of some queries.
    """
    from splade_bridge.embeddings.index import is_dense_index
    from splade_bridge.files.outputs import check_output, is_stdout
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.retrieval.search import Beside, SearchOptions, search_to_run

    if json and any(is_stdout(target) for target in (output, latencies) if target is not None):
        raise UsageError(f"--json and -o {output} would both write to stdout")
    options = SearchOptions(
        k=k,
        algorithm=algorithm,
        threads=threads,
        run_format=output_format,
        tag=tag,
        remove_query=remove_query,
        max_passage=max_passage,
        **vars(steps),
        memory=None if memory is None else size_in_bytes(memory),
        ef_search=ef_search,
        asking=replace(asking.asking, only=only),
    )
    beside = Beside(latencies, exact_run, check_against, recall=True)
    for target in (output, latencies):
        if target is not None:
            check_output(target, overwrite=overwrite, kind="file")
    if isinstance(index, Path) and is_dense_index(index):
        summary = _dense(index, asked, checkpoint, quantize, output, options, beside)
    else:
        loaded = asked.load(quantize, checkpoint)
        beside = _watched(beside, len(loaded.batch))
        summary = search_to_run(index, loaded, output, options, beside)
    if json:
        print_json({"output": str(output), **asdict(summary)})
        return
    note(
        f"{output}: {summary.queries:,} queries, {summary.results:,} results; "
        f"{summary.mean_ms:.2f} ms a query on average with {summary.algorithm}"
    )
    if summary.kept:
        told = (f"{share:.2%} of the top {cut}" for cut, share in summary.kept.share.items())
        note(f"of the exact results of {summary.kept.queries:,} queries: {', '.join(told)}")


def _dense(
    index: Path,
    asked: QueryFlags,
    checkpoint: ModelFlags,
    quantize: QuantizeFlags,
    output: Path,
    options: SearchOptions,
    beside: Beside,
) -> SearchSummary:
    """The same in an index of dense vectors."""
    from splade_bridge.embeddings.index import DenseIndex
    from splade_bridge.retrieval.dense_queries import load_dense_queries
    from splade_bridge.retrieval.dense_search import refuse_options, search_dense_to_run

    refuse_options(index, options)
    if quantize.options is not None or asked.pre_encoded:
        raise UsageError(
            f"{index}: is an index of dense vectors; --scale, --rounding, --clip and --pre-encoded "
            "are of queries of terms: leave them out"
        )
    with DenseIndex(index) as opened:
        queries = load_dense_queries(
            asked.queries,
            opened,
            asked.model,
            asked.max_length,
            checkpoint=checkpoint.choices,
            split=asked.split,
            allow_mismatch=asked.allow_mismatch,
        )
        beside = _watched(beside, len(queries.batch))
        return search_dense_to_run(opened, queries, output, options, beside)


def _watched(beside: Beside, queries: int) -> Beside:
    return replace(beside, watch=lambda hits: progress(hits, "searching", queries))
