"""Documents or queries as records of term -> number: what is wrong with one is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.quantize import MAX_IMPACT
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.records import MAX_WEIGHT
from splade_bridge.inspection.expansion import expansion, from_corpus
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.tally import SAMPLE, Tally
from splade_bridge.inspection.vectors import check_id, finish

BATCH_ROWS = 2048
BATCH_POSTINGS = 1 << 22
SCALE = "an impact is a whole number: index and export take weights with --scale"
BROKEN = "broken records"


class Record(NamedTuple):
    """One document or query.

    Attributes:
        vector: term -> what stands for its number.
        text: beside the vector; empty for none.
    """

    id: str
    vector: dict[str, Any]
    text: str
    place: str


class FloatsFoundError(Exception):
    """A number that is no integer, where all before it were."""


def count_records(
    records: Callable[[], Iterator[Record]],
    found: Inspection,
    options: InspectOptions,
    *,
    weights: bool = False,
) -> None:
    """Count all records; a second time as weights where one number is none of integers.

    Args:
        records: gives them anew.
        weights: take the numbers for weights whatever they are.
    """
    others = [replace(fault, places=list(fault.places)) for fault in found.faults]
    if not weights:
        try:
            _Reading(found, weights=False).read(records(), options)
            return
        except FloatsFoundError:
            found.faults = others
    _Reading(found, weights=True).read(records(), options)


class _Reading:
    """One pass."""

    def __init__(self, found: Inspection, *, weights: bool) -> None:
        self._found = found
        self._weights = weights
        self._vocabulary = Vocabulary(observed=True)
        self._tally = Tally(self._vocabulary)
        self._guard = DuplicateGuard()
        self._texts: dict[str, str] = {}
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._rows: list[tuple[list[int], list[float]]] = []
        self._postings = 0

    def read(self, records: Iterator[Record], options: InspectOptions) -> None:
        """All of ``records``."""
        lost = 0
        for doc_id, vector, text, place in records:
            if not self._add(doc_id, vector, place):
                lost += 1
            elif text and len(self._texts) < SAMPLE:
                self._texts[doc_id] = text
        self._flush()
        if lost or any(f.fault == BROKEN for f in self._found.faults):
            self._found.unknown.append("content: of the sound records only")
        elif any(f.fault.startswith("weights") for f in self._found.faults):
            self._found.unknown.append("content: without the weights that are none")
        numbers = "weights" if self._weights else "impacts"
        finish(self._tally, self._found, options, numbers, with_corpus=False)  # type: ignore[arg-type]
        if self._texts and options.corpus is None:
            expansion(self._tally, self._texts.items(), self._found, "the stored contents")
        else:
            from_corpus(self._tally, options.corpus, self._found)

    def _add(self, doc_id: str, vector: dict[str, Any], place: str) -> bool:
        check_id(doc_id, place, self._guard, self._found)
        indices, values = [], []
        for term, value in vector.items():
            if not self._sound(term, value, place):
                continue
            try:
                indices.append(self._vocabulary.add(term))
            except BadInputError as error:
                self._found.fault("terms that are none", f"{place}: {error}", "remove them")
                continue
            values.append(value)
        if not doc_id:
            return False
        self._ids.append(doc_id)
        self._rows.append((indices, values))
        self._postings += len(indices)
        if len(self._ids) == BATCH_ROWS or self._postings >= BATCH_POSTINGS:
            self._flush()
        return True

    def _sound(self, term: str, value: Any, place: str) -> bool:
        """Whether a value counts; faults are counted."""
        fault = self._found.fault
        where = f"{place} (term {quoted(term)}): {quoted(value)}"
        if type(value) not in (int, float):
            fault("weights that are no numbers", where, "mend the record")
            return False
        if not -MAX_WEIGHT <= value <= MAX_WEIGHT:
            fault("weights beyond what a float32 holds", where, "mend the record")
            return False
        if value <= 0:
            what = "weights of 0" if value == 0 else "weights below 0"
            fault(what, where, "0 is left out when it is read; less is refused")
            return False
        if type(value) is float:
            if not self._weights and value != int(value):
                raise FloatsFoundError
            if not self._weights:
                fault("whole numbers written as floats", where, "they stand for integers")
            elif value != int(value):
                fault("numbers that are no integers", where, SCALE)
        if not self._weights and value > MAX_IMPACT:
            fault("weights beyond 2^31 - 1", where, "no format holds such impacts")
            return False
        return True

    def _flush(self) -> None:
        if not self._ids:
            return
        lengths = [len(indices) for indices, _ in self._rows]
        indices = np.array([i for row, _ in self._rows for i in row], np.int32)
        numbers = [v for _, row in self._rows for v in row]
        row = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        order = np.argsort(row << 32 | indices)
        pointers = row_pointers(lengths)
        if self._weights:
            weights = np.array(numbers, np.float32)
            self._tally.add(SparseBatch(self._ids, pointers, indices[order], weights[order]))
        else:
            impacts = np.array(numbers, np.int64).astype(np.int32)
            self._tally.add(ImpactBatch(self._ids, pointers, indices[order], impacts[order]))
        self._clear()
