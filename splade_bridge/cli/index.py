"""``splade-bridge index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from splade_bridge.cli.engine_flags import takes_engine_options
from splade_bridge.cli.options import (
    Clip,
    Json,
    Memory,
    Overwrite,
    RoundingOption,
    Scale,
    Threads,
    note,
    parse_size,
    print_json,
    quantize_options,
)

NAME = "index"


@takes_engine_options
def command(
    source: Annotated[Path, typer.Argument(help="Vector store, JsonVectorCollection or CIFF.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new index.")],
    engine: Annotated[str, typer.Option("--engine", "-e", help="lucene, pisa or exact.")],
    source_format: Annotated[
        str | None,
        typer.Option("--from", help="vectors, jsonvector, ciff or forward, where unclear."),
    ] = None,
    scale: Scale = None,
    rounding: RoundingOption = "nearest",
    clip: Clip = None,
    threads: Threads = 1,
    memory: Memory = "2G",
    overwrite: Overwrite = False,
    json: Json = False,
    *,
    engine_options: Any = None,
) -> None:
    """Build an index from vectors, and check that it holds all of them.

    Documents, postings and the sum of impacts are read back from the engine; an index that lacks
    any is thrown away and exit code 6 returned.
    """
    from splade_bridge.cli.options import progress
    from splade_bridge.engines.base import BuildOptions
    from splade_bridge.engines.registry import NAMES
    from splade_bridge.engines.registry import engine as engine_of
    from splade_bridge.errors import UsageError
    from splade_bridge.formats.detect import SOURCE_FORMATS, open_source
    from splade_bridge.outputs import check_output

    if engine not in NAMES:
        raise UsageError(f"--engine is one of {', '.join(NAMES)}, not {engine!r}")
    if source_format is not None and source_format not in SOURCE_FORMATS:
        raise UsageError(f"--from is one of {', '.join(SOURCE_FORMATS)}, not {source_format!r}")
    options = BuildOptions(threads, parse_size(memory))
    check_output(out, overwrite=overwrite)
    impacts = open_source(
        source,
        source_format=source_format,
        quantize=quantize_options(scale, rounding, clip),
        memory=options.memory,
        temporary=out.parent if out.parent.exists() else None,
    )
    known = impacts.manifest.counts.documents if impacts.manifest else None
    impacts.watch = lambda batches: progress(batches, f"indexing with {engine}", known)
    manifest = engine_of(engine, engine_options).build(impacts, out, options, overwrite=overwrite)
    counts = manifest.counts
    if json:
        print_json({"index": str(out), "engine": engine, "counts": counts})
        return
    inherited = impacts.manifest.quantization if impacts.manifest else None
    lost = manifest.quantization if manifest.quantization != inherited else None
    if lost and lost.dropped_to_zero:
        note(f"{lost.dropped_to_zero:,} weights rounded to 0 and were dropped")
    if lost and lost.clipped:
        note(f"{lost.clipped:,} impacts were clipped to {lost.clip}")
    note(
        f"{out}: {counts.documents:,} documents, {counts.postings:,} postings, impacts of "
        f"{counts.impact_sum:,} in sum, largest {counts.max_impact:,}; all read back from {engine}"
    )
