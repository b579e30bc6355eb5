"""How many bytes posting lists take, computed without building an index.

The model is what Lucene's and PISA's block codecs share (Lucene's PFOR blocks, PISA's
block_simdbp): blocks of 128 postings; in each block, the gaps of doc ids less one and the impacts
less one take as many bits as the largest of them; 8 bytes a block say where it is. Term dictionary,
document names and skip or block-max data are not in it.
"""

from __future__ import annotations

import numpy as np

from splade_bridge.data.vectors import Int32Array, Int64Array, row_pointers

BLOCK = 128
HEAD = 8


def packed_bytes(lengths: Int64Array, docs: Int32Array, impacts: Int32Array) -> int:
    """Bytes of some posting lists.

    Args:
        lengths: int64[lists], postings of each.
        docs: int32[nnz], document numbers, ascending in each list.
        impacts: int32[nnz] >= 1.
    """
    if not len(docs):
        return 0
    indptr = row_pointers(lengths)
    heads = indptr[:-1][lengths > 0]
    gaps = np.diff(docs, prepend=0) - 1
    gaps[heads] = docs[heads]
    blocks = -(-lengths // BLOCK)
    number = np.arange(int(blocks.sum())) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    starts = np.repeat(indptr[:-1], blocks) + number * BLOCK
    sizes = np.diff(starts, append=len(docs))
    bits = [
        np.frexp(np.maximum.reduceat(values, starts).astype(np.float64))[1]  # bit lengths
        for values in (gaps, impacts - 1)
    ]
    return int(sum((-(-sizes * b // 8)).sum() for b in bits)) + HEAD * len(starts)
