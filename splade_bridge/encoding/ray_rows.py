"""What travels through a Ray Data job: pickled objects, each a row and a block of its own.

Texts may hold what Arrow's strings cannot (lone surrogates), and errors keep their types so. This
module loads no torch, because the process that reads the corpus needs none.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from splade_bridge.encoding.parts import CorpusWalk
from splade_bridge.errors import SpladeBridgeError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN = "pickled"


def as_table(row: object) -> pa.Table:
    """A table of one row that holds ``row``."""
    import pyarrow as pa

    pickled = pickle.dumps(row, protocol=pickle.HIGHEST_PROTOCOL)
    return pa.table({COLUMN: pa.array([pickled], pa.large_binary())})


def from_table(table: pa.Table) -> object:
    """What :func:`as_table` was given, by a process of the same job."""
    return pickle.loads(table.column(COLUMN)[0].as_py())  # noqa: S301 - of our own processes


def corpus_source(walk: CorpusWalk) -> Any:
    """A Ray data source of one task, which yields the parts of ``walk`` and then its end.

    An error becomes a row: Ray would repeat the task, and lose the error's type.
    """
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def read() -> Iterator[pa.Table]:
        try:
            for part in walk:
                yield as_table(part)
            yield as_table(walk.end)
        except SpladeBridgeError as error:
            yield as_table(error)

    class Parts(Datasource):  # type: ignore[misc]
        def get_name(self) -> str:
            return "CorpusParts"

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown = BlockMetadata(
                num_rows=None, size_bytes=None, exec_stats=None, input_files=None
            )
            return [ReadTask(read, unknown)]

    return Parts()
