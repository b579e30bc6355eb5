"""``splade-bridge export-model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import CheckpointFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.options import Json, Overwrite, OwnMaxLength, output_flag
from splade_bridge.cli.telling import note, print_json
from splade_bridge.data.choices import Side
from splade_bridge.encoding.choices import ExportTarget, Pooling

NAME = "export-model"


def command(
    model: Annotated[
        str, typer.Argument(help="Checkpoint: a folder or a hub name.", metavar="MODEL"), READS
    ],
    output: Annotated[Path, output_flag("Folder of the export."), WRITES],
    to: Annotated[
        ExportTarget,
        typer.Option(
            "--to",
            help="onnx: a graph that -m takes, and Anserini's query encoders. opensearch, "
            "elasticsearch: TorchScript, tokenizer and configuration for a model inside them.",
        ),
    ],
    side: Annotated[
        Side | None,
        typer.Option("--side", help="Which side of the model.", show_default="both"),
    ] = None,
    max_length: OwnMaxLength = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option("--pooling", help="Over positions.", show_default="as saved, else max"),
    ] = None,
    checkpoint: CheckpointFlags = CheckpointFlags(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a model for another runtime. Its weights equal those of encode.

    The two sides are one export where they are one network that is read alike; else folders
    document and query of the output.
    """
    from splade_bridge.errors import require

    require("encode", "exporting a model")
    from splade_bridge.encoding.exports.export_model import export_model

    manifest = export_model(
        model,
        output,
        to,
        side=side,
        max_length=max_length,
        pooling=pooling,
        overwrite=overwrite,
        **vars(checkpoint),
    )
    exports = manifest.options["exports"]
    if json:
        print_json({"output": str(output), "exports": exports, "files": manifest.files})
        return
    for export in exports:
        sides = " and ".join(export["sides"])
        worst = export["largest_difference"]
        note(f"{output / export['folder']}: {sides}, weights within {worst:.1e} of those of encode")
