"""A query with its positives and candidates, as ids or as texts, and the readers that yield it.

JSON lines, one query a line::

    {"query_id": "q1", "query": "...", "positives": [...], "negatives": [...], "scores": [...]}

``query`` may be missing where the queries are read from a file of their own. ``positive`` or
``negative`` hold a single one. What stands in lists are texts, or ids where there is a collection;
in an object ``{id: number}`` the keys are ids, and the numbers of ``negatives`` only order them.
``scores`` are a teacher's: a list in the order positives, negatives, or an object. The names
``qid``, ``pos`` and ``neg`` are understood too, and negatives by system, ``{"bm25": [...], ...}``,
as in the MS MARCO hard negatives of sentence-transformers, are taken from each system in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from splade_bridge.data.ids import checked_id
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_lines, text_lines
from splade_bridge.training.examples import Candidate, checked_text
from splade_bridge.training.score_files import QUERY_FIELDS, finite

TEACHER_COLUMNS = 5


class Group(NamedTuple):
    """What a file says about one query.

    Attributes:
        query_id: None where the file has no ids.
        query: text; None where it is to be looked up by id.
        positives: ids or texts.
        negatives: candidates, ids or texts.
        scores: of a teacher by id or text; None where the file has none.
        place: ``file:line``.
    """

    query_id: str | None
    query: str | None
    positives: list[str]
    negatives: list[Candidate]
    scores: dict[str, float] | None
    place: str


def text_triples(path: Path) -> Iterator[Group]:
    """Lines ``query<TAB>positive<TAB>negative``, perhaps with further negatives.

    Raises:
        BadInputError: a line with fewer than two columns, or an empty text.
    """
    for line, place in text_lines(path):
        columns = line.split("\t")
        if len(columns) < 2:
            raise BadInputError(
                "1 column; a line must be query<TAB>positive<TAB>negative of texts", place
            )
        names = ["the query", "the positive", *(["a negative"] * (len(columns) - 2))]
        query, positive, *others = map(checked_text, columns, names, [place] * len(columns))
        yield Group(None, query, [positive], [Candidate(n) for n in others], None, place)


def id_triples(path: Path) -> Iterator[Group]:
    """Lines ``query<TAB>positive<TAB>negative`` of ids.

    With two scores in front, of the positive and the negative, they are a teacher's: the format
    of Hofstätter et al. (arXiv:2010.02666).

    Raises:
        BadInputError: a line with another number of columns, or a score that is no number.
    """
    for line, place in text_lines(path):
        columns = line.split("\t")
        scores = None
        if len(columns) == TEACHER_COLUMNS:
            values = [_number(c, place) for c in columns[:2]]
            columns = columns[2:]
            scores = dict(zip(columns[1:], values, strict=True))
        if len(columns) != 3:
            raise BadInputError(
                f"{len(columns)} columns; a line must be query, positive and negative id, with tabs"
                " between, or these after the scores of positive and negative",
                place,
            )
        query, positive, negative = (checked_id(c, place) for c in columns)
        yield Group(query, None, [positive], [Candidate(negative)], scores, place)


def json_groups(path: Path) -> Iterator[Group]:
    """JSON lines as in the module's description.

    Raises:
        BadInputError: a line that is no such object; file and line are named.
    """
    for record, place in json_lines(path):
        key = next((k for k in QUERY_FIELDS if k in record), None)
        query_id = checked_id(record[key], place) if key else None
        query = checked_text(record["query"], "field query", place) if "query" in record else None
        if query_id is None and query is None:
            raise BadInputError(
                f"neither query nor query_id; the line has {', '.join(record)}", place
            )
        positives = [c.key for c in _several(record, ("positives", "pos", "positive"), place)]
        negatives = _several(record, ("negatives", "neg", "negative"), place)
        scores = _teacher(record, [*positives, *(n.key for n in negatives)], place)
        yield Group(query_id, query, positives, negatives, scores, place)


def _several(record: dict[str, Any], names: tuple[str, ...], place: str) -> list[Candidate]:
    name = next((n for n in names if n in record), None)
    held = record[name] if name else []
    if isinstance(held, dict) and held and all(isinstance(v, list) for v in held.values()):
        turns = chain.from_iterable(zip_longest(*held.values()))
        held = list(dict.fromkeys(key for key in turns if key is not None))
    if isinstance(held, dict):
        found = [
            Candidate(checked_id(k, place), finite(v, f"field {name}, {k}", place))
            for k, v in held.items()
        ]
    else:
        values = held if isinstance(held, list) else [held]
        texts = [str(v) if type(v) is int else v for v in values]
        found = [Candidate(checked_text(t, f"an entry of {name}", place)) for t in texts]
    if len({c.key for c in found}) != len(found):
        raise BadInputError(f"field {name} holds an entry twice", place)
    return found


def _teacher(record: dict[str, Any], keys: list[str], place: str) -> dict[str, float] | None:
    held = record.get("scores")
    if held is None:
        return None
    if isinstance(held, list):
        if len(held) != len(keys):
            raise BadInputError(
                f"{len(held)} scores for {len(keys)} positives and negatives", place
            )
        held = dict(zip(keys, held, strict=True))
    if not isinstance(held, dict):
        raise BadInputError("field scores is neither a list nor an object", place)
    return {str(k): finite(v, f"field scores, {k}", place) for k, v in held.items()}


def _number(text: str, place: str) -> float:
    try:
        return finite(float(text), "a column", place)
    except ValueError:
        raise BadInputError(f"score {text!r} is not a number", place) from None
