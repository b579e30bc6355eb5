"""PISA's canonical index files, little-endian (PISA documentation, "Inverted index").

::

    inv.docs       uint32 1, num_docs; then for each term n, docids ascending
    inv.freqs      for each term n, impacts
    inv.sizes      uint32 num_docs, length of each document (sum of its impacts)
    fwd.termlex    uint64 count, uint64 offsets[count + 1], bytes; sorted
    fwd.doclex     the same

Terms and documents are named by zero-padded numbers: PISA lower-cases the terms of queries, wants
its lexicon sorted, and aborts on an empty name. The real names stand beside the index. A list
without postings makes PISA abort, so terms are numbered anew without those.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.invert import Columns, Transposer
from splade_bridge.data.vectors import Int32Array, Int64Array
from splade_bridge.errors import BadInputError

NAME_DIGITS = 10
BASENAME = "inv"
DOC_NAMES = "fwd.doclex"
RAW_FILES = ("inv.docs", "inv.freqs", "inv.sizes")


def number_name(number: int) -> str:
    """How PISA calls term or document ``number``."""
    return f"{number:0{NAME_DIGITS}d}"


def write_canonical(
    folder: Path, transposer: Transposer, width: int, doc_lengths: Int64Array
) -> Int32Array:
    """Write all files of one collection.

    Args:
        transposer: holds the documents as rows.
        width: number of terms.
        doc_lengths: int64[documents].

    Returns:
        int32[lists]: the term id of each list, ascending.
    """
    if doc_lengths.size and doc_lengths.max() >= 1 << 32:
        raise BadInputError("a document whose impacts sum to 2^32 or more, which PISA cannot hold")
    used = np.flatnonzero(transposer.column_counts(width)).astype(np.int32)
    with open(folder / "inv.docs", "wb") as docs, open(folder / "inv.freqs", "wb") as freqs:
        docs.write(np.array([1, len(doc_lengths)], dtype="<u4").tobytes())
        for block in transposer.columns(used):
            _write_lists(block, docs, freqs)
    with open(folder / "inv.sizes", "wb") as sizes:
        sizes.write(np.array([len(doc_lengths)], dtype="<u4").tobytes())
        sizes.write(doc_lengths.astype("<u4").tobytes())
    _write_names(folder / "fwd.termlex", len(used))
    _write_names(folder / DOC_NAMES, len(doc_lengths))
    return used


def _write_lists(block: Columns, docs: BinaryIO, freqs: BinaryIO) -> None:
    lengths = np.diff(block.indptr)
    heads = block.indptr[:-1]  # a list's length is put in front of it
    docs.write(np.insert(block.rows, heads, lengths).astype("<u4").tobytes())
    freqs.write(np.insert(block.values, heads, lengths).astype("<u4").tobytes())


def _write_names(path: Path, count: int) -> None:
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
