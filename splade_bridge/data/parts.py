"""Parts of a store: Parquet files of some thousand rows, whole or not there.

Each holds a note as JSON in its metadata: what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import orjson

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import check_ids
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, as_table, json_tree
from splade_bridge.files.writing import atomic_writer

NOTE = "splade-bridge"


class HasIds(Protocol):
    """A batch of whatever kind."""

    @property
    def ids(self) -> list[str]:
        """Of its rows."""


Batch = TypeVar("Batch", bound=HasIds)


def part_name(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.parquet"


def part_files(folder: Path) -> dict[int, Path]:
    """The parts in ``folder`` by number, in rising order."""
    found = {int(p.stem[5:]): p for p in folder.glob("part-*.parquet") if p.stem[5:].isdecimal()}
    return dict(sorted(found.items()))


def write_part(
    folder: Path, number: int, batch: SparseBatch, vocabulary_size: int, note: object
) -> Counts:
    """Write part ``number`` of the store in ``folder``, whole or not at all; what it holds.

    Raises:
        ValueError: a term id is beyond the vocabulary.
        ExternalProgramError: it cannot be written.
    """
    with atomic_writer(folder / part_name(number)) as out:
        write_parquet(out, batch, vocabulary_size, note)
    counts = Counts()
    counts.add(batch)
    return counts


def write_parquet(out: BinaryIO, batch: SparseBatch, vocabulary_size: int, note: object) -> None:
    """Write ``batch`` as one Parquet file whose metadata hold ``note`` as JSON.

    Raises:
        ValueError: a term id is beyond the vocabulary.
    """
    import pyarrow as pa

    if batch.indices.size and int(batch.indices.max()) >= vocabulary_size:
        raise ValueError("a term id beyond the vocabulary")
    wide = vocabulary_size > 1 << 16
    offsets = pa.array(batch.indptr.astype(np.int32), pa.int32())
    indices = pa.array(batch.indices.astype(np.uint32 if wide else np.uint16))
    table = pa.table(
        {
            "id": pa.array(batch.ids, pa.string()),
            "indices": pa.ListArray.from_arrays(offsets, indices),
            "weights": pa.ListArray.from_arrays(offsets, pa.array(batch.weights)),
        }
    )
    write_table(out, table, note)


def write_table(out: BinaryIO, table: Any, note: object) -> None:
    """``table`` as the Parquet of a part: small, with checksums, and the note in its metadata."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({NOTE: orjson.dumps(note).decode()})


def read_part(part: Path, rows: int) -> Iterator[SparseBatch]:
    """Batches of one Parquet part.

    Raises:
        BadInputError: the file is not a part of a vector store, breaks an invariant, or holds an
            id that no run can hold.
    """
    columns = ["id", "indices", "weights"]
    yield from read_blocks(part, rows, columns, _from_arrow, "not a part of a vector store")


def read_blocks(
    part: Path, rows: int, columns: list[str], made: Callable[[Any], Batch], what: str
) -> Iterator[Batch]:
    """What is made of some columns of a Parquet file, ``rows`` at a time.

    Args:
        made: makes a batch of an Arrow one; raises ValueError or KeyError for what is none.
        what: what a file is said to be that does not hold them.

    Raises:
        BadInputError: it does not, is damaged, or holds an id that no run can hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            left = file.metadata.num_rows
            for block in file.iter_batches(rows, columns=columns):
                batch = made(block)
                check_ids(batch.ids, str(part))
                yield batch
                left -= len(block)
            if left:  # a damaged page header makes a reader skip the page
                raise ValueError(f"{left:,} rows are missing")
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise BadInputError(f"{what} ({error})", str(part)) from error


def read_note(part: Path) -> dict[str, Any]:
    """What was noted with a part.

    Raises:
        BadInputError: it is damaged.
    """
    import pyarrow.parquet as pq

    found = (pq.read_metadata(part).metadata or {}).get(NOTE.encode(), b"{}")
    where = Where(str(part), said="its note is damaged ({}): delete it")
    return as_table(json_tree(found, where), where)


def _from_arrow(block: Any) -> SparseBatch:
    indices, weights = block.column("indices"), block.column("weights")
    _check_types(block.schema)
    if block.column("id").null_count or indices.null_count or weights.null_count:
        raise ValueError("null values")
    lengths = np.diff(indices.offsets.to_numpy())
    if not np.array_equal(lengths, np.diff(weights.offsets.to_numpy())):
        raise ValueError("indices and weights of different lengths")
    return SparseBatch(
        block.column("id").to_pylist(),
        row_pointers(lengths),
        indices.flatten().to_numpy().astype(np.int32),
        weights.flatten().to_numpy().astype(np.float32),
    )


def _check_types(schema: Any) -> None:
    from pyarrow import types

    ids, indices, weights = (schema.field(name).type for name in ("id", "indices", "weights"))
    lists = all(types.is_list(t) or types.is_large_list(t) for t in (indices, weights))
    if not (
        (types.is_string(ids) or types.is_large_string(ids))
        and lists
        and types.is_integer(indices.value_type)
        and indices.value_type.bit_width <= 32
        and types.is_floating(weights.value_type)
    ):
        raise ValueError(
            "columns must be id: string, indices: list<uint16 or uint32>, weights: list<float>, "
            f"not {ids}, {indices}, {weights}"
        )
