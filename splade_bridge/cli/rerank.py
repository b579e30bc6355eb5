"""``splade-bridge rerank``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import PairFlags, TextFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import needs, unless
from splade_bridge.cli.options import (
    QUERIES,
    Hits,
    Json,
    Overwrite,
    Split,
    Tag,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.encoding.choices import FloatType, ScorerKind
from splade_bridge.errors import UsageError
from splade_bridge.retrieval.choices import RunFormat

NAME = "rerank"


def command(
    run: Annotated[Path, typer.Argument(help="Run: TREC, MS MARCO, qid docid score, JSON.")],
    output: Annotated[Path, output_flag("Run file; - is stdout."), WRITES],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="What scores: a folder or a hub name.",
            show_default=False,
        ),
        READS,
    ],
    corpus: Annotated[
        str,
        typer.Option(
            "--corpus",
            help="Texts of the documents, as for encode.",
            show_default=False,
        ),
        READS,
    ],
    queries: Annotated[
        str,
        typer.Option(
            "--queries",
            "-q",
            metavar=QUERIES,
            help="Texts of the queries, as for encode --side query.",
            show_default=False,
        ),
        READS,
    ],
    depth: Annotated[
        int,
        typer.Option("--depth", min=1, help="Documents of a query that are scored anew, its best."),
    ] = 100,
    k: Hits = 1000,
    scorer: Annotated[
        ScorerKind,
        typer.Option(
            "--scorer",
            help="cross-encoder: the logit of query and document, read together. dense, sparse: "
            "the similarity of the vectors of both.",
        ),
    ] = "cross-encoder",
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", min=1, help="Pairs, or texts, at once."),
        unless("--scorer", "sparse"),
    ] = 64,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length",
            min=1,
            help="Tokens that are read: of query and document together by a cross-encoder, of a "
            "text by others.",
            show_default="the model's own limit; 256 of sparse",
        ),
    ] = None,
    dtype: Annotated[FloatType, typer.Option("--dtype", help="Of the model's weights.")] = (
        "float32"
    ),
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda, cuda:1.", show_default="a GPU if there is one"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads to use.", show_default="all cores"),
    ] = None,
    part_queries: Annotated[
        int,
        typer.Option(
            "--part-queries", min=1, help="Queries that are scored together: what a kill loses."
        ),
    ] = 16,
    output_format: Annotated[
        RunFormat, typer.Option("--output-format", help="Of the run.")
    ] = "trec",
    tag: Annotated[Tag, needs("--output-format", "trec")] = "splade-bridge",
    checkpoint: PairFlags = PairFlags(),
    texts: TextFlags = TextFlags(),
    split: Split = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Order the best documents of a run anew. By a model that reads their texts.

    A run is ordered by its scores, equal ones by document id ascending; so are the new scores,
    float32 of the model. Documents below --depth stay below in their order: with s the lowest new
    score of the query, they score s - 1, s - 2 and so on. Another --batch-size, --device or --dtype
    changes the last digits of scores. The texts of the corpus are read once, those of the run's
    documents kept in a file. A command that was stopped goes on where it was when it is given
    again; one that has ended is left as it is.
    """
    from splade_bridge.encoding.choices import ScorerOptions
    from splade_bridge.files.outputs import is_stdout
    from splade_bridge.retrieval.rerank import RerankOptions, rerank_to_run

    if json and is_stdout(output):
        raise UsageError(f"--json and -o {output} would both write to stdout")
    options = RerankOptions(
        depth,
        k,
        scorer,
        ScorerOptions(batch_size, max_length, dtype, device, threads, checkpoint.choices),
        part_queries,
        output_format,
        tag,
    )
    began = time.perf_counter()
    summary = rerank_to_run(
        run,
        output,
        model,
        corpus,
        queries,
        options,
        texts=texts.options(),
        split=split,
        overwrite=overwrite,
        watch=watching("reranking"),
    )
    seconds = time.perf_counter() - began
    if json:
        print_json(
            {"output": str(output), "model": model, "scorer": scorer, "depth": depth,
             **asdict(summary), "seconds": seconds}
        )  # fmt: skip
        return
    note(
        f"{output}: {summary.queries:,} queries, {summary.results:,} results; the best {depth:,} "
        f"of each by {model}, {summary.pairs:,} pairs, {seconds:.1f} s"
    )
