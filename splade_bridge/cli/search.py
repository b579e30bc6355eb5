"""``splade-bridge search``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.groups import (
    AskingFlags,
    MaybeQueryFlags,
    ModelFlags,
    QuantizeFlags,
    RunTwoStepFlags,
    ShownTextFlags,
)
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import Needs, needs, unless
from splade_bridge.cli.options import (
    CheckAgainst,
    IndexMemory,
    Json,
    NoCheck,
    Overwrite,
    RemoveQuery,
    ShownCorpus,
    Tag,
    Threads,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, progress
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.files.lines import STDIO
from splade_bridge.retrieval.choices import RunFormat

if TYPE_CHECKING:
    from splade_bridge.engines.remote.choices import Asking
    from splade_bridge.retrieval.search import Beside, SearchOptions, SearchSummary
    from splade_bridge.server.opening import ServeOptions

NAME = "search"
ADDRESS = Needs(
    "where INDEX is no address",
    "filter the run, or load the vectors into an engine that filters: docs/engines.md",
    lambda given: isinstance(given["index"], Address),
)
RUN = needs("--queries")
"""Of a run, and not of what is shown."""
HITS, SHOWN_HITS = 1000, 10


def command(
    index: Annotated[
        Place,
        typer.Argument(help="An index of ours, Anserini's impact index, or an address."),
    ],
    words: Annotated[
        str | None,
        typer.Argument(
            help="Words to search for with --model: what is found is shown, and no run written. - "
            "reads a query a line from stdin.",
            show_default=False,
        ),
    ] = None,
    asked: MaybeQueryFlags = MaybeQueryFlags(),
    output: Annotated[Path | None, output_flag("Run file; - is stdout."), WRITES, RUN] = None,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Ask for words at a prompt, and show what is found."),
        unless("--queries"),
    ] = False,
    corpus: Annotated[ShownCorpus, unless("--queries")] = None,
    texts: ShownTextFlags = ShownTextFlags(),
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            "--hits",
            min=1,
            help="Documents a query.",
            show_default=f"{HITS}, or {SHOWN_HITS} of what is shown",
        ),
    ] = None,
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
        RUN,
    ] = None,
    threads: Annotated[Threads, RUN] = 1,
    output_format: Annotated[
        RunFormat, typer.Option("--output-format", help="Of the run."), RUN
    ] = "trec",
    tag: Annotated[Tag, RUN, needs("--output-format", "trec")] = "splade-bridge",
    remove_query: Annotated[RemoveQuery, RUN] = False,
    max_passage: Annotated[
        bool,
        typer.Option(
            "--max-passage",
            help="Rank documents by their best passage: ids lose their last #number.",
        ),
        RUN,
    ] = False,
    steps: RunTwoStepFlags = RunTwoStepFlags(),
    exact_run: Annotated[
        Path | None,
        typer.Option(
            "--exact-run", metavar="RUN", help="Tell which share of this run's top was found."
        ),
        RUN,
    ] = None,
    check_against: Annotated[CheckAgainst, RUN] = None,
    ef_search: Annotated[
        int | None,
        typer.Option(
            "--ef-search",
            min=1,
            help="Of a graph of dense vectors: candidates of a query, at least -k; more find more "
            "of the exact results.",
            show_default="128, or -k if that is more",
        ),
        RUN,
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
        RUN,
    ] = None,
    asking: AskingFlags = AskingFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    memory: IndexMemory = None,
    no_check: NoCheck = False,
    overwrite: Annotated[Overwrite, RUN] = False,
    json: Json = False,
) -> None:
    """Search an index: write a run, or show what words find.

    Scores are integers, ties by document id ascending. Every query is answered; those that find
    nothing are named in a warning. Scores of a dense index are similarities, rounded to float32.
    How much an approximate engine finds of the exact results is told, of some queries.
    """
    from splade_bridge.embeddings.index import is_dense_index
    from splade_bridge.files.outputs import check_output, is_stdout
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.retrieval.search import Beside, SearchOptions, search_to_run

    limit = None if memory is None else size_in_bytes(memory)
    if asked.queries is None or words is not None:
        if (words is not None) + interactive + (asked.queries is not None) != 1:
            raise UsageError(
                "what is searched for is words, --queries with --output, or --interactive: give "
                "one of them"
            )
        if interactive and json:
            raise UsageError("--json has no effect with --interactive: leave it out")
        _read(
            index,
            None if interactive else words,
            _opening(asked, corpus, texts, replace(asking.asking, only=only), quantize, checkpoint,
                     limit),
            k or SHOWN_HITS,
            json=json,
        )  # fmt: skip
        return
    if " " in asked.queries and not Path(asked.queries).exists():
        raise UsageError(
            f"--queries {asked.queries}: names what holds queries, and there is no such thing; "
            "words are an argument of their own: search INDEX WORDS --model MODEL"
        )
    if output is None:
        raise UsageError("--queries are for a run: name its file with --output, or - for stdout")
    if json and any(is_stdout(target) for target in (output, latencies) if target is not None):
        raise UsageError(f"--json and -o {output} would both write to stdout")
    options = SearchOptions(
        k=k or HITS,
        algorithm=algorithm,
        threads=threads,
        run_format=output_format,
        tag=tag,
        remove_query=remove_query,
        max_passage=max_passage,
        **vars(steps),
        memory=limit,
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


def _opening(
    asked: MaybeQueryFlags,
    corpus: str | None,
    texts: ShownTextFlags,
    asking: Asking,
    quantize: QuantizeFlags,
    checkpoint: ModelFlags,
    memory: int | None,
) -> ServeOptions:
    """How an index is opened whose results are shown.

    Raises:
        UsageError: no model.
    """
    from splade_bridge.server.opening import ServeOptions

    if asked.model is None:
        raise UsageError("words need a model that encodes them: name it with --model")
    return ServeOptions(
        (asked.model,),
        corpus,
        texts.options(),
        max_length=asked.max_length,
        quantize=quantize.options,
        checkpoint=checkpoint.choices,
        asking=asking,
        memory=memory,
        allow_mismatch=asked.allow_mismatch,
    )


def _read(index: Place, text: str | None, opening: ServeOptions, k: int, *, json: bool) -> None:
    """Show what is found for ``text``, for each line of stdin (``-``), or at a prompt (None)."""
    from splade_bridge.cli.prompt import check_terminal, converse
    from splade_bridge.cli.reading import Paper, show_found
    from splade_bridge.retrieval.words import asked_texts
    from splade_bridge.server.opening import opened

    if text is None:
        check_terminal()
    queries = [] if text is None else asked_texts(text)
    with opened([index], opening) as served:
        if text is None:
            converse(served, k)
            return
        answers = (served.search(0, query, None, None, k, True) for query in queries)
        if json:
            print_json({"index": str(index), "found": list(answers)})
            return
        paper = Paper()
        for found in answers:
            show_found(paper, found, named=text == str(STDIO))


def _dense(
    index: Path,
    asked: MaybeQueryFlags,
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
        assert asked.queries is not None
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
