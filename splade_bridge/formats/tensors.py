"""Tensors of documents x terms, as sentence-transformers' sparse encoders give them.

``NAME.safetensors`` is read here: eight bytes of length, a JSON header, the numbers as they are.
The parts of ``NAME.pt`` come from :mod:`splade_bridge.encoding.saved_tensors`, which has torch.
Their names are those of torch, or of scipy:

==========================================================  =================================
``crow_indices``, ``col_indices``, ``values``, ``shape``    CSR; also ``indptr``, ``indices``,
                                                            ``data``
``indices`` (2 x postings), ``values``, ``shape``           COO; rows in any order
one tensor alone, of any name                               dense; zeros are no postings
==========================================================  =================================

Ids and terms stand beside the file (:mod:`.matrix`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.bfloat16 import BFLOAT16, numbers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, as_table, checked, json_tree
from splade_bridge.formats.matrix import (
    ID_NAMES,
    Matrix,
    Rows,
    Values,
    beside,
    row_pointers_of,
)

TORCH, SAFE = (".pt", ".pth"), ".safetensors"
SUFFIXES = (*TORCH, SAFE)
BATCH_ROWS = 4096
BATCH_NUMBERS = 1 << 22
"""Numbers of a dense tensor that are looked at together."""
MOST_HEADER = 64 << 20
SHOWN = 5
"""Names of tensors that a message tells."""
CSR = (("crow_indices", "col_indices", "values"), ("indptr", "indices", "data"))
COO = ("indices", "values")
SHAPE = "shape"
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16,
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip


def tensors_at(path: Path) -> Path | None:
    """The file that ``path`` is, or the one in this folder that has ids beside it; or None."""
    if not path.is_dir():
        return path if path.suffix in SUFFIXES and path.is_file() else None
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and beside(p, ID_NAMES))
    return found[0] if len(found) == 1 else None


def safetensors(path: Path) -> dict[str, Values]:
    """The tensors in a ``.safetensors`` file by their names, mapped and not loaded.

    Source: https://huggingface.co/docs/safetensors, "Format".

    Raises:
        BadInputError: it is damaged, or holds numbers of another type.
    """
    where = Where(str(path), said="not a safetensors file ({})")
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER):
            where.fail(f"a header of {length:,} bytes in a file of {size:,}")
        header = as_table(json_tree(stream.read(length), where), where)
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        inside = where.inside(name)
        told = as_table(entry, inside)
        kind = told.get("dtype")
        if not isinstance(kind, str) or kind not in DTYPES:
            raise BadInputError(f"numbers of {kind}, which are not read", f"{path}: {name}")
        shape = tuple(checked(list[int], told.get("shape"), inside))
        begin, end = _range(told.get("data_offsets"), inside)
        dtype = DTYPES[kind]
        # No allocation by what is claimed: the shape must be that of the bytes that are there.
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != end - begin:
            inside.fail(f"{end - begin:,} bytes for the shape {list(shape)}")
        if not 0 <= begin <= end <= size - 8 - length:
            inside.fail("its numbers are not in the file: cut off?")
        found[name] = (
            np.memmap(path, dtype, "r", 8 + length + begin, shape)
            if end > begin
            else np.empty(shape, dtype)
        )
    return found


def _range(offsets: Any, where: Where) -> tuple[int, int]:
    both = checked(list[int], offsets, where)
    if len(both) != 2:
        where.fail("data_offsets are not two numbers")
    return both[0], both[1]


def tensor_matrix(
    path: Path, arrays: Mapping[str, Values], terms: Vocabulary | None = None
) -> Matrix:
    """The matrix that the tensors of a file make.

    Args:
        arrays: by their names, see above.
        terms: of the columns, where no file beside it names them.

    Raises:
        BadInputError: they make none, or its columns have no names.
    """
    for names in CSR:
        if arrays.keys() >= {*names}:
            parts = [arrays[name] for name in names]
            if parts[1].ndim == 1:
                return CsrTensor(path, _shape(arrays, path), parts, terms)
    if arrays.keys() >= {*COO}:
        return CooTensor(path, _shape(arrays, path), [arrays[name] for name in COO], terms)
    if len(arrays) == 1 and (only := next(iter(arrays.values()))).ndim == 2:
        return DenseTensor(path, only, terms)
    first = [f"{name} {list(array.shape)}" for name, array in sorted(arrays.items())[:SHOWN]]
    held = ", ".join(first) or "nothing"
    raise BadInputError(
        f"holds {held}{', ...' if len(arrays) > SHOWN else ''}: neither the parts of a "
        "CSR or COO tensor (crow_indices, col_indices or indices, with values and shape) nor one "
        "dense tensor of documents x terms",
        str(path),
    )


def _shape(arrays: Mapping[str, Values], path: Path) -> tuple[int, int]:
    shape = arrays.get(SHAPE)
    if shape is None or shape.shape != (2,) or shape.dtype.kind not in "iu":
        raise BadInputError(
            f"no {SHAPE} of two numbers: save torch.tensor(matrix.shape) with that name", str(path)
        )
    return int(shape[0]), int(shape[1])


def _dtype(values: Values) -> np.dtype[Any]:
    return np.dtype(np.float32) if values.dtype == BFLOAT16 else values.dtype


class CsrTensor(Matrix):
    """A tensor of rows."""

    def __init__(
        self, path: Path, shape: tuple[int, int], parts: list[Values], terms: Vocabulary | None
    ) -> None:
        pointers, self._columns, self._values = parts
        self.indptr = row_pointers_of(pointers, shape[0], path)
        postings = (int(self.indptr[-1]),)
        if self._columns.shape != postings or self._values.shape != postings:
            raise BadInputError("its parts are not of one length", str(path))
        if self._columns.dtype.kind not in "iu":
            raise BadInputError("its column numbers are no integers", str(path))
        super().__init__(path, shape, _dtype(self._values), terms, wider=True)

    def _rows(self) -> Iterator[Rows]:
        for start in range(0, self.rows, BATCH_ROWS):
            own = self.indptr[start : min(start + BATCH_ROWS, self.rows) + 1]
            part = slice(int(own[0]), int(own[-1]))
            yield Rows(own - own[0], self._columns[part], numbers(self._values[part]))


class CooTensor(Matrix):
    """A tensor of triples. Rows that do not come in order are sorted: 8 bytes a posting."""

    layout = "COO"

    def __init__(
        self, path: Path, shape: tuple[int, int], parts: list[Values], terms: Vocabulary | None
    ) -> None:
        both, self._values = parts
        if both.ndim != 2 or both.shape != (2, *self._values.shape) or self._values.ndim != 1:
            raise BadInputError("its parts are not of one length", str(path))
        if both.dtype.kind not in "iu":
            raise BadInputError("its row and column numbers are no integers", str(path))
        super().__init__(path, shape, _dtype(self._values), terms, wider=True)
        self._row_of, self._columns = both
        if both.shape[1] and not 0 <= int(self._row_of.min()) <= int(self._row_of.max()) < shape[0]:
            raise BadInputError("a row number beyond its shape", str(path))

    def _rows(self) -> Iterator[Rows]:
        rows, order = self._row_of, None
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            rows = rows[order]
        for start in range(0, self.rows, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, self.rows)
            own = np.searchsorted(rows, np.arange(start, stop + 1)).astype(np.int64)
            part: Any = slice(int(own[0]), int(own[-1]))
            if order is not None:
                part = order[part]
            yield Rows(own - own[0], self._columns[part], numbers(self._values[part]))


class DenseTensor(Matrix):
    """A tensor with a number for each term, most of them zeros."""

    layout = "dense"

    def __init__(self, path: Path, values: Values, terms: Vocabulary | None) -> None:
        self._dense = values
        rows, columns = values.shape
        super().__init__(path, (rows, columns), _dtype(values), terms, wider=True)

    def _rows(self) -> Iterator[Rows]:
        at_once = max(1, min(BATCH_ROWS, BATCH_NUMBERS // max(1, self.columns)))
        for start in range(0, self.rows, at_once):
            block = numbers(np.asarray(self._dense[start : start + at_once]))
            rows, columns = np.nonzero(block)
            indptr = np.searchsorted(rows, np.arange(len(block) + 1)).astype(np.int64)
            yield Rows(indptr, columns, block[rows, columns])
