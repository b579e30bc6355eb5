"""What is asked of served indexes, each question as a method: what the API's paths stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from splade_bridge import __version__
from splade_bridge.data.closing import Closing
from splade_bridge.data.ids import quoted
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Place
from splade_bridge.retrieval.document_texts import DocumentTexts
from splade_bridge.retrieval.marks import LONGEST_TEXT, Shown, held_in, read_part, read_whole
from splade_bridge.retrieval.systems import System
from splade_bridge.retrieval.systems import added as added_to
from splade_bridge.retrieval.terms import Term
from splade_bridge.retrieval.words import Span
from splade_bridge.serve.answers import (
    Explained,
    Explanation,
    Found,
    Hit,
    Index,
    Indexes,
    Judged,
    Limits,
    Terms,
)
from splade_bridge.serve.judged import JudgedQueries
from splade_bridge.serve.parameters import MOST_HITS, MOST_TERMS, MOST_TEXT, MOST_WEIGHT

Spans = list[list[Span]]


class NotThere(BadInputError):
    """What a request names is not there."""


class Served(Closing):
    """Open indexes, and what is known about their documents and about queries.

    Args:
        systems: one or more; they are closed with this.
        texts: None where no corpus was named.
        judged: None where no queries and judgements were named.
    """

    def __init__(
        self, systems: Sequence[System], texts: DocumentTexts | None, judged: JudgedQueries | None
    ) -> None:
        self.systems, self._texts, self._judged = systems, texts, judged

    def close(self) -> None:
        """End what is being measured, and the engines."""
        if self._judged is not None:
            self._judged.close()
        for system in self.systems:
            system.close()

    def indexes(self) -> Indexes:
        """What is served."""
        judged = self._judged
        return Indexes(
            __version__,
            [_described(number, system) for number, system in enumerate(self.systems)],
            self._texts is not None,
            0 if judged is None else len(judged.texts),
            None if judged is None else judged.measure,
            Limits(MOST_HITS, MOST_TEXT, MOST_TERMS, MOST_WEIGHT),
        )

    def terms(
        self, index: int, q: str | None, query_id: str | None, weights: Mapping[str, int] | None
    ) -> Terms:
        """A query as an index is asked it.

        Raises:
            NotThere: there is no such index or judged query.
            UsageError: nothing is asked.
        """
        system = self._system(index)
        text = self._text(q, query_id, weights)
        bag = system.words.bag(text)
        return Terms(index, text, changed(bag.terms, weights or {}), bag.milliseconds)

    def search(
        self,
        index: int,
        q: str | None,
        query_id: str | None,
        weights: Mapping[str, int] | None,
        k: int,
        texts: bool,
    ) -> Found:
        """The best documents of an index for a query.

        Args:
            texts: tell of each hit its text and what each term adds.

        Raises:
            NotThere, UsageError: see :meth:`terms`.
            SpladeBridgeError: the engine failed.
        """
        asked, system = self.terms(index, q, query_id, weights), self._system(index)
        judged = self._judged if query_id is not None else None
        depth = k if judged is None else max(k, judged.depth)
        hits = system.search({t.term: int(t.weight) for t in asked.terms}, depth)
        scores = hits.scores.tolist()
        measure = relevant = None
        if judged is not None and query_id is not None:
            measure = judged.value(query_id, dict(zip(hits.doc_ids, scores, strict=True)))
            relevant = judged.relevant(query_id)
        shown = self._hits(system, asked.terms, hits.doc_ids[:k] if texts else [])
        found = []
        for rank, (doc_id, score) in enumerate(zip(hits.doc_ids[:k], scores[:k], strict=True), 1):
            grade = judged.grade(query_id, doc_id) if judged else None
            text, added = shown[rank - 1] if texts else (None, None)
            found.append(Hit(rank, doc_id, score, grade, text, added))
        return Found(
            index, asked.query, asked.terms, asked.encoding_ms, hits.nanoseconds / 1e6, found,
            measure, relevant,
        )  # fmt: skip

    def explain(
        self,
        index: Sequence[int],
        doc: str,
        q: str | None,
        query_id: str | None,
        weights: Mapping[str, int] | None,
    ) -> Explanation:
        """What each term of a query adds to a document's score, in one or more indexes.

        Raises:
            NotThere: no such index or judged query, or a document that none of the indexes has.
            UsageError: nothing is asked.
        """
        found, spans = [], self._spans(self._system(index[0]), [doc])[0]
        title, body = self._title_and_body(doc)
        marked: set[str] = set()
        for number in index:
            system = self._system(number)
            asked = self.terms(number, q, query_id, weights)
            (mine,) = self._spans(system, [doc]) if number != index[0] else [spans]
            held = None if mine is None else held_in([*mine[0], *mine[1]])
            added = added_to(system.searcher, asked.terms, doc, held)
            score = None if added is None else sum(row.score for row in added)
            found.append(Explained(number, score, added or []))
            if number == index[0]:
                marked = {row.term for row in added or [] if row.score}
        if all(each.score is None for each in found):
            raise NotThere(f"no document {quoted(doc)} in {self._system(index[0]).searcher.path}")
        shown = None if spans is None else read_whole(title, body, spans, marked)
        grade = self._judged.grade(query_id, doc) if self._judged else None
        return Explanation(self._text(q, query_id, weights), doc, grade, shown, found)

    def judged(self, left: int, right: int, limit: int, words: str) -> Judged:
        """Judged queries, those first in which two indexes differ most.

        Raises:
            NotThere: there are none, or no such index.
            SpladeBridgeError: an engine failed while it was measured.
        """
        if self._judged is None:
            raise NotThere("no judged queries: serve was started without --queries and --qrels")
        for number in (left, right):
            self._system(number)
        return self._judged.compared(left, right, limit, words)

    def _system(self, number: int) -> System:
        if not 0 <= number < len(self.systems):
            raise NotThere(
                f"no index {number}: they are numbered from 0 to {len(self.systems) - 1}"
            )
        return self.systems[number]

    def _text(self, q: str | None, query_id: str | None, weights: Mapping[str, int] | None) -> str:
        if query_id is not None:
            if self._judged is None or query_id not in self._judged.texts:
                raise NotThere(f"no judged query {quoted(query_id)}")
            return self._judged.texts[query_id].text if q is None else q
        if q is None and not weights:
            raise UsageError("nothing is asked: q is the text of a query")
        return q or ""

    def _title_and_body(self, doc_id: str) -> tuple[str, str]:
        text = self._texts.get(doc_id) if self._texts is not None else None
        return ("", "") if text is None else (text.title, text.body)

    def _spans(self, system: System, doc_ids: Sequence[str]) -> list[Spans | None]:
        """Where terms stand in title and body of each document; None where no text is known."""
        known = [self._texts is not None and self._texts.get(d) is not None for d in doc_ids]
        texts = [part for d, is_known in zip(doc_ids, known, strict=True) if is_known
                 for part in self._title_and_body(d)]  # fmt: skip
        found = iter(system.words.spans([text[:LONGEST_TEXT] for text in texts]) if texts else ())
        return [[next(found), next(found)] if is_known else None for is_known in known]

    def _hits(
        self, system: System, terms: Sequence[Term], doc_ids: Sequence[str]
    ) -> list[tuple[Shown | None, list[Any]]]:
        """Of each document what is shown of its text, and what each term adds."""
        found: list[tuple[Shown | None, list[Any]]] = []
        for doc_id, spans in zip(doc_ids, self._spans(system, doc_ids), strict=True):
            held = None if spans is None else held_in([*spans[0], *spans[1]])
            added = [
                row for row in added_to(system.searcher, terms, doc_id, held) or [] if row.score
            ]
            shown = None
            if spans is not None:
                scores = {row.term: row.score for row in added}
                shown = read_part(*self._title_and_body(doc_id), spans, scores)
            found.append((shown, added))
        return found


def changed(terms: Sequence[Term], weights: Mapping[str, int]) -> list[Term]:
    """The terms of a query with those weights that were given by hand.

    One that the query did not have comes after the others.
    """
    known = {term.term for term in terms}
    kept = [replace(term, weight=weights.get(term.term, term.weight)) for term in terms]
    new = [Term(t, t, w, False, False) for t, w in weights.items() if t not in known]
    return [*kept, *new]


def labels_of(places: Sequence[Place]) -> list[str]:
    """Short names of indexes: the ends of their paths, as far as they differ."""
    parts = [str(place).rstrip("/").split("/") for place in places]
    for depth in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-depth:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [f"{place} ({number})" for number, place in enumerate(places)]


def _described(number: int, system: System) -> Index:
    manifest = system.searcher.manifest
    quantization = manifest.quantization if manifest else None
    return Index(
        number,
        system.label,
        str(system.searcher.path),
        system.engine,
        system.words.name,
        manifest.counts.documents if manifest else None,
        manifest.counts.postings if manifest else None,
        quantization.scale if quantization else None,
        manifest.pruning if manifest else [],
    )
