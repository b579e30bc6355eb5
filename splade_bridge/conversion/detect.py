"""Which kind of source a path is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions, for_integers
from splade_bridge.data.store import SHARD, part_files
from splade_bridge.engines.registry import is_index, read_index
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.folders import members
from splade_bridge.files.inputs import Stamp, changed, check_file, is_there, stamps
from splade_bridge.files.lines import STDIO, plain_suffix
from splade_bridge.files.outputs import MANIFEST, STORE_MANIFEST, manifest_file
from splade_bridge.formats.base import ImpactSource, StoreSource, clipped, export_manifest
from splade_bridge.formats.choices import SourceFormat
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.forward import FORWARD_FOLDER, ForwardSource, is_forward
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.text.corpora import JSON_SUFFIXES

SOURCE_FORMATS = get_args(SourceFormat)

JSONVECTOR_FOLDER = "jsonvector"
CIFF_NAMES = ("index.ciff", "index.ciff.gz")


def open_source(
    path: Path,
    *,
    source_format: SourceFormat | None = None,
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    temporary: Path | None = None,
    skip_others: bool = False,
) -> ImpactSource:
    """The impacts at ``path``: a vector store, an export, a JsonVectorCollection, CIFF, a forward
    store, or an index of any engine, Anserini's too.

    Args:
        source_format: what ``path`` is, where that cannot be seen.
        quantize: of float weights; a vector store takes the defaults for what it does not say.
            Integers can only be clipped.
        memory: budget in bytes where documents must be rebuilt from posting lists.
        temporary: folder for what does not fit into it.
        skip_others: leave out what a folder holds beside vectors.

    Raises:
        BadInputError: no such path; a pipe or a device, since a source is looked at before it is
            read; or it is none of these and ``source_format`` does not say.
        UsageError: ``source_format`` is not what the manifest says, or a scale or a rounding for
            integers.
    """
    if not is_there(path):
        hint = "; a source is read more than once, so stdin is none" if path == STDIO else ""
        raise BadInputError(f"no such file or folder{hint}", str(path))
    if not path.is_dir():
        check_file(path)
    if is_index(path):
        index = read_index(path, memory, temporary)
        return clipped(index, for_integers(quantize, path, index.manifest))
    is_ours = manifest_file(path).is_file()
    manifest = Manifest.load(path) if is_ours else export_manifest(path)
    kind = manifest.kind if manifest else None
    if is_ours and kind == "export":
        path, kind = _exported(path, source_format)
    if kind is None or kind == "export":
        kind = source_format or _recognise(path)
    elif source_format not in (None, kind):
        raise UsageError(f"{path}: is {kind}, as its manifest says, and not --from {source_format}")
    if kind == "vectors":
        return StoreSource(path, quantize or QuantizeOptions())
    if kind == "jsonvector":
        return JsonVectorSource(path, quantize, manifest, skip_others=skip_others)
    if kind in ("ciff", "forward"):
        clipper = for_integers(quantize, path, manifest)
        if kind == "forward":
            return clipped(ForwardSource(path), clipper)
        return clipped(CiffSource(path, memory, manifest, temporary), clipper)
    hint = "; splade-bridge merge puts shards together" if kind == SHARD else ""
    raise BadInputError(f"this is {kind}, not a source of vectors{hint}", str(path))


def path_opener(
    path: Path,
    *,
    source_format: SourceFormat | None = None,
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    temporary: Path | None = None,
    skip_others: bool = False,
) -> Callable[[], ImpactSource]:
    """What opens the impacts at ``path`` anew for each pass, as :func:`open_source` does.

    It raises BadInputError where a file is not what it was at the first time.
    """
    first: dict[Path, Stamp] = {}

    def opened() -> ImpactSource:
        source = open_source(
            path,
            source_format=source_format,
            quantize=quantize,
            memory=memory,
            temporary=temporary,
            skip_others=skip_others,
        )
        found = stamps(source.path)
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
        if members(path, JSON_SUFFIXES).taken:
            return "jsonvector"
        if any(path.glob("segments_*")):
            raise BadInputError(
                "this is a Lucene index: search it, it is not a source of vectors", str(path)
            )
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
    raise BadInputError(
        "cannot tell what this is; say --from " + ", ".join(SOURCE_FORMATS), str(path)
    )
