"""Judged queries in all systems: which rankings differ most by a measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from splade_bridge.errors import SpladeBridgeError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.measures import cutoff, parse_measures
from splade_bridge.evaluation.qrels import Qrels
from splade_bridge.retrieval.systems import System
from splade_bridge.server.answers import Judged, JudgedQuery
from splade_bridge.server.parameters import MOST_HITS
from splade_bridge.text.corpora import Text

AT_ONCE = 64
"""Queries that are encoded at once, between two looks at whether all shall end."""


@dataclass
class _Measured:
    """One system, as far as it is measured.

    Attributes:
        values: of the measure by query id; None until all are there.
        fault: what went wrong; what is asked of the system raises it.
    """

    done: int = 0
    values: dict[str, float] | None = None
    fault: SpladeBridgeError | None = None
    thread: Thread | None = field(default=None, repr=False)


class JudgedQueries:
    """Queries and judgements; every system is measured once, when it is first asked for.

    Args:
        texts: of queries; those without judgements are left out.
        measure: one, by its name.

    Raises:
        UsageError: no such measure.
        MissingToolError: what computes it is not installed.
    """

    def __init__(
        self, texts: Sequence[Text], qrels: Qrels, measure: str, systems: Sequence[System]
    ) -> None:
        (self.measure, parsed), *_ = parse_measures([measure]).items()
        self.texts = {text.id: text for text in texts if text.id in qrels}
        self.qrels = {query_id: qrels[query_id] for query_id in self.texts}
        self.depth = min(MOST_HITS, cutoff(parsed) or MOST_HITS)
        self._least = int(parsed.params.get("rel", 1))
        self._systems = systems
        self._measured = [_Measured() for _ in systems]
        self._starting, self._ending = Lock(), Event()

    def grade(self, query_id: str | None, doc_id: str) -> int | None:
        """The grade of a document for a query; None where there is none."""
        return None if query_id is None else self.qrels.get(query_id, {}).get(doc_id)

    def relevant(self, query_id: str) -> int:
        """How many documents count as relevant."""
        return sum(grade >= self._least for grade in self.qrels[query_id].values())

    def value(self, query_id: str, ranking: dict[str, float]) -> float:
        """The measure of one ranking, as deep as it looks; 0 of an empty one."""
        if not ranking:
            return 0.0
        run = {query_id: ranking}
        found = evaluate({query_id: self.qrels[query_id]}, run, [self.measure])
        return found.per_query[query_id][self.measure]

    def compared(self, left: int, right: int, limit: int, words: str) -> Judged:
        """Queries whose text or id holds ``words``, by how much two systems differ.

        The first call begins to measure, and those until it is done say how far it is.

        Raises:
            SpladeBridgeError: a system cannot be measured.
        """
        both = list(dict.fromkeys((left, right)))
        for number in both:
            self._begin(number)
        measured = [self._measured[number] for number in both]
        for each in measured:
            if each.fault is not None:
                raise each.fault
        done, of = sum(each.done for each in measured), len(self.texts) * len(both)
        first, second = self._measured[left].values, self._measured[right].values
        if first is None or second is None:
            return Judged(self.measure, False, done, of, None, None, 0, [])
        rows = [
            JudgedQuery(q, text.text, first[q], second[q], second[q] - first[q])
            for q, text in self.texts.items()
            if words.lower() in text.text.lower() or words == q
        ]
        rows.sort(key=lambda row: -abs(row.difference))  # equal ones as in the file
        means = [sum(values.values()) / len(values) for values in (first, second)]
        return Judged(self.measure, True, done, of, means[0], means[1], len(rows), rows[:limit])

    def close(self) -> None:
        """End what is being measured, and wait until it has ended."""
        self._ending.set()
        for each in self._measured:
            if each.thread is not None:
                each.thread.join()

    def _begin(self, number: int) -> None:
        with self._starting:
            measured = self._measured[number]
            if measured.thread is None and not self._ending.is_set():
                measured.thread = Thread(
                    target=self._measure, args=(self._systems[number], measured), daemon=True
                )
                measured.thread.start()

    def _measure(self, system: System, measured: _Measured) -> None:
        try:
            run: dict[str, dict[str, float]] = {}
            texts = list(self.texts.values())
            for start in range(0, len(texts), AT_ONCE):
                if self._ending.is_set():
                    return
                queries = system.queries(texts[start : start + AT_ONCE])
                for hits in system.ranked(queries, self.depth):
                    run[hits.query_id] = dict(
                        zip(hits.doc_ids, map(float, hits.scores.tolist()), strict=True)
                    )
                    measured.done += 1
            if not any(run.values()):
                measured.values = dict.fromkeys(self.texts, 0.0)
                return
            found = evaluate(self.qrels, run, [self.measure]).per_query
            measured.values = {query_id: found[query_id][self.measure] for query_id in self.texts}
        except SpladeBridgeError as error:
            measured.fault = error
