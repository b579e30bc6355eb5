"""Which kind of source a path is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.data.quantize import QuantizeOptions, for_integers, for_numbers
from splade_bridge.data.store import SHARD, VALUES, VectorStore
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.saved_tensors import saved_tensors
from splade_bridge.engines.registry import is_lucene, read_index, read_remote
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.files.folders import members
from splade_bridge.files.inputs import Stamp, changed, check_file, is_there, stamps
from splade_bridge.files.lines import STDIO, plain_suffix
from splade_bridge.files.outputs import MANIFEST, STORE_MANIFEST, manifest_file
from splade_bridge.formats.base import (
    ImpactSource,
    Quantized,
    Source,
    StoreWeights,
    WeightSource,
    clipped,
    export_manifest,
    store_source,
)
from splade_bridge.formats.choices import CiffDocids, FeedTarget, SourceFormat
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.columns import SUFFIXES as TABLE_SUFFIXES
from splade_bridge.formats.columns import (
    TableRows,
    holds_integers,
    table_files,
)
from splade_bridge.formats.feeds.source import FeedFiles
from splade_bridge.formats.feeds.write import FEED_TARGETS
from splade_bridge.formats.forward import FORWARD_FOLDER, ForwardSource, is_forward
from splade_bridge.formats.jsonvector import (
    JsonVectorFiles,
    JsonVectorSource,
    read_vectors,
)
from splade_bridge.formats.matrix import Matrix, matrix_source
from splade_bridge.formats.npz import matrix_at, open_npz
from splade_bridge.formats.pisa_source import CanonicalSource, collection_at
from splade_bridge.formats.records import RecordImpacts, RecordWeights, VectorRecord
from splade_bridge.formats.tensors import SAFE, safetensors, tensor_matrix, tensors_at
from splade_bridge.formats.tensors import SUFFIXES as TENSOR_SUFFIXES
from splade_bridge.text.corpora import JSON_SUFFIXES

SOURCE_FORMATS = get_args(SourceFormat)

JSONVECTOR_FOLDER = "jsonvector"
CIFF_NAMES = ("index.ciff", "index.ciff.gz")
FOLDERS: dict[SourceFormat, str] = {
    "pisa-canonical": "pisa", "npz": "npz", "seismic": "seismic", "hf": "hf",
}  # fmt: skip
"""Where an export has these formats."""
LOOKED_AT = 1000
"""Documents that tell whether numbers are weights."""


@dataclass(frozen=True)
class SourceOptions:
    """How what is at a path is read; one to one with flags.

    Attributes:
        source_format: what it is, where that cannot be seen.
        vocabulary: what the term ids of a matrix or a table stand for, if nothing beside it says.
        skip_others: leave out what a folder holds beside vectors.
        ciff_docids: see :class:`.CiffSource`.
        field: that holds the vectors, of an index that others made in an engine.
    """

    source_format: SourceFormat | None = None
    vocabulary: Vocabulary | None = None
    skip_others: bool = False
    ciff_docids: CiffDocids = "gaps"
    field: str | None = None


def open_source(
    path: Place,
    options: SourceOptions = SourceOptions(),
    *,
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    temporary: Path | None = None,
) -> ImpactSource:
    """The impacts at ``path``: a vector store, an export, a JsonVectorCollection, CIFF, a forward
    store, PISA's canonical files, a matrix, tensors, a table, an index of any engine, Anserini's
    too, or an address.

    Args:
        quantize: of float weights; a vector store takes the defaults for what it does not say.
            Integers can only be clipped.
        memory: budget in bytes where documents must be rebuilt from posting lists.
        temporary: folder for what does not fit into it.

    Raises:
        BadInputError: no such path; a pipe or a device, since a source is looked at before it is
            read; or it is none of these and the options do not say.
        UsageError: the format that was named is not what the manifest says, or a scale or a
            rounding for integers; or ``ciff_docids`` for what is no CIFF.
    """
    found = open_vectors(path, options, quantize=quantize, memory=memory, temporary=temporary)
    if isinstance(found, ImpactSource):
        return found
    if quantize is None or quantize.scale is None:
        raise BadInputError(
            "holds float weights; give --scale to quantize them (100 is usual)", str(path)
        )
    return Quantized(found, quantize)


def open_vectors(
    path: Place,
    options: SourceOptions = SourceOptions(),
    *,
    quantize: QuantizeOptions | None = None,
    weights: bool = False,
    memory: int = DEFAULT_MEMORY,
    temporary: Path | None = None,
) -> ImpactSource | WeightSource:
    """What is at ``path`` as :func:`open_source` opens it, or as weights.

    Args:
        weights: leave weights as they are; else those of a vector store or of JSON lines are
            quantized, and those of a matrix or a table are given as weights all the same.

    Raises:
        BadInputError, UsageError: see :func:`open_source`.
    """
    found = _opened(path, options, quantize, memory, temporary, weights=weights)
    if options.ciff_docids != "gaps" and not isinstance(found, CiffSource):
        raise UsageError(f"{path}: is no CIFF, and --ciff-docids is for CIFF alone: leave it out")
    if options.source_format is not None and isinstance(path, Address):
        raise UsageError(f"{path}: is an address, and --from is for files alone: leave it out")
    if options.field is not None and not isinstance(path, Address):
        raise UsageError(f"{path}: is no address, and --field is for those alone: leave it out")
    return found


def _opened(
    path: Place,
    options: SourceOptions,
    quantize: QuantizeOptions | None,
    memory: int,
    temporary: Path | None,
    *,
    weights: bool,
) -> ImpactSource | WeightSource:
    if isinstance(path, Address):
        remote = read_remote(path, options.vocabulary, options.field)
        if isinstance(remote, ImpactSource):
            return clipped(remote, for_integers(quantize, path, remote.manifest))
        return remote
    source_format = options.source_format
    there = is_there(path)
    base = collection_at(path) if source_format in (None, "pisa-canonical") else None
    if base is None and not there:
        hint = "; a source is read more than once, so stdin is none" if path == STDIO else ""
        raise BadInputError(f"no such file or folder{hint}", str(path))
    if base is None and not path.is_dir():
        check_file(path)
    is_ours = manifest_file(path).is_file()
    manifest = Manifest.load(path) if is_ours else export_manifest(path)
    kind = manifest.kind if manifest else None
    if kind == "index" or (base is None and not is_ours and is_lucene(path)):
        index = read_index(path, manifest, memory, temporary)
        return clipped(index, for_integers(quantize, path, manifest))
    if is_ours and kind == "export":
        path, kind = _exported(path, source_format)
        base = collection_at(path) if kind == "pisa-canonical" else None
    if kind is None or kind == "export":
        kind = source_format or ("pisa-canonical" if base else _recognise(path))
    elif source_format not in (None, kind) and kind != "feed":
        raise UsageError(f"{path}: is {kind}, as its manifest says, and not --from {source_format}")
    if kind == "vectors":
        store = VectorStore(path, manifest=manifest)
        if weights and not store.holds_impacts:
            return StoreWeights(store)
        return store_source(store, quantize)
    holds = manifest.options.get(VALUES) if manifest else None
    as_weights = weights and quantize is None
    if kind in ("jsonvector", "seismic"):
        if holds == "weights" or (as_weights and holds_fractions(read_vectors(path))):
            files = JsonVectorFiles(path, skip_others=options.skip_others)
            return RecordWeights(files, manifest)
        return JsonVectorSource(path, quantize, manifest, skip_others=options.skip_others)
    if kind == "feed" or kind in FEED_TARGETS:
        target = None if manifest else cast(FeedTarget, kind)
        feed = FeedFiles(path, manifest, target)
        if holds == "weights" or (as_weights and holds_fractions(feed.records())):
            return RecordWeights(feed, manifest)
        return RecordImpacts(feed, manifest, for_numbers(quantize, path, manifest))
    found: ImpactSource | WeightSource
    if kind == "npz":
        matrix = matrix_at(path)
        if matrix is None:
            raise BadInputError(f"not one .npz file{_compressed(path)}", str(path))
        found = open_npz(matrix, options.vocabulary)
    elif kind == "tensors":
        found = matrix_source(open_tensors(path, options.vocabulary))
    elif kind == "hf":
        tables = table_files(path)
        if not tables:
            raise BadInputError(f"no Parquet or Arrow files{_compressed(path)}", str(path))
        rows = TableRows(path, options.vocabulary)
        found = (RecordImpacts if holds_integers(path) else RecordWeights)(rows)
    elif kind == "forward":
        found = ForwardSource(path)
    elif kind == "pisa-canonical":
        if base is None:
            raise BadInputError("not a collection of PISA's canonical files", str(path))
        found = CanonicalSource(base, memory, temporary)
    elif kind == "ciff":
        found = CiffSource(path, memory, manifest, temporary, options.ciff_docids)
    else:
        if kind == "dense":
            raise BadInputError(
                "holds dense vectors, and no impacts or weights of terms: search and inspect take "
                "it",
                str(path),
            )
        hint = "; splade-bridge merge puts shards together" if kind == SHARD else ""
        raise BadInputError(f"this is {kind}, not a source of vectors{hint}", str(path))
    if manifest is not None:
        found.manifest = manifest
    if isinstance(found, ImpactSource):
        return clipped(found, for_integers(quantize, path, manifest))
    return found


def open_tensors(path: Path, terms: Vocabulary | None = None) -> Matrix:
    """The matrix in a file of tensors, or in the one of a folder.

    Raises:
        BadInputError: it holds none, more than tensors, or there is not one such file.
        MissingToolError: it is torch's own, and torch is not installed.
    """
    file = tensors_at(path)
    if file is None:
        raise BadInputError(
            f"not one file of tensors with ids beside it{_compressed(path)}", str(path)
        )
    read = safetensors if file.suffix == SAFE else saved_tensors
    return tensor_matrix(file, read(file), terms)


def _compressed(path: Path) -> str:
    """What to do where only the compression of a file that is mapped stands in the way."""
    if path.is_dir() or plain_suffix(path) == path.suffix:
        return ""
    return f": {path.suffix} around it is not read, so decompress it first"


def holds_fractions(records: Iterator[VectorRecord]) -> bool:
    """Whether the first of some documents have a weight that is not whole."""
    return any(
        value % 1
        for record in islice(records, LOOKED_AT)
        for value in record.values
        if isinstance(value, float) and value < float("inf")
    )


def path_opener(
    path: Place,
    options: SourceOptions = SourceOptions(),
    *,
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    temporary: Path | None = None,
) -> Callable[[], ImpactSource]:
    """What opens the impacts at ``path`` anew for each pass, as :func:`open_source` does.

    It raises BadInputError where a file is not what it was at the first time.
    """
    return _opener(
        path,
        lambda: open_source(path, options, quantize=quantize, memory=memory, temporary=temporary),
    )


def weight_opener(
    path: Place, options: SourceOptions = SourceOptions(), *, memory: int = DEFAULT_MEMORY
) -> Callable[[], WeightSource]:
    """The same of float weights, which stay what they are.

    When called it raises UsageError where ``path`` holds impacts, too.
    """

    def opened() -> WeightSource:
        found = open_vectors(path, options, weights=True, memory=memory)
        if not isinstance(found, WeightSource):
            raise UsageError(
                f"{path}: holds impacts, and --keep-weights is for float weights: leave it out"
            )
        return found

    return _opener(path, opened)


AnySource = TypeVar("AnySource", bound=Source[Any])


def _opener(path: Place, once: Callable[[], AnySource]) -> Callable[[], AnySource]:
    """``once``, to be called again and again while its files stay what they were.

    It raises BadInputError where a file is not what it was at the first time.
    """
    first: dict[Path, Stamp] = {}

    def opened() -> AnySource:
        source = once()
        found = {p: stamp for file in source.files for p, stamp in stamps(file).items()}
        if first and found != first:
            raise changed(path)
        first.update(found)
        return source

    return opened


def _exported(path: Path, wanted: str | None) -> tuple[Path, SourceFormat]:
    candidates: list[tuple[Path, SourceFormat]] = [
        (path / JSONVECTOR_FOLDER, "jsonvector"),
        *((path / name, "ciff") for name in CIFF_NAMES),
        (path / FORWARD_FOLDER, "forward"),
        *((path / FOLDERS[name], name) for name in FOLDERS),
    ]
    for candidate, kind in candidates:
        if candidate.exists() and wanted in (None, kind):
            return candidate, kind
    raise BadInputError("this export holds no document vectors in that format", str(path))


def _recognise(path: Path) -> SourceFormat:
    if path.is_dir():
        if is_forward(path):
            return "forward"
        if part_files(path):
            raise BadInputError(
                f"no {STORE_MANIFEST} beside its parts: a vector store whose making did not "
                "finish; give the command that makes it again",
                str(path),
            )
        if matrix_at(path):
            return "npz"
        if tensors_at(path):
            return "tensors"
        if table_files(path):
            return "hf"
        if members(path, JSON_SUFFIXES).taken:
            return "jsonvector"
        raise BadInputError(
            f"no {MANIFEST} and no JSON files: neither a finished vector store nor a "
            "JsonVectorCollection",
            str(path),
        )
    suffix = plain_suffix(path)
    if suffix in JSON_SUFFIXES:
        return "jsonvector"
    if suffix == ".ciff":
        return "ciff"
    if suffix == ".npz":
        return "npz"
    if suffix in TENSOR_SUFFIXES:
        return "tensors"
    if suffix in TABLE_SUFFIXES:
        return "hf"
    raise BadInputError(
        "cannot tell what this is; say --from " + ", ".join(SOURCE_FORMATS), str(path)
    )
