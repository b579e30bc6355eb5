"""A scipy CSR matrix (``scipy.sparse.save_npz``) with names beside it.

::

    FOLDER/vectors.npz   format, shape, indptr int64[n + 1], indices int32[nnz], data[nnz]
    FOLDER/ids.txt       an id a line, for the rows
    FOLDER/terms.json    a JSON array of strings, for the columns

Data are impacts (int32) or weights (float32). A matrix that others made may lie anywhere: names are
looked for beside it, as ``NAME.ids.txt`` or ``ids.txt`` (or ``.json``), ``NAME.terms.json`` or
``terms.json``, ``vocabulary.json``, ``vocab.txt``. Nothing that is pickled is read.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.vectors import ImpactBatch, Int64Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.files.typed import Where, checked, json_file
from splade_bridge.formats.base import ImpactSource, WeightSource

MATRIX, IDS, TERMS = "vectors.npz", "ids.txt", "terms.json"
ID_NAMES = (IDS, "ids.json")
TERM_NAMES = (TERMS, "vocabulary.json", "vocab.txt")
BATCH_ROWS = 4096
STAMP = (1980, 1, 1, 0, 0, 0)
"""Of the files inside the archive: the same input gives the same bytes."""


def write_npz(folder: Path, source: ImpactSource | WeightSource) -> Counts:
    """Write all of ``source`` into the new ``folder``.

    Raises:
        BadInputError: the source is broken.
    """
    folder.mkdir()
    counts = Counts()
    lengths = [np.empty(0, np.int64)]
    values: np.dtype[Any] = np.dtype("<f4" if isinstance(source, WeightSource) else "<i4")
    with (
        tempfile.TemporaryFile(dir=folder) as indices,
        tempfile.TemporaryFile(dir=folder) as data,
        open(folder / IDS, "w", encoding="utf-8", newline="\n") as ids,
    ):
        for batch in source.batches():
            ids.writelines(f"{doc_id}\n" for doc_id in batch.ids)
            lengths.append(batch.lengths)
            indices.write(batch.indices.astype("<i4").tobytes())
            given = batch.impacts if isinstance(batch, ImpactBatch) else batch.weights
            data.write(given.astype(values).tobytes())
            counts.add(batch)
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype("<i8")
        shape = np.array([counts.documents, len(source.vocabulary)], dtype="<i8")
        with zipfile.ZipFile(folder / MATRIX, "w") as archive:
            _write_array(archive, "indices", np.dtype("<i4"), (counts.postings,), indices)
            _write_array(archive, "indptr", indptr.dtype, indptr.shape, indptr)
            _write_array(archive, "format", np.dtype("S3"), (), np.array(b"csr"))
            _write_array(archive, "shape", shape.dtype, shape.shape, shape)
            _write_array(archive, "data", values, (counts.postings,), data)
    (folder / TERMS).write_bytes(orjson.dumps(list(source.vocabulary.terms)))
    return counts


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    content: np.ndarray | IO[bytes],
) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", STAMP)
    with archive.open(entry, "w", force_zip64=True) as out:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(out, {**header, "shape": shape})
        if isinstance(content, np.ndarray):
            out.write(content.tobytes())
        else:
            content.seek(0)
            shutil.copyfileobj(content, out, 1 << 20)


def matrix_at(path: Path) -> Path | None:
    """The matrix that ``path`` is, or that lies in this folder; None for none."""
    if path.is_dir():
        found = sorted(path.glob("*.npz"))
        return found[0] if len(found) == 1 else None
    return path if path.suffix == ".npz" and path.is_file() else None


def open_npz(path: Path, terms: Vocabulary | None = None) -> ImpactSource | WeightSource:
    """A matrix as a source: of impacts where its numbers are integers, else of weights.

    Args:
        path: see :func:`matrix_at`.
        terms: of the columns, where no file beside the matrix names them.

    Raises:
        BadInputError: not a CSR matrix, or its names are missing.
    """
    matrix = _Matrix(path, terms)
    return NpzImpacts(matrix) if matrix.is_integer else NpzWeights(matrix)


class _Matrix:
    """A matrix in an archive, read in blocks of rows; only its row pointers are in memory."""

    def __init__(self, path: Path, terms: Vocabulary | None) -> None:
        self.path = path
        with self._archive() as archive:
            kind = self._small(archive, "format").tobytes().replace(b"\0", b"")  # S3 or U3
            if kind != b"csr":
                raise BadInputError("not a CSR matrix: save it with tocsr()", str(path))
            shape = self._small(archive, "shape")
            if shape.shape != (2,) or shape.dtype.kind not in "iu":
                raise BadInputError("its shape is not of two numbers", str(path))
            self.rows, self.columns = int(shape[0]), int(shape[1])
            indptr = self._small(archive, "indptr")
            dtype, _ = self._header(archive, "data")
        if indptr.dtype.kind not in "iu" or indptr.shape != (self.rows + 1,):
            raise BadInputError(f"its indptr is not of {self.rows + 1:,} integers", str(path))
        self.indptr: Int64Array = indptr.astype(np.int64)
        if int(self.indptr[0]) or (np.diff(self.indptr) < 0).any():
            raise BadInputError("its indptr does not rise from 0", str(path))
        self.is_integer = dtype.kind in "iub"
        if dtype.kind not in "iubf":
            raise BadInputError(f"its numbers are {dtype}, neither integers nor floats", str(path))
        self.vocabulary = terms or Vocabulary(_terms_beside(path))
        if len(self.vocabulary) != self.columns:
            raise BadInputError(
                f"{self.columns:,} columns, but {len(self.vocabulary):,} terms", str(path)
            )

    def blocks(self) -> Iterator[tuple[list[str], Int64Array, np.ndarray, np.ndarray]]:
        """Ids, row pointers, column numbers and values of some rows at a time."""
        guard = DuplicateGuard()
        ids = _ids_beside(self.path)
        with (
            self._archive() as archive,
            archive.open("indices.npy") as indices,
            archive.open("data.npy") as data,
        ):
            streams = [(s, *self._read_header(s)) for s in (indices, data)]
            for _, dtype, shape in streams:
                if shape != (int(self.indptr[-1]),) or dtype.kind not in "iubf":
                    raise BadInputError("its arrays are not of one length", str(self.path))
            if streams[0][1].kind not in "iu":
                raise BadInputError("its column numbers are no integers", str(self.path))
            for start in range(0, self.rows, BATCH_ROWS):
                stop = min(start + BATCH_ROWS, self.rows)
                own = self.indptr[start : stop + 1]
                count = int(own[-1] - own[0])
                columns, values = (self._take(s, dtype, count) for s, dtype, _ in streams)
                names = []
                for doc_id, place in (next(ids, ("", "")) for _ in range(stop - start)):
                    if not place:
                        raise BadInputError(f"{self.rows:,} rows, but fewer ids", str(self.path))
                    guard.check(doc_id, place)
                    names.append(doc_id)
                yield names, own - own[0], columns, values
        if next(ids, None) is not None:
            raise BadInputError(f"more ids than its {self.rows:,} rows", str(self.path))

    def _take(self, stream: IO[bytes], dtype: np.dtype[Any], count: int) -> np.ndarray:
        content = stream.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            raise BadInputError("an array in it is cut off", str(self.path))
        return np.frombuffer(content, dtype)

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BadInputError(f"not an .npz file ({error})", str(self.path)) from error

    def _header(self, archive: zipfile.ZipFile, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        try:
            with archive.open(f"{name}.npy") as stream:
                return self._read_header(stream)
        except KeyError:
            raise BadInputError(
                f"holds no {name}: not a sparse matrix of scipy", str(self.path)
            ) from None

    def _read_header(self, stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
        try:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(stream)
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BadInputError(f"an array in it is damaged ({error})", str(self.path)) from error
        if dtype.hasobject or (fortran and len(shape) > 1):
            raise BadInputError("an array in it is of Python objects", str(self.path))
        return dtype, shape

    def _small(self, archive: zipfile.ZipFile, name: str) -> np.ndarray:
        dtype, shape = self._header(archive, name)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        info = archive.getinfo(f"{name}.npy")
        if size > info.file_size:
            raise BadInputError(f"{name} in it is cut off", str(self.path))
        with archive.open(f"{name}.npy") as stream:
            self._read_header(stream)
            return np.frombuffer(stream.read(size), dtype).reshape(shape)

    def sorted_rows(
        self, indptr: Int64Array, columns: np.ndarray, values: np.ndarray
    ) -> tuple[Int64Array, np.ndarray, np.ndarray]:
        """The same with column numbers that rise in each row, without zeros.

        Raises:
            BadInputError: a column beyond the shape, or one twice in a row.
        """
        if columns.size and not 0 <= int(columns.min()) <= int(columns.max()) < self.columns:
            raise BadInputError("a column number beyond its shape", str(self.path))
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        if ((rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1])).any():
            raise BadInputError("a column twice in a row: call sum_duplicates()", str(self.path))
        there = values != 0
        lengths = np.bincount(rows[there], minlength=len(indptr) - 1)
        new = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return new, columns[there].astype(np.int32), values[there]


class NpzImpacts(ImpactSource):
    """A matrix of integers."""

    def __init__(self, matrix: _Matrix) -> None:
        super().__init__(matrix.path, matrix.vocabulary, None)
        self._matrix = matrix

    def _read(self) -> Iterator[ImpactBatch]:
        for ids, *arrays in self._matrix.blocks():
            indptr, columns, values = self._matrix.sorted_rows(*arrays)
            if values.size and not 1 <= int(values.min()) <= int(values.max()) < 1 << 31:
                raise BadInputError("an impact must be from 1 to 2^31 - 1", str(self.path))
            yield ImpactBatch(ids, indptr, columns, values.astype(np.int32))


class NpzWeights(WeightSource):
    """A matrix of floats."""

    def __init__(self, matrix: _Matrix) -> None:
        super().__init__(matrix.path, matrix.vocabulary, None)
        self._matrix = matrix

    def _read(self) -> Iterator[SparseBatch]:
        for ids, *arrays in self._matrix.blocks():
            indptr, columns, values = self._matrix.sorted_rows(*arrays)
            weights = values.astype(np.float32)
            if weights.size and not (np.isfinite(weights).all() and float(weights.min()) > 0):
                raise BadInputError("a weight must be finite and above 0", str(self.path))
            yield SparseBatch(ids, indptr, columns, weights)


def _beside(path: Path, names: tuple[str, ...]) -> Path | None:
    own = [path.with_name(f"{path.stem}.{name}") for name in names]
    shared = [path.with_name(name) for name in names]
    return next((p for p in [*own, *shared] if p.is_file()), None)


def _ids_beside(path: Path) -> Iterator[tuple[str, str]]:
    """Ids of the rows, and where each stands."""
    file = _beside(path, ID_NAMES)
    if file is None:
        raise BadInputError(f"no ids beside it: write one a line into {IDS}", str(path))
    if file.suffix == ".json":
        where = Where(str(file))
        for n, value in enumerate(checked(list[Any], json_file(where), where)):
            place = f"{file}: item {n:,}"
            yield checked_id(value, place), place
        return
    for line, place in text_lines(file):
        yield checked_id(line, place), place


def _terms_beside(path: Path) -> list[str]:
    file = _beside(path, TERM_NAMES)
    if file is None:
        raise BadInputError(
            f"no terms beside it: write a JSON array of them into {TERMS}, or name --vocabulary",
            str(path),
        )
    if file.suffix == ".txt":
        return [line for line, _ in text_lines(file, empty=True)]
    where = Where(str(file))
    content = json_file(where)
    if isinstance(content, dict):
        content = content.get("terms")
    terms: list[str] = checked(list[str], content, where)
    return terms
