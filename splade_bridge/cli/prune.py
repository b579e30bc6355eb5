"""``splade-bridge prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.options import (
    Json,
    Memory,
    Overwrite,
    Scale,
    note,
    parse_size,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from splade_bridge.data.manifest import Manifest, Side
    from splade_bridge.formats.base import ImpactSource
    from splade_bridge.pruning.policy import PruneOptions

NAME = "prune"


def command(
    source: Annotated[
        Path,
        typer.Argument(
            help="Vector store, JsonVectorCollection, CIFF or export; for queries a vector store, "
            "topics (TSV of repeated tokens) or JSON lines."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the same kind; an export for files.")
    ],
    methods: Annotated[
        list[str],
        typer.Option(
            "--method",
            metavar="NAME",
            help="top-k, threshold, max-share, mass-share, term-quantile, list-cap, postings, "
            "bytes or drop-terms; repeatable with --value, applied in order.",
        ),
    ],
    values: Annotated[
        list[str],
        typer.Option(
            "--value",
            metavar="X",
            help="Of the --method in the same place: terms a row; the least weight (vector store) "
            "or impact (files) that stays; a share of the row's maximum or sum; a quantile; "
            "postings a list; postings as 2M or 30%; bytes as 200M; a file of terms or @english, "
            "@punctuation, @special, @unused.",
        ),
    ],
    side: Annotated[
        str | None,
        typer.Option(
            "--side",
            help="document or query.",
            show_default="what the manifest says; query for TSV, else document",
        ),
    ] = None,
    min_terms: Annotated[
        int,
        typer.Option(
            "--min-terms", min=0, help="Terms that every row keeps, its heaviest; 0 may empty rows."
        ),
    ] = 1,
    source_format: Annotated[
        str | None,
        typer.Option("--from", help="vectors, jsonvector or ciff, where it cannot be seen."),
    ] = None,
    scale: Scale = None,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress what is written.")] = False,
    memory: Memory = "2G",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Drop postings that matter little: static pruning (arXiv 2304.12702).

    Weights of a vector store are pruned before they are scaled, other sources as the impacts that
    they hold; --value is in the same unit. Ties are cut by the terms' strings, never by chance: see
    docs/pruning.md.
    """
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.data.quantize import DEFAULT_SCALE
    from splade_bridge.errors import UsageError
    from splade_bridge.formats.detect import SOURCE_FORMATS
    from splade_bridge.outputs import MANIFEST, check_output
    from splade_bridge.pruning.methods import policy
    from splade_bridge.pruning.policy import PruneOptions

    if len(methods) != len(values):
        raise UsageError(
            f"--method and --value go in pairs, not {len(methods)} and {len(values)} of them"
        )
    if side not in (None, "document", "query"):
        raise UsageError(f"--side is document or query, not {side!r}")
    if source_format is not None and source_format not in SOURCE_FORMATS:
        raise UsageError(f"--from is one of {', '.join(SOURCE_FORMATS)}, not {source_format!r}")
    policies = [policy(*pair) for pair in zip(methods, values, strict=True)]
    check_output(out, overwrite=overwrite)
    known = Manifest.load(source) if (source / MANIFEST).is_file() else None
    wanted = _side(side, source, known)
    options = PruneOptions(
        min_terms,
        parse_size(memory),
        out.parent if out.parent.exists() else None,
        DEFAULT_SCALE if scale is None else scale,
    )
    if known and known.kind == "vectors":
        from splade_bridge.pruning.store import prune_store

        rows = known.counts.documents
        manifest = prune_store(
            source, out, policies, options, side=wanted, overwrite=overwrite,
            watch=lambda batches: progress(batches, "pruning", rows),
        )  # fmt: skip
    else:
        from splade_bridge.formats.export import ExportOptions, export
        from splade_bridge.pruning.source import PrunedSource

        opened, formats = _files(source, wanted, source_format, scale, known, options)
        pruned = PrunedSource(
            opened, policies, min_terms=min_terms, side=wanted, memory=options.memory,
            temporary=options.temporary,
        )  # fmt: skip
        manifest = export(
            pruned.again,
            out,
            ExportOptions(formats, compress=gzip, memory=options.memory),
            overwrite=overwrite,
        )
    steps = manifest.pruning[-len(policies) :]
    if json:
        print_json({"output": str(out), "pruning": steps, "counts": manifest.counts})
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
    note(f"{out}: {counts.documents:,} rows ({counts.empty:,} empty), {counts.postings:,} postings")


def _side(side: str | None, source: Path, known: Manifest | None) -> Side:
    from splade_bridge.errors import MismatchError
    from splade_bridge.reading.lines import plain_suffix
    from splade_bridge.text.corpora import TSV_SUFFIXES

    said = known.encoding.side if known and known.encoding else None
    if side and said and side != said:
        raise MismatchError(f"{source}: holds vectors of the {said} side, not of the {side} side")
    topics = plain_suffix(source) in TSV_SUFFIXES
    found = side or said or ("query" if topics else "document")
    return "query" if found == "query" else "document"


def _files(
    source: Path,
    side: Side,
    source_format: str | None,
    scale: float | None,
    known: Manifest | None,
    options: PruneOptions,
) -> tuple[Callable[[], ImpactSource], tuple[str, ...]]:
    """What opens ``source``, and the formats that it has and that are to be written."""
    from splade_bridge.data.quantize import QuantizeOptions
    from splade_bridge.errors import BadInputError
    from splade_bridge.formats.ciff import CiffSource
    from splade_bridge.formats.detect import open_source
    from splade_bridge.formats.queries import read_queries
    from splade_bridge.pruning.source import QuerySource
    from splade_bridge.reading.lines import plain_suffix
    from splade_bridge.text.corpora import JSON_SUFFIXES

    quantize = None if scale is None else QuantizeOptions(scale)
    formats = tuple(known.options.get("formats", ())) if known else ()
    if side == "query":
        if known:
            names = ("topics.tsv", "topics.tsv.gz", "jsonvector")
            found = next((source / n for n in names if (source / n).exists()), None)
            if found is None:
                raise BadInputError("this export holds no queries", str(source))
            source = found
        queries = read_queries(source, quantize)
        is_json = source.is_dir() or plain_suffix(source) in JSON_SUFFIXES
        return lambda: QuerySource(queries), ("jsonvector" if is_json else "topics",)

    def opened() -> ImpactSource:
        impacts = open_source(
            source,
            source_format=source_format,
            quantize=quantize,
            memory=options.memory,
            temporary=options.temporary,
        )
        rows = impacts.manifest.counts.documents if impacts.manifest else None
        impacts.watch = lambda batches: progress(batches, "pruning", rows)
        return impacts

    if not formats:
        formats = ("ciff" if isinstance(opened(), CiffSource) else "jsonvector",)
    return opened, tuple(f for f in formats if f != "topics")
