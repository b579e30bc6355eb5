"""From any vectors to any format, with nothing lost that is not told.

What was written is read again, and must have the content hash of what was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from splade_bridge.conversion.detect import LOOKED_AT, SourceOptions, open_vectors
from splade_bridge.conversion.export import FLOATS, ExportOptions, write_format
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import EXACT_SCORES_BELOW, QuantizeOptions
from splade_bridge.data.store import VALUES, VectorStoreWriter
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files.address import Place, paths
from splade_bridge.files.checks import unchecked
from splade_bridge.files.outputs import check_output
from splade_bridge.files.writing import staged_folder
from splade_bridge.formats.base import (
    ImpactSource,
    Quantized,
    Watch,
    WeightSource,
    refuse_empty,
    watched,
)
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.feeds.write import FEED_TARGETS, write_feed
from splade_bridge.formats.queries import Queries


@dataclass(frozen=True)
class Converted:
    """What a conversion has done.

    Attributes:
        manifest: of what was written.
        values: ``impacts`` (integers) or ``weights`` (floats).
        told: what the format does not hold of what was read, in sentences.
    """

    manifest: Manifest
    values: str
    told: tuple[str, ...]


def convert(
    source: Place,
    out: Path,
    to: ConvertFormat,
    options: ExportOptions = ExportOptions(),
    *,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    queries: Queries | None = None,
    allow_loss: bool = False,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Converted:
    """Write the vectors at ``source`` in the new folder ``out``.

    Args:
        options: its memory, compression and documents a file.
        read_as: how ``source`` is read.
        queries: written as query bodies beside a feed.
        allow_loss: write a feed though its engine will change weights.
        quantize: turns weights into impacts; without it, weights stay what they are.

    Raises:
        UsageError: ``out`` exists or contains ``source``; or weights for a format of integers.
        BadInputError: the source is broken, or holds what the format cannot.
        ExternalProgramError: what was written is not what was read.
    """
    check_output(out, overwrite=overwrite, inputs=paths([source]))

    read = open_vectors(
        source,
        read_as,
        quantize=quantize,
        weights=quantize is None,
        memory=options.memory,
        temporary=out.parent if out.parent.exists() else None,
    )
    if isinstance(read, WeightSource) and quantize is not None:
        read = Quantized(read, quantize)
    if isinstance(read, WeightSource) and to not in FLOATS:
        raise UsageError(
            f"{source}: holds float weights, and {to} holds integers only: give --scale to "
            "quantize them (100 is usual)"
        )
    values = "weights" if isinstance(read, WeightSource) else "impacts"
    watched(read, watch)
    with staged_folder(out, overwrite=overwrite, inputs=paths([source])) as folder:
        with read.opened():
            if to == "vectors":
                manifest = _write_store(folder, read)
            elif to in FEED_TARGETS:
                counts, account = write_feed(
                    to,
                    read,
                    folder,
                    queries=queries,
                    allow_loss=allow_loss,
                    gzip=options.compress,
                )
                _check(out, read.counts, counts)
                held = {VALUES: values} if values == "weights" else {}
                manifest = read.described("feed", options=account.options() | held).save(folder)
            else:
                counts = write_format(to, read, folder, options, read.contents)
                _check(out, read.counts, counts)
                manifest = read.described("export", options={"formats": [to], VALUES: values})
                manifest = manifest.save(folder)
            refuse_empty(read.counts, read.path)
            told = tuple(_told(read, to))
        _check_content(folder, out, manifest, options.memory)
    return Converted(manifest, values, told)


def _write_store(folder: Path, source: ImpactSource | WeightSource) -> Manifest:
    writer: VectorStoreWriter | None = None
    for batch in source.batches():
        writer = writer or VectorStoreWriter(folder, source.vocabulary)
        writer.add(batch if isinstance(batch, SparseBatch) else _as_weights(batch, source.path))
    if writer is None:
        raise BadInputError("holds no documents", str(source.path))
    known = source.manifest
    return writer.finish(
        source.encoding,
        {VALUES: "impacts"} if isinstance(source, ImpactSource) else {},
        quantization=source.quantization if isinstance(source, ImpactSource) else None,
        pruning=known.pruning if known else (),
        parents=[source.parent],
        content=str(source.content),
    )


def _as_weights(batch: ImpactBatch, path: Place) -> SparseBatch:
    if batch.impacts.size and int(batch.impacts.max()) > EXACT_SCORES_BELOW:
        raise BadInputError(
            f"an impact of {int(batch.impacts.max()):,}: a vector store holds float32, which has "
            f"every integer up to {EXACT_SCORES_BELOW:,} only",
            str(path),
        )
    return SparseBatch(batch.ids, batch.indptr, batch.indices, batch.impacts.astype("<f4"))


def _check(out: Path, read: Counts, written: Counts) -> None:
    if read != written:
        raise ExternalProgramError(
            f"{out}: got {written.documents:,} documents and {written.postings:,} postings, the "
            f"source had {read.documents:,} and {read.postings:,}"
        )


def _check_content(folder: Path, out: Path, manifest: Manifest, memory: int) -> None:
    """Read all of ``folder`` again and compare its content."""
    with unchecked():  # hashes of the files would say less than this does
        again = open_vectors(folder, weights=True, memory=memory, temporary=folder.parent)
    again.read_all()
    if str(again.content) != manifest.content:
        raise ExternalProgramError(
            f"{out}: what was written has the content {again.content}, what was read "
            f"{manifest.content}: this is a fault of splade-bridge, or of the disk"
        )


def _told(source: ImpactSource | WeightSource, to: ConvertFormat) -> list[str]:
    told = []
    texts = source.contents() if to not in CONTENTS else None
    if texts is not None and any(text for _, text in islice(texts, LOOKED_AT)):
        told.append(f"{to} holds no texts: those beside the vectors were left out")
    if not source.vocabulary.observed and to in OBSERVED:
        told.append(f"{to} names the terms that have a posting, and not the model's other ones")
    return told


CONTENTS = ("jsonvector", "seismic")
OBSERVED = ("jsonvector", "ciff", "pisa-canonical", "seismic", "hf")
