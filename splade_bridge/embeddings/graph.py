"""A graph from faiss's file: read, and looked through before anything walks it.

faiss follows the links of a file wherever they lead, so a damaged one would end the process; and it
takes memory for what a part claims to hold before it reads the part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.vectors import Float32Array, Int32Array, Int64Array
from splade_bridge.embeddings.build import HEADER_BYTES, flat_header
from splade_bridge.embeddings.faiss_module import faiss_module

HEAD_BYTES = 37
"""What an index begins with: its kind, counts, and how it compares."""
ITEM_BYTES = (8, 4, 4, 8, 4)
"""Of the parts of a graph: chances of levels, widths, levels, where links begin, links."""
SETTINGS_BYTES = 20
"""The way in, the highest level and three settings, all int32, after these parts."""
AT_ONCE = 1 << 22
"""Links that are looked at together."""


def read_graph(path: Path, documents: int, dimension: int) -> tuple[Any, Float32Array]:
    """An IndexHNSWFlat of inner products, and its vectors as they lie in it.

    The array is good as long as the index is held.

    Raises:
        ValueError: another index, parts that do not fill the file, or links that lead nowhere.
        RuntimeError, MemoryError: by faiss, for a file that it cannot read.
    """
    faiss = faiss_module()
    _check_claims(path, documents, dimension)
    index = faiss.read_index(str(path))
    if not isinstance(index, faiss.IndexHNSWFlat):
        raise ValueError("not an IndexHNSWFlat")
    storage = faiss.downcast_index(index.storage)
    if not isinstance(storage, faiss.IndexFlat):
        raise ValueError("a graph without its vectors")
    for part in (index, storage):
        if (part.ntotal, part.d) != (documents, dimension):
            raise ValueError(f"{part.ntotal:,} vectors of {part.d} numbers")
        if part.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ValueError("not of inner products")
    if storage.codes.size() != 4 * documents * dimension:
        raise ValueError(f"{storage.codes.size():,} bytes of vectors")
    _check_links(index.hnsw, documents)
    numbers = faiss.rev_swig_ptr(storage.get_xb(), documents * dimension)
    return index, numbers.reshape(documents, dimension)


def _check_claims(path: Path, documents: int, dimension: int) -> None:
    """Refuse a file that is shorter or longer than its parts, before faiss believes it.

    Raises:
        ValueError: it is, or the vectors are others.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        stream.seek(HEAD_BYTES)
        for each in ITEM_BYTES:
            claimed = each * int.from_bytes(stream.read(8), "little")
            if claimed > size - stream.tell():
                raise ValueError(f"a part of {claimed:,} bytes in a file of {size:,}")
            stream.seek(claimed, os.SEEK_CUR)
        stream.seek(SETTINGS_BYTES, os.SEEK_CUR)
        left = size - stream.tell()
        if left != HEADER_BYTES + 4 * documents * dimension:
            raise ValueError(f"{left:,} bytes for {documents:,} vectors of {dimension} numbers")
        if stream.read(HEADER_BYTES) != flat_header(documents, dimension):
            raise ValueError("a graph without its vectors")


def _check_links(graph: Any, documents: int) -> None:
    """Refuse what a walk would stumble over.

    Raises:
        ValueError: there is something.
    """
    levels: Int32Array = _held(graph.levels)
    starts: Int64Array = _held(graph.offsets).view(np.int64)
    links: Int32Array = _held(graph.neighbors)
    widths: Int32Array = _held(graph.cum_nneighbor_per_level)
    if len(levels) != documents or len(starts) != documents + 1:
        raise ValueError(f"{len(levels):,} vectors in the graph")
    highest = int(levels.max(initial=0))
    if levels.min(initial=1) < 1 or highest >= len(widths):
        raise ValueError("a level that there is not")
    if widths[0] != 0 or (np.diff(widths[: highest + 1]) < 0).any():
        raise ValueError("levels of a width below 0")
    if starts[0] != 0 or starts[-1] != len(links) or (np.diff(starts) != widths[levels]).any():
        raise ValueError("links that begin elsewhere than they must")
    for start in range(0, len(links), AT_ONCE):
        some = links[start : start + AT_ONCE]
        if some.min() < -1 or some.max() >= documents:
            raise ValueError("a link to no vector")
    entry = int(graph.entry_point)
    if not 0 <= entry < documents or levels[entry] != highest or graph.max_level != highest - 1:
        raise ValueError("no way in")
    for level in range(1, highest):
        above = np.flatnonzero(levels > level)
        width = np.arange(widths[level], widths[level + 1])
        linked = links[starts[above][:, None] + width]
        if (levels[linked[linked >= 0]] <= level).any():
            raise ValueError("a link to a vector that is not on its level")


def _held(vector: Any) -> Any:
    """A vector of C++ as an array, not copied."""
    size = vector.size()
    return faiss_module().rev_swig_ptr(vector.data(), size) if size else np.empty(0, np.int64)
