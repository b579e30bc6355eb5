"""Writes CIFF: see :mod:`splade_bridge.formats.ciff`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.counts import Counts
from splade_bridge.data.invert import Transposer
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.ciff_messages import (
    MAX_MESSAGE,
    VERSION,
    messages,
    varint,
    write_message,
)
from splade_bridge.formats.ciff_postings import encode_postings
from splade_bridge.formats.postings import PostingListSource


def write_ciff(
    path: Path,
    batches: Iterable[ImpactBatch],
    vocabulary: Vocabulary,
    *,
    description: str,
    memory: int,
    expected: int | None = None,
) -> Counts:
    """Write documents as CIFF, gzip by suffix; returns what was written.

    ``doclength`` is the sum of a document's impacts.

    Args:
        memory: budget of sorting, in bytes.
        expected: postings to come, if known: the disk is asked for room before.

    Raises:
        ExternalProgramError: the disk is too full.
        BadInputError: a list or a length beyond what the format holds.
    """
    counts = Counts()
    # Documents come last in the file: their records wait on disk.
    with (
        Transposer(memory, path.parent, expected) as transposer,
        tempfile.TemporaryFile(dir=path.parent) as records,
    ):
        for batch in batches:
            _write_documents(records, batch.ids, batch.row_sums(), counts.documents)
            counts.add(batch)
            transposer.add(batch.indptr, batch.indices, batch.impacts)
        df = transposer.column_counts(len(vocabulary))
        order = vocabulary.bytewise_order()
        order = order[df[order] > 0]
        with atomic_writer(path) as out:
            _write_header(out, counts, len(order), description)
            writer = ListWriter(out, vocabulary)
            for block in transposer.columns(order):
                writer.add(ListBlock(block.ids, block.indptr, block.rows, block.values))
            writer.end()
            records.seek(0)
            shutil.copyfileobj(records, out, 1 << 20)
    return counts


def write_ciff_lists(path: Path, source: PostingListSource, *, description: str) -> Counts:
    """Write posting lists that come in the order of CIFF, as :func:`write_ciff` does documents.

    The same bytes, and nothing is sorted.

    Args:
        source: whose lists are ``in_order``.

    Raises:
        ExternalProgramError: the disk is too full.
        BadInputError: the source is broken; or as :func:`write_ciff`.
    """
    # Their number comes first in the file, and is known last.
    with tempfile.TemporaryFile(dir=path.parent) as lists:
        writer = ListWriter(lists, source.vocabulary)
        for block in source.counted_lists():
            writer.add(block)
        writer.end()
        with atomic_writer(path) as out:
            _write_header(out, source.counts, writer.lists, description)
            lists.seek(0)
            shutil.copyfileobj(lists, out, 1 << 20)
            first = 0
            for names in source.known.batches():
                _write_documents(out, names, source.sums[first : first + len(names)], first)
                first += len(names)
    return source.counts


def _write_header(out: BinaryIO, counts: Counts, lists: int, description: str) -> None:
    header = messages().Header(
        version=VERSION,
        num_postings_lists=lists,
        num_docs=counts.documents,
        total_postings_lists=lists,
        total_docs=counts.documents,
        total_terms_in_collection=counts.impact_sum,
        average_doclength=counts.impact_sum / max(1, counts.documents),
        description=description,
    )
    write_message(out, header.SerializeToString())


def _write_documents(out: BinaryIO, names: list[str], lengths: Int64Array, first: int) -> None:
    if lengths.size and lengths.max() > MAX_MESSAGE:
        raise BadInputError(
            f"document {names[int(lengths.argmax())]!r}: its impacts sum to more than "
            "2^31 - 1, which CIFF cannot hold: use a smaller --scale"
        )
    parts = []
    for number, (doc_id, length) in enumerate(zip(names, lengths.tolist(), strict=True), first):
        text = doc_id.encode()
        # As protobuf writes it, which leaves zeros out; its own calls take twice as long.
        content = b"\x08%b" % varint(number) if number else b""
        content += b"\x12%b%b" % (varint(len(text)), text)
        if length:
            content += b"\x18" + varint(length)
        parts += [varint(len(content)), content]
    out.write(b"".join(parts))


class ListWriter:
    """Writes posting lists that come by the bytes of their terms, a long one in several blocks.

    Attributes:
        lists: that were written.
    """

    def __init__(self, out: BinaryIO, vocabulary: Vocabulary) -> None:
        self._out = out
        self._vocabulary = vocabulary
        self.lists = 0
        self._term = self._last = -1
        self._parts: list[memoryview] = []
        self._df = self._cf = 0

    def add(self, block: ListBlock) -> None:
        """Write the lists of ``block``; the last one may go on in the next.

        Raises:
            BadInputError: a list beyond what the format holds.
            ValueError: the terms do not rise.
        """
        if not len(block):
            return
        starts = block.indptr[:-1]
        gaps = block.docs.copy()
        gaps[1:] -= block.docs[:-1]
        gaps[starts] = block.docs[starts]
        if int(block.terms[0]) == self._term:
            gaps[0] -= self._last
        encoded, sizes = encode_postings(gaps, block.impacts)
        ends = np.cumsum(np.add.reduceat(sizes, starts, dtype=np.int64))
        content, start = encoded.data, 0
        sums = np.add.reduceat(block.impacts, starts, dtype=np.int64)
        for term, end, df, cf in zip(
            block.terms.tolist(), ends.tolist(), block.lengths.tolist(),
            sums.tolist(), strict=True,
        ):  # fmt: skip
            if term != self._term:
                self._begin(term)
            self._parts.append(content[start:end])
            self._df += df
            self._cf += cf
            start = end
        self._last = int(block.docs[-1])

    def _begin(self, term: int) -> None:
        name = self._vocabulary[term]
        if self._term >= 0 and name <= self._vocabulary[self._term]:
            raise ValueError(f"the list of {name!r} comes after that of a larger term")
        self.end()
        self._term = term

    def end(self) -> None:
        """Write what waits for more."""
        if not self._parts:
            return
        term = self._vocabulary[self._term]
        head = messages().PostingsList(term=term, df=self._df, cf=self._cf).SerializeToString()
        size = len(head) + sum(map(len, self._parts))
        if size > MAX_MESSAGE:
            raise BadInputError(
                f"term {term!r}: its {self._df:,} postings are over 2 GiB, the limit of one CIFF "
                "message"
            )
        self._out.write(varint(size) + head)
        for part in self._parts:
            self._out.write(part)
        self.lists += 1
        self._parts = []
        self._df = self._cf = 0
