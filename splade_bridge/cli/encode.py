"""``splade-bridge encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import EncodeFlags, ModelFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import Needs, needs, unless
from splade_bridge.cli.options import (
    Corpus,
    Json,
    MaxLength,
    Model,
    Side,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.encoding.choices import (
    Cluster,
    DType,
    EncodeChoices,
    LongMode,
    Pooling,
)
from splade_bridge.errors import UsageError

NAME = "encode"
AUTO = "auto"
OF_NEITHER_SIDE = Needs(
    "where the side that is encoded has a model of its own",
    "take that away",
    lambda given: not given[f"{given['side']}_model"],
)


def command(
    corpus: Corpus,
    output: Annotated[Path, output_flag("Folder of the vector store."), WRITES],
    model: Annotated[Model, OF_NEITHER_SIDE] = None,
    query_model: Annotated[
        str | None,
        typer.Option(
            "--query-model",
            metavar="MODEL",
            help="Checkpoint of queries.",
            show_default="--model",
        ),
        READS,
        needs("--side", "query"),
    ] = None,
    document_model: Annotated[
        str | None,
        typer.Option(
            "--document-model",
            metavar="MODEL",
            help="Checkpoint of documents.",
            show_default="--model",
        ),
        READS,
        needs("--side", "document"),
    ] = None,
    side: Side = "document",
    max_length: MaxLength = 256,
    pooling: Annotated[
        Pooling | None,
        typer.Option("--pooling", help="Over positions.", show_default="as saved, else max"),
        unless("--query-mode", "bow"),
    ] = None,
    checkpoint: ModelFlags = ModelFlags(),
    dtype: Annotated[
        DType,
        typer.Option(
            "--dtype",
            help="auto is bfloat16 on a GPU, float32 on a CPU. int8 is the fastest on a CPU that "
            "multiplies bytes (VNNI), and changes vectors most: docs/models.md says by how much.",
        ),
        unless("--query-mode", "bow"),
    ] = "auto",
    batch_tokens: Annotated[
        str, typer.Option("--batch-tokens", help="Tokens of a batch, or auto.")
    ] = AUTO,
    long: Annotated[
        LongMode,
        typer.Option(
            "--long",
            help="Texts beyond --max-length: truncate; max, the maximum over windows of that "
            "length; passages, a row for each window, named id#0, id#1 and so on.",
        ),
    ] = "truncate",
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            min=1,
            help="Tokens from one window to the next.",
            show_default="a window, so that none overlap",
        ),
        needs("--long", "max", "passages"),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            "--devices",
            "--device",
            help="auto is all GPUs, or the CPU; a number of GPUs; cpu; cuda:0,cuda:1; cpu:2 is two "
            "processes.",
        ),
    ] = AUTO,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads to use.", show_default="all cores"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            help="i/n, from 0: encode every n-th part, for merge.",
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        Cluster | None,
        typer.Option("--cluster", help="ray: encode on a Ray cluster.", show_default=False),
    ] = None,
    cluster_address: Annotated[
        str | None,
        typer.Option(
            "--cluster-address", help="Of its head.", show_default="as Ray is set, else a local one"
        ),
        needs("--cluster"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Of the cluster.", show_default="its GPUs, else its CPUs"
        ),
        needs("--cluster"),
    ] = None,
    texts: EncodeFlags = EncodeFlags(),
    json: Json = False,
) -> None:
    """Turn text into sparse vectors.

    A run that was stopped goes on where it was when the same command is given again; one that has
    ended is left as it is.
    """
    from splade_bridge.encoding.encode_corpus import encode_corpus, model_of

    if batch_tokens != AUTO and not batch_tokens.isdecimal():
        raise UsageError(f"--batch-tokens is auto or a number of tokens, not {batch_tokens!r}")
    choices = EncodeChoices(
        side=side,
        max_length=max_length,
        pooling=pooling,
        checkpoint=checkpoint.choices,
        dtype=dtype,
        batch_tokens=None if batch_tokens == AUTO else int(batch_tokens),
        long=long,
        stride=stride,
        devices=devices,
        threads=threads,
        part_rows=texts.part_rows,
    )
    manifest, stats = encode_corpus(
        corpus,
        output,
        model_of(side, model, query_model, document_model),
        choices,
        shard=shard,
        cluster=cluster,
        cluster_address=cluster_address,
        workers=workers,
        fields=texts.corpus,
        overwrite=texts.overwrite,
        progress=True,
    )
    counts, rates = manifest.counts, stats.rates()
    if json:
        print_json({"output": str(output), "counts": counts, "encoding": manifest.encoding,
                    "seconds": stats.seconds, **rates})  # fmt: skip
        return
    note(
        f"{output}: {counts.documents:,} texts ({counts.empty:,} empty), "
        f"{counts.postings:,} weights; {rates['texts_per_second']:,.1f} texts/s, "
        f"{rates['tokens_per_second']:,.0f} tokens/s, {rates['padding_share']:.1%} padding"
    )
