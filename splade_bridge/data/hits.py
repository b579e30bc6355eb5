"""The ranked documents of a query."""

from __future__ import annotations

from typing import NamedTuple

from splade_bridge.data.vectors import Int64Array


class Hits(NamedTuple):
    """The ranked documents of one query.

    Attributes:
        query_id: the query.
        doc_ids: at most k, best first.
        scores: int64[len(doc_ids)].
        nanoseconds: time of the retrieval itself, without reading queries or writing runs.
        scored: postings that were scored, where the engine tells.
    """

    query_id: str
    doc_ids: list[str]
    scores: Int64Array
    nanoseconds: int
    scored: int | None = None
