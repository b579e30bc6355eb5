"""An explanation of one document for one query, without a server: what ``explain`` shows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.base import Searcher
from splade_bridge.errors import BadInputError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.document_texts import DocumentTexts
from splade_bridge.retrieval.encode_queries import QueryEncoder, query_texts
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.marks import held_in, read_whole
from splade_bridge.retrieval.systems import added
from splade_bridge.retrieval.terms import Term, ranked_terms, spelling_of
from splade_bridge.retrieval.words import ModelWords, Words
from splade_bridge.serve.answers import Explained, Explanation
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
        corpus: the documents' texts; None for none.

    Raises:
        MismatchError: the query does not belong to an index.
        BadInputError: the corpus cannot be read, or has no such document.
    """
    shown = held = spans = None
    title = body = ""
    if corpus is not None and asked.words is not None:
        with contextlib.ExitStack() as stack:
            work = stack.enter_context(scratch_folder())
            text = DocumentTexts(corpus, options, work).get(doc_id)
        if text is None:
            raise BadInputError(f"no document {doc_id!r}", corpus)
        title, body = text.title, text.body
        spans = asked.words.spans([title, body])
        held = held_in([*spans[0], *spans[1]])
    systems = []
    for number, searcher in enumerate(searchers):
        check_queries(searcher, queries)
        searcher.meet(queries.vocabulary)
        rows = added(searcher, asked.terms, doc_id, held)
        score = None if rows is None else sum(row.score for row in rows)
        systems.append(Explained(number, score, rows or []))
    if spans is not None:
        found = {row.term for row in systems[0].added if row.score}
        shown = read_whole(title, body, spans, found)
    return Explanation(asked.shown, doc_id, None, shown, systems)
