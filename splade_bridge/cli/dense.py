"""``splade-bridge dense``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import EncodeFlags, PromptFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import (
    Corpus,
    Json,
    OwnMaxLength,
    Side,
    model_flag,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.embeddings.choices import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    IndexKind,
    Similarity,
)
from splade_bridge.encoding.choices import DenseChoices

NAME = "dense"


def command(
    corpus: Corpus,
    model: Annotated[str, model_flag(), READS],
    output: Annotated[Path, output_flag("Folder of the index."), WRITES],
    index_kind: Annotated[
        IndexKind,
        typer.Option(
            "--index-kind",
            help="flat compares a query with every vector, and is exact; hnsw walks a graph, which "
            "is held in memory and approximate.",
        ),
    ] = "flat",
    hnsw_m: Annotated[
        int,
        typer.Option("--hnsw-m", min=2, help="Links of a vector in a graph."),
        needs("--index-kind", "hnsw"),
    ] = DEFAULT_M,
    hnsw_ef_construction: Annotated[
        int,
        typer.Option(
            "--hnsw-ef-construction", min=1, help="Candidates from which links are chosen."
        ),
        needs("--index-kind", "hnsw"),
    ] = DEFAULT_EF_CONSTRUCTION,
    side: Side = "document",
    similarity: Annotated[
        Similarity | None,
        typer.Option(
            "--similarity",
            help="Of vectors: cosine, which makes all of length 1, or dot, their inner product.",
            show_default="as saved, else cosine",
        ),
    ] = None,
    max_length: OwnMaxLength = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Texts that are computed at once.")
    ] = 32,
    device: Annotated[
        str, typer.Option("--device", help="auto is a GPU, or the CPU; cpu; cuda; cuda:1.")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Threads to use; a graph that several build is another one each time.",
            show_default="all cores, and one for a graph",
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            "--memory",
            help="Budget of parts in the making and of a graph, as 500M, 2G, 512MiB.",
            metavar="SIZE",
        ),
    ] = "2G",
    checkpoint: PromptFlags = PromptFlags(),
    texts: EncodeFlags = EncodeFlags(),
    json: Json = False,
) -> None:
    """Turn text into dense vectors, and index them.

    A run that was stopped goes on where it was when the same command is given again; one that has
    ended is left as it is.
    """
    from splade_bridge.encoding.dense_corpus import dense_corpus
    from splade_bridge.files.sizes import size_in_bytes

    choices = DenseChoices(
        side=side,
        max_length=max_length,
        similarity=similarity,
        index_kind=index_kind,
        hnsw_m=hnsw_m,
        hnsw_ef_construction=hnsw_ef_construction,
        batch_size=batch_size,
        device=device,
        threads=threads,
        memory=size_in_bytes(memory),
        part_rows=texts.part_rows,
        checkpoint=checkpoint.choices,
    )
    manifest, stats = dense_corpus(
        corpus,
        output,
        model,
        choices,
        fields=texts.corpus,
        overwrite=texts.overwrite,
        progress=True,
    )
    options = manifest.options
    documents, rate = manifest.counts.documents, stats.texts / max(stats.seconds, 1e-9)
    if json:
        print_json({"output": str(output), "documents": documents,
                    "dimension": options["dimension"], "similarity": options["similarity"],
                    "index_kind": options["index_kind"], "encoding": manifest.encoding,
                    "seconds": stats.seconds, "texts_per_second": rate,
                    "build_seconds": stats.build_seconds})  # fmt: skip
        return
    note(
        f"{output}: {documents:,} vectors of {options['dimension']} numbers "
        f"({options['similarity']}, {options['index_kind']}); {rate:,.1f} texts/s"
    )
