"""``splade-bridge inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import Json, print_json

NAME = "inspect"


def command(
    artefact: Annotated[Path, typer.Argument(help="A vector store, export or index.")],
    json: Json = False,
) -> None:
    """Show what an artefact is and what it was made from, and check that its files are whole."""
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.errors import BadInputError
    from splade_bridge.files import sha256_file

    manifest = Manifest.load(artefact)
    for file in manifest.files:
        if sha256_file(artefact / file.path) != file.sha256:
            raise BadInputError(f"{file.path} was changed after it was written", str(artefact))
    if json:
        print_json(manifest)
        return
    counts = manifest.counts
    rows = {
        "kind": manifest.kind + (f" ({manifest.engine})" if manifest.engine else ""),
        "documents": f"{counts.documents:,} ({counts.empty:,} empty)",
        "postings": f"{counts.postings:,}",
        "vocabulary": f"{manifest.vocabulary.size:,} terms",
        "files": f"{len(manifest.files)}, {sum(f.bytes for f in manifest.files):,} bytes, whole",
    }
    if counts.impact_sum:
        rows["impacts"] = f"{counts.impact_sum:,} in sum, largest {counts.max_impact:,}"
    if encoding := manifest.encoding:
        rows["model"] = f"{encoding.model} ({encoding.sha256[:12]}), {encoding.side} side"
        rows["encoding"] = (
            f"{encoding.pooling} pooling, {encoding.max_length} tokens, {encoding.dtype}, "
            f"{encoding.truncated:,} texts cut"
        )
    if quantization := manifest.quantization:
        rows["quantized"] = (
            f"x {quantization.scale:g}, {quantization.rounding}; "
            f"{quantization.dropped_to_zero:,} dropped to zero, {quantization.clipped:,} clipped"
        )
    for name, value in rows.items():
        typer.echo(f"{name:<12}{value}")
