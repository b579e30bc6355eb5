"""Ids and posting lists on their way to the Java helper, which reads them from a pipe.

Little-endian. ``SBLISTS1``, then frames that begin with an int32 kind::

    1 ids     n, blob_bytes, lengths int32[n], UTF-8 blob          of documents 0, 1, ...
    2 lists   n, nnz, blob_bytes, term lengths int32[n], UTF-8 blob,
              list lengths int32[n], documents int32[nnz], impacts int32[nnz]
    3 end     int64 documents, postings, sum of impacts            must equal what was received

All ids come before the first list; lists come by the bytes of their terms, and the first of a frame
may go on with the last of the one before. A stream without its end frame was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.inverted import inverted
from splade_bridge.formats.term_limits import TermLimit, lucene_term

MAGIC = b"SBLISTS1"
IDS, LISTS, END = 1, 2, 3


def write_stream(out: BinaryIO, source: ImpactSource, memory: int, temporary: Path) -> None:
    """Send all documents of ``source``; what comes as lists in the right order is not sorted.

    Args:
        memory: budget of sorting, in bytes.
        temporary: folder for what does not fit into it.

    Raises:
        BadInputError: what reading the source raises; it is empty, or a term with a posting is
            longer than Lucene can hold.
        ExternalProgramError: the disk is too full.
    """
    out.write(MAGIC)
    sender = _Sender(out, source.vocabulary)
    with inverted(source, memory, temporary, sender.limit.check) as lists:
        for ids in lists.ids:
            sender.ids(ids)
        for block in lists.blocks:
            sender.lists(block)
    refuse_empty(source.counts, source.path)
    sender.end()


class _Sender:
    """Writes frames and counts what is in them."""

    def __init__(self, out: BinaryIO, vocabulary: Vocabulary) -> None:
        self._out = out
        self._vocabulary = vocabulary
        self.limit = TermLimit("Lucene", lucene_term, "use --engine pisa or exact", vocabulary)
        self._documents = self._postings = self._impact_sum = 0

    def ids(self, ids: Sequence[str]) -> None:
        """The next documents."""
        if not len(ids):
            return
        blob, lengths = _joined(ids)
        self._out.write(struct.pack("<iii", IDS, len(ids), len(blob)))
        self._out.write(lengths)
        self._out.write(blob)
        self._documents += len(ids)

    def lists(self, block: ListBlock) -> None:
        """The next lists."""
        if not len(block):
            return
        self.limit.check(block.terms)
        blob, lengths = _joined([self._vocabulary[term] for term in block.terms.tolist()])
        self._out.write(struct.pack("<iiii", LISTS, len(block), len(block.docs), len(blob)))
        self._out.write(lengths)
        self._out.write(blob)
        for values in (block.lengths, block.docs, block.impacts):
            self._out.write(np.ascontiguousarray(values, "<i4").data)
        self._postings += len(block.docs)
        self._impact_sum += int(block.impacts.sum(dtype=np.int64))

    def end(self) -> None:
        """That was all."""
        counts = self._documents, self._postings, self._impact_sum
        self._out.write(struct.pack("<iqqq", END, *counts))
        self._out.flush()


def _joined(texts: Sequence[str]) -> tuple[bytes, bytes]:
    """All texts as UTF-8, and the length of each as int32."""
    encoded = [text.encode() for text in texts]
    return b"".join(encoded), np.array([len(e) for e in encoded], "<i4").tobytes()
