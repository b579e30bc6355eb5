"""``splade-bridge inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import Json, NoCheck
from splade_bridge.cli.telling import print_json, say

NAME = "inspect"


def command(
    artefact: Annotated[Path, typer.Argument(help="A vector store, export or index.")],
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Show what an artefact is and what it was made from, and check that its files are whole."""
    from splade_bridge.data.manifest import Manifest

    manifest = Manifest.load(artefact, anew=not no_check)
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
        made = "scale unknown"
        if quantization.scale is not None:
            made = f"x {quantization.scale:g}, {quantization.rounding}"
        rows["quantized"] = (
            f"{made}; "
            f"{quantization.dropped_to_zero:,} dropped to zero, {quantization.clipped:,} clipped"
        )
    for name, value in rows.items():
        say(f"{name:<12}{value}")
