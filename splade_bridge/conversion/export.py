"""Vectors to the files that other tools read, in one folder with a manifest.

::

    OUT/jsonvector/part-00000.jsonl   a folder of its own: Anserini reads every file in it
    OUT/index.ciff[.gz]
    OUT/forward/                      a forward store, for two-step search
    OUT/topics.tsv[.gz], topics.jsonl[.gz], topics.pisa.txt[.gz]
    OUT/manifest.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from splade_bridge.conversion.detect import FOLDERS, SourceOptions, path_opener
from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.counts import Counts
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.errors import ExternalProgramError, UsageError
from splade_bridge.files.address import Place
from splade_bridge.files.outputs import check_inputs
from splade_bridge.files.writing import atomic_writer, staged_folder
from splade_bridge.formats.base import (
    ImpactSource,
    Watch,
    WeightSource,
    refuse_empty,
    watched,
)
from splade_bridge.formats.choices import ExportFormat, FeedTarget
from splade_bridge.formats.ciff_writer import write_ciff, write_ciff_lists
from splade_bridge.formats.columns import write_columns
from splade_bridge.formats.forward import FORWARD_FOLDER, write_forward
from splade_bridge.formats.jsonvector import JsonVectorWriter
from splade_bridge.formats.npz import write_npz
from splade_bridge.formats.pisa import write_collection
from splade_bridge.formats.postings import PostingListSource
from splade_bridge.formats.queries import TOPICS
from splade_bridge.text.corpora import read_texts

FORMATS = get_args(ExportFormat)


@dataclass(frozen=True)
class ExportOptions:
    """One to one with the flags of ``splade-bridge export``."""

    formats: tuple[str, ...] = ("jsonvector",)
    docs_per_file: int = 100_000
    compress: bool = False
    memory: int = DEFAULT_MEMORY


def default_formats(side: Side) -> tuple[ExportFormat, ...]:
    """What is written if nothing else is asked for."""
    return ("topics",) if side == "query" else ("jsonvector",)


def export(
    open_anew: Callable[[], ImpactSource],
    out: Path,
    options: ExportOptions,
    *,
    contents: Callable[[], Iterator[tuple[str, str]]] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write all formats of ``options``, each in a pass of its own, and check their counts.

    Args:
        open_anew: opens the same vectors anew for each pass.
        contents: (id, text) of the corpus in order, for the ``contents`` field of jsonvector.

    Raises:
        UsageError: an unknown format, or an option of jsonvector that is not written.
        BadInputError: the source is broken or empty.
        ExternalProgramError: two passes counted differently: the source changed meanwhile.
    """
    for name in options.formats:
        check_choice("format", name, ExportFormat)
    if "jsonvector" not in options.formats:
        if contents is not None:
            raise UsageError("--with-contents has no effect without --format jsonvector")
        if options.docs_per_file != ExportOptions.docs_per_file:
            raise UsageError("--docs-per-file has no effect without --format jsonvector")
    with staged_folder(out, overwrite=overwrite) as folder:
        sources: list[ImpactSource] = []
        for name in dict.fromkeys(options.formats):
            source = open_anew()
            check_inputs(out, source.files)
            written = write_format(name, source, folder, options, contents or source.contents)
            refuse_empty(source.counts, source.path)
            if written != source.counts or source.counts != (sources or [source])[0].counts:
                raise ExternalProgramError(
                    f"{out}: {name} got {written.documents:,} documents and {written.postings:,} "
                    f"postings, the source had {source.counts.documents:,} and "
                    f"{source.counts.postings:,}: did it change meanwhile?"
                )
            sources.append(source)
        return (
            sources[0]
            .described(
                "export",
                options={k: v for k, v in asdict(options).items() if k != "memory"},
            )
            .save(folder)
        )


def export_path(
    source: Place,
    out: Path,
    options: ExportOptions = ExportOptions(),
    *,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    with_contents: str | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Manifest:
    """Write the vectors at ``source`` for other tools; see :func:`export`.

    Args:
        source, quantize: see :func:`.detect.open_source`.
        read_as: how ``source`` is read.
        with_contents: the corpus that was encoded, for the ``contents`` field of jsonvector.
        watch: wraps the stream of batches of each pass, with their number if known, for a
            progress bar.

    Raises:
        UsageError: ``out`` exists, or contains ``source``.
        BadInputError: see :func:`export` and :func:`.detect.open_source`.
        ExternalProgramError: see :func:`export`.
    """
    contents = None
    if with_contents is not None:
        corpus = with_contents

        def contents() -> Iterator[tuple[str, str]]:
            return ((text.id, text.text) for text in read_texts(corpus))

    opened = path_opener(source, read_as, quantize=quantize, memory=options.memory)
    return export(
        lambda: watched(opened(), watch), out, options, contents=contents, overwrite=overwrite
    )


FLOATS = ("vectors", "jsonvector", "npz", "seismic", "hf", *get_args(FeedTarget))
"""Formats that hold weights, too."""


def write_format(
    name: str,
    source: ImpactSource | WeightSource,
    folder: Path,
    options: ExportOptions,
    contents: Callable[[], Iterator[tuple[str, str]] | None],
) -> Counts:
    """Write all of ``source`` in one format into its place in ``folder``; what was written.

    Args:
        source: of weights only for :data:`FLOATS`.
        contents: see :func:`export`; it may give None for no texts.
    """
    gz = ".gz" if options.compress else ""
    if name in ("jsonvector", "seismic"):
        field = "contents" if name == "jsonvector" else "content"
        writer = JsonVectorWriter(
            folder / name, options.docs_per_file, compress=options.compress, contents_field=field
        )
        return writer.write(source.batches(), source.vocabulary, contents())
    if name == "npz":
        return write_npz(folder / FOLDERS["npz"], source)
    if name == "hf":
        return write_columns(folder / FOLDERS["hf"], source)
    assert isinstance(source, ImpactSource), name
    if name == "pisa-canonical":
        return write_collection(folder / FOLDERS["pisa-canonical"], source, options.memory)
    if name == "ciff":
        ciff = folder / f"index.ciff{gz}"
        description = f"splade-bridge export of {source.path.name}"
        if isinstance(source, PostingListSource) and source.in_order:
            return write_ciff_lists(ciff, source, description=description)
        return write_ciff(
            ciff,
            source.batches(),
            source.vocabulary,
            description=description,
            memory=options.memory,
            expected=source.expected_postings,
        )
    if name == "forward":
        return write_forward(folder / FORWARD_FOLDER, source, options.memory)
    file, write = TOPICS[name]
    with atomic_writer(folder / f"{file}{gz}") as out:
        for line in write(source.batches(), source.vocabulary):
            out.write(line)
    return source.counts
