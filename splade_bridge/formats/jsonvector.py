"""Anserini's JsonVectorCollection: ``{"id": "d1", "contents": "", "vector": {"term": 12}}``.

Read as Anserini reads it (one object a file, an array, several objects after one another, JSON
lines; plain, gzip, and zstd too; all files of a folder, whatever their names), but nothing is
skipped: whatever Anserini would lose silently is an error that names file and line. Written as JSON
lines in parts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions, for_numbers
from splade_bridge.data.vectors import (
    ImpactBatch,
    SparseBatch,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.folders import members
from splade_bridge.files.inputs import changed, check_file, stamps
from splade_bridge.files.json_objects import is_json_lines, json_objects
from splade_bridge.files.lines import json_lines
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.line_blocks import lines_added
from splade_bridge.formats.line_processes import lines_by_processes, readers_for
from splade_bridge.formats.records import RecordImpacts, Records, VectorBuilder, VectorRecord
from splade_bridge.formats.term_limits import TermLimit, anserini_token
from splade_bridge.text.corpora import ID_FIELDS, JSON_SUFFIXES

log = logging.getLogger(__name__)

CONTENTS_FIELDS = ("contents", "content", "text")


class JsonVectorFiles(Records):
    """The documents of a file, or of the files of a folder, see :func:`vector_files`.

    Args:
        skip_others: leave out what a folder holds beside vectors.

    Raises:
        BadInputError: what :func:`vector_files` raises.
    """

    path: Path

    def __init__(self, path: Path, *, skip_others: bool = False) -> None:
        super().__init__(path, Vocabulary(observed=True))
        self._files = vector_files(path, skip_others=skip_others)
        self._stamps = stamps(path)

    def records(self) -> Iterator[VectorRecord]:
        """See :class:`Records`."""
        yield from read_files(self._files)
        self._check_same()

    def fill(self, builder: VectorBuilder) -> Iterator[None]:
        """See :class:`Records`; by several processes where the files are large."""
        if readers := readers_for(self._files):
            yield from lines_by_processes(self._files, record_of, builder, readers)
        else:
            yield from lines_added(self._files, record_of, builder)
        self._check_same()

    def contents(self) -> Iterator[tuple[str, str]]:
        """The field ``contents``."""
        return read_contents(self._files)

    def _check_same(self) -> None:
        if stamps(self.path) != self._stamps:  # between two files, too: one that came meanwhile
            raise changed(self.path)


class JsonVectorSource(RecordImpacts):
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
        made = for_numbers(options, path, manifest)
        super().__init__(JsonVectorFiles(path, skip_others=skip_others), manifest, made)


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
        yield record_of(obj, place, id_fields)


def read_contents(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Id and text of each document of ``files``, in order; an empty text where there is none."""
    for obj, place in _objects(files):
        text = next((obj[f] for f in CONTENTS_FIELDS if isinstance(obj.get(f), str)), "")
        yield record_of(obj, place).id, text


def _objects(files: Sequence[Path]) -> Iterator[tuple[Any, str]]:
    for file in files:
        yield from _read(file)


def _read(path: Path) -> Iterator[tuple[Any, str]]:
    return json_lines(path) if is_json_lines(path) else json_objects(path)


def record_of(obj: Any, place: str, id_fields: Sequence[str] = ID_FIELDS) -> VectorRecord:
    """The record that an object of a file is; raises what :func:`read_files` raises."""
    if not isinstance(obj, dict):
        raise BadInputError("not a JSON object", place)
    for id_field in id_fields:
        if id_field in obj:
            break
    else:
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
