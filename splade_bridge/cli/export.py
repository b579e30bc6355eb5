"""``splade-bridge export``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import QuantizeFlags
from splade_bridge.cli.options import (
    READS,
    WRITES,
    From,
    Gzip,
    Json,
    Memory,
    Model,
    Overwrite,
    Side,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.formats.choices import ExportFormat

NAME = "export"


def command(
    source: Annotated[
        str,
        typer.Argument(help="Vector store, JsonVectorCollection, CIFF; or text with --model."),
        READS,
    ],
    output: Annotated[Path, output_flag("Folder of the export."), WRITES],
    formats: Annotated[
        list[ExportFormat] | None,
        typer.Option(
            "--format",
            "-f",
            help="jsonvector is Anserini's, forward is for two-step search, topics are TSV of "
            "repeated tokens; repeatable.",
            show_default="jsonvector; topics with --side query",
        ),
    ] = None,
    model: Model = None,
    side: Side = "document",
    source_format: From = None,
    quantize: QuantizeFlags = QuantizeFlags(),
    docs_per_file: Annotated[
        int, typer.Option("--docs-per-file", min=1, help="Documents a jsonvector part.")
    ] = 100_000,
    gzip: Gzip = False,
    with_contents: Annotated[
        str | None,
        typer.Option(
            "--with-contents",
            metavar="CORPUS",
            help="Fill jsonvector's contents from the corpus that was encoded.",
        ),
        READS,
    ] = None,
    memory: Memory = "2G",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn vectors into integer impacts and write them for other tools."""
    from splade_bridge.conversion.export import ExportOptions, default_formats, export_path
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.sizes import size_in_bytes

    chosen = tuple(formats or default_formats(side))
    options = ExportOptions(chosen, docs_per_file, gzip, size_in_bytes(memory))
    check_output(output, overwrite=overwrite)  # before a model is loaded for nothing
    with contextlib.ExitStack() as stack:
        vectors = Path(source)
        if model is not None:
            from splade_bridge.encoding.encode_corpus import encoded

            vectors = stack.enter_context(
                encoded(source, model, side=side, near=output.parent, progress=True)
            )
        manifest = export_path(
            vectors,
            output,
            options,
            source_format=source_format,
            quantize=quantize.options,
            with_contents=with_contents,
            overwrite=overwrite,
            watch=watching("exporting"),
        )
    counts, lost = manifest.counts, manifest.quantization
    if json:
        print_json({"output": str(output), "counts": counts, "quantization": lost,
                    "files": manifest.files})  # fmt: skip
        return
    note(
        f"{output}: {counts.documents:,} rows ({counts.empty:,} empty), "
        f"{counts.postings:,} postings, largest impact {counts.max_impact:,}"
    )
    if lost:
        note(
            f"x {lost.scale:g}: {lost.dropped_to_zero:,} weights rounded to 0 and were dropped, "
            f"{lost.clipped:,} clipped"
        )
