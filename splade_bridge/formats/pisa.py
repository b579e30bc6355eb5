"""PISA's canonical index files, little-endian (PISA documentation, "Inverted index").

::

    inv.docs       uint32 1, num_docs; then for each term n, docids ascending
    inv.freqs      for each term n, impacts
    inv.sizes      uint32 num_docs, length of each document (sum of its impacts)
    fwd.termlex    uint64 count, uint64 offsets[count + 1], bytes; sorted
    fwd.doclex     the same

In our indexes terms and documents are named by zero-padded numbers: PISA lower-cases the terms of
queries, wants its lexicon sorted, and aborts on an empty name. The real names stand beside the
index. A list without postings makes PISA abort, so terms are numbered anew without those.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from splade_bridge.data.closing import Closing
from splade_bridge.data.counts import Counts
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.vectors import Int32Array, Int64Array, row_pointers
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource, OrderedLists
from splade_bridge.formats.inverted import inverted

NAME_DIGITS = 10
BASENAME = "inv"
TERM_NAMES, DOC_NAMES = "fwd.termlex", "fwd.doclex"
RAW_FILES = ("inv.docs", "inv.freqs", "inv.sizes")


def number_name(number: int) -> str:
    """How PISA calls term or document ``number``."""
    return f"{number:0{NAME_DIGITS}d}"


def write_collection(folder: Path, source: ImpactSource, memory: int) -> Counts:
    """Write all of ``source`` for PISA's own programs, with its own names of terms and documents.

    PISA lower-cases the terms of queries, so a term with a capital letter is never found there.

    Args:
        folder: new.
        memory: budget in bytes of sorting.

    Raises:
        BadInputError: the source is broken or has more than the format holds.
    """
    folder.mkdir()
    with (
        inverted(source, memory, folder.parent) as lists,
        _NamesFile(folder / DOC_NAMES) as documents,
        _NamesFile(folder / TERM_NAMES) as terms,
    ):
        for ids in lists.ids:
            documents.add(ids)
        written = _write_arrays(folder, lists)
        terms.add([source.vocabulary[i] for i in written.terms.tolist()])
        sums = lists.sums()
    return dataclasses.replace(  # of what was written
        source.counts,
        documents=len(sums),
        empty=int((sums == 0).sum()),
        postings=int(written.lengths.sum()),
        impact_sum=int(sums.sum()),
    )


class Written(NamedTuple):
    """What lists were written.

    Attributes:
        terms: int32[lists], the term id of each.
        lengths: int64[lists], its postings.
    """

    terms: Int32Array
    lengths: Int64Array


def write_canonical(folder: Path, lists: OrderedLists) -> Written:
    """Write all files of one collection, terms and documents named by numbers.

    Args:
        lists: whose ids were taken.
    """
    written = _write_arrays(folder, lists)
    _write_numbers(folder / TERM_NAMES, len(written.terms))
    _write_numbers(folder / DOC_NAMES, len(lists.sums()))
    return written


def _write_arrays(folder: Path, lists: OrderedLists) -> Written:
    with open(folder / "inv.docs", "wb") as docs, open(folder / "inv.freqs", "wb") as freqs:
        docs.write(np.array([1, 0], dtype="<u4").tobytes())
        written = _write_lists(lists.blocks, docs, freqs)
        sums = lists.sums()
        docs.seek(4)
        docs.write(np.array([len(sums)], dtype="<u4").tobytes())
    if sums.size and sums.max() >= 1 << 32:
        number = int(sums.argmax())
        raise BadInputError(
            f"its impacts sum to {int(sums[number]):,}, and PISA's format holds sums below 2^32",
            f"document {number:,}",
        )
    with open(folder / "inv.sizes", "wb") as sizes:
        sizes.write(np.array([len(sums)], dtype="<u4").tobytes())
        sizes.write(sums.astype("<u4").tobytes())
    return written


def _write_lists(blocks: Iterator[ListBlock], docs: BinaryIO, freqs: BinaryIO) -> Written:
    """Each list behind its length, which is put right in the end for one that came in parts."""
    terms, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    last, lists, in_parts = -1, 0, []
    for block in blocks:
        heads, own = block.indptr[:-1], block.lengths
        if goes_on := int(block.terms[0]) == last:
            lengths[-1][-1] += own[0]
            in_parts.append(lists - 1)
            heads, own = heads[1:], own[1:]
        docs.write(np.insert(block.docs, heads, own).astype("<u4").tobytes())
        freqs.write(np.insert(block.impacts, heads, own).astype("<u4").tobytes())
        if len(own):
            terms.append(block.terms[goes_on:])
            lengths.append(own.copy())
            last, lists = int(block.terms[-1]), lists + len(own)
    written = Written(np.concatenate(terms), np.concatenate(lengths))
    starts = row_pointers(written.lengths)
    for number in in_parts:
        place, length = int(starts[number]) + number, written.lengths[number]
        for file, before in ((docs, 2), (freqs, 0)):
            file.seek(4 * (before + place))
            file.write(length.astype("<u4").tobytes())
    return written


class _NamesFile(Closing):
    """A lexicon: names wait in a file of their own, since their offsets stand before them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by close()
        self._lengths = [np.empty(0, np.int64)]

    def add(self, names: Sequence[str]) -> None:
        """Append names."""
        encoded = [name.encode() for name in names]
        self._names.write(b"".join(encoded))
        self._lengths.append(np.array([len(name) for name in encoded], dtype=np.int64))

    def close(self) -> None:
        """Write the lexicon."""
        offsets = row_pointers(np.concatenate(self._lengths))
        self._names.seek(0)
        with open(self._path, "wb") as out:
            out.write(np.array([len(offsets) - 1, *offsets], dtype="<u8").tobytes())
            shutil.copyfileobj(self._names, out, 1 << 20)
        self._names.close()


def _write_numbers(path: Path, count: int) -> None:
    with open(path, "wb") as out:
        out.write(np.array([count], dtype="<u8").tobytes())
        for chunk in _chunks(count + 1):
            out.write((np.arange(chunk.start, chunk.stop, dtype="<u8") * NAME_DIGITS).tobytes())
        for chunk in _chunks(count):
            numbers = np.arange(chunk.start, chunk.stop, dtype=np.int64)
            digits = numbers[:, None] // 10 ** np.arange(NAME_DIGITS - 1, -1, -1) % 10
            out.write((digits + ord("0")).astype(np.uint8).tobytes())


def _chunks(count: int, size: int = 1 << 16) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
