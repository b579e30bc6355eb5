"""Scores of pairs of query and document, by id."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from splade_bridge.errors import BadInputError
from splade_bridge.text.text_table import id_key


class PairScores:
    """Scores of (query, document) pairs in 12 bytes a pair, found by a hash of both ids.

    Two of n pairs share their 64 bits with a probability of n^2 / 2^65: 7e-4 for the 160 million
    of the published MS MARCO score files. Such a collision, like a pair that stands twice, is
    refused when the table is made.
    """

    def __init__(self, pairs: Iterable[tuple[str, str, float]], source: str) -> None:
        keys, scores = array("Q"), array("f")
        for query_id, doc_id, score in pairs:
            keys.append(_pair_key(query_id, doc_id))
            scores.append(score)
        found = np.frombuffer(keys, dtype=np.uint64) if keys else np.empty(0, np.uint64)
        order = np.argsort(found, kind="stable")
        self._keys: npt.NDArray[np.uint64] = found[order]
        values = np.frombuffer(scores, dtype=np.float32) if scores else np.empty(0, np.float32)
        self._scores: npt.NDArray[np.float32] = values[order]
        if len(self._keys) and (self._keys[1:] == self._keys[:-1]).any():
            raise BadInputError("holds a score for the same query and document twice", source)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, query_id: str, doc_id: str) -> float | None:
        """The score of a pair as float32 keeps it, or None."""
        key = np.uint64(_pair_key(query_id, doc_id))
        at = int(np.searchsorted(self._keys, key))
        found = at < len(self._keys) and self._keys[at] == key
        return float(self._scores[at]) if found else None


def _pair_key(query_id: str, doc_id: str) -> int:
    return id_key(f"{len(query_id)} {query_id} {doc_id}")
