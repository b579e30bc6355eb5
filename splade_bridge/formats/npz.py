"""A scipy CSR matrix (``scipy.sparse.save_npz``) with names beside it.

::

    FOLDER/vectors.npz   format, shape, indptr int64[n + 1], indices int32[nnz], data[nnz]
    FOLDER/ids.txt       an id a line, for the rows
    FOLDER/terms.json    a JSON array of strings, for the columns

Data are impacts (int32) or weights (float32). A matrix that others made may lie anywhere: names are
looked for beside it (:mod:`.matrix`). Nothing that is pickled is read.
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
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.matrix import (
    IDS,
    TERMS,
    Matrix,
    Rows,
    matrix_source,
    row_pointers_of,
)

MATRIX = "vectors.npz"
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
    return matrix_source(NpzMatrix(path, terms))


class NpzMatrix(Matrix):
    """A matrix in an archive; only its row pointers are in memory."""

    def __init__(self, path: Path, terms: Vocabulary | None) -> None:
        self.path = path
        with self._archive() as archive:
            kind = self._small(archive, "format").tobytes().replace(b"\0", b"")  # S3 or U3
            if kind != b"csr":
                raise BadInputError("not a CSR matrix: save it with tocsr()", str(path))
            shape = self._small(archive, "shape")
            if shape.shape != (2,) or shape.dtype.kind not in "iu":
                raise BadInputError("its shape is not of two numbers", str(path))
            rows, columns = int(shape[0]), int(shape[1])
            indptr = self._small(archive, "indptr")
            dtype, _ = self._header(archive, "data")
        self.indptr = row_pointers_of(indptr, rows, path)
        super().__init__(path, (rows, columns), dtype, terms)

    def _rows(self) -> Iterator[Rows]:
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
                own = self.indptr[start : min(start + BATCH_ROWS, self.rows) + 1]
                count = int(own[-1] - own[0])
                columns, values = (self._take(s, dtype, count) for s, dtype, _ in streams)
                yield Rows(own - own[0], columns, values)

    def _take(self, stream: IO[bytes], dtype: np.dtype[Any], count: int) -> np.ndarray:
        content = stream.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            raise BadInputError("an array in it is cut off", str(self.path))
        return np.frombuffer(content, dtype)

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
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
