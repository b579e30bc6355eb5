"""Objects of training data as their owners lay them out, each a query with its documents.

The first object decides which of :data:`LAYOUTS` a file has, and the others must have the same.
Documents stand in lists, alone, or by system as in the MS MARCO hard negatives of
sentence-transformers, ``{"bm25": [...], ...}``, which are taken from each system in turn. A document
is a text, an id where there is a collection, or an object with ``text`` (and ``title``, joined as
BEIR does) or an id, in which ``score`` orders candidates and ``ce-score`` is a teacher's. In an
object ``{id: number}`` the numbers order candidates. A field of nothing (null) is none.
"""  # noqa: E501 - an example

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from splade_bridge.data.ids import checked_id
from splade_bridge.errors import BadInputError
from splade_bridge.training.examples import Candidate, DataCounts, checked_text
from splade_bridge.training.groups import Group
from splade_bridge.training.record_files import Records, json_records
from splade_bridge.training.score_files import DOC_FIELDS, QUERY_FIELDS, finite

log = logging.getLogger(__name__)

TEACHER_FIELDS = ("ce-score", "ce_score")
"""A teacher's score of a document that is an object."""
NUMBERED = re.compile(r"negative_(\d+)")
LABELS = ("label", "labels", "score", "scores")
"""What sentence-transformers takes for labels."""


class Document(NamedTuple):
    """A document of an object.

    Attributes:
        key: its id or text.
        rank_score: what orders it among candidates.
        score: a teacher's.
    """

    key: str
    rank_score: float | None = None
    score: float | None = None


@dataclass
class Record:
    """An object, and which of its fields were read.

    Attributes:
        content: fields that hold something.
        place: where it stands.
        ids: whether documents are ids of a collection, and not texts.
    """

    content: dict[str, Any]
    place: str
    ids: bool
    used: set[str] = field(default_factory=set)

    def name(self, *names: str) -> str | None:
        """The first of ``names`` that is a field."""
        return next((n for n in names if n in self.content), None)

    def take(self, *names: str) -> Any:
        """The value of the first of ``names`` that is a field; None without one."""
        name = self.name(*names)
        if name is None:
            return None
        self.used.add(name)
        return self.content[name]

    def documents(self, *names: str) -> list[Document]:
        """The documents of the first of ``names`` that is a field."""
        name = self.name(*names) or ""
        held = self.take(*names)
        if held is None:
            return []
        if isinstance(held, dict) and not self._is_document(held):
            if held and all(isinstance(v, list) for v in held.values()):
                turns = zip_longest(*held.values())
                each = [v for v in chain.from_iterable(turns) if v is not None]
                return _once([self._document(value, name) for value in each])
            return [
                Document(checked_id(k, self.place), finite(v, f"field {name}, {k}", self.place))
                for k, v in held.items()
            ]
        values = held if isinstance(held, list) else [held]
        return [self._document(value, name) for value in values]

    def numbers(self, name: str, documents: list[Document]) -> list[Document]:
        """``documents`` with the scores of the list in field ``name``, one for each."""
        values = self.take(name)
        if values is None:
            values = []
        if not isinstance(values, list) or len(values) != len(documents):
            count = len(values) if isinstance(values, list) else 1
            raise BadInputError(
                f"{count} scores in field {name} for {len(documents)} documents", self.place
            )
        return [
            d._replace(score=finite(v, f"field {name}", self.place))
            for d, v in zip(documents, values, strict=True)
        ]

    def _is_document(self, held: dict[str, Any]) -> bool:
        return "text" in held or any(
            name in held and isinstance(held[name], str | int) and len(held) > 1
            for name in DOC_FIELDS
        )

    def _document(self, value: Any, name: str) -> Document:
        what = f"an entry of {name}"
        if isinstance(value, dict):
            rank = value.get("score")
            teacher = next((value[n] for n in TEACHER_FIELDS if value.get(n) is not None), None)
            key = self._id(value, what) if self.ids else self._text(value, what)
            return Document(
                key,
                None if rank is None else _number(rank, f"{what}: score", self.place),
                None if teacher is None else _number(teacher, f"{what}: ce-score", self.place),
            )
        if type(value) is int:
            if not self.ids:
                raise BadInputError(
                    f"{what} is a number ({value}), which is an id and no text: name the texts "
                    "with data.collection",
                    self.place,
                )
            return Document(checked_id(value, self.place))
        return Document(checked_text(value, what, self.place))

    def _id(self, value: dict[str, Any], what: str) -> str:
        name = next((n for n in (*DOC_FIELDS, "id", "_id") if value.get(n) is not None), None)
        if name is None:
            raise BadInputError(
                f"{what} has no id ({', '.join(DOC_FIELDS)}) to look up in the collection: leave "
                "data.collection out to train on its text",
                self.place,
            )
        return checked_id(value[name], self.place)

    def _text(self, value: dict[str, Any], what: str) -> str:
        if value.get("text") is None:
            raise BadInputError(
                f"{what} has no text; for ids name their texts with data.collection", self.place
            )
        text = checked_text(value["text"], f"text of {what}", self.place)
        title = value.get("title")
        if title is not None and not isinstance(title, str):
            raise BadInputError(f"title of {what} is {type(title).__name__}", self.place)
        return f"{title.strip()} {text}" if title and title.strip() else text


class Found(NamedTuple):
    """What a layout makes of an object; ``scores`` may also be by key, beside the documents."""

    query: Any
    positives: list[Document]
    negatives: list[Document]
    scores: dict[str, float] | None = None


@dataclass(frozen=True)
class Layout:
    """How an owner lays out an object.

    Attributes:
        name: whose it is.
        marks: whether an object is of this layout.
        read: what it says.
    """

    name: str
    marks: Callable[[Record], bool]
    read: Callable[[Record], Found]


def has(*names: str) -> Callable[[Record], bool]:
    """Whether an object has all of these fields."""
    return lambda record: all(name in record.content for name in names)


def _tevatron(record: Record) -> Found:
    return Found(
        record.take("query"),
        record.documents("positive_passages"),
        record.documents("negative_passages"),
    )


def _dpr(record: Record) -> Found:
    """As DPR's own trainer: its hard negatives, and the others where it has none."""
    hard = record.documents("hard_negative_ctxs")
    others = record.documents("negative_ctxs")
    return Found(record.take("question"), record.documents("positive_ctxs"), hard or others)


def _distilled(record: Record) -> Found:
    """Documents with scores alone: the best one stands as the positive, the first of equals."""
    documents = record.numbers("scores", record.documents("docs"))
    if not documents:
        raise BadInputError("field docs holds no document", record.place)
    scores = [d.score or 0.0 for d in documents]
    best = scores.index(max(scores))
    return Found(record.take("query"), [documents.pop(best)], documents)


def _opensearch(record: Record) -> Found:
    return Found(record.take("query"), record.documents("pos"), record.documents("negs"))


def _flag_embedding(record: Record) -> Found:
    positives, negatives = record.documents("pos"), record.documents("neg")
    return Found(
        record.take("query"),
        record.numbers("pos_scores", positives),
        record.numbers("neg_scores", negatives),
    )


def _is_sentence_transformers(record: Record) -> bool:
    single = record.name("positive", "answer") is not None
    alone = {"positives", "pos", "negatives", "neg"}.isdisjoint(record.content)
    labelled = record.name("label", "labels", "score") is not None
    numbered = any(NUMBERED.fullmatch(name) for name in record.content)
    return single and alone and (
        labelled or numbered or record.name("anchor", "answer", "question") is not None
    )  # fmt: skip


def _sentence_transformers(record: Record) -> Found:
    """Columns of one text each; labels are scores of all documents, or margins to the negatives.

    Margins m are written as the scores 0 and -m: every loss here looks at differences alone.
    """
    query = record.take("anchor", "query", "question")
    positives = record.documents("positive", "answer")
    names = sorted(filter(NUMBERED.fullmatch, record.content), key=lambda n: int(n[9:]))
    negatives = [d for name in ("negative", *names) for d in record.documents(name)]
    held = record.take(*LABELS)
    if held is None:
        return Found(query, positives, negatives)
    values = held if isinstance(held, list) else [held]
    numbers = [_number(v, "the label", record.place) for v in values]
    if negatives and len(numbers) == len(negatives):
        numbers = [0.0, *(-margin for margin in numbers)]
    elif not negatives or len(numbers) != len(negatives) + 1:
        raise BadInputError(
            f"{len(numbers)} labels for {len(negatives)} negatives: there must be a score of the "
            "positive and of each negative, or a margin to each negative. The label of a pair "
            "alone teaches none of our losses: leave it out where every pair is a positive one",
            record.place,
        )
    scored = [d._replace(score=s) for d, s in zip([*positives, *negatives], numbers, strict=True)]
    return Found(query, scored[:1], scored[1:])


def _ours(record: Record) -> Found:
    positives = record.documents("positives", "pos", "positive")
    negatives = record.documents("negatives", "neg", "negative")
    query = record.take("query")
    if isinstance(record.content.get("scores"), list):
        scored = record.numbers("scores", [*positives, *negatives])
        return Found(query, scored[: len(positives)], scored[len(positives) :])
    held = record.take("scores")
    if held is None:
        return Found(query, positives, negatives)
    if not isinstance(held, dict):
        raise BadInputError("field scores is neither a list nor an object", record.place)
    scores = {str(k): finite(v, f"field scores, {k}", record.place) for k, v in held.items()}
    return Found(query, positives, negatives, scores)


LAYOUTS = (
    Layout("Tevatron", has("positive_passages"), _tevatron),
    Layout("DPR", has("question", "positive_ctxs"), _dpr),
    Layout("OpenSearch (distillation)", has("query", "docs", "scores"), _distilled),
    Layout("OpenSearch", has("query", "negs"), _opensearch),
    Layout("FlagEmbedding (distillation)", has("query", "pos_scores"), _flag_embedding),
    Layout("sentence-transformers", _is_sentence_transformers, _sentence_transformers),
    Layout("queries with lists", lambda r: r.name("query", *QUERY_FIELDS) is not None, _ours),
)
"""The first whose marks an object has is its layout.

The last one is ours and, without scores, FlagEmbedding's and OpenSearch's too: ``query`` or its id
(``query_id``, ``qid``), ``positives`` (``pos``, ``positive``), ``negatives`` (``neg``,
``negative``), and ``scores`` of a teacher, a list in the order positives, negatives, or by id.
"""


def json_groups(path: Path, counts: DataCounts, *, ids: bool) -> Iterator[Group]:
    """The queries of JSON lines, or of a JSON array; see :func:`record_groups`."""
    return record_groups(json_records(path), str(path), counts, ids=ids)


def record_groups(
    records: Records, source: str, counts: DataCounts, *, ids: bool
) -> Iterator[Group]:
    """The queries of objects in one of :data:`LAYOUTS`.

    Args:
        source: what messages call all of them.
        counts: gets the names of fields that are not read.
        ids: whether documents are ids of a collection, and not texts.

    Raises:
        BadInputError: an object of no layout, of another one than the first, or that breaks it;
            its place is named.
    """
    first: Layout | None = None
    for content, place in records:
        held = {name: v for name, v in content.items() if v is not None and v != []}
        record = Record(held, place, ids)
        layout = next((known for known in LAYOUTS if known.marks(record)), None)
        if layout is None:
            raise BadInputError(
                f"neither query nor query_id; the line has {', '.join(content)}, which is no "
                f"layout that is known: {', '.join(known.name for known in LAYOUTS)}",
                place,
            )
        if first is None:
            first = layout
            log.info("%s: read as %s", source, layout.name)
        if layout is not first:
            raise BadInputError(
                f"laid out as {layout.name}, where the first is {first.name}: a file has one "
                "layout, so cut it in two",
                place,
            )
        yield _group(record, layout)
        for name in held.keys() - record.used:
            counts.unread.setdefault(name, place)


def _group(record: Record, layout: Layout) -> Group:
    place = record.place
    given = record.take(*QUERY_FIELDS)
    found = layout.read(record)
    query = None if found.query is None else checked_text(found.query, "field query", place)
    scores = dict(found.scores or {})
    documents = [*found.positives, *found.negatives]
    for document in documents:
        if document.score is None:
            continue
        if scores.setdefault(document.key, document.score) != document.score:
            raise BadInputError(
                f"a document that stands twice has two scores, {scores[document.key]:g} and "
                f"{document.score:g}: {document.key[:60]!r}",
                place,
            )
    if given is None and query is None:
        raise BadInputError(f"no query; the line has {', '.join(record.content)}", place)
    positives, negatives = _once(found.positives), _once(found.negatives)
    return Group(
        None if given is None else checked_id(given, place),
        query,
        [d.key for d in positives],
        [Candidate(d.key, d.rank_score) for d in negatives],
        scores or (None if found.scores is None else {}),
        place,
        len(documents) - len(positives) - len(negatives),
    )


def _once(documents: list[Document]) -> list[Document]:
    """``documents`` without those that were there before."""
    found: dict[str, Document] = {}
    for document in documents:
        found.setdefault(document.key, document)
    return list(found.values())


def _number(value: Any, what: str, place: str) -> float:
    """A number, or the text of one, as DPR's files have."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            pass
    return finite(value, what, place)
