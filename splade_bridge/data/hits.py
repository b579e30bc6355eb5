"""The ranked documents of a query, and the one order that all rankings have.

It is Anserini's: score descending, then document id ascending by code point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from splade_bridge.data.vectors import Int64Array


class Hits(NamedTuple):
    """The ranked documents of one query.

    Attributes:
        query_id: the query.
        doc_ids: at most k, best first.
        scores: int64[len(doc_ids)], or float32 of dense vectors.
        nanoseconds: time of the retrieval itself, without reading queries or writing runs.
        scored: postings that were scored, where the engine tells.
    """

    query_id: str
    doc_ids: list[str]
    scores: npt.NDArray[Any]
    nanoseconds: int
    scored: int | None = None


def best(
    scores: npt.NDArray[np.number],
    k: int,
    names: Callable[[Int64Array], npt.NDArray[np.generic]],
) -> Int64Array:
    """The places of the ``k`` highest scores in their order.

    Args:
        scores: of any number of documents; if they fall already, sorting costs next to nothing.
        k: 1 or more.
        names: given places, an array that compares as the ids of these documents do by code point
            (UTF-8 bytes, strings, numbers). It is asked for documents of equal scores only, since
            comparing ids is what takes time.
    """
    order = contenders(scores, k)
    order = order[np.argsort(-scores[order], kind="stable")]
    same = np.diff(scores[order]) == 0
    tied = np.append(same, False) | np.append(False, same)
    if len(same) and tied.any():
        places = order[tied]
        order[tied] = places[np.lexsort((names(places), -scores[places]))]
    return order[:k]


def contenders(scores: npt.NDArray[np.number], k: int) -> Int64Array:
    """The places, rising, of the ``k`` highest scores and of all that equal the k-th."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])


def by_score(scores: Mapping[str, float]) -> list[str]:
    """The documents of a run's query in their order."""
    return sorted(scores, key=lambda doc_id: (-scores[doc_id], doc_id))


def string_ranks(strings: Iterable[str] | Iterable[bytes]) -> Int64Array:
    """int64[n]: numbers that compare as the strings, or their UTF-8, do by code point."""
    held: list[Any] = list(strings)
    ranks = np.empty(len(held), dtype=np.int64)
    # Code point order of str is the byte order of UTF-8.
    ranks[sorted(range(len(held)), key=held.__getitem__)] = np.arange(len(held))
    return ranks
