"""``splade-bridge export``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
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
    note,
    parse_size,
    print_json,
    progress,
    quantize_options,
)

NAME = "export"


def command(
    source: Annotated[
        str, typer.Argument(help="Vector store, JsonVectorCollection, CIFF; or text with --model.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the export.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="jsonvector (Anserini), ciff, forward (for two-step search), topics (TSV of "
            "repeated tokens); repeatable.",
            show_default="jsonvector; topics with --queries",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Checkpoint, if the source is text.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        bool, typer.Option("--queries", help="The source holds queries, not documents.")
    ] = False,
    source_format: Annotated[
        str | None,
        typer.Option("--from", help="vectors, jsonvector, ciff or forward, where unclear."),
    ] = None,
    scale: Scale = None,
    rounding: RoundingOption = "nearest",
    clip: Clip = None,
    docs_per_file: Annotated[
        int, typer.Option("--docs-per-file", min=1, help="Documents a jsonvector part.")
    ] = 100_000,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress what is written.")] = False,
    with_contents: Annotated[
        str | None,
        typer.Option(
            "--with-contents",
            metavar="CORPUS",
            help="Fill jsonvector's contents from the corpus that was encoded.",
        ),
    ] = None,
    memory: Memory = "2G",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn vectors into integer impacts and write them for other tools."""
    import tempfile

    from splade_bridge.errors import require
    from splade_bridge.formats.base import ImpactSource
    from splade_bridge.formats.detect import open_source
    from splade_bridge.formats.export import ExportOptions
    from splade_bridge.formats.export import export as export_vectors
    from splade_bridge.outputs import check_output
    from splade_bridge.text.corpora import read_texts

    check_output(out, overwrite=overwrite)
    options = ExportOptions(
        tuple(formats or (["topics"] if queries else ["jsonvector"])),
        docs_per_file,
        gzip,
        parse_size(memory),
    )
    quantize = quantize_options(scale, rounding, clip)
    with contextlib.ExitStack() as stack:
        vectors = Path(source)
        if model is not None:
            require("encode", "export --model")
            from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
            from splade_bridge.encoding.progress import progress_bar
            from splade_bridge.encoding.runner import encode_to_store

            out.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="splade-bridge-", dir=out.parent)
            )
            vectors = Path(scratch) / "vectors"
            texts = read_texts(source, "queries" if queries else "documents")
            encoder = load_encoder(model, "query" if queries else "document", EncodeOptions())
            with progress_bar() as bar:
                encode_to_store(texts, encoder, vectors, corpus=source, progress=bar)

        def opened() -> ImpactSource:
            impacts = open_source(
                vectors, source_format=source_format, quantize=quantize, memory=options.memory
            )
            known = impacts.manifest.counts.documents if impacts.manifest else None
            impacts.watch = lambda batches: progress(batches, "exporting", known)
            return impacts

        def contents(corpus: str) -> Iterator[tuple[str, str]]:
            return ((text.id, text.text) for text in read_texts(corpus))

        manifest = export_vectors(
            opened,
            out,
            options,
            contents=partial(contents, with_contents) if with_contents is not None else None,
            overwrite=overwrite,
        )
    counts, lost = manifest.counts, manifest.quantization
    if json:
        print_json({"export": str(out), "counts": counts, "quantization": lost,
                    "files": manifest.files})  # fmt: skip
        return
    note(
        f"{out}: {counts.documents:,} rows ({counts.empty:,} empty), {counts.postings:,} postings, "
        f"largest impact {counts.max_impact:,}"
    )
    if lost:
        note(
            f"x {lost.scale:g}: {lost.dropped_to_zero:,} weights rounded to 0 and were dropped, "
            f"{lost.clipped:,} clipped"
        )
