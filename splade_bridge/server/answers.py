"""What the API answers: each class is an object of JSON, and a schema of its OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from splade_bridge.retrieval.marks import Shown
from splade_bridge.retrieval.systems import Added
from splade_bridge.retrieval.terms import Term


@dataclass(frozen=True)
class Index:
    """An index that is served.

    Attributes:
        number: what requests name it by.
        label: its name on the page.
        place: its path or address.
        engine: of it.
        model: what encodes its queries; indexes of one model are asked with the same terms.
        documents, postings: None where they are not known.
        scale: of its impacts; None where that is not known.
        pruning: the steps that it was pruned by, oldest first.
    """

    number: int
    label: str
    place: str
    engine: str
    model: str
    documents: int | None
    postings: int | None
    scale: float | None
    pruning: list[dict[str, Any]]


@dataclass(frozen=True)
class Limits:
    """What one request may ask for at most.

    Attributes:
        k: documents.
        text: characters of a query.
        terms: whose weights are given.
        weight: of a term in a query.
    """

    k: int
    text: int
    terms: int
    weight: int


@dataclass(frozen=True)
class Indexes:
    """What is served.

    Attributes:
        texts: whether texts of documents are known.
        judged: queries with judgements; 0 for none.
        measure: that rankings of judged queries are measured by; None without such queries.
    """

    version: str
    indexes: list[Index]
    texts: bool
    judged: int
    measure: str | None
    limits: Limits


@dataclass(frozen=True)
class Terms:
    """A query as an index is asked it.

    Attributes:
        index: its number.
        query: the text.
        terms: the heaviest first; those that were changed by hand with the weight that they have
            now, 0 for one that is switched off.
        encoding_ms: that the model took, when this text was encoded first.
    """

    index: int
    query: str
    terms: list[Term]
    encoding_ms: float


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        rank: from 1.
        score: whole, but for float weights that others have put into an engine.
        grade: of a judged query; None for no judgement.
        shown: title and the part of the text with the most of what was found; None where no text
            is known, or none was asked for.
        added: what each term of the query adds, the largest first; those that add nothing are left
            out. None where no texts were asked for.
    """

    rank: int
    doc_id: str
    score: float
    grade: int | None
    shown: Shown | None
    added: list[Added] | None


@dataclass(frozen=True)
class Found:
    """A ranking.

    Attributes:
        index: the number of the index.
        query: the text.
        terms: of the query, the heaviest first.
        encoding_ms: that the model took.
        retrieval_ms: that the engine took.
        hits: best first, equal scores by document id.
        measure: the value of this ranking; None for a query that is not judged.
        relevant: documents that the judgements call relevant; None for a query that is not judged.
    """

    index: int
    query: str
    terms: list[Term]
    encoding_ms: float
    retrieval_ms: float
    hits: list[Hit]
    measure: float | None
    relevant: int | None


@dataclass(frozen=True)
class Explained:
    """Why a document has its score in one index.

    Attributes:
        index: the number of the index.
        score: the sum of what the terms add; None where the index has no such document.
        added: of every term of the query, the largest first.
    """

    index: int
    score: float | None
    added: list[Added]


@dataclass(frozen=True)
class Explanation:
    """The same in one or more indexes.

    Attributes:
        shown: all of the document, as far as it is shown; None where no text is known.
        systems: one an index, in the order asked.
    """

    query: str
    doc_id: str
    grade: int | None
    shown: Shown | None
    systems: list[Explained]


@dataclass(frozen=True)
class JudgedQuery:
    """A judged query in the rankings of two indexes.

    Attributes:
        left, right: values of the measure.
        difference: right - left.
    """

    query_id: str
    text: str
    left: float
    right: float
    difference: float


@dataclass(frozen=True)
class Judged:
    """Judged queries, those first in which two indexes differ most.

    Attributes:
        ready: whether all is measured; until then there are no queries.
        done, of: searches that were made of those that must be.
        left, right: means; None until then.
        count: queries that hold what was looked for.
        queries: the first of them.
    """

    measure: str
    ready: bool
    done: int
    of: int
    left: float | None
    right: float | None
    count: int
    queries: list[JudgedQuery]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a request.

    Attributes:
        message: in words.
        type: a class of ``splade_bridge/errors.py``.
    """

    message: str
    type: str


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that was refused, or failed."""

    error: Fault
