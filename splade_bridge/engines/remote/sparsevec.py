"""pgvector's ``sparsevec`` as PostgreSQL takes and gives it, in binary and as text.

In binary, all big-endian: int32 dimensions, int32 entries, int32 0, then int32[entries] of
ascending indices from 0 on and float32[entries] of values (``sparsevec_send`` of pgvector's
``src/sparsevec.c``). As text indices begin with 1: ``{1:0.5,7:2}/10``.
"""

from __future__ import annotations

import struct

import numpy as np

from splade_bridge.data.vectors import Float32Array, Int32Array

MOST_ENTRIES = 16_000
"""``SPARSEVEC_MAX_NNZ``: that are not 0, of a document or a query."""
MOST_ENTRIES_HNSW = 1_000
"""``HNSW_MAX_NNZ``: of a document in a table with such an index."""
MOST_DIMENSIONS = 1_000_000_000
"""``SPARSEVEC_MAX_DIM``."""

HEAD = struct.Struct(">iii")


def packed(indices: Int32Array, weights: Int32Array | Float32Array, dimensions: int) -> bytes:
    """A vector in binary; the indices must ascend, from 0 on."""
    head = HEAD.pack(dimensions, len(indices), 0)
    return head + indices.astype(">i4").tobytes() + weights.astype(">f4").tobytes()


def dimensions_of(data: bytes) -> int:
    """Those of a vector in binary."""
    return int(HEAD.unpack_from(data)[0])


def unpacked(data: bytes) -> tuple[Int32Array, Float32Array]:
    """Indices from 0 on, and values."""
    _, entries, _ = HEAD.unpack_from(data)
    indices = np.frombuffer(data, ">i4", entries, HEAD.size)
    values = np.frombuffer(data, ">f4", entries, HEAD.size + 4 * entries)
    return indices.astype(np.int32), values.astype(np.float32)


def literal(indices: list[int], weights: list[int], dimensions: int) -> str:
    """A vector as text."""
    cells = ",".join(
        f"{index + 1}:{weight}" for index, weight in zip(indices, weights, strict=True)
    )
    return f"{{{cells}}}/{dimensions}"
