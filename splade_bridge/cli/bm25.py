"""``splade-bridge bm25``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import TextFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import (
    Hits,
    Json,
    Memory,
    Overwrite,
    RemoveQuery,
    Split,
    Threads,
    output_flag,
    queries_flag,
)
from splade_bridge.cli.telling import note, print_json

NAME = "bm25"
TOLD = ("documents", "empty", "postings", "terms")
"""What the manifest tells already."""


def command(
    corpus: Annotated[
        str,
        typer.Argument(help="Text, as for encode: BEIR, JSONL, TSV, CSV, Parquet, ir_datasets id."),
        READS,
    ],
    output: Annotated[Path, output_flag("Folder of the baseline."), WRITES],
    queries: Annotated[
        str | None,
        queries_flag("text, as for encode --side query."),
        READS,
    ] = None,
    k1: Annotated[float, typer.Option("--k1", min=0, help="Saturation of term frequencies.")] = 0.9,
    b: Annotated[
        float, typer.Option("--b", min=0, max=1, help="Weight of document lengths.")
    ] = 0.4,
    k: Annotated[Hits, needs("--queries")] = 1000,
    remove_query: Annotated[RemoveQuery, needs("--queries")] = False,
    split: Annotated[Split, needs("--queries")] = None,
    texts: TextFlags = TextFlags(),
    threads: Threads = 1,
    memory: Memory = "2G",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make the BM25 baseline of a corpus. Anserini's index and run, and the same weights as
    vectors.

    OUT/documents and OUT/queries are vector stores for every engine; queries count terms, so
    search them with --scale 1.
    """
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.engines.bm25 import DOCUMENTS, INDEX, QUERIES, RUN, Bm25Options, build_bm25
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.text.corpora import read_texts

    check_output(output, overwrite=overwrite)
    summary = build_bm25(
        read_texts(corpus, "documents", texts.options()),
        None if queries is None else read_texts(queries, "queries", texts.options(split)),
        output,
        Bm25Options(k1, b, k, remove_query, threads, size_in_bytes(memory)),
        overwrite=overwrite,
    )
    if json:
        own = {k: v for k, v in asdict(summary).items() if k not in TOLD}
        made = Manifest.load(output)
        print_json({"output": str(output), "counts": made.counts, "vocabulary": made.vocabulary,
                    **own})  # fmt: skip
        return
    note(
        f"{output}: {summary.documents:,} documents ({summary.empty:,} without terms), "
        f"{summary.postings:,} postings, {summary.terms:,} terms, {summary.average_length:.1f} "
        f"tokens a document; index in {INDEX}, weights in {DOCUMENTS}"
    )
    if summary.queries is not None:
        note(
            f"{output / RUN}: {summary.queries:,} queries, {summary.results:,} results "
            f"(k1 {k1:g}, b {b:g}); their terms in {QUERIES}"
        )
    if summary.without_results:
        few = summary.without_results[:10]
        more = " ..." if len(summary.without_results) > len(few) else ""
        note(f"{len(summary.without_results)} queries found nothing: {', '.join(few)}{more}")
