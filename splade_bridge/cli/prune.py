"""``splade-bridge prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import SourceFlags
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.options import (
    SIDE,
    Gzip,
    Json,
    Memory,
    NoCheck,
    Overwrite,
    Scale,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.data.choices import Side as SideChoice
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Place
from splade_bridge.pruning.choices import Method

NAME = "prune"


def command(
    source: Annotated[
        Place,
        typer.Argument(
            help="Vector store, JsonVectorCollection, CIFF, export, index or address; for queries "
            "a vector store, topics (TSV of repeated tokens) or JSON lines."
        ),
    ],
    output: Annotated[Path, output_flag("Folder of the same kind; an export for files."), WRITES],
    methods: Annotated[
        list[Method],
        typer.Option("--method", help="Repeatable with --value, applied in order."),
    ],
    values: Annotated[
        list[str],
        typer.Option(
            "--value",
            metavar="X",
            help="Of the --method in the same place: terms a row; the least weight (vector store) "
            "or impact (files) that stays; a share of the row's maximum or sum; a quantile; "
            "postings a list; postings as 2M or 30%; bytes as 200M; a file of terms or @english, "
            "@punctuation, @special, @unused, @white-space.",
        ),
    ],
    side: Annotated[
        SideChoice | None,
        typer.Option(
            "--side",
            help=SIDE.help,
            show_default="what the manifest says; query for TSV, else document",
        ),
    ] = None,
    min_terms: Annotated[
        int,
        typer.Option(
            "--min-terms", min=0, help="Terms that every row keeps, its heaviest; 0 may empty rows."
        ),
    ] = 1,
    read_as: SourceFlags = SourceFlags(),
    scale: Scale = None,
    gzip: Gzip = False,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Drop postings that matter little. This is static pruning (arXiv 2304.12702).

    Weights of a vector store are pruned before they are scaled, other sources as the impacts that
    they hold; --value is in the same unit. Ties are cut by the terms' strings, never by chance: see
    docs/pruning.md.
    """
    from splade_bridge.data.quantize import DEFAULT_SCALE, quantize_options
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.pruning.methods import policy
    from splade_bridge.pruning.policy import PruneOptions
    from splade_bridge.pruning.prune import prune

    if len(methods) != len(values):
        raise UsageError(
            f"--method and --value go in pairs, not {len(methods)} and {len(values)} of them"
        )
    policies = [policy(*pair) for pair in zip(methods, values, strict=True)]
    counted_with = DEFAULT_SCALE if scale is None else scale
    manifest = prune(
        source,
        output,
        policies,
        PruneOptions(min_terms, size_in_bytes(memory), scale=counted_with),
        side=side,
        read_as=read_as.options,
        quantize=quantize_options(scale),
        gzip=gzip,
        overwrite=overwrite,
        watch=watching("pruning"),
    )
    steps = manifest.pruning[-len(policies) :]
    if json:
        print_json({"output": str(output), "pruning": steps, "counts": manifest.counts})
        return
    for step in steps:
        before, after = step["postings_before"], step["postings_after"]
        found = f" = threshold {step['threshold']:g}" if "threshold" in step else ""
        note(
            f"{step['method']} {step['value']}{found} (values are {step['unit']}s): {before:,} -> "
            f"{after:,} postings, {after / max(1, before):.1%}; {step['rows_emptied']:,} rows "
            f"emptied, {step['postings_restored']:,} postings given back by --min-terms {min_terms}"
        )
    counts = manifest.counts
    note(
        f"{output}: {counts.documents:,} rows ({counts.empty:,} empty), "
        f"{counts.postings:,} postings"
    )
