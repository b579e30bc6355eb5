"""Any source of vectors, pruned, in a new artefact of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from splade_bridge.conversion.detect import SourceOptions, path_opener
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.manifest import Manifest, Side
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.registry import read_remote
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.address import Address, Place, paths
from splade_bridge.files.lines import plain_suffix
from splade_bridge.files.outputs import check_output, manifest_file
from splade_bridge.formats.base import ImpactSource, watched
from splade_bridge.formats.choices import SourceFormat
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.queries import read_queries
from splade_bridge.pruning.policy import Policy, PruneOptions
from splade_bridge.pruning.source import PrunedSource, QuerySource
from splade_bridge.pruning.store import prune_store
from splade_bridge.text.corpora import JSON_SUFFIXES, TSV_SUFFIXES

Watch = Callable[[Iterator[Any], int | None], Iterator[Any]]


def prune(
    source: Place,
    out: Path,
    policies: Sequence[Policy],
    options: PruneOptions = PruneOptions(),
    *,
    side: Side | None = None,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    gzip: bool = False,
    overwrite: bool = False,
    watch: Watch = lambda batches, _: batches,
) -> Manifest:
    """Write ``source`` without what ``policies`` drop, one after the other.

    Weights of a vector store are pruned before they are scaled, and written as a store. Other
    sources are pruned as impacts, and written as an export in the format that they have.

    Args:
        source: for documents what :func:`splade_bridge.conversion.detect.open_source` takes, for
            queries what :func:`splade_bridge.formats.queries.read_queries` takes. An address is of
            documents unless ``side`` says else.
        side: None for what the source itself says; see :func:`side_of`.
        quantize: for files with float weights; of a vector store the scale that ``bytes`` counts
            with, which ``options`` must name, too.
        read_as: how documents are read.
        gzip: compress what an export holds.
        watch: wraps the stream of batches of each pass, with their number if known, for a
            progress bar.

    Raises:
        BadInputError: not such a source, or a broken or empty one.
        MismatchError: ``side`` is not that of the source.
        UsageError: a value that cannot be meant here, an argument that would do nothing, a target
            out of reach, or ``out`` exists.
        ExternalProgramError: the source changed while it was read.
    """
    check_output(out, overwrite=overwrite, inputs=paths([source]))
    if options.temporary is None and out.parent.exists():
        options = replace(options, temporary=out.parent)
    if isinstance(source, Address):
        known = read_remote(source, read_as.vocabulary, read_as.field).manifest
    else:
        known = Manifest.load(source) if manifest_file(source).is_file() else None
    wanted = side_of(source, known, side)
    _check_flags(source, known, wanted, read_as.source_format, quantize, policies, gzip=gzip)
    if read_as.ciff_docids != "gaps" and (wanted == "query" or (known and known.kind == "vectors")):
        raise UsageError(f"{source}: is no CIFF, and --ciff-docids is for CIFF alone: leave it out")
    if isinstance(source, Path) and known and known.kind == "vectors":
        rows = known.counts.documents
        return prune_store(
            source, out, policies, options, side=wanted, overwrite=overwrite,
            watch=lambda batches: watch(batches, rows),
        )  # fmt: skip
    if wanted == "query" and isinstance(source, Path):
        opened, formats = _queries(source, known, quantize)
    else:
        again = path_opener(
            source,
            read_as,
            quantize=quantize,
            memory=options.memory,
            temporary=options.temporary,
        )
        opened, formats = _documents(source, again, known, watch)
    pruned = PrunedSource(
        opened, policies, min_terms=options.min_terms, side=wanted, memory=options.memory,
        temporary=options.temporary,
    )  # fmt: skip
    written = ExportOptions(formats, compress=gzip, memory=options.memory)
    return export(pruned.again, out, written, overwrite=overwrite)


def _check_flags(
    source: Place,
    known: Manifest | None,
    side: Side,
    source_format: SourceFormat | None,
    quantize: QuantizeOptions | None,
    policies: Sequence[Policy],
    *,
    gzip: bool,
) -> None:
    """Refuse what would do nothing for this source."""
    is_store = known is not None and known.kind == "vectors"
    if is_store and source_format not in (None, "vectors"):
        raise UsageError(
            f"{source}: is vectors, as its manifest says, and not --from {source_format}"
        )
    if is_store and gzip:
        raise UsageError(
            f"{source}: --gzip is for files; a vector store is compressed as it is: leave it out"
        )
    if is_store and quantize and not any(p.method == "bytes" for p in policies):
        raise UsageError(
            f"{source}: weights of a vector store are pruned before they are scaled, and --scale "
            "is for --method bytes: leave it out, and give it to index or export"
        )
    if side == "query" and source_format is not None and not is_store:
        raise UsageError(
            f"{source}: --from is for documents; queries are known by their names: leave it out"
        )


def side_of(source: Place, known: Manifest | None, asked: Side | None = None) -> Side:
    """The side that ``source`` holds: what was asked for, else what its manifest or its name says.

    Raises:
        MismatchError: the manifest says another one than was asked for.
    """
    said = known.encoding.side if known and known.encoding else None
    if asked and said and asked != said:
        raise MismatchError(f"{source}: holds vectors of the {said} side, not of the {asked} side")
    is_tsv = isinstance(source, Path) and plain_suffix(source) in TSV_SUFFIXES
    return asked or said or ("query" if is_tsv else "document")


def _queries(
    source: Path, known: Manifest | None, quantize: QuantizeOptions | None
) -> tuple[Callable[[], ImpactSource], tuple[str, ...]]:
    """What opens queries that are no vector store, and the format that they have."""
    if known:
        names = ("topics.tsv", "topics.tsv.gz", "jsonvector")
        found = next((source / n for n in names if (source / n).exists()), None)
        if found is None:
            raise BadInputError("this export holds no queries", str(source))
        source = found
    queries = read_queries(source, quantize)
    is_json = source.is_dir() or plain_suffix(source) in JSON_SUFFIXES
    return lambda: QuerySource(queries), ("jsonvector" if is_json else "topics",)


def _documents(
    source: Place, again: Callable[[], ImpactSource], known: Manifest | None, watch: Watch
) -> tuple[Callable[[], ImpactSource], tuple[str, ...]]:
    """What opens documents that are no vector store, and the formats that they have."""

    def opened() -> ImpactSource:
        return watched(again(), watch)

    formats: tuple[str, ...] = ()
    if known is not None and isinstance(source, Path):
        formats = known.option("formats", tuple[str, ...], source, ())
    if not formats:
        formats = ("ciff" if isinstance(opened(), CiffSource) else "jsonvector",)
    return opened, tuple(f for f in formats if f != "topics")
