"""``splade-bridge export``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import ModelFlags, QuantizeFlags, SourceFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import Given, Needs, unless
from splade_bridge.cli.options import (
    CiffDocids,
    From,
    Gzip,
    Json,
    Memory,
    Model,
    NoCheck,
    Overwrite,
    Side,
    SkipOthers,
    VectorField,
    Vocabulary,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.files.address import Place, refuse_address
from splade_bridge.formats.choices import ExportFormat

NAME = "export"

SIDE_DECIDES = Needs(
    "where --format says what is written and nothing is encoded",
    "encode with --model",
    lambda given: given["model"] is not None or not given["formats"],
)


def writes(*formats: str) -> Needs:
    """A flag of files of one of these formats."""

    def met(given: Given) -> bool:
        from splade_bridge.conversion.export import default_formats

        return any(f in formats for f in given["formats"] or default_formats(given["side"]))

    words = " or ".join(f"--format {name}" for name in formats)
    return Needs(f"without {words}", "add that", met)


def command(
    source: Annotated[
        Place,
        typer.Argument(
            help="Vector store, JsonVectorCollection, CIFF, an address; or text with --model."
        ),
    ],
    output: Annotated[Path, output_flag("Folder of the export."), WRITES],
    formats: Annotated[
        list[ExportFormat] | None,
        typer.Option(
            "--format",
            "-f",
            help="jsonvector is Anserini's, forward is for two-step search, topics are TSV of "
            "repeated tokens; repeatable.",
            show_default="jsonvector; topics with --side query",
        ),
    ] = None,
    model: Model = None,
    checkpoint: ModelFlags = ModelFlags(),
    side: Annotated[Side, SIDE_DECIDES] = "document",
    source_format: Annotated[From, unless("--model")] = None,
    quantize: QuantizeFlags = QuantizeFlags(),
    skip_others: SkipOthers = False,
    ciff_docids: Annotated[CiffDocids, unless("--model")] = "gaps",
    vocabulary: Annotated[Vocabulary, unless("--model")] = None,
    field: Annotated[VectorField, unless("--model")] = None,
    docs_per_file: Annotated[
        int,
        typer.Option("--docs-per-file", min=1, help="Documents a jsonvector part."),
        writes("jsonvector"),
    ] = 100_000,
    gzip: Annotated[Gzip, writes("jsonvector", "ciff", "topics")] = False,
    with_contents: Annotated[
        str | None,
        typer.Option(
            "--with-contents",
            metavar="CORPUS",
            help="Fill jsonvector's contents from the corpus that was encoded.",
        ),
        READS,
        writes("jsonvector"),
    ] = None,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write vectors as integer impacts, for other tools."""
    from splade_bridge.conversion.export import ExportOptions, default_formats, export_path
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.sizes import size_in_bytes

    chosen = tuple(formats or default_formats(side))
    options = ExportOptions(chosen, docs_per_file, gzip, size_in_bytes(memory))
    read_as = SourceFlags(
        source_format=source_format,
        vocabulary=vocabulary,
        skip_others=skip_others and model is None,
        ciff_docids=ciff_docids,
        field=field,
    )
    if model is not None:
        refuse_address(str(source), "SOURCE with --model")
    check_output(output, overwrite=overwrite)  # before a model is loaded for nothing
    with contextlib.ExitStack() as stack:
        vectors = source
        if model is not None:
            from splade_bridge.encoding.encode_corpus import encoded
            from splade_bridge.text.corpora import CorpusOptions

            vectors = stack.enter_context(
                encoded(
                    str(source),
                    model,
                    side=side,
                    checkpoint=checkpoint.choices,
                    near=output.parent,
                    fields=CorpusOptions(skip_others=skip_others),
                    progress=True,
                )
            )
        manifest = export_path(
            vectors,
            output,
            options,
            read_as=read_as.options,
            quantize=quantize.options,
            with_contents=with_contents,
            overwrite=overwrite,
            watch=watching("exporting"),
        )
    counts, lost = manifest.counts, manifest.quantization
    if json:
        print_json({"output": str(output), "counts": counts, "quantization": lost,
                    "files": manifest.files})  # fmt: skip
        return
    note(
        f"{output}: {counts.documents:,} rows ({counts.empty:,} empty), "
        f"{counts.postings:,} postings, largest impact {counts.max_impact:,}"
    )
    if lost and lost.scale is None:
        note(f"{lost.clipped:,} impacts were clipped to {lost.clip}")
    elif lost:
        note(
            f"x {lost.scale:g}: {lost.dropped_to_zero:,} weights rounded to 0 and were dropped, "
            f"{lost.clipped:,} clipped"
        )
