"""``splade-bridge index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from splade_bridge.cli.engine_flags import takes_engine_options
from splade_bridge.cli.groups import QuantizeFlags, SourceFlags
from splade_bridge.cli.needs import Needs
from splade_bridge.cli.options import (
    WRITES,
    Engine,
    Json,
    Memory,
    NoCheck,
    Overwrite,
    Threads,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, watching

NAME = "index"
SEVERAL = Needs(
    "with --engine exact, which builds in one thread",
    "name another engine",
    lambda given: given["threads"] == 1 or given["engine"] != "exact",
)


@takes_engine_options
def command(
    source: Annotated[Path, typer.Argument(help="Vector store, JsonVectorCollection or CIFF.")],
    output: Annotated[Path, output_flag("Folder of the new index."), WRITES],
    engine: Engine,
    read_as: SourceFlags = SourceFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    threads: Annotated[Threads, SEVERAL] = 1,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
    *,
    engine_options: Any = None,
) -> None:
    """Build an index from vectors, and check that it holds all of them.

    Documents, postings and the sum of impacts are read back from the engine; an index that lacks
    any is thrown away and exit code 6 returned.
    """
    from splade_bridge.conversion.build_index import build_index
    from splade_bridge.engines.base import BuildOptions
    from splade_bridge.files.sizes import size_in_bytes

    manifest, lost = build_index(
        source,
        output,
        engine,
        engine_options=engine_options,
        read_as=read_as.options,
        quantize=quantize.options,
        options=BuildOptions(threads, size_in_bytes(memory)),
        overwrite=overwrite,
        watch=watching(f"indexing with {engine}"),
    )
    counts = manifest.counts
    if json:
        print_json({"output": str(output), "engine": engine, "counts": counts,
                    "quantization": manifest.quantization})  # fmt: skip
        return
    if lost and lost.dropped_to_zero:
        note(f"{lost.dropped_to_zero:,} weights rounded to 0 and were dropped")
    if lost and lost.clipped:
        note(f"{lost.clipped:,} impacts were clipped to {lost.clip}")
    note(
        f"{output}: {counts.documents:,} documents, {counts.postings:,} postings, impacts of "
        f"{counts.impact_sum:,} in sum, largest {counts.max_impact:,}; all read back from {engine}"
    )
