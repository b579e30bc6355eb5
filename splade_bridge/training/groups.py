"""A query with its positives and candidates, as ids or as texts: what every reader yields."""

from __future__ import annotations

from typing import NamedTuple

from splade_bridge.training.examples import Candidate


class Group(NamedTuple):
    """What a file says about one query.

    Attributes:
        query_id: None where the file has no ids.
        query: text; None where it is to be looked up by id.
        positives: ids or texts.
        negatives: candidates, ids or texts.
        scores: of a teacher by id or text; None where the file has none.
        place: ``file:line``.
        repeated: positives and negatives that stood there again, and were merged.
        graded: ids of further documents that are judged above 0, and so are no negatives.
    """

    query_id: str | None
    query: str | None
    positives: list[str]
    negatives: list[Candidate]
    scores: dict[str, float] | None
    place: str
    repeated: int = 0
    graded: tuple[str, ...] = ()
