"""Vectors to the files that other tools read, in one folder with a manifest.

::

    OUT/jsonvector/part-00000.jsonl   a folder of its own: Anserini reads every file in it
    OUT/index.ciff[.gz]
    OUT/forward/                      a forward store, for two-step search
    OUT/topics.tsv[.gz]
    OUT/manifest.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from splade_bridge.data.counts import Counts
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.errors import ExternalProgramError, UsageError
from splade_bridge.files import atomic_writer, staged_folder
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.ciff import write_ciff
from splade_bridge.formats.detect import JSONVECTOR_FOLDER
from splade_bridge.formats.forward import FORWARD_FOLDER, write_forward
from splade_bridge.formats.jsonvector import JsonVectorWriter
from splade_bridge.formats.queries import write_repeated_tokens
from splade_bridge.outputs import check_inputs

FORMATS = ("jsonvector", "ciff", "forward", "topics")


@dataclass(frozen=True)
class ExportOptions:
    """One to one with the flags of ``splade-bridge export``."""

    formats: tuple[str, ...] = ("jsonvector",)
    docs_per_file: int = 100_000
    compress: bool = False
    memory: int = DEFAULT_MEMORY


def export(
    open_source: Callable[[], ImpactSource],
    out: Path,
    options: ExportOptions,
    *,
    contents: Callable[[], Iterator[tuple[str, str]]] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write all formats of ``options``, each in a pass of its own, and check their counts.

    Args:
        open_source: opens the same vectors anew for each pass.
        contents: (id, text) of the corpus in order, for the ``contents`` field of jsonvector.

    Raises:
        UsageError: an unknown format.
        BadInputError: the source is broken or empty.
        ExternalProgramError: two passes counted differently: the source changed meanwhile.
    """
    for name in options.formats:
        if name not in FORMATS:
            raise UsageError(f"--format is one of {', '.join(FORMATS)}, not {name!r}")
    with staged_folder(out, overwrite=overwrite) as folder:
        sources: list[ImpactSource] = []
        for name in dict.fromkeys(options.formats):
            source = open_source()
            check_inputs(out, [source.path])
            written = _write(name, source, folder, options, contents)
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


def _write(
    name: str,
    source: ImpactSource,
    folder: Path,
    options: ExportOptions,
    contents: Callable[[], Iterator[tuple[str, str]]] | None,
) -> Counts:
    gz = ".gz" if options.compress else ""
    if name == "jsonvector":
        writer = JsonVectorWriter(
            folder / JSONVECTOR_FOLDER, options.docs_per_file, compress=options.compress
        )
        return writer.write(source.batches(), source.vocabulary, contents and contents())
    if name == "ciff":
        return write_ciff(
            folder / f"index.ciff{gz}",
            source.batches(),
            source.vocabulary,
            description=f"splade-bridge export of {source.path.name}",
            memory=options.memory,
            expected=source.expected_postings,
        )
    if name == "forward":
        return write_forward(folder / FORWARD_FOLDER, source, options.memory)
    with atomic_writer(folder / f"topics.tsv{gz}") as out:
        for line in write_repeated_tokens(source.batches(), source.vocabulary):
            out.write(line)
    return source.counts
