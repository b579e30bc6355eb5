"""CIFF, the Common Index File Format (Lin et al., arXiv 2003.08276; schema of osirrc/ciff).

A stream of varint-delimited protobuf messages: Header, posting lists, DocRecords. A posting holds
the gap to the docid before (the first one its docid); zeros are left out on the wire. The format
fixes no order of terms, and ``ciff``'s own tools sort after reading, so lists and records are taken
in any; what is written here is sorted, by the bytes of the terms and by docid. Records may be those
of a part of the collection (``num_docs`` below ``total_docs``). Reading trusts nothing: doubles,
gaps, df, cf, the header's counts and trailing bytes are checked, and every message names the list
or record; docs/formats.md says it all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.invert import Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.posting_lists import ListBlock, ListCounter
from splade_bridge.data.vectors import ImpactBatch, Int32Array, sliced
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import open_reader
from splade_bridge.formats.base import ImpactSource, OrderedLists
from splade_bridge.formats.choices import CiffDocids
from splade_bridge.formats.ciff_reader import CiffReader
from splade_bridge.formats.postings import BATCH_ROWS, counted


class CiffSource(ImpactSource):
    """A CIFF file, turned back into documents with a bounded-memory transposition.

    Documents come in the order of their docids.

    Args:
        memory: budget in bytes of the transposition. The ids of all documents come to it.
        temporary: folder for its runs.
        docids: ``absolute`` where postings hold docids and not gaps, as an early jsonl2ciff wrote.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        memory: int,
        manifest: Manifest | None = None,
        temporary: Path | None = None,
        docids: CiffDocids = "gaps",
    ) -> None:
        super().__init__(path, Vocabulary(observed=True), manifest)
        self._memory = memory
        self._temporary = temporary
        self._docids = docids

    def _read(self) -> Iterator[ImpactBatch]:
        with Transposer(self._memory, self._temporary) as transposer:
            with open_reader(self.path) as stream:
                reader = self._reader(stream)
                for block in self._blocks(reader):
                    transposer.add(block.indptr, block.docs, block.impacts)
                numbers, ids, _ = reader.documents()
            self._check_records(transposer, numbers)
            reader.tell_odd_totals()
            start = 0
            for rows in transposer.columns(numbers):
                for first in range(0, len(rows.ids), BATCH_ROWS):
                    last = min(first + BATCH_ROWS, len(rows.ids))
                    part, indptr = sliced(rows.indptr, first, last)
                    names = ids[start + first : start + last]
                    yield ImpactBatch(names, indptr, rows.rows[part], rows.values[part])
                start += len(rows.ids)

    def _reader(self, stream: BinaryIO) -> CiffReader:
        return CiffReader(stream, self.path, self._memory, self._docids)

    def _blocks(self, reader: CiffReader) -> Iterator[ListBlock]:
        """All lists; their terms go into the vocabulary in the order of the file."""
        add = self.vocabulary.add
        for block in reader.blocks():
            terms = np.array([add(term) for term in block.terms], np.int32)
            yield ListBlock(terms, block.indptr, block.docs, block.impacts)

    def ordered_lists(self) -> OrderedLists | None:
        """See :meth:`.ImpactSource.ordered_lists`."""
        return self._counted_lists(in_order=True)

    def read_all(self) -> None:
        """See :meth:`.Source.read_all`; no document is made, where :meth:`_counted_lists` can."""
        found = self._counted_lists(in_order=False)
        if found is None:
            super().read_all()
        else:
            for _ in found.blocks:
                pass

    def _counted_lists(self, *, in_order: bool) -> OrderedLists | None:
        """All lists, in two passes, since records come last, and without a transposition.

        Args:
            in_order: only if they stand in order.

        Returns:
            None where documents must be made: records are those of a part, or not in order.
        """
        if self.clipper is not None:
            return None
        with open_reader(self.path) as stream:
            reader = self._reader(stream)
            heads = reader.skip_lists()
            numbers, ids, hashes = reader.documents()
        if (in_order and not heads.in_order) or (numbers != np.arange(len(numbers))).any():
            return None
        counter = ListCounter(hashes, self.content, self.counts, self.path)
        batches = (ids[i : i + BATCH_ROWS] for i in range(0, len(ids), BATCH_ROWS))
        blocks = self._counted(counter, ids, heads.postings, reader.length_sum)
        return OrderedLists(batches, blocks, lambda: counter.sums)

    def _counted(
        self, counter: ListCounter, ids: list[str], expected: int, length_sum: int
    ) -> Iterator[ListBlock]:
        with open_reader(self.path) as stream:
            reader = self._reader(stream)
            yield from counted(self, self._blocks(reader), counter, expected)
        counter.end(iter([ids]))
        reader.seen(self.counts.impact_sum, length_sum)
        reader.tell_odd_totals()

    def _check_records(self, transposer: Transposer, numbers: Int32Array) -> None:
        """Refuse postings of documents that have no record, whose ids nobody knows."""
        width = int(numbers.max(initial=-1)) + 1
        counts = transposer.column_counts(max(width, transposer.width))
        counts[numbers] = 0
        if counts.any():
            missing = np.flatnonzero(counts)
            raise BadInputError(
                f"{len(missing):,} documents have {int(counts.sum()):,} postings and no record, so "
                f"that their ids are unknown; the first is docid {int(missing[0]):,}",
                str(self.path),
            )
