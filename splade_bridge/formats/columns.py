"""Vectors as columns of a table: Parquet and Arrow files, as Hugging Face datasets keep them.

A row is a document: its id (``id``, ``_id``, ``docid`` or ``doc_id``), and its vector as one of

- a column of maps from term to number, or of structs with a field a term (``vector``, ``embedding``
  or ``sparse``);
- a column of lists of terms (``tokens`` or ``terms``) and one of lists of numbers (``weights``,
  ``values`` or ``impacts``);
- a column of lists of term ids (``indices`` or ``token_ids``), the same numbers, and a vocabulary.

Written is ``FOLDER/data/train-00000.parquet`` with ``id``, ``tokens`` and ``impacts`` (int32) or
``weights`` (float32), which ``datasets.load_dataset(FOLDER)`` opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import checked_id
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.records import Records, VectorRecord

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ("id", "_id", "docid", "doc_id")
MAPS = ("vector", "embedding", "sparse")
TOKENS, NUMBERS, TERM_IDS = (
    ("tokens", "terms"),
    ("weights", "values", "impacts"),
    ("indices", "token_ids"),
)
SUFFIXES = (".parquet", ".arrow")
ROWS_A_FILE = 100_000
ROWS_AT_ONCE = 1024


def table_files(path: Path) -> list[Path]:
    """The files of a table: ``path``, or those below a folder in the order of their names."""
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    return sorted(
        p
        for p in path.rglob("*")
        if p.suffix in SUFFIXES and not any(part.startswith(("_", ".")) for part in p.parts[-1:])
    )


class TableRows(Records):
    """The documents of a table.

    Args:
        terms: what term ids stand for.
    """

    path: Path

    def __init__(self, path: Path, terms: Vocabulary | None = None) -> None:
        super().__init__(path, Vocabulary(observed=True))
        self._terms = terms

    def records(self) -> Iterator[VectorRecord]:
        """See :class:`Records` and :func:`table_records`."""
        return table_records(self.path, self._terms)


def holds_integers(path: Path) -> bool:
    """Whether the numbers of a table are of a type of integers.

    Raises:
        BadInputError: see :func:`table_records`.
    """
    import pyarrow as pa

    schema = schema_of(table_files(path)[0])
    layout = Layout(schema, path)
    kind = schema.field(layout.vector[-1]).type
    if pa.types.is_map(kind):
        return bool(pa.types.is_integer(kind.item_type))
    if pa.types.is_struct(kind):
        return all(pa.types.is_integer(field.type) for field in kind)
    return bool(pa.types.is_integer(kind.value_type))


class Layout:
    """Which columns hold what.

    Raises:
        BadInputError: none of them hold vectors.
    """

    def __init__(self, schema: pa.Schema, path: Path) -> None:
        import pyarrow as pa

        def first(names: tuple[str, ...]) -> str | None:
            return next((n for n in names if n in schema.names), None)

        def is_list(name: str | None) -> bool:
            kind = schema.field(name).type if name else None
            kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
            return kind is not None and any(is_kind(kind) for is_kind in kinds)

        doc_id, numbers = first(IDS), first(NUMBERS)
        if doc_id is None:
            raise BadInputError(f"no column {' or '.join(IDS)}", str(path))
        self.id = doc_id
        tokens, term_ids, maps = first(TOKENS), first(TERM_IDS), first(MAPS)
        kind = schema.field(maps).type if maps else None
        self.by_number = False
        if is_list(tokens) and is_list(numbers):
            assert tokens and numbers
            self.vector: tuple[str, ...] = (tokens, numbers)
        elif kind is not None and (pa.types.is_map(kind) or pa.types.is_struct(kind)):
            assert maps
            self.vector = (maps,)
        elif is_list(term_ids) and is_list(numbers):
            assert term_ids and numbers
            self.vector, self.by_number = (term_ids, numbers), True
        else:
            raise BadInputError(
                f"no column of maps ({', '.join(MAPS)}), and no lists of {' or '.join(TOKENS)} (or "
                f"{' or '.join(TERM_IDS)}) with {', '.join(NUMBERS)}; it has "
                f"{', '.join(schema.names)}",
                str(path),
            )


def table_records(path: Path, terms: Vocabulary | None) -> Iterator[VectorRecord]:
    """The documents of a table.

    Raises:
        BadInputError: a row is none, or numbers are damaged or without ``terms``.
    """
    for file in table_files(path):
        layout = Layout(schema_of(file), file)
        if layout.by_number and terms is None:
            raise BadInputError(
                f"its {layout.vector[0]} are numbers: name the --vocabulary that they are of",
                str(file),
            )
        number = 0
        for batch in _batches(file, [layout.id, *layout.vector]):
            ids = batch.column(0).to_pylist()
            columns = [column.to_pylist() for column in batch.columns[1:]]
            for row, doc_id in enumerate(ids):
                number += 1
                place = f"{file}: row {number:,}"
                yield _record(
                    doc_id, [c[row] for c in columns], terms if layout.by_number else None, place
                )


def _record(doc_id: Any, vector: list[Any], terms: Vocabulary | None, place: str) -> VectorRecord:
    checked = checked_id(doc_id, place)
    if len(vector) == 1:
        pairs = vector[0]
        if pairs is None:
            raise BadInputError("no vector", place)
        if isinstance(pairs, dict):  # a struct has every field of the schema
            pairs = [(k, v) for k, v in pairs.items() if v is not None]
        names, numbers = [k for k, _ in pairs], [v for _, v in pairs]
    else:
        names, numbers = vector
        if names is None or numbers is None or len(names) != len(numbers):
            raise BadInputError("its lists of terms and numbers are not of one length", place)
    if terms is not None:
        beyond = next((n for n in names if not (type(n) is int and 0 <= n < len(terms))), None)
        if beyond is not None:
            raise BadInputError(f"term id {beyond} of {len(terms):,} in the vocabulary", place)
        names = [terms[n] for n in names]
    if len(set(names)) != len(names):
        raise BadInputError("a term stands twice in its vector", place)
    wrong = next((n for n in names if not isinstance(n, str)), None)
    if wrong is not None or None in names:
        raise BadInputError(f"{wrong!r} is no term", place)
    return VectorRecord(checked, list(names), list(numbers), place)


def schema_of(file: Path) -> pa.Schema:
    """The columns of a file; BadInputError where it is no table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as stream:
            return _arrow(stream).schema
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"not a table ({error})", str(file)) from error


def _arrow(stream: Any) -> Any:
    """A reader of an Arrow file, or of a stream as ``datasets`` saves it."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(stream)
    except pa.ArrowInvalid:
        stream.seek(0)
        return pa.ipc.open_stream(stream)


def _batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            with pq.ParquetFile(file) as table:
                yield from table.iter_batches(ROWS_AT_ONCE, columns=columns)
            return
        with pa.memory_map(str(file)) as stream:
            reader = _arrow(stream)
            given = (
                (reader.get_batch(n) for n in range(reader.num_record_batches))
                if hasattr(reader, "num_record_batches")
                else reader
            )
            for batch in given:
                chosen = batch.select(columns)
                for start in range(0, len(chosen), ROWS_AT_ONCE):
                    yield chosen.slice(start, ROWS_AT_ONCE)
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"damaged ({error})", str(file)) from error


def write_columns(folder: Path, source: ImpactSource | WeightSource) -> Counts:
    """Write all of ``source`` into the new ``folder`` as a data set.

    Raises:
        BadInputError: the source is broken.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = folder / "data"
    data.mkdir(parents=True)
    weights = isinstance(source, WeightSource)
    name, kind = ("weights", pa.float32()) if weights else ("impacts", pa.int32())
    schema = pa.schema(
        [("id", pa.string()), ("tokens", pa.list_(pa.string())), (name, pa.list_(kind))]
    )
    counts = Counts()
    writer, rows, number = None, ROWS_A_FILE, 0
    try:
        for batch in source.batches():
            if rows >= ROWS_A_FILE:
                if writer:
                    writer.close()
                writer = pq.ParquetWriter(data / f"train-{number:05d}.parquet", schema)
                number, rows = number + 1, 0
            assert writer is not None
            terms = pa.array([source.vocabulary[i] for i in batch.indices.tolist()], pa.string())
            values = pa.array(batch.impacts if isinstance(batch, ImpactBatch) else batch.weights)
            offsets = pa.array(batch.indptr.astype(np.int32))
            lists = (pa.ListArray.from_arrays(offsets, part) for part in (terms, values))
            writer.write_table(pa.table([pa.array(batch.ids, pa.string()), *lists], schema=schema))
            counts.add(batch)
            rows += len(batch)
    finally:
        if writer:
            writer.close()
    return counts
