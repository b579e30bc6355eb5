"""Dense indexes of given vectors, made without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.manifest import EncodingInfo, Manifest
from splade_bridge.embeddings.build import Recipe, finish_index
from splade_bridge.embeddings.vectors import DenseBatch, write_dense_part

ENCODED = EncodingInfo("made", None, "0" * 64, "document", "dense", 256, "float32")


def dense_index(
    folder: Path,
    vectors: np.ndarray,
    ids: list[str] | None = None,
    *,
    similarity: Any = "dot",
    encoding: EncodingInfo | None = None,
    part_rows: int = 100,
    **recipe: Any,
) -> Manifest:
    """An index of the rows of ``vectors``, called d0, d1 and so on."""
    folder.mkdir(parents=True)
    names = ids or [f"d{i}" for i in range(len(vectors))]
    vectors = vectors.astype(np.float32)
    for number, start in enumerate(range(0, len(vectors), part_rows)):
        part = slice(start, start + part_rows)
        write_dense_part(folder, number, DenseBatch(names[part], vectors[part]), {})
    return finish_index(
        folder,
        vectors.shape[1],
        Recipe(**{"kind": "flat", **recipe}),
        encoding=encoding,
        similarity=similarity,
        options={},
    )


def ranking(
    vectors: np.ndarray, query: np.ndarray, k: int, ids: list[str] | None = None
) -> list[tuple[str, float]]:
    """The best ``k`` by brute force: sums in float64, rounded to float32, ties by id."""
    sums = (vectors.astype(np.float32).astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    scores = sums.astype(np.float32).tolist()
    names = ids or [f"d{i}" for i in range(len(vectors))]
    return sorted(zip(names, scores, strict=True), key=lambda hit: (-hit[1], hit[0]))[:k]
