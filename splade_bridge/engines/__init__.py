"""Search engines behind one protocol; see :mod:`splade_bridge.engines.base`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.errors import BadInputError
from splade_bridge.outputs import MANIFEST

if TYPE_CHECKING:
    from splade_bridge.engines.base import Engine, Searcher

NAMES = ("lucene", "pisa", "exact")


def engine(name: str) -> Engine:
    """The engine called ``name``; a new one is added here and in NAMES."""
    if name == "lucene":
        from splade_bridge.engines.lucene import LuceneEngine

        return LuceneEngine()
    if name == "pisa":
        from splade_bridge.engines.pisa import PisaEngine

        return PisaEngine()
    if name == "exact":
        from splade_bridge.engines.exact import ExactEngine

        return ExactEngine()
    raise BadInputError(f"no engine {name!r}: there are {', '.join(NAMES)}")


def open_index(path: Path, *, memory: int = DEFAULT_MEMORY) -> Searcher:
    """A searcher for an index folder of ours, or for an impact index that Anserini made.

    Raises:
        BadInputError: not an index, or one whose making was interrupted.
        MissingToolError: its engine is not installed.
    """
    is_lucene = path.is_dir() and any(path.glob("segments_*"))
    if is_lucene and not (path / MANIFEST).exists():
        return engine("lucene").open(path, None, memory=memory)
    manifest = Manifest.load(path)
    if manifest.kind != "index" or manifest.engine is None:
        raise BadInputError(f"holds {manifest.kind}, not an index", str(path))
    return engine(manifest.engine).open(path, manifest, memory=memory)
