"""Which kind of source a path is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import SHARD, part_files
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import plain_suffix
from splade_bridge.files.outputs import MANIFEST
from splade_bridge.formats.base import ImpactSource, StoreSource, export_manifest
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
) -> ImpactSource:
    """The impacts at ``path``: a vector store, an export, a JsonVectorCollection, CIFF or forward.

    Args:
        quantize: for float weights; a vector store takes the defaults if None.
        memory: budget in bytes where documents must be rebuilt from posting lists.
        temporary: folder for what does not fit into it.

    Raises:
        BadInputError: no such path, or it is none of these and ``source_format`` does not say.
    """
    if not path.exists():
        raise BadInputError("no such file or folder", str(path))
    is_ours = (path / MANIFEST).is_file()
    manifest = Manifest.load(path) if is_ours else export_manifest(path)
    kind = manifest.kind if manifest else None
    if is_ours and kind == "export":
        path, kind = _exported(path, source_format)
    if kind is None or kind == "export":
        kind = source_format or _recognise(path)
    if kind == "vectors":
        return StoreSource(path, quantize or QuantizeOptions())
    if kind == "jsonvector":
        return JsonVectorSource(path, quantize, manifest)
    if kind in ("ciff", "forward"):
        if quantize:
            raise BadInputError(f"{kind} holds integers already: leave --scale out", str(path))
        if kind == "forward":
            return ForwardSource(path)
        return CiffSource(path, memory, manifest, temporary)
    hint = "; splade-bridge merge puts shards together" if kind == SHARD else ""
    raise BadInputError(f"this is {kind}, not a source of vectors{hint}", str(path))


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
                f"no {MANIFEST} beside its parts: a vector store whose making did not finish; give "
                "the command that makes it again",
                str(path),
            )
        if any(plain_suffix(p) in JSON_SUFFIXES for p in path.rglob("*")):
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
    raise BadInputError(
        "cannot tell what this is; say --from " + ", ".join(SOURCE_FORMATS), str(path)
    )
