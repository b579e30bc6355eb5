"""``splade-bridge convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from splade_bridge.cli.groups import QuantizeFlags, SourceFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import Gzip, Json, Memory, NoCheck, Overwrite, queries_flag
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.files.address import Place
from splade_bridge.formats.choices import ConvertFormat, FeedTarget

NAME = "convert"
FEEDS = get_args(FeedTarget)


def command(
    source: Annotated[
        Place,
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
            help="What to make. ciff, forward and pisa-canonical hold impacts, the others weights "
            "as well. Indexes are made by index; feeds for engines: docs/feeds.md.",
        ),
    ],
    read_as: SourceFlags = SourceFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    queries: Annotated[
        str | None,
        queries_flag("pre-encoded, to be written as the engine's own requests."),
        READS,
        needs("--to", *FEEDS),
    ] = None,
    allow_loss: Annotated[
        bool,
        typer.Option(
            "--allow-loss", help="Write a feed though its engine will change some weights."
        ),
        needs("--to", *FEEDS),
    ] = False,
    docs_per_file: Annotated[
        int,
        typer.Option("--docs-per-file", min=1, help="Documents a jsonvector part."),
        needs("--to", "jsonvector", "seismic"),
    ] = 100_000,
    gzip: Annotated[Gzip, needs("--to", "jsonvector", "seismic", "ciff", *FEEDS)] = False,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn vectors of any kind into files of another. What was written is read back: nothing is
    lost.

    Weights stay weights, and impacts impacts, unless --scale makes impacts of weights. What was
    written is read again and has the content hash of what was read; see docs/formats.md.
    """
    from splade_bridge.conversion.convert import convert
    from splade_bridge.conversion.export import ExportOptions
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.formats.queries import read_queries

    done = convert(
        source,
        output,
        to,
        ExportOptions((to,), docs_per_file, gzip, size_in_bytes(memory)),
        read_as=read_as.options,
        queries=None if queries is None else read_queries(Path(queries)),
        allow_loss=allow_loss,
        quantize=quantize.options,
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
