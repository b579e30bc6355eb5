"""The paths of the API: what each takes, what it answers, and which question it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from splade_bridge.server.answers import Explanation, Found, Indexes, Judged, Terms
from splade_bridge.server.parameters import (
    MOST_HITS,
    MOST_INDEXES,
    MOST_JSON,
    MOST_TERMS,
    MOST_TEXT,
    MOST_WEIGHT,
    Parameter,
)

MOST_SERVED = 1000
MOST_ROWS = 1000

INDEX = Parameter(
    "index", "number", "The number of an index, as /indexes tells them.", 0, most=MOST_SERVED
)
QUERY = (
    Parameter("q", "text", f"Text of the query, {MOST_TEXT:,} characters at most."),
    Parameter(
        "query_id",
        "text",
        "A judged query: its text is asked where there is no q, and its judgements are told.",
    ),
    Parameter(
        "weights",
        "weights",
        'Weights that are changed by hand, as JSON {"term": weight}: whole numbers from 0, which '
        f"switches a term off, to {MOST_WEIGHT:,}; {MOST_TERMS:,} terms and {MOST_JSON:,} "
        "characters at most. Terms that the query does not have are added.",
    ),
)


@dataclass(frozen=True)
class Path:
    """One path, asked with GET.

    Attributes:
        name: also of the method of :class:`.served.Served` that answers.
        answer: a class of :mod:`.answers`.
    """

    name: str
    meaning: str
    answer: type[Any]
    parameters: tuple[Parameter, ...] = ()


PATHS = (
    Path("indexes", "What is served, and the limits of a request.", Indexes),
    Path("terms", "A query as an index is asked it.", Terms, (INDEX, *QUERY)),
    Path(
        "search",
        "The best documents for a query.",
        Found,
        (
            INDEX,
            *QUERY,
            Parameter("k", "number", "Documents that are wanted.", 10, least=1, most=MOST_HITS),
            Parameter(
                "texts",
                "flag",
                "Whether texts and what each term adds are told of each document.",
                True,
            ),
        ),
    ),
    Path(
        "explain",
        "What each term of a query adds to the score of a document, in one or more indexes.",
        Explanation,
        (
            Parameter(
                "index", "number", f"{INDEX.meaning} Repeatable.", [0], most=MOST_SERVED,
                many=MOST_INDEXES,
            ),
            Parameter("doc", "text", "The id of the document.", required=True),
            *QUERY,
        ),
    ),
    Path(
        "judged",
        "Judged queries, those first in which two indexes differ most by the measure. While they "
        "are being measured, how far that is.",
        Judged,
        (
            Parameter("left", "number", "The number of an index.", 0, most=MOST_SERVED),
            Parameter("right", "number", "The number of another.", 0, most=MOST_SERVED),
            Parameter("limit", "number", "Queries that are wanted.", 100, least=1, most=MOST_ROWS),
            Parameter("words", "text", "Only queries whose text holds this.", ""),
        ),
    ),
)  # fmt: skip
