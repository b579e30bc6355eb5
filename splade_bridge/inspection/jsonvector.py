"""JsonVectorCollections, of documents or queries: a broken record is counted, and passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.quantize import MAX_IMPACT
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.folders import members
from splade_bridge.files.json_objects import is_json_lines
from splade_bridge.files.lines import json_object, numbered_lines
from splade_bridge.formats.jsonvector import MAX_WEIGHT, read_files
from splade_bridge.inspection.expansion import expansion, from_corpus
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.look import Look
from splade_bridge.inspection.tally import SAMPLE, Tally
from splade_bridge.inspection.vectors import check_id, finish
from splade_bridge.text.corpora import JSON_SUFFIXES

ID_FIELDS = ("id", "_id", "docid", "qid", "query_id")
TEXTS = ("contents", "content", "text")
BATCH_ROWS = 2048
BATCH_POSTINGS = 1 << 22
SCALE = "an impact is a whole number: index and export take weights with --scale"


class FloatsFoundError(Exception):
    """A number that is no integer, where all before it were."""


def files_of(path: Path, found: Inspection) -> list[Path]:
    """The file, or those of a folder that are read."""
    if not path.is_dir():
        return [path]
    inside = members(path, JSON_SUFFIXES)
    for other in inside.others:
        found.fault(
            "files that are no JSON",
            other.relative_to(path).as_posix(),
            "move them elsewhere, or leave them out with --skip-others",
        )
    return inside.taken


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Read all records; a second time as weights where one number is none of integers."""
    files = files_of(path, found)
    found.facts["files"] = len(files)
    if options.quick:
        return
    others = list(found.faults)
    try:
        _Reading(found, weights=False).read(files, options)
    except FloatsFoundError:
        found.faults = others
        _Reading(found, weights=True).read(files, options)


def dense(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Vectors that are arrays: only how long the first one is."""
    found.facts["dimensions"] = len(Look(path).first_object["vector"])
    found.unknown.append("all else: only search reads dense vectors, as queries")


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

    def read(self, files: list[Path], options: InspectOptions) -> None:
        """All records of ``files``."""
        lost = 0
        for file in files:
            for doc_id, vector, text, place in self._records(file):
                if not self._add(doc_id, vector, place):
                    lost += 1
                elif text and len(self._texts) < SAMPLE:
                    self._texts[doc_id] = text
        self._flush()
        if lost or any(f.fault == "broken records" for f in self._found.faults):
            self._found.unknown.append("content: of the sound records only")
        elif any(f.fault.startswith("weights") for f in self._found.faults):
            self._found.unknown.append("content: without the weights that are none")
        numbers = "weights" if self._weights else "impacts"
        finish(self._tally, self._found, options, numbers, with_corpus=False)  # type: ignore[arg-type]
        if self._texts and options.corpus is None:
            expansion(self._tally, self._texts.items(), self._found, "the stored contents")
        else:
            from_corpus(self._tally, options.corpus, self._found)

    def _records(self, file: Path) -> Iterator[tuple[str, dict[str, Any], str, str]]:
        if not is_json_lines(file):
            try:
                for record in read_files([file]):
                    pairs = dict(zip(record.terms, record.values, strict=True))
                    yield record.id, pairs, "", record.place
            except BadInputError as error:
                self._broken(str(error))
            return
        for number, line in numbered_lines(file):
            place = f"{file}:{number}"
            if not line.strip():
                continue
            try:
                record_of = json_object(line, place)
            except BadInputError as error:
                self._broken(str(error))
                continue
            key = next((record_of[f] for f in ID_FIELDS if f in record_of), None)
            vector = record_of.get("vector")
            if key is None or not isinstance(vector, dict):
                what = "no id" if key is None else "no vector of terms"
                self._broken(f"{place}: {what}")
                continue
            text = next((record_of[f] for f in TEXTS if isinstance(record_of.get(f), str)), "")
            yield str(key), vector, text, place

    def _broken(self, place: str) -> None:
        self._found.fault("broken records", place, "mend or remove them: Anserini skips them")

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
