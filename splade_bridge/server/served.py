"""What is asked of served indexes, each question as a method: what the API's paths stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from splade_bridge import __version__
from splade_bridge.data.closing import Closing
from splade_bridge.data.ids import quoted
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Place
from splade_bridge.retrieval.document_texts import DocumentText, Texts
from splade_bridge.retrieval.marks import LONGEST_TEXT, Shown, held_in, read_part
from splade_bridge.retrieval.systems import Added, System, added
from splade_bridge.retrieval.terms import Term
from splade_bridge.server.answers import (
    Explanation,
    Found,
    Hit,
    Index,
    Indexes,
    Judged,
    Limits,
    Terms,
)
from splade_bridge.server.explaining import Side, explained
from splade_bridge.server.judged import JudgedQueries
from splade_bridge.server.parameters import MOST_HITS, MOST_TERMS, MOST_TEXT, MOST_WEIGHT


class NotThere(BadInputError):
    """What a request names is not there."""


class Served(Closing):
    """Open indexes, and what is known about their documents and about queries.

    Args:
        systems: one or more; they are closed with this.
        texts: of documents; None where none are known.
        judged: None where no queries and judgements were named.
    """

    def __init__(
        self, systems: Sequence[System], texts: Texts | None, judged: JudgedQueries | None
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
            text, told = shown[rank - 1] if texts else (None, None)
            found.append(Hit(rank, doc_id, score, grade, text, told))
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
        sides = [
            Side(number, system.searcher, self.terms(number, q, query_id, weights).terms,
                 system.words)
            for number in index
            for system in (self._system(number),)
        ]  # fmt: skip
        rows = [side.added(doc) for side in sides]
        if all(each is None for each in rows):
            raise NotThere(f"no document {quoted(doc)} in {sides[0].searcher.path}")
        shown, systems = explained(sides, rows, self._text_of(doc), LONGEST_TEXT)
        grade = self._judged.grade(query_id, doc) if self._judged else None
        return Explanation(self._text(q, query_id, weights), doc, grade, shown, systems)

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

    def _text_of(self, doc_id: str) -> DocumentText | None:
        return None if self._texts is None else self._texts.get(doc_id)

    def _hits(
        self, system: System, terms: Sequence[Term], doc_ids: Sequence[str]
    ) -> list[tuple[Shown | None, list[Added]]]:
        """Of each document what is shown of its text, and what each term adds."""
        texts = [self._text_of(doc_id) for doc_id in doc_ids]
        parts = [part for text in texts if text is not None for part in (text.title, text.body)]
        spans = iter(system.words.spans([part[:LONGEST_TEXT] for part in parts]) if parts else ())
        found = []
        for doc_id, text in zip(doc_ids, texts, strict=True):
            own = None if text is None else [next(spans), next(spans)]
            held = None if own is None else held_in([*own[0], *own[1]])
            told = [row for row in added(system.searcher, terms, doc_id, held) or [] if row.score]
            shown = None
            if text is not None and own is not None:
                shown = read_part(text.title, text.body, own, {r.term: r.score for r in told})
            found.append((shown, told))
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
