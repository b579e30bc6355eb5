"""``splade-bridge convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from splade_bridge.cli.groups import QuantizeFlags
from splade_bridge.cli.needs import Needs
from splade_bridge.cli.options import (
    QUERIES,
    READS,
    WRITES,
    CiffDocids,
    From,
    Gzip,
    Json,
    Memory,
    NoCheck,
    Overwrite,
    SkipOthers,
)
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.formats.choices import ConvertFormat, FeedTarget

NAME = "convert"
FEEDS = get_args(FeedTarget)


def writes(*formats: str) -> Needs:
    """A flag of files of one of these formats."""
    lacking, remedy = f"without --to {' or '.join(formats)}", "leave it out"
    return Needs(lacking, remedy, lambda given: given["to"] in formats)


def command(
    source: Annotated[
        Path,
        typer.Argument(
            help="Any vectors of documents: a vector store, files of any format that --from names, "
            "an export, or an index of any engine, Anserini's too."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Folder to be made."), WRITES],
    to: Annotated[
        ConvertFormat,
        typer.Option(
            "--to",
            help="What to make. vectors, jsonvector, npz, seismic and hf hold weights and impacts, "
            "the others impacts. Indexes are made by index; feeds for engines: docs/feeds.md.",
        ),
    ],
    source_format: From = None,
    ciff_docids: CiffDocids = "gaps",
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            help="What term ids of a matrix or table stand for: vocab.txt, tokenizer.json, a JSON "
            "array, or the folder of a checkpoint.",
            show_default=False,
        ),
    ] = None,
    quantize: QuantizeFlags = QuantizeFlags(),
    skip_others: SkipOthers = False,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            "-q",
            metavar=QUERIES,
            help="Queries: pre-encoded, to be written as the engine's own requests.",
            show_default=False,
        ),
        READS,
        writes(*FEEDS),
    ] = None,
    allow_loss: Annotated[
        bool,
        typer.Option(
            "--allow-loss", help="Write a feed though its engine will change some weights."
        ),
        writes(*FEEDS),
    ] = False,
    docs_per_file: Annotated[
        int,
        typer.Option("--docs-per-file", min=1, help="Documents a jsonvector part."),
        writes("jsonvector", "seismic"),
    ] = 100_000,
    gzip: Annotated[Gzip, writes("jsonvector", "seismic", "ciff", *FEEDS)] = False,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn vectors of any kind into files of another kind, and check that nothing was lost.

    Weights stay weights, and impacts impacts, unless --scale makes impacts of weights. What was
    written is read again and has the content hash of what was read; see docs/formats.md.
    """
    from splade_bridge.conversion.convert import convert
    from splade_bridge.conversion.export import ExportOptions
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.formats.queries import read_queries
    from splade_bridge.formats.vocabularies import read_vocabulary

    done = convert(
        source,
        output,
        to,
        ExportOptions((to,), docs_per_file, gzip, size_in_bytes(memory)),
        source_format=source_format,
        ciff_docids=ciff_docids,
        queries=None if queries is None else read_queries(Path(queries)),
        allow_loss=allow_loss,
        quantize=quantize.options,
        vocabulary=None if vocabulary is None else read_vocabulary(vocabulary),
        skip_others=skip_others,
        overwrite=overwrite,
        watch=watching("converting"),
    )
    manifest = done.manifest
    counts, lost = manifest.counts, manifest.quantization
    if json:
        print_json({"output": str(output), "format": to, "held": done.values, "counts": counts,
                    "content_hash": manifest.content, "quantization": lost, "told": done.told,
                    "files": manifest.files})  # fmt: skip
        return
    for sentence in done.told:
        note(sentence)
    if lost and quantize.options and lost.dropped_to_zero:
        note(f"{lost.dropped_to_zero:,} weights rounded to 0 and were dropped")
    note(
        f"{output}: {counts.documents:,} documents ({counts.empty:,} empty), "
        f"{counts.postings:,} {done.values}, content {manifest.content}, read back"
    )
