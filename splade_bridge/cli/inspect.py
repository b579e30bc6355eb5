"""``splade-bridge inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.marks import READS
from splade_bridge.cli.needs import unless
from splade_bridge.cli.options import (
    CiffDocids,
    From,
    Json,
    Memory,
    NoCheck,
    VectorField,
    Vocabulary,
)
from splade_bridge.cli.telling import print_json, say
from splade_bridge.files.address import Place

if TYPE_CHECKING:
    from splade_bridge.inspection.found import Distribution, Inspection

NAME = "inspect"
SHOWN_FACTS = 200


def command(
    artefact: Annotated[
        Place,
        typer.Argument(
            help="Any file or folder, ours or not: vectors, export, feed, index, CIFF, JSON "
            "lines, matrix, tensors, table, topics, texts, run, judgements, checkpoint; or an "
            "address."
        ),
    ],
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            help="Texts of the documents, for the share of expansion terms.",
            show_default="contents that are stored",
        ),
        READS,
        unless("--quick"),
    ] = None,
    source_format: From = None,
    vocabulary: Annotated[Vocabulary, unless("--quick")] = None,
    ciff_docids: CiffDocids = "gaps",
    field: VectorField = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Tell only what can be told without reading all of it."),
    ] = False,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Say what a file, folder or address is, and holds. And what is wrong with it.

    All of it is read: counts, content hash, distributions, the longest lists and every fault with
    its first places. What cannot be known is said to be unknown.
    """
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.formats.vocabularies import read_vocabulary
    from splade_bridge.inspection.found import InspectOptions
    from splade_bridge.inspection.remote import inspect_place

    terms = None if vocabulary is None else read_vocabulary(vocabulary)
    anew, most = not (no_check or quick), size_in_bytes(memory)
    options = InspectOptions(corpus, source_format, ciff_docids, quick, anew, most, terms, field)
    found = inspect_place(artefact, options)
    if json:
        print_json(found)
        return
    for line in _lines(found):
        say(line)


def _lines(found: Inspection) -> Iterator[str]:
    yield _row("kind", f"{found.kind}: {found.what} ({found.reason})")
    if found.engine and found.kind == "address":
        yield _row("engine", found.engine)
    if found.bytes is not None:
        yield _row("size", f"{found.bytes:,} bytes")
    yield from _from_manifest(found)
    if counts := found.counts:
        yield _row("documents", f"{counts.documents:,} ({counts.empty:,} empty)")
        yield _row("postings", f"{counts.postings:,}")
        if counts.impact_sum:
            yield _row("impacts", f"{counts.impact_sum:,} in sum, largest {counts.max_impact:,}")
    if found.distinct_terms is not None:
        yield _row("terms", f"{found.distinct_terms:,} with a posting")
    if (content := found.content) and (content.computed or content.manifest):
        how = {True: "computed, and as the manifest says", False: "computed", None: "computed"}
        origin = how[content.equal] if content.computed else "from the manifest, not computed"
        yield _row("content", f"{content.computed or content.manifest} ({origin})")
    if found.lengths:
        yield _row("terms a doc", _spread(found.lengths))
    if found.values:
        yield _row(found.numbers or "values", _spread(found.values))
    if scale := found.scale:
        told = f"x {scale.scale:g}" if scale.scale is not None else "unknown"
        guessed = ", a guess" if scale.origin == "guess" else ""
        yield _row("scale", f"{told}{guessed}: {scale.reason}")
    if expansion := found.expansion:
        yield _row(
            "expansion",
            f"{expansion.postings:.1%} of the postings and {expansion.values:.1%} of their sum are "
            f"of terms that the text lacks ({expansion.documents:,} documents; "
            f"{expansion.spelled:.0%} of their words are spelled by the terms)",
        )
    for number, entry in enumerate(found.longest):
        text = f"{entry.term!r}: {entry.documents:,} documents, {entry.share:.1%}"
        yield _row("" if number else "longest", text)
    for name, value in found.facts.items():
        yield _row(name.replace("_", " "), _shown(value))
    for fault in found.faults:
        places = "; ".join(fault.places)
        yield _row("FAULT", f"{fault.count:,} {fault.fault}: {places}. {fault.remedy}")
    for unknown in found.unknown:
        yield _row("unknown", unknown)


def _from_manifest(found: Inspection) -> Iterator[str]:
    manifest = found.manifest
    if manifest is None:
        return
    files = manifest.files
    if files:
        yield _row("files", f"{len(files)}, {sum(f.bytes for f in files):,} bytes, whole")
    yield _row("vocabulary", f"{manifest.vocabulary.size:,} terms")
    if encoding := manifest.encoding:
        yield _row("model", f"{encoding.model} ({encoding.sha256[:12]}), {encoding.side} side")
        yield _row(
            "encoding",
            f"{encoding.pooling} pooling, {encoding.max_length} tokens, {encoding.dtype}, "
            f"{encoding.truncated:,} texts cut",
        )
    if quantization := manifest.quantization:
        made = "scale unknown"
        if quantization.scale is not None:
            made = f"x {quantization.scale:g}, {quantization.rounding}"
        yield _row(
            "quantized",
            f"{made}; {quantization.dropped_to_zero:,} dropped to zero, "
            f"{quantization.clipped:,} clipped",
        )


def _row(name: str, value: str) -> str:
    return f"{name:<15} {value}"


def _spread(of: Distribution) -> str:
    quantiles = " ".join(f"{name} {getattr(of, name):.4g}" for name in ("p25", "p50", "p75", "p95"))
    return f"{of.least:.4g} to {of.most:.6g}, mean {of.mean:.4g}; {quantiles} p99 {of.p99:.4g}"


def _shown(value: Any) -> str:
    if hasattr(value, "p50"):
        return _spread(value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_shown(v)}" for k, v in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = str(value)
    return text if len(text) <= SHOWN_FACTS else f"{text[:SHOWN_FACTS]}..."
