"""Rankings by brute force, and how much of one another has: the oracle of engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splade_bridge.data.hits import Hits
from splade_bridge.evaluation.agreement import DEFAULT_PERSISTENCE, agreement


def brute_force(
    documents: np.ndarray, doc_ids: Sequence[str], query: np.ndarray, k: int
) -> list[tuple[str, int]]:
    """(id, score) by (score descending, id ascending), scores above 0."""
    scores = documents @ query
    ranked = sorted((-int(s), d) for s, d in zip(scores, doc_ids, strict=True) if s > 0)
    return [(d, -s) for s, d in ranked[:k]]


def overlap(first: Sequence[str], second: Sequence[str], k: int) -> float:
    """overlap@k of two rankings."""
    return agreement({"q": first}, {"q": second}, (k,)).means[f"overlap@{k}"]


def rank_biased_overlap(
    first: Sequence[str], second: Sequence[str], p: float = DEFAULT_PERSISTENCE
) -> float:
    """RBO of two rankings."""
    return agreement({"q": first}, {"q": second}, (1,), p).means["RBO"]


def as_pairs(hits: Hits) -> list[tuple[str, int]]:
    """(id, score) of a result."""
    return list(zip(hits.doc_ids, hits.scores.tolist(), strict=True))
