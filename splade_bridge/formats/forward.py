"""The forward store: full vectors by document, mapped and not loaded, for exact rescoring.

::

    forward/indptr.npy        int64[n + 1]
    forward/terms.npy         uint16[nnz], or uint32 where a term id needs it; rising in each row
    forward/impacts.npy       uint8[nnz], uint16 or uint32: the narrowest that holds the largest
    forward/vocabulary.json   the term of each id
    forward/doc_*, id_*       document ids, and the table that finds rows by id

Every array is a plain ``.npy`` file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splade_bridge.data.counts import Counts
from splade_bridge.data.doc_ids import DocIdWriter
from splade_bridge.data.hits import contenders
from splade_bridge.data.id_table import IdTable, write_id_table
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import (
    ImpactBatch,
    Int32Array,
    Int64Array,
    row_numbers,
    row_pointers,
    sliced,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.writing import mapped
from splade_bridge.formats.base import ImpactSource, each_once, export_manifest, refuse_empty

FORWARD_FOLDER = "forward"
INDPTR, TERMS, IMPACTS = "indptr.npy", "terms.npy", "impacts.npy"
VOCABULARY = "vocabulary.json"

ROWS_A_BATCH = 8192
NOTHING: Int64Array = np.empty(0, dtype=np.int64)
HEADER_BYTES = 128
"""Of a one-dimensional .npy file: numpy pads it so that the length may grow."""
COPY_AT_ONCE = 1 << 20


def write_forward(folder: Path, source: ImpactSource, memory: int = DEFAULT_MEMORY) -> Counts:
    """Write all of ``source`` into the new ``folder``; the counts of what was written.

    Args:
        memory: budget in bytes of making the table of ids.

    Raises:
        BadInputError: the source is broken, or holds no documents.
    """
    folder.mkdir()
    counts = Counts()
    ids = DocIdWriter(folder)
    lengths = [np.empty(0, dtype=np.int32)]
    with (
        _NarrowFile(folder / TERMS, np.dtype("<u2")) as terms,
        _NarrowFile(folder / IMPACTS, np.dtype("u1")) as impacts,
    ):
        for batch in source.batches():
            terms.add(batch.indices)
            impacts.add(batch.impacts)
            ids.add(batch.ids)
            lengths.append(batch.lengths.astype(np.int32))
            counts.add(batch)
    ids.close()
    if not counts.documents:
        refuse_empty(source.counts, source.path)  # of no ids there is no table
    np.save(folder / INDPTR, row_pointers(np.concatenate(lengths)))
    source.vocabulary.save(folder / VOCABULARY)
    write_id_table(folder, memory)
    return counts


def is_forward(path: Path) -> bool:
    """Whether a folder looks like a forward store."""
    return (path / INDPTR).is_file() and (path / TERMS).is_file()


class ForwardStore:
    """A forward store, open for looking up and scoring documents.

    Attributes:
        path: the folder ``forward/``.
        manifest: of the export that it lies in; None for a folder without one.
        vocabulary: the terms of the vectors.

    Raises:
        BadInputError: not a forward store, an unfinished or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.manifest = _located(path)
        self.vocabulary = Vocabulary.load(self.path / VOCABULARY)
        self._ids = IdTable(self.path)
        self._indptr = mapped(self.path / INDPTR)
        self._terms = mapped(self.path / TERMS)
        self._impacts = mapped(self.path / IMPACTS)
        postings = len(self._terms)
        if not (
            len(self._indptr) == len(self._ids) + 1
            and int(self._indptr[0]) == 0
            and int(self._indptr[-1]) == postings == len(self._impacts)
            and {self._terms.dtype.kind, self._impacts.dtype.kind} == {"u"}
        ):
            raise self._damaged("its arrays do not belong together")
        self._term_bytes = self._terms.view(np.uint8).data

    def __len__(self) -> int:
        return len(self._ids)

    def document_frequencies(self) -> Int64Array:
        """int64[len(vocabulary)]: the documents that hold each term."""
        frequencies = np.zeros(len(self.vocabulary), dtype=np.int64)
        for start in range(0, len(self._terms), COPY_AT_ONCE):
            some = np.bincount(
                self._terms[start : start + COPY_AT_ONCE], minlength=len(frequencies)
            )
            if len(some) > len(frequencies):
                raise self._damaged("a term id is not in its vocabulary")
            frequencies += some
        return frequencies

    def impact_sum(self) -> int:
        """Of all documents."""
        return int(self._impacts.sum(dtype=np.int64))

    def find(self, doc_ids: Sequence[str]) -> Int64Array:
        """int64[len(doc_ids)]: the row of each document, -1 for those that are not here."""
        return self._ids.find(doc_ids)

    def scores(self, rows: Int64Array, terms: Int32Array, weights: Int32Array) -> Int64Array:
        """The exact scores of some documents: the sums of query weight x impact.

        Args:
            rows: int64[n], as :meth:`find` gives them.
            terms: the query's term ids, distinct, in the ids of :attr:`vocabulary`.
            weights: the query's impacts.

        Returns:
            int64[n].

        Raises:
            BadInputError: the store is damaged.
        """
        starts, stops = self._indptr[rows], self._indptr[rows + 1]
        if (stops < starts).any() or (starts < 0).any() or (stops > len(self._terms)).any():
            raise self._damaged("a row begins after its end")
        width = self._terms.itemsize
        # Joining slices of bytes beats numpy's gathering by 2: no array of positions is made.
        pieces = zip((starts * width).tolist(), (stops * width).tolist(), strict=True)
        theirs = np.frombuffer(
            b"".join([self._term_bytes[start:stop] for start, stop in pieces]), self._terms.dtype
        )
        asked = np.zeros(len(self.vocabulary), dtype=bool)
        asked[terms] = True
        weight = np.zeros(len(self.vocabulary), dtype=np.int64)
        weight[terms] = weights
        try:
            matches = np.flatnonzero(asked.take(theirs))
        except IndexError:
            raise self._damaged("a term id is not in its vocabulary") from None
        ends = np.cumsum(stops - starts)
        edges = np.searchsorted(matches, ends)
        shift = np.repeat(stops - ends, np.diff(edges, prepend=0))
        running = np.zeros(len(matches) + 1, dtype=np.int64)
        products = weight.take(theirs.take(matches)) * self._impacts.take(matches + shift)
        np.cumsum(products, out=running[1:])
        return np.diff(running.take(edges), prepend=0)

    def best(self, queries: ImpactBatch, k: int) -> list[tuple[Int64Array, Int64Array]]:
        """The best documents of each query, found by one look at all of them.

        Args:
            queries: in the ids of :attr:`vocabulary`.

        Returns:
            For each query rows, int64[n], and their exact scores above 0, int64[n]: the ``k`` best
            and all that tie with the last of them, in no order.

        Raises:
            BadInputError: the store is damaged.
        """
        from scipy.sparse import csr_array

        terms = np.unique(queries.indices)
        column = np.full(len(self.vocabulary), -1, dtype=np.int64)
        column[terms] = np.arange(len(terms))
        weights = np.zeros((len(terms), len(queries)), dtype=np.int64)
        weights[column[queries.indices], row_numbers(queries.indptr)] = queries.impacts
        found = [(NOTHING, NOTHING)] * len(queries)
        for start in range(0, len(self), ROWS_A_BATCH):
            part, indptr = sliced(self._indptr, start, min(start + ROWS_A_BATCH, len(self)))
            try:
                columns = column.take(self._terms[part])
            except IndexError:
                raise self._damaged("a term id is not in its vocabulary") from None
            asked = np.flatnonzero(columns >= 0)
            shape = (len(indptr) - 1, len(terms))
            impacts = self._impacts[part][asked].astype(np.int64)
            rows = csr_array((impacts, columns[asked], np.searchsorted(asked, indptr)), shape)
            scores = rows @ weights
            for number, (held, their) in enumerate(found):
                there = np.flatnonzero(scores[:, number])
                numbers = np.append(held, there + start)
                both = np.append(their, scores[there, number])
                places = contenders(both, k)
                found[number] = numbers[places], both[places]
        return found

    def row(self, number: int) -> tuple[Int32Array, Int32Array]:
        """``(indices, impacts)`` of one document."""
        batch = self._batch(number, number + 1)
        return batch.indices, batch.impacts

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """The impacts of some terms in a document, 0 for none; None for no such document."""
        (row,) = self.find([doc_id]).tolist()
        if row < 0:
            return None
        terms, impacts = self.row(row)
        held = dict(zip(terms.tolist(), impacts.tolist(), strict=True))
        return [held.get(term, 0) for term in term_ids]

    def batches(self, size: int = ROWS_A_BATCH) -> Iterator[ImpactBatch]:
        """All documents in their order.

        Raises:
            BadInputError: the store is damaged.
        """
        for start in range(0, len(self), size):
            yield self._batch(start, min(start + size, len(self)))

    def _batch(self, start: int, stop: int) -> ImpactBatch:
        part, indptr = sliced(self._indptr, start, stop)
        try:
            batch = ImpactBatch(
                self._ids.names(start, stop),
                indptr,
                self._terms[part].astype(np.int32),
                self._impacts[part].astype(np.int32),
            )
        except (ValueError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error
        if batch.indices.size and int(batch.indices.max()) >= len(self.vocabulary):
            raise self._damaged("a term id is not in its vocabulary")
        return batch

    def _damaged(self, how: str) -> BadInputError:
        return BadInputError(f"damaged ({how}): export it again", str(self.path))


class ForwardSource(ImpactSource):
    """A forward store as a source of impacts.

    Args:
        manifest: of the index that it is a part of; None for that of an export.
    """

    def __init__(self, path: Path, manifest: Manifest | None = None) -> None:
        self._store = ForwardStore(path)
        super().__init__(path, self._store.vocabulary, manifest or self._store.manifest)

    def _read(self) -> Iterator[ImpactBatch]:
        return each_once(self._store.batches(), self.path)


def _located(path: Path) -> tuple[Path, Manifest | None]:
    """The folder with the arrays, given it or the export around it, and the export's manifest."""
    if manifest_file(path).is_file():
        manifest = Manifest.load(path)
        if not is_forward(path / FORWARD_FOLDER):
            raise BadInputError(
                f"holds {manifest.kind}, not a forward store; splade-bridge export --format "
                "forward makes one",
                str(path),
            )
        return path / FORWARD_FOLDER, manifest
    if not is_forward(path):
        raise BadInputError("not a forward store, or its making was interrupted", str(path))
    return path, export_manifest(path)


class _NarrowFile:
    """A .npy file of unsigned integers that grows, as wide as its largest number needs."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path = path
        self._dtype = dtype
        self._count = 0
        self._file = open(path, "w+b")  # noqa: SIM115 - closed by __exit__
        self._write_header()

    def add(self, values: Int32Array) -> None:
        """Append numbers >= 0."""
        needed = np.min_scalar_type(int(values.max(initial=0))).newbyteorder("<")
        if needed.itemsize > self._dtype.itemsize:
            self._widen(needed)
        self._file.write(values.astype(self._dtype).tobytes())
        self._count += len(values)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        """Write all again, from the end, so that nothing is overwritten before it was read."""
        narrow = self._dtype
        for stop in range(self._count, 0, -COPY_AT_ONCE):
            start = max(0, stop - COPY_AT_ONCE)
            self._file.seek(HEADER_BYTES + start * narrow.itemsize)
            values: npt.NDArray[Any] = np.frombuffer(
                self._file.read((stop - start) * narrow.itemsize), narrow
            )
            self._file.seek(HEADER_BYTES + start * dtype.itemsize)
            self._file.write(values.astype(dtype).tobytes())
        self._file.seek(HEADER_BYTES + self._count * dtype.itemsize)
        self._dtype = dtype

    def _write_header(self) -> None:
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._count,),
            },
        )
        assert self._file.tell() == HEADER_BYTES

    def __enter__(self) -> _NarrowFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write_header()
        self._file.close()
