"""A collection as posting lists, whatever it comes as: what an index of lists is built from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from splade_bridge.data.invert import Transposer
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.vectors import Int32Array
from splade_bridge.formats.base import ImpactSource, OrderedLists


@contextlib.contextmanager
def inverted(
    source: ImpactSource,
    memory: int,
    temporary: Path,
    check: Callable[[Int32Array], object] = lambda terms: None,
) -> Iterator[OrderedLists]:
    """All of ``source``, ids to be taken first; what comes as lists in order is not sorted.

    Args:
        memory: budget of sorting, in bytes.
        temporary: folder for what does not fit into it.
        check: looks at the term ids of documents as they are read, before hours of sorting.

    Raises:
        BadInputError: what reading the source or ``check`` raises.
        ExternalProgramError: the disk is too full.
    """
    if (lists := source.ordered_lists()) is not None:
        yield lists
        return
    sums = [np.empty(0, np.int64)]
    with Transposer(memory, temporary, source.expected_postings) as transposer:

        def ids() -> Iterator[list[str]]:
            for batch in source.batches():
                check(batch.indices)
                transposer.add(batch.indptr, batch.indices, batch.impacts)
                sums.append(batch.row_sums())
                yield batch.ids

        def blocks() -> Iterator[ListBlock]:
            order = source.vocabulary.bytewise_order()
            order = order[transposer.column_counts(len(source.vocabulary))[order] > 0]
            for columns in transposer.columns(order):
                yield ListBlock(columns.ids, columns.indptr, columns.rows, columns.values)

        yield OrderedLists(ids(), blocks(), lambda: np.concatenate(sums))
