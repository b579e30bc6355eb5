"""Dense vectors of some texts, and the Parquet files that hold them.

::

    part-00000.parquet   id: string, vector: list<float32>, every list of one length
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.parts import part_name, read_blocks, write_table
from splade_bridge.data.vectors import Float32Array
from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import atomic_writer

NONE = "holds no dense vectors"


@dataclass(frozen=True)
class DenseBatch:
    """Some vectors.

    Attributes:
        ids: n, of texts or queries.
        vectors: float32[n, dimension].
    """

    ids: list[str]
    vectors: Float32Array

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> DenseBatch:
        """Those from ``start`` up to ``stop``."""
        return DenseBatch(self.ids[start:stop], self.vectors[start:stop])

    def take(self, rows: Sequence[int]) -> DenseBatch:
        """Those of ``rows``, in their order."""
        return DenseBatch([self.ids[i] for i in rows], self.vectors[list(rows)])

    def refuse_endless(self, place: str) -> None:
        """Raise BadInputError for a number that is not finite, with the id of its vector."""
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            raise BadInputError(f"the vector of {self.ids[bad[0]]} is not finite", place)


def normalized(vectors: Float32Array) -> Float32Array:
    """The same directions at length 1; a vector of zeros stays what it is.

    Args:
        vectors: float32[n, d].
    """
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    lengths[lengths == 0] = 1
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)


def write_dense_part(folder: Path, number: int, batch: DenseBatch, note: object) -> None:
    """Write part ``number`` of an index in ``folder``, whole or not at all.

    Args:
        note: kept in the metadata of the file, as JSON.

    Raises:
        ExternalProgramError: it cannot be written.
    """
    import pyarrow as pa

    count, dimension = batch.vectors.shape
    offsets = np.arange(0, (count + 1) * dimension, dimension, dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(batch.vectors.reshape(-1)))
    table = pa.table({"id": pa.array(batch.ids, pa.string()), "vector": lists})
    with atomic_writer(folder / part_name(number)) as out:
        write_table(out, table, note)


def rows_of(part: Path) -> int:
    """How many vectors a part has, by its metadata.

    Raises:
        BadInputError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(part).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{NONE} ({error})", str(part)) from error


def read_dense_part(
    part: Path, rows: int = 4096, *, dimension: int | None = None
) -> Iterator[DenseBatch]:
    """Batches of one Parquet file with a column of ids and one of vectors.

    Args:
        dimension: that the vectors must have; None for that of the first.

    Raises:
        BadInputError: it has no such columns, is damaged, holds vectors of several lengths, a
            number that is not finite, or an id that no run can hold.
    """
    for batch in read_blocks(part, rows, ["id", "vector"], _from_arrow, NONE):
        batch.refuse_endless(str(part))
        numbers = batch.vectors.shape[1]
        if dimension not in (None, numbers):
            raise BadInputError(f"{NONE} (vectors of {dimension} and {numbers} numbers)", str(part))
        dimension = numbers
        yield batch


def _from_arrow(block: Any) -> DenseBatch:
    from pyarrow import types

    ids, vectors = block.column("id"), block.column("vector")
    held = vectors.type
    is_list = (
        types.is_list(held) or types.is_large_list(held) or types.is_fixed_size_list(held)
    ) and types.is_floating(held.value_type)
    if not (is_list and (types.is_string(ids.type) or types.is_large_string(ids.type))):
        raise ValueError(f"columns must be id: string, vector: list<float>, not {ids.type}, {held}")
    numbers = vectors.flatten().to_numpy(zero_copy_only=False)
    if ids.null_count or vectors.null_count or not len(numbers) or len(numbers) % len(block):
        raise ValueError("null values, or vectors of several lengths")
    dimension = len(numbers) // len(block)
    if not types.is_fixed_size_list(held):
        lengths = np.diff(vectors.offsets.to_numpy())
        if (lengths != dimension).any():
            raise ValueError("vectors of several lengths")
    rows = numbers.reshape(len(block), dimension).astype(np.float32)
    return DenseBatch(ids.to_pylist(), rows)
