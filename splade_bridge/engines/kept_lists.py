"""The posting lists that were asked for last, since the documents of a query share them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from splade_bridge.data.doc_ids import DocIds
from splade_bridge.data.vectors import Int32Array

LISTS_KEPT = 1 << 25
"""Bytes of posting lists that an open index keeps, to say what terms add to documents."""

Postings = tuple[Int32Array, Int32Array]
"""Documents, ascending, and impacts of a term."""


def impact_in(postings: Postings, document: int) -> int:
    """What a document has in a list, 0 for nothing."""
    documents, impacts = postings
    at = int(documents.searchsorted(np.int32(document)))  # an int has the whole list made int64
    there = at < len(documents) and documents[at] == document
    return int(impacts[at]) if there else 0


class KeptLists:
    """Lists that are read once, as long as there is room for them; any thread may ask.

    Args:
        read: gives the list of a term.
    """

    def __init__(self, read: Callable[[int], Postings]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._lists: dict[int, Postings] = {}

    def __len__(self) -> int:
        return len(self._lists)

    def impacts(
        self, doc_ids: DocIds, doc_id: str, terms: Iterable[tuple[int, bool]]
    ) -> list[int] | None:
        """What a document has in lists, 0 for nothing; None if there is no such document.

        Args:
            terms: each with whether it has a list.
        """
        number = doc_ids.find(doc_id)
        if number is None:
            return None
        return [impact_in(self._list(term), number) if held else 0 for term, held in terms]

    def _list(self, term: int) -> Postings:
        with self._lock:
            if (kept := self._lists.pop(term, None)) is not None:
                self._lists[term] = kept  # now the last to go
                return kept
        kept = self._read(term)
        with self._lock:
            self._lists[term] = kept
            size = sum(2 * documents.nbytes for documents, _ in self._lists.values())
            while size > LISTS_KEPT and len(self._lists) > 1:
                size -= 2 * self._lists.pop(next(iter(self._lists)))[0].nbytes
        return kept
