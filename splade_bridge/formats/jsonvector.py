"""Anserini's JsonVectorCollection: ``{"id": "d1", "contents": "", "vector": {"term": 12}}``.

Read as Anserini reads it (one object a file, an array, several objects after one another, JSON
lines; plain, gzip, and zstd too; all files of a folder, whatever their names), but nothing is
skipped: whatever Anserini would lose silently is an error that names file and line. Written as JSON
lines in parts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, checked_id, quoted
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.quantize import (
    EXACT_SCORES_BELOW,
    MAX_IMPACT,
    QuantizeOptions,
    Quantizer,
    for_numbers,
    refuse_integers,
)
from splade_bridge.data.vectors import (
    ImpactBatch,
    Int32Array,
    Int64Array,
    SparseBatch,
    row_pointers,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.address import Place
from splade_bridge.files.folders import members
from splade_bridge.files.inputs import changed, check_file, stamps
from splade_bridge.files.json_objects import is_json_lines, json_objects
from splade_bridge.files.lines import json_lines
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.term_limits import TermLimit, anserini_token
from splade_bridge.text.corpora import ID_FIELDS, JSON_SUFFIXES

log = logging.getLogger(__name__)

CONTENTS_FIELDS = ("contents", "content", "text")
BATCH_ROWS = 2048
BATCH_POSTINGS = 1 << 22
"""A batch ends with the row that reaches it, however few its rows are."""
BLOCK_POSTINGS = 1 << 13
"""Postings that are checked and sorted together: what is made of them stays in the cache."""
MAX_WEIGHT = float(np.finfo(np.float32).max)


class VectorRecord(NamedTuple):
    """One vector as it stands in a file: terms and, in the same order, numbers."""

    id: str
    terms: Collection[str]
    values: Collection[float]
    place: str


class JsonVectorSource(ImpactSource):
    """A JsonVectorCollection: a file, or the files of a folder, see :func:`vector_files`.

    Args:
        options: how to quantize; a scale is needed where the weights are not integers, and then
            applied to all of them. Without one the numbers are impacts, which may be clipped.
        skip_others: leave out what a folder holds beside vectors.

    Raises:
        BadInputError: when made, what :func:`vector_files` raises; when read, a broken record, or
            a file or folder that is not what it was when the source was made.
        UsageError: options for weights, and these are impacts (when made, by the manifest; when
            read, by the numbers).
    """

    path: Path

    def __init__(
        self,
        path: Path,
        options: QuantizeOptions | None = None,
        manifest: Manifest | None = None,
        *,
        skip_others: bool = False,
    ) -> None:
        super().__init__(path, Vocabulary(observed=True), manifest)
        made = for_numbers(options, path, manifest)
        self._quantizer = made if isinstance(made, Quantizer) else None
        self.clipper = None if isinstance(made, Quantizer) else made
        self._files = vector_files(path, skip_others=skip_others)
        self._stamps = stamps(path)

    def _read(self) -> Iterator[ImpactBatch]:
        builder = VectorBuilder(self.vocabulary, self._quantizer)
        for _ in full_batches(read_files(self._files), builder, self.path):
            yield builder.take()
        if stamps(self.path) != self._stamps:  # between two files, too: one that came meanwhile
            raise changed(self.path)

    def contents(self) -> Iterator[tuple[str, str]]:
        """The field ``contents``."""
        return read_contents(self._files)

    @property
    def _quantized(self) -> QuantizationInfo | None:
        return self._quantizer.info if self._quantizer else super()._quantized


class JsonWeightSource(WeightSource):
    """The numbers of a JsonVectorCollection as weights, whatever they are."""

    path: Path

    def __init__(
        self, path: Path, manifest: Manifest | None = None, *, skip_others: bool = False
    ) -> None:
        super().__init__(path, Vocabulary(observed=True), manifest)
        self._files = vector_files(path, skip_others=skip_others)
        self._stamps = stamps(path)

    def _read(self) -> Iterator[SparseBatch]:
        builder = VectorBuilder(self.vocabulary, None, weights=True)
        for _ in full_batches(read_files(self._files), builder, self.path):
            yield builder.take_weights()
        if stamps(self.path) != self._stamps:
            raise changed(self.path)

    def contents(self) -> Iterator[tuple[str, str]]:
        """The field ``contents``."""
        return read_contents(self._files)


def full_batches(
    records: Iterable[VectorRecord], builder: VectorBuilder, path: Place
) -> Iterator[None]:
    """Add ``records`` to ``builder`` and stop wherever a batch is to be taken from it.

    Raises:
        BadInputError: see :meth:`VectorBuilder.add`; or an id that was there before.
        UsageError: there was a scale, and no float.
    """
    for _ in added(records, builder):
        if len(builder) == BATCH_ROWS or builder.postings >= BATCH_POSTINGS:
            yield
    if len(builder):
        yield
    builder.check_weights(path)
    if builder.zeros:
        log.warning("%s: left out %d weights of 0", path, builder.zeros)
    if builder.whole:
        log.warning("%s: %d integers are written as floats, as 3.0", path, builder.whole)


def added(records: Iterable[VectorRecord], builder: VectorBuilder) -> Iterator[None]:
    """Add ``records`` to ``builder``, and stop after each.

    Raises:
        BadInputError: of the first record that is broken, be it ``records`` or ``builder`` that
            says so.
    """
    try:
        for record in records:
            builder.add(record)
            yield
    except BadInputError:
        builder.check()  # what stands before it in the file is told before it
        raise
    builder.check()


class VectorBuilder:
    """Collects records into batches; terms get their ids from a vocabulary that may grow.

    Args:
        quantizer: of weights, which :meth:`take` gives as impacts then.
        weights: the numbers are weights, which :meth:`take_weights` gives.

    Attributes:
        zeros: weights of 0 that were left out.
        whole: integers that were written as floats (3.0) and taken as what they are.
    """

    def __init__(
        self, vocabulary: Vocabulary, quantizer: Quantizer | None, *, weights: bool = False
    ) -> None:
        self._vocabulary = vocabulary
        self._quantizer = quantizer
        self._weights = weights or quantizer is not None
        self._guard = DuplicateGuard()
        self.zeros = 0
        self.whole = 0
        self._fractions = self._numbers = False
        self._clear()

    def check_weights(self, path: Place) -> None:
        """Look back at the end: where there is a quantizer, there must have been a fraction.

        Raises:
            UsageError: all numbers were whole.
        """
        if self._quantizer and self._numbers and not self._fractions:
            refuse_integers(self._quantizer.scale, path)

    def _clear(self) -> None:
        self.postings = 0
        self._ids: list[str] = []
        self._lengths: list[int] = []
        self._indices: list[Int32Array] = []
        self._values: list[np.ndarray] = []
        self._block: list[VectorRecord] = []
        self._in_block = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, record: VectorRecord) -> None:
        """Append one record, which is looked at with others of its kind: see :meth:`check`.

        Raises:
            BadInputError: one of the records since the last call that raised nothing is broken.
        """
        self._ids.append(record.id)
        self._block.append(record)
        self._in_block += len(record.terms)
        self.postings += len(record.terms)
        if self._in_block >= BLOCK_POSTINGS:
            self.check()

    def check(self) -> None:
        """Look at what was added: thousands of postings at once cost a tenth of one at a time.

        Raises:
            BadInputError: an id that was there before, a weight that cannot be an impact, or a term
                that no index can hold; of the first such record.
        """
        block, self._block, self._in_block = self._block, [], 0
        if not block:
            return
        lengths = np.fromiter((len(record.terms) for record in block), np.int64, len(block))
        values = list(chain.from_iterable([record.values for record in block]))
        numbers = self._all_at_once(values)
        try:
            if numbers is None:  # something is rare or wrong: one record after another
                numbers = np.concatenate([self._checked(record) for record in block])
            indices = self._vocabulary.add_all(
                list(chain.from_iterable([record.terms for record in block]))
            )
            self._guard.check_all([record.id for record in block])
        except BadInputError:
            for record in block:
                self._guard.check(record.id, record.place)
                self._check_alone(record)
            raise
        self._numbers |= bool(values)
        rows = np.repeat(np.arange(len(block), dtype=np.int64), lengths)
        order = np.argsort(rows << 32 | indices)
        indices, numbers = indices[order], numbers[order]
        if not numbers.all():  # a weight of 0 says nothing; Anserini reads it so too
            there = numbers != 0
            zeros = int(there.size - there.sum())
            lengths = np.bincount(rows[there], minlength=len(block))
            indices, numbers = indices[there], numbers[there]
            self.zeros += zeros
            self.postings -= zeros
        self._lengths.extend(lengths.tolist())
        self._indices.append(indices)
        self._values.append(numbers)

    def _all_at_once(self, values: list[float]) -> np.ndarray | None:
        """The numbers of many records; None where :meth:`_checked` has more to say about one."""
        kinds = set(map(type, values))
        if not kinds <= {int, float}:
            return None
        try:
            numbers = np.fromiter(values, np.int64 if kinds == {int} else np.float64, len(values))
        except OverflowError:
            return None
        if not self._weights:
            impacts = numbers.astype(np.int32) if _all_between(numbers, 0, MAX_IMPACT) else None
            if impacts is None or kinds == {int}:
                return impacts
            if not (impacts == numbers).all():
                return None
            self.whole += len(values) - sum(type(value) is int for value in values)
            return impacts
        if not _all_between(numbers, 0, EXACT_SCORES_BELOW - 1):
            return None
        if float in kinds and not self._fractions:
            self._fractions = bool((numbers != np.floor(numbers)).any())
        return numbers.astype(np.float32)

    def _check_alone(self, record: VectorRecord) -> None:
        """Raise what is wrong with one record."""
        try:
            self._vocabulary.add_all(record.terms)
        except BadInputError as error:
            raise BadInputError(str(error), record.place) from None
        self._checked(record)

    def _checked(self, record: VectorRecord) -> np.ndarray:
        values = list(record.values)
        for term, value in zip(record.terms, values, strict=True):
            if type(value) not in (int, float):
                raise BadInputError(
                    f"term {quoted(term)}: {quoted(value)} is not a number", record.place
                )
            if not 0 <= value <= MAX_WEIGHT:
                raise BadInputError(
                    f"term {quoted(term)}: a weight must be from 0 to {MAX_WEIGHT:.1e}, not "
                    f"{str(value)[:20]}",
                    record.place,
                )
            if type(value) is int or value == int(value):
                continue
            self._fractions = True
            if not self._weights:
                raise BadInputError(
                    f"term {quoted(term)}: {value} is not an integer; give --scale to quantize "
                    "weights (100 is usual)",
                    record.place,
                )
        if self._weights:
            return _weights(record)
        self.whole += sum(type(value) is float for value in values)
        if values and max(values) > MAX_IMPACT:
            raise BadInputError("an impact over 2^31 - 1", record.place)
        return np.array(values, dtype=np.int32)

    def take(self) -> ImpactBatch:
        """The batch of all records added since the last call."""
        if self._quantizer:
            return self._quantizer(self.take_weights())
        self.check()
        impacts = np.concatenate([np.empty(0, np.int32), *self._values])
        batch = ImpactBatch(*self._taken(), impacts)
        self._clear()
        return batch

    def take_weights(self) -> SparseBatch:
        """The same of a builder with a quantizer, not quantized."""
        self.check()
        weights = np.concatenate([np.empty(0, np.float32), *self._values])
        batch = SparseBatch(*self._taken(), weights)
        self._clear()
        return batch

    def _taken(self) -> tuple[list[str], Int64Array, Int32Array]:
        indices = np.concatenate([np.empty(0, np.int32), *self._indices])
        return self._ids, row_pointers(self._lengths), indices


def vector_files(path: Path, *, skip_others: bool = False) -> list[Path]:
    """The files of a JsonVectorCollection: ``path`` itself, or what is JSON below a folder.

    They are those that Anserini takes, sub-folders, links and names of any kind included, in the
    order of the names on the way to them. Anserini passes over the rest with a line in its log.

    Args:
        skip_others: leave out what is not JSON; it is named in a warning.

    Raises:
        BadInputError: no such file; a folder without JSON, or with files that are something else.
    """
    if not path.is_dir():
        check_file(path)
        return [path]
    found = members(path, JSON_SUFFIXES)
    if not found.taken:
        raise BadInputError("no .json or .jsonl files in this folder", str(path))
    return found.checked(path, "JSON", skip_others=skip_others)


def _all_between(numbers: np.ndarray, low: int, high: int) -> bool:
    """False where one is not a number, too."""
    return not numbers.size or (low <= numbers.min() and numbers.max() <= high)


def _weights(record: VectorRecord) -> np.ndarray:
    """float32, as weights are; a whole number that these do not hold is refused, and not rounded.

    Raises:
        BadInputError: there is one.
    """
    weights = np.array(list(record.values), dtype=np.float32)
    if weights.size and weights.max() >= EXACT_SCORES_BELOW:
        for term, value, weight in zip(record.terms, record.values, weights.tolist(), strict=True):
            if weight != value == int(value) <= MAX_IMPACT:
                raise BadInputError(
                    f"term {term!r}: {value:.0f} is no float32, as weights are, which would make "
                    f"{weight:.0f} of it: leave --scale out, so that integers are taken as they "
                    "are",
                    record.place,
                )
    return weights


def read_vectors(path: Path, id_fields: Sequence[str] = ID_FIELDS) -> Iterator[VectorRecord]:
    """The records of a file or folder, in order.

    Raises:
        BadInputError: what :func:`vector_files` and :func:`read_files` raise.
    """
    return read_files(vector_files(path), id_fields)


def read_files(
    files: Sequence[Path], id_fields: Sequence[str] = ID_FIELDS
) -> Iterator[VectorRecord]:
    """The records of ``files``, in order.

    Args:
        id_fields: what the field of the id may be called, the likeliest first.

    Raises:
        BadInputError: anything that is not an object with an id and a vector of term: number; a
            term that stands twice in a vector; the message names file and line.
    """
    for obj, place in _objects(files):
        yield _record(obj, place, id_fields)


def read_contents(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Id and text of each document of ``files``, in order; an empty text where there is none."""
    for obj, place in _objects(files):
        text = next((obj[f] for f in CONTENTS_FIELDS if isinstance(obj.get(f), str)), "")
        yield _record(obj, place).id, text


def _objects(files: Sequence[Path]) -> Iterator[tuple[Any, str]]:
    for file in files:
        yield from _read(file)


def _read(path: Path) -> Iterator[tuple[Any, str]]:
    return json_lines(path) if is_json_lines(path) else json_objects(path)


def _record(obj: Any, place: str, id_fields: Sequence[str] = ID_FIELDS) -> VectorRecord:
    if not isinstance(obj, dict):
        raise BadInputError("not a JSON object", place)
    id_field = next((f for f in id_fields if f in obj), None)
    if id_field is None:
        raise BadInputError(f"no field {' or '.join(id_fields)}", place)
    vector = obj.get("vector")
    if not isinstance(vector, dict):
        what = "a dense vector" if isinstance(vector, list) else "no field vector"
        raise BadInputError(f"{what}: a sparse one looks like {{'term': 12}}", place)
    return VectorRecord(checked_id(obj[id_field], place), vector.keys(), vector.values(), place)


MOST_CONTENTS = 20_000_000
"""UTF-16 units of a string that Anserini's JSON reader takes; at more it leaves the file."""


class JsonVectorWriter:
    """Writes parts of ``docs_per_file`` documents into a folder, which should be a staged one."""

    def __init__(
        self, folder: Path, docs_per_file: int, *, compress: bool, contents_field: str = "contents"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._contents_field = orjson.dumps(contents_field)
        self._docs_per_file = docs_per_file
        self._suffix = ".jsonl.gz" if compress else ".jsonl"

    def write(
        self,
        batches: Iterable[ImpactBatch | SparseBatch],
        vocabulary: Vocabulary,
        contents: Iterator[tuple[str, str]] | None = None,
    ) -> Counts:
        """Write all documents; returns what was written.

        Args:
            contents: (id, text) of the same documents in the same order, for --with-contents.

        Raises:
            BadInputError: ``contents`` has other documents than ``batches``, or one that is too
                long for Anserini; or a term with a posting that Anserini would cut up.
        """
        counts = Counts()
        rows = self._lines(batches, vocabulary, contents, counts)
        for part, first in enumerate(rows):
            with atomic_writer(self._folder / f"part-{part:05d}{self._suffix}", level=4) as out:
                out.write(first)
                for _, line in zip(range(self._docs_per_file - 1), rows, strict=False):
                    out.write(line)
        return counts

    def _lines(
        self,
        batches: Iterable[ImpactBatch | SparseBatch],
        vocabulary: Vocabulary,
        contents: Iterator[tuple[str, str]] | None,
        counts: Counts,
    ) -> Iterator[bytes]:
        pairs = _Pairs(vocabulary)
        limit = TermLimit(
            "a JsonVectorCollection",
            anserini_token,
            "index the vectors themselves (splade-bridge index), or export --format ciff",
            vocabulary,
        )
        for batch in batches:
            limit.check(batch.indices)
            pieces, ends = pairs(batch), (2 * batch.indptr).tolist()
            for i, doc_id in enumerate(batch.ids):
                text = _text_of(doc_id, contents) if contents is not None else ""
                yield b'{"id":%b,%b:%b,"vector":{%b}}\n' % (
                    orjson.dumps(doc_id),
                    self._contents_field,
                    orjson.dumps(text),
                    b"".join(pieces[ends[i] : ends[i + 1]])[1:],  # without the first comma
                )
            counts.add(batch)
        if contents is not None and (extra := next(contents, None)) is not None:
            raise BadInputError(f"the corpus has a document {extra[0]!r} without a vector")


class _Pairs:
    """``,"term":`` and ``number`` for all postings of a batch.

    Terms and impacts are looked up as ready-made bytes: faster than any way of making them.
    """

    READY_IMPACTS = 1 << 12

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._keys = np.empty(0, dtype=object)
        self._impacts = np.array([b"%d" % i for i in range(self.READY_IMPACTS)], dtype=object)

    def __call__(self, batch: ImpactBatch | SparseBatch) -> list[bytes]:
        """2 x nnz pieces: key, number, key, number ..."""
        new = self._vocabulary.terms[len(self._keys) :]
        if new:
            keys = np.array([b",%b:" % orjson.dumps(term) for term in new], dtype=object)
            self._keys = np.concatenate([self._keys, keys])
        pieces: list[bytes] = [b""] * (2 * len(batch.indices))
        pieces[0::2] = self._keys[batch.indices].tolist()
        if isinstance(batch, SparseBatch):  # the shortest digits that give the same float32
            numbers = orjson.dumps(batch.weights, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
            pieces[1::2] = numbers.split(b",") if len(batch.indices) else []
        elif batch.impacts.size and int(batch.impacts.max()) < self.READY_IMPACTS:
            pieces[1::2] = self._impacts[batch.impacts].tolist()
        else:
            pieces[1::2] = [b"%d" % impact for impact in batch.impacts.tolist()]
        return pieces


def _text_of(doc_id: str, contents: Iterator[tuple[str, str]]) -> str:
    found = next(contents, None)
    if found is None or found[0] != doc_id:
        raise BadInputError(
            f"document {quoted(doc_id)} has a vector, but the corpus has "
            f"{quoted(found[0]) if found else 'nothing'} at its place: was it encoded from it?"
        )
    text = found[1]
    if len(text) > MOST_CONTENTS // 2 and len(text.encode("utf-16-le", "replace")) > (
        2 * MOST_CONTENTS
    ):
        raise BadInputError(
            f"document {quoted(doc_id)}: its text has over {MOST_CONTENTS:,} characters, at which "
            "Anserini leaves the file: export without --with-contents"
        )
    return text
