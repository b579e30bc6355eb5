"""A faiss index of the vectors in parts, with the ids of its documents.

::

    INDEX/part-00000.parquet ...   the vectors and their ids
    INDEX/_index/index.faiss       IndexFlatIP, or IndexHNSWFlat of inner products
    INDEX/_index/doc_ids.bin, doc_offsets.npy

``index.faiss`` is faiss's own file, for whatever reads these. A flat one is written as the vectors
come, whatever their number: it is a header and then the numbers. A graph is made in memory.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splade_bridge.data.counts import Counts
from splade_bridge.data.doc_ids import DocIdWriter
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import EncodingInfo, Manifest, VocabularyInfo
from splade_bridge.data.parts import part_files
from splade_bridge.data.vectors import Float32Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.embeddings.choices import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    KIND,
    IndexKind,
    Similarity,
)
from splade_bridge.embeddings.faiss_module import faiss_module
from splade_bridge.embeddings.vectors import DenseBatch, read_dense_part, rows_of
from splade_bridge.errors import ExternalProgramError, UsageError
from splade_bridge.files.writing import atomic_writer, write_error

INDEX_FOLDER = "_index"
"""Begins with ``_``, so that what reads a folder of Parquet files passes over it."""
FAISS = "index.faiss"
HEADER_BYTES = 45
COUNT_AT, LENGTH_AT = 8, 37
"""Where the header of a flat index has its vectors (int64) and their numbers (uint64)."""
GRAPH_MORE = 48
"""Bytes of a vector in a graph beside its numbers and its links on the lowest level: the links
above, where they begin, and the vector's level."""


@dataclass(frozen=True)
class Recipe:
    """How an index is made.

    Attributes:
        m: links of a vector in a graph, twice as many on the lowest level.
        ef_construction: candidates from which these are chosen.
        threads: that build a graph; more than one make another graph each time.
        memory: bytes that a graph may take.
    """

    kind: IndexKind
    m: int = DEFAULT_M
    ef_construction: int = DEFAULT_EF_CONSTRUCTION
    threads: int = 1
    memory: int = DEFAULT_MEMORY

    def recorded(self) -> dict[str, Any]:
        """What decides the index, for plans and manifests."""
        graph = {"hnsw_m": self.m, "hnsw_ef_construction": self.ef_construction}
        return {"index_kind": self.kind, **(graph if self.kind == "hnsw" else {})}


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        longest: length (L2) of the longest of them.
        files: all that were written.
    """

    longest: float
    files: list[Path]


def build_index(
    folder: Path, batches: Iterable[DenseBatch], documents: int, dimension: int, recipe: Recipe
) -> Built:
    """Make the index of all ``batches`` below ``folder``; what was begun there is thrown away.

    Args:
        batches: vectors of ``dimension`` numbers, ``documents`` in all.

    Raises:
        UsageError: a graph that is larger than the memory it may have.
        ExternalProgramError: the disk is full, or faiss failed.
        MissingToolError: faiss is not installed.
    """
    faiss_module()
    if recipe.kind == "hnsw":
        _check_memory(documents, dimension, recipe)
    place = folder / INDEX_FOLDER
    try:
        if place.exists():
            shutil.rmtree(place)
        place.mkdir()
        ids = DocIdWriter(place)
        longest = _write_flat(place / FAISS, _with_ids(batches, ids), documents, dimension)
        ids.close()
    except OSError as error:
        raise write_error(error, place) from error
    if recipe.kind == "hnsw":
        graph = _graph(place / FAISS, documents, dimension, recipe)
        _write(graph, place / FAISS)
    return Built(longest, sorted(place.iterdir()))


def _with_ids(batches: Iterable[DenseBatch], ids: DocIdWriter) -> Iterator[Float32Array]:
    for batch in batches:
        ids.add(batch.ids)
        yield batch.vectors


def finish_index(
    folder: Path,
    dimension: int,
    recipe: Recipe,
    *,
    encoding: EncodingInfo | None,
    similarity: Similarity,
    options: Mapping[str, Any],
) -> Manifest:
    """Make the index of all parts in ``folder``, and write the manifest.

    Args:
        encoding: how text became these vectors, where that is known.
        similarity: that the index is searched by.
        options: what else the manifest keeps.

    Raises:
        BadInputError: a part is damaged.
        UsageError, ExternalProgramError, MissingToolError: see :func:`build_index`.
    """
    parts = list(part_files(folder).values())
    documents = sum(map(rows_of, parts))
    batches = (batch for part in parts for batch in read_dense_part(part, dimension=dimension))
    built = build_index(folder, batches, documents, dimension, recipe)
    return Manifest(
        kind=KIND,
        vocabulary=VocabularyInfo.of(Vocabulary()),
        counts=Counts(documents=documents),
        encoding=encoding,
        options={
            **options,
            "dimension": dimension,
            "similarity": similarity,
            **recipe.recorded(),
            "longest": built.longest,
        },
    ).save(folder, [*parts, *built.files])


def flat_header(documents: int, dimension: int) -> bytes:
    """What stands before the vectors in faiss's file of an IndexFlatIP.

    It is taken from what faiss itself writes of one vector, and changed in its two counts; that
    this is how it writes two is looked at first.

    Raises:
        ExternalProgramError: this faiss writes another format.
    """
    of_one, of_two = (_serialized(n, dimension) for n in (1, 2))
    if _counted(of_one, 2, dimension) != of_two or len(of_two) != HEADER_BYTES:
        version = getattr(faiss_module(), "__version__", "?")
        raise ExternalProgramError(
            f"faiss {version} writes flat indexes in a format that is not known here: install "
            "another version of it"
        )
    return _counted(of_one, documents, dimension)


def _serialized(count: int, dimension: int) -> bytes:
    faiss = faiss_module()
    index = faiss.IndexFlatIP(dimension)
    index.add(np.zeros((count, dimension), dtype=np.float32))
    return bytes(faiss.serialize_index(index).tobytes()[: -4 * count * dimension])


def _counted(header: bytes, count: int, dimension: int) -> bytes:
    found = bytearray(header)
    found[COUNT_AT : COUNT_AT + 8] = count.to_bytes(8, "little")
    found[LENGTH_AT : LENGTH_AT + 8] = (count * dimension).to_bytes(8, "little")
    return bytes(found)


def _write_flat(
    path: Path, vectors: Iterable[Float32Array], documents: int, dimension: int
) -> float:
    """Write a flat index as its vectors come; the length of the longest vector."""
    written, longest = 0, 0.0
    with atomic_writer(path) as out:
        out.write(flat_header(documents, dimension))
        for block in vectors:
            if block.shape[1] != dimension:
                raise ValueError(f"vectors of {block.shape[1]} numbers, not {dimension}")
            out.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            squares = np.square(block, dtype=np.float64).sum(axis=1)
            longest = max(longest, math.sqrt(float(squares.max(initial=0.0))))
            written += len(block)
        if written != documents:
            raise ValueError(f"{written:,} vectors and not {documents:,}")
    return longest


def flat_vectors(path: Path, documents: int, dimension: int) -> Float32Array:
    """float32[documents, dimension] of a flat index, mapped and not read.

    Raises:
        ValueError: the file is another one.
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(HEADER_BYTES)
    # The size first: to make a header takes as much memory as two vectors.
    fits = path.stat().st_size == HEADER_BYTES + 4 * documents * dimension
    if not fits or head != flat_header(documents, dimension):
        raise ValueError(f"not a flat index of {documents:,} vectors of {dimension} numbers")
    mapped: npt.NDArray[np.float32] = np.memmap(
        path, dtype=np.dtype("<f4"), mode="r", offset=HEADER_BYTES, shape=(documents, dimension)
    )
    return np.asarray(mapped)


def _check_memory(documents: int, dimension: int, recipe: Recipe) -> None:
    needed = documents * (4 * dimension + 8 * recipe.m + GRAPH_MORE)
    if needed > recipe.memory:
        raise UsageError(
            f"a graph of {documents:,} vectors of {dimension} numbers takes {needed / 1e9:,.2f} GB "
            f"of memory, here and in each search, and --memory allows {recipe.memory / 1e9:,.2f}: "
            "allow more, or leave --index-kind hnsw out; what is encoded is kept"
        )


def _graph(flat: Path, documents: int, dimension: int, recipe: Recipe) -> Any:
    """An IndexHNSWFlat of the vectors in a flat index."""
    faiss = faiss_module()
    vectors = flat_vectors(flat, documents, dimension)
    with _failing(flat):
        index = faiss.IndexHNSWFlat(dimension, recipe.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = recipe.ef_construction
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(recipe.threads)
        try:
            index.add(vectors)  # all at once: what grows step by step takes twice as much
        finally:
            faiss.omp_set_num_threads(before)
    return index


def _write(index: Any, path: Path) -> None:
    """Write any index of faiss, whole or not at all."""
    faiss = faiss_module()
    with atomic_writer(path) as out, _failing(path):
        faiss.write_index(index, faiss.PyCallbackIOWriter(out.write))


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    """What faiss raises as an error of ours."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise ExternalProgramError(f"{path}: faiss failed ({error})") from error
