"""An explanation of one document for one query, without a server: what ``explain`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.base import Searcher
from splade_bridge.errors import BadInputError
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.document_texts import DocumentText, opened_texts
from splade_bridge.retrieval.encode_queries import QueryEncoder, query_texts
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.marks import Shown, held_in, read_whole
from splade_bridge.retrieval.systems import Added, added
from splade_bridge.retrieval.terms import Term, ranked_terms, spelling_of
from splade_bridge.retrieval.words import ModelWords, Span, Words
from splade_bridge.server.answers import Explained, Explanation
from splade_bridge.text.corpora import CorpusOptions


@dataclass(frozen=True)
class Asked:
    """One query: its terms, and what is known of their origin.

    Attributes:
        shown: its text, or its id where only its vector is known.
        words: the model; None for a vector.
    """

    loaded: Queries
    shown: str
    terms: list[Term]
    words: Words | None

    @classmethod
    def text(
        cls,
        source: str,
        query_id: str,
        model: str,
        quantize: QuantizeOptions | None,
        max_length: int,
        checkpoint: ModelChoices,
        split: str | None,
    ) -> Asked:
        """The text of ``query_id`` among those of ``source``, as the query side of a model has it.

        Raises:
            BadInputError: no such query, or no such model.
        """
        texts = [text for text in query_texts(source, split) if text.id == query_id]
        if not texts:
            raise BadInputError(f"no query {query_id!r}", source)
        words = ModelWords(model, QueryEncoder(model, quantize, max_length, checkpoint))
        loaded = replace(words.queries(texts), path=Path(source))
        return cls(loaded, texts[0].text, words.bag(texts[0].text).terms, words)

    @classmethod
    def vector(cls, loaded: Queries, query_id: str) -> Asked:
        """``query_id`` of queries that are encoded already.

        Raises:
            BadInputError: no such query.
        """
        if query_id not in loaded.batch.ids:
            raise BadInputError(f"no query {query_id!r}", str(loaded.path))
        indices, weights = loaded.batch.row(loaded.batch.ids.index(query_id))
        names = [loaded.vocabulary[i] for i in indices.tolist()]
        spelling = spelling_of(loaded.vocabulary)
        terms = ranked_terms(names, weights.tolist(), [None] * len(names), spelling)
        return cls(loaded, query_id, terms, None)

    def queries(self, *, allow_mismatch: bool) -> Queries:
        """It as an index is asked it."""
        return replace(self.loaded, allow_mismatch=allow_mismatch)


@dataclass(frozen=True)
class Side:
    """A query in one of the indexes that are explained.

    Attributes:
        number: of the index.
        terms: of the query, as this index is asked it.
        words: what made them of text; None where only the vector is known.
    """

    number: int
    searcher: Searcher
    terms: Sequence[Term]
    words: Words | None

    def added(self, doc_id: str) -> list[Added] | None:
        """See :func:`.systems.added`."""
        return added(self.searcher, self.terms, doc_id)


def explained(
    sides: Sequence[Side],
    rows: Sequence[Sequence[Added] | None],
    text: DocumentText | None,
    read: int | None = None,
) -> tuple[Shown | None, list[Explained]]:
    """The text of a document with what the first index found marked, and what terms add in each.

    Args:
        rows: what :meth:`Side.added` says of the document.
        text: None where none is known.
        read: characters of it that are looked through; None for all.
    """
    spans: dict[str, list[list[Span]]] = {}
    if text is not None:
        for words in filter(None, (side.words for side in sides)):
            if words.name not in spans:
                spans[words.name] = words.spans([text.title[:read], text.body[:read]])
    systems = []
    for side, found in zip(sides, rows, strict=True):
        told = list(found or ())
        if side.words is not None and (own := spans.get(side.words.name)):
            held = held_in([*own[0], *own[1]])
            told = [replace(row, in_text=row.term in held) for row in told]
        score = None if found is None else sum(row.score for row in found)
        systems.append(Explained(side.number, score, told))
    first = sides[0].words
    if text is None or first is None:
        return None, systems
    marked = {row.term for row in systems[0].added if row.score}
    return read_whole(text.title, text.body, spans[first.name], marked), systems


def explanation(
    searchers: Sequence[Searcher],
    asked: Asked,
    queries: Queries,
    doc_id: str,
    corpus: str | None,
    options: CorpusOptions,
) -> Explanation:
    """What each term adds in each index.

    Args:
        queries: that :meth:`Asked.queries` gave.
        corpus: the documents' texts; None for those that an index stores, if one does.

    Raises:
        MismatchError: the query does not belong to an index.
        BadInputError: the first index has no such document; or the corpus cannot be read, or has
            none.
    """
    for searcher in searchers:
        check_queries(searcher, queries)
        searcher.meet(queries.vocabulary)
    sides = [Side(number, s, asked.terms, asked.words) for number, s in enumerate(searchers)]
    rows = [side.added(doc_id) for side in sides]
    if rows[0] is None:
        raise BadInputError(f"no document {doc_id!r}", str(searchers[0].path))
    text = None
    if asked.words is not None:
        with opened_texts(corpus, options, searchers) as texts:
            text = None if texts is None else texts.get(doc_id)
        if text is None and corpus is not None:
            raise BadInputError(f"no document {doc_id!r}", corpus)
    shown, systems = explained(sides, rows, text)
    return Explanation(asked.shown, doc_id, None, shown, systems)
