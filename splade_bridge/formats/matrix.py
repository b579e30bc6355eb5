"""A matrix of documents x terms with names beside it, whatever file holds it.

Names are looked for beside ``NAME.npz`` (or ``.pt``, ``.safetensors``): those of the rows as
``NAME.ids.txt`` or ``ids.txt`` (an id a line) or ``.json`` (an array), those of the columns as
``NAME.terms.json`` or ``terms.json``, ``vocabulary.json``, ``vocab.txt``.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.vectors import ImpactBatch, Int64Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.files.typed import Where, checked, json_file
from splade_bridge.formats.base import ImpactSource, WeightSource

IDS, TERMS = "ids.txt", "terms.json"
ID_NAMES = (IDS, "ids.json")
TERM_NAMES = (TERMS, "vocabulary.json", "vocab.txt")

Values = np.ndarray[Any, Any]


class Block(NamedTuple):
    """Some rows as they stand in the file: columns in any order, zeros among the values.

    Attributes:
        names: id of each row, and where it stands; an id is not checked.
        indptr: int64[rows + 1], from 0.
        columns: integers[nnz].
        values: integers or floats[nnz].
    """

    names: list[tuple[Any, str]]
    indptr: Int64Array
    columns: Values
    values: Values


class Rows(NamedTuple):
    """A :class:`Block` without its names."""

    indptr: Int64Array
    columns: Values
    values: Values


class Matrix(abc.ABC):
    """A matrix that is read in blocks of rows.

    Args:
        path: its file.
        shape: rows and columns.
        dtype: of its numbers.
        terms: of the columns; None for those beside it.
        wider: whether it may have more columns than there are terms, as long as these are
            empty: the head of a model may be wider than its tokenizer.

    Attributes:
        layout: how its numbers lie in the file.

    Raises:
        BadInputError: its numbers are none.
    """

    layout: ClassVar[str] = "CSR"

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        terms: Vocabulary | None,
        *,
        wider: bool = False,
    ) -> None:
        self.path = path
        self.rows, self.columns = shape
        self.dtype = dtype
        self.is_integer = dtype.kind in "iub"
        if dtype.kind not in "iubf":
            raise BadInputError(f"its numbers are {dtype}, neither integers nor floats", str(path))
        self._terms, self._wider = terms, wider

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The terms of its columns.

        Raises:
            BadInputError: there are none beside it, or as many as it has no columns.
        """
        terms = self._terms or Vocabulary(_terms_beside(self.path))
        known = len(terms)
        if known != self.columns and not (self._wider and known < self.columns):
            raise BadInputError(f"{self.columns:,} columns, but {known:,} terms", str(self.path))
        return terms

    @abc.abstractmethod
    def _rows(self) -> Iterator[Rows]:
        """All rows, some at a time."""

    def blocks(self) -> Iterator[Block]:
        """All rows with their names, some at a time.

        Raises:
            BadInputError: damage, or more or fewer ids than rows.
        """
        ids = _ids_beside(self.path)
        for rows in self._rows():
            names = [name for _, name in zip(range(len(rows.indptr) - 1), ids, strict=False)]
            if len(names) < len(rows.indptr) - 1:
                raise BadInputError(f"{self.rows:,} rows, but fewer ids", str(self.path))
            yield Block(names, *rows)
        if next(ids, None) is not None:
            raise BadInputError(f"more ids than its {self.rows:,} rows", str(self.path))

    def sorted_rows(self, block: Block) -> Rows:
        """The rows of ``block`` with columns that rise in each, and without zeros.

        Raises:
            BadInputError: a column beyond the shape or without a name, or one twice in a row.
        """
        indptr, columns, values = block.indptr, block.columns, block.values
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        if columns.size and not 0 <= int(columns.min()) <= int(columns.max()) < self.columns:
            raise BadInputError("a column number beyond its shape", str(self.path))
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        if ((rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1])).any():
            raise BadInputError("a column twice in a row: call sum_duplicates()", str(self.path))
        there = values != 0
        columns = columns[there]
        if columns.size and int(columns.max()) >= len(self.vocabulary):
            raise BadInputError(
                f"a number in column {int(columns.max()):,}, and there are "
                f"{len(self.vocabulary):,} terms",
                str(self.path),
            )
        lengths = np.bincount(rows[there], minlength=len(indptr) - 1)
        new = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Rows(new, columns.astype(np.int32), values[there])


def row_pointers_of(indptr: Values, rows: int, path: Path) -> Int64Array:
    """int64[rows + 1]: the row pointers of a file.

    Raises:
        BadInputError: they are none.
    """
    if indptr.dtype.kind not in "iu" or indptr.shape != (rows + 1,):
        raise BadInputError(f"its indptr is not of {rows + 1:,} integers", str(path))
    pointers: Int64Array = indptr.astype(np.int64)
    if int(pointers[0]) or (np.diff(pointers) < 0).any():
        raise BadInputError("its indptr does not rise from 0", str(path))
    return pointers


def matrix_source(matrix: Matrix) -> ImpactSource | WeightSource:
    """A matrix as a source: of impacts where its numbers are integers, else of weights.

    Raises:
        BadInputError: its columns have no names.
    """
    return MatrixImpacts(matrix) if matrix.is_integer else MatrixWeights(matrix)


class MatrixImpacts(ImpactSource):
    """A matrix of integers."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__(matrix.path, matrix.vocabulary, None)
        self._matrix = matrix

    def _read(self) -> Iterator[ImpactBatch]:
        guard = DuplicateGuard()
        for block in self._matrix.blocks():
            ids = _checked_ids(block, guard)
            indptr, columns, values = self._matrix.sorted_rows(block)
            if values.size and not 1 <= int(values.min()) <= int(values.max()) < 1 << 31:
                raise BadInputError("an impact must be from 1 to 2^31 - 1", str(self.path))
            yield ImpactBatch(ids, indptr, columns, values.astype(np.int32))


class MatrixWeights(WeightSource):
    """A matrix of floats."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__(matrix.path, matrix.vocabulary, None)
        self._matrix = matrix

    def _read(self) -> Iterator[SparseBatch]:
        guard = DuplicateGuard()
        for block in self._matrix.blocks():
            ids = _checked_ids(block, guard)
            indptr, columns, values = self._matrix.sorted_rows(block)
            weights = values.astype(np.float32)
            if weights.size and not (np.isfinite(weights).all() and float(weights.min()) > 0):
                raise BadInputError("a weight must be finite and above 0", str(self.path))
            yield SparseBatch(ids, indptr, columns, weights)


def _checked_ids(block: Block, guard: DuplicateGuard) -> list[str]:
    ids = []
    for given, place in block.names:
        doc_id = checked_id(given, place)
        guard.check(doc_id, place)
        ids.append(doc_id)
    return ids


def beside(path: Path, names: tuple[str, ...]) -> Path | None:
    """The first file beside a matrix that has one of ``names``, behind its own name or alone."""
    own = [path.with_name(f"{path.stem}.{name}") for name in names]
    shared = [path.with_name(name) for name in names]
    return next((p for p in [*own, *shared] if p.is_file()), None)


def _ids_beside(path: Path) -> Iterator[tuple[Any, str]]:
    """Ids of the rows, and where each stands."""
    file = beside(path, ID_NAMES)
    if file is None:
        raise BadInputError(f"no ids beside it: write one a line into {IDS}", str(path))
    if file.suffix == ".json":
        where = Where(str(file))
        for n, value in enumerate(checked(list[Any], json_file(where), where)):
            yield value, f"{file}: item {n:,}"
        return
    yield from text_lines(file)


def _terms_beside(path: Path) -> list[str]:
    file = beside(path, TERM_NAMES)
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
