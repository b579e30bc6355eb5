"""Training data in columns that tabs divide: what each holds is decided once, and then checked.

A header line says it, or else the first lines do: a column of numbers alone is never a text. With
as many such columns at the end of a line, or at its beginning, as it has documents, these are a
teacher's scores of the positive and of each negative. Of ids, which may be numbers too, the scores
stand in front, as in the files of Hofstätter et al. (arXiv:2010.02666), unless it is the last two
columns that hold fractions.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from splade_bridge.data.ids import checked_id
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.training.examples import Candidate, DataCounts, checked_text
from splade_bridge.training.groups import Group

log = logging.getLogger(__name__)

Kind = Literal["text", "id"]

SAMPLE = 100
"""Lines by which it is decided what columns hold."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(r"\d+")
HEADERS = {
    "query": r"q|query|anchor|question|qid|(q|query|question)_(id|text)",
    "positive": r"(doc_)?pos(itive)?(_(id|text|doc|passage))?|answer|pid_pos",
    "negative": r"(doc_)?neg(ative)?(_?\d+)?(_(id|text|doc|passage))?|pid_neg",
    "positive score": r"s(core)?_pos(itive)?|pos(itive)?_score",
    "negative score": r"s(core)?_neg(ative)?(_?\d+)?|neg(ative)?_score(_?\d+)?",
}
"""Role of a column -> what a header calls it, in small letters and with ``_`` between words."""
WANTED = {
    "text": "query<TAB>positive<TAB>negative of texts, perhaps with more negatives, perhaps with "
    "the scores of positive and negatives after them",
    "id": "query, positive and negative id, with tabs between, perhaps with the scores of positive "
    "and negative before or after them",
}


@dataclass(frozen=True)
class Columns:
    """What the columns of a file hold; each number counts columns from 0.

    Attributes:
        count: of a line.
        query: where it stands.
        documents: the positive and the negatives.
        scores: of each of the documents; empty without a teacher.
        header: names of the first line, if it has any.
        unread: columns that are not read.
    """

    count: int
    query: int
    documents: tuple[int, ...]
    scores: tuple[int, ...] = ()
    header: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()

    def told(self) -> str:
        """What each column holds, in words."""
        words = {self.query: "query", **dict.fromkeys(self.unread, "(not read)")}
        for names in (self.documents, self.scores):
            which = "score of " if names is self.scores else ""
            words |= {c: f"{which}{'negative' if n else 'positive'}" for n, c in enumerate(names)}
        told = ", ".join(words[c] for c in range(self.count))
        return f"columns {told}" + ("; the first line is a header" if self.header else "")


def column_groups(path: Path, kind: Kind, counts: DataCounts) -> Iterator[Group]:
    """The queries of lines of columns.

    Args:
        kind: whether queries and documents are texts or ids.
        counts: gets the names of columns that are not read.

    Raises:
        BadInputError: columns that cannot be told apart, or a line that is not as the first lines
            are; its place is named.
    """
    lines = ((line.split("\t"), place) for line, place in text_lines(path))
    first = list(islice(lines, SAMPLE))
    if not first:
        return
    found = decided(first, kind)
    log.info("%s: %s", path, found.told())
    for column in found.unread:
        counts.unread.setdefault(
            found.header[column] if found.header else f"column {column + 1}", str(path)
        )
    for cells, place in islice(chain(first, lines), bool(found.header), None):
        yield _group(cells, place, found, kind)


def decided(lines: Sequence[tuple[list[str], str]], kind: Kind) -> Columns:
    """What the columns hold, by the first lines of a file.

    Raises:
        BadInputError: it cannot be told.
    """
    (cells, place), count = lines[0], len(lines[0][0])
    alike = [line for line, _ in lines if len(line) == count]
    header = _header(cells, alike[1:])
    if header and (named := _by_names(cells, kind)):
        return named
    rows = alike[1:] if header else alike
    numbers = [bool(rows) and all(NUMBER.fullmatch(row[c]) for row in rows) for c in range(count)]
    layout = _ids(rows, count) if kind == "id" else _texts(numbers)
    if layout is None:
        told = "".join(f"; column {c + 1} holds numbers" for c in range(count) if numbers[c])
        raise BadInputError(
            f"{count} column{'s' * (count > 1)}{told * (kind == 'text')}; a line must be "
            f"{WANTED[kind]}; or a first line names the columns (query, positive, negative, "
            "positive_score, negative_score)"
            + ' (ids are of data.format = "id-triples")'
            * (kind == "text" and all(numbers)),
            place,
        )
    documents, scores, query = layout
    return Columns(count, query, documents, scores, tuple(cells) if header else ())


Layout = tuple[tuple[int, ...], tuple[int, ...], int]
"""Columns of the documents, of their scores, and of the query."""


def _texts(numbers: list[bool]) -> Layout | None:
    """Columns of texts with scores at one end, or without any."""
    count, scored = len(numbers), sum(numbers)
    texts = count - scored
    if texts < 2 or scored not in (0, texts - 1) or scored == 1:
        return None
    begin = 0 if not scored or all(numbers[texts:]) else scored
    if any(numbers[begin : begin + texts]):
        return None
    scores = [c for c in range(count) if numbers[c]]
    return tuple(range(begin + 1, begin + texts)), tuple(scores), begin


def _ids(rows: list[list[str]], count: int) -> Layout | None:
    """Three columns of ids, with two scores before or after them."""
    if count == 3:
        return (1, 2), (), 0
    if count != 5:
        return None

    def scores(columns: tuple[int, ...]) -> bool:
        cells = [row[c] for row in rows for c in columns]
        return all(map(NUMBER.fullmatch, cells)) and not all(map(WHOLE.fullmatch, cells))

    if scores((3, 4)) and not scores((0, 1)):
        return (1, 2), (3, 4), 0
    return (3, 4), (0, 1), 2


def _header(cells: list[str], below: list[list[str]]) -> bool:
    """Whether the first line names columns: by its words, or a word over nothing but numbers."""
    roles = {role for cell in cells for role in HEADERS if _called(role, cell)}
    if {"query", "positive"} <= roles:
        return True
    words = [c for c, cell in enumerate(cells) if not NUMBER.fullmatch(cell)]
    return len(words) == len(cells) and any(
        len(below) > 1 and all(NUMBER.fullmatch(row[c]) for row in below) for c in words
    )


def _called(role: str, cell: str) -> bool:
    name = re.sub(r"[\s-]+", "_", cell.strip().lower())
    return re.fullmatch(HEADERS[role], name) is not None


def _by_names(cells: list[str], kind: Kind) -> Columns | None:
    """What a header says, if it names a query and a positive."""
    found: dict[str, list[int]] = {}
    for role in HEADERS:
        columns = [c for c, cell in enumerate(cells) if _called(role, cell)]
        of_ids = [c for c in columns if "id" in re.split(r"[_\s-]", cells[c].lower().strip())
                  or cells[c].lower().strip() == "qid"]  # fmt: skip
        others = [c for c in columns if c not in of_ids]
        found[role] = others if kind == "text" or not of_ids else of_ids
    if len(found["query"]) != 1 or len(found["positive"]) != 1:
        return None
    documents = (*found["positive"], *found["negative"])
    scores: tuple[int, ...] = (*found["positive score"], *found["negative score"])
    if len(scores) != len(documents):
        scores = ()
    used = {found["query"][0], *documents, *scores}
    unread = tuple(c for c in range(len(cells)) if c not in used)
    return Columns(len(cells), found["query"][0], documents, scores, tuple(cells), unread)


def _group(cells: list[str], place: str, columns: Columns, kind: Kind) -> Group:
    if len(cells) != columns.count:
        raise BadInputError(
            f"{len(cells)} columns, where the file has {columns.count} ({columns.told()}): was the "
            "line cut, or does a text hold a tab?",
            place,
        )
    scores = [_score(cells[c], place) for c in columns.scores]
    if kind == "id":
        query, *documents = (
            checked_id(cells[c], place) for c in (columns.query, *columns.documents)
        )
    else:
        names = ["the query", "the positive", *["a negative"] * (len(columns.documents) - 1)]
        held = [cells[columns.query], *(cells[c] for c in columns.documents)]
        query, *documents = map(checked_text, held, names, [place] * len(held))
    positive, *negatives = documents
    return Group(
        query if kind == "id" else None,
        query if kind == "text" else None,
        [positive],
        [Candidate(n) for n in dict.fromkeys(negatives)],
        dict(zip(documents[::-1], scores[::-1], strict=True)) if scores else None,
        place,
        len(negatives) - len(Counter(negatives)),
    )


def _score(text: str, place: str) -> float:
    if not NUMBER.fullmatch(text.strip()):
        raise BadInputError(f"score {text!r} is not a number", place)
    return float(text)
