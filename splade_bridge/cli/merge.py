"""``splade-bridge merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.options import Json, NoCheck, Overwrite, output_flag
from splade_bridge.cli.telling import note, print_json

NAME = "merge"


def command(
    shards: Annotated[list[Path], typer.Argument(help="All folders that encode --shard made.")],
    output: Annotated[Path, output_flag("Folder of the vector store."), WRITES],
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Put the shards of one encoding together. None may be missing, and none there twice.

    The store is byte for byte the one that an encoding without --shard makes. Files are
    hard-linked where that is possible, and the shards stay.
    """
    from splade_bridge.encoding.merge import merge_shards

    manifest = merge_shards(shards, output, overwrite=overwrite)
    counts = manifest.counts
    if json:
        print_json({"output": str(output), "counts": counts, "encoding": manifest.encoding})
        return
    note(
        f"{output}: {len(shards)} shards, {counts.documents:,} rows ({counts.empty:,} empty), "
        f"{counts.postings:,} weights"
    )
