"""What a dense index may be, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

IndexKind = Literal["flat", "hnsw"]
"""``flat`` compares a query with every vector and is exact; ``hnsw`` walks a graph (Malkov and
Yashunin, arXiv 1603.09320), which is approximate."""

Similarity = Literal["cosine", "dot"]
"""``cosine`` is the inner product of vectors of length 1, ``dot`` of vectors as they are."""

KIND = "dense"
"""Of a manifest."""
DEFAULT_M = 32
DEFAULT_EF_CONSTRUCTION = 200
DEFAULT_EF_SEARCH = 128
"""Candidates of a query in a graph, or k where that is more."""
