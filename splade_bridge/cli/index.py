"""``splade-bridge index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    route: Annotated[
        str,
        typer.Option(
            "--route",
            help="lucene: helper, or anserini for Anserini's own (slow) IndexCollection.",
        ),
    ] = "helper",
    pisa_profile: Annotated[
        str,
        typer.Option(
            "--pisa-profile",
            help="Encoding, block size and algorithm by k: default, literature, maxscore, small, "
            "or a .toml of your own.",
        ),
    ] = "default",
    pisa_encoding: Annotated[
        str | None,
        typer.Option(
            "--pisa-encoding", help="Instead of the profile's encoding.", show_default=False
        ),
    ] = None,
    pisa_block_size: Annotated[
        int | None,
        typer.Option(
            "--pisa-block-size", help="Instead of the profile's block size.", show_default=False
        ),
    ] = None,
    pisa_bin: Annotated[
        Path | None,
        typer.Option(
            "--pisa-bin", envvar="PISA_BIN", help="Your own PISA programs, instead of the wheel."
        ),
    ] = None,
    pisa_reorder: Annotated[
        bool,
        typer.Option(
            "--pisa-reorder",
            help="Number documents by graph bisection: smaller and faster. Needs --pisa-bin.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Build an index from vectors, and check that it holds all of them.

    Documents, postings and the sum of impacts are read back from the engine; an index that lacks
    any is thrown away and exit code 6 returned.
    """
    from splade_bridge.cli.options import progress
    from splade_bridge.engines import NAMES
    from splade_bridge.engines import engine as engine_of
    from splade_bridge.engines.base import BuildOptions
    from splade_bridge.engines.pisa_profile import load_profile
    from splade_bridge.errors import UsageError
    from splade_bridge.formats.detect import SOURCE_FORMATS, open_source
    from splade_bridge.outputs import check_output

    if engine not in NAMES:
        raise UsageError(f"--engine is one of {', '.join(NAMES)}, not {engine!r}")
    if source_format is not None and source_format not in SOURCE_FORMATS:
        raise UsageError(f"--from is one of {', '.join(SOURCE_FORMATS)}, not {source_format!r}")
    profile = load_profile(pisa_profile)
    options = BuildOptions(
        threads,
        parse_size(memory),
        route,
        pisa_encoding or profile.encoding,
        pisa_block_size if pisa_block_size is not None else profile.block_size,
        profile.algorithms,
        pisa_bin,
        pisa_reorder,
    )
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
    manifest = engine_of(engine).build(impacts, out, options, overwrite=overwrite)
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
