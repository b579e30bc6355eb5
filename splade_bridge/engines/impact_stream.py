"""The impact stream between processes: what the Java helper reads on its stdin.

Little-endian. ``SBIMPCT1``, then frames that begin with an int32 kind::

    1 terms   n, blob_bytes, lengths int32[n], UTF-8 blob          ids go on from the last frame
    2 rows    n, nnz, blob_bytes, id lengths int32[n], UTF-8 blob,
              row lengths int32[n], term ids int32[nnz], impacts int32[nnz]
    3 end     int64 rows, postings, sum of impacts                 must equal what was received

A stream without its end frame was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

from splade_bridge.data.counts import Counts
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.term_limits import TermLimit, lucene_term

MAGIC = b"SBIMPCT1"
TERMS, ROWS, END = 1, 2, 3


def write_stream(out: BinaryIO, batches: Iterable[ImpactBatch], vocabulary: Vocabulary) -> Counts:
    """Send all ``batches``, and the terms of ``vocabulary`` as it grows; returns what was sent.

    Raises:
        BadInputError: a term with a posting is longer than Lucene can hold.
    """
    counts = Counts()
    sent = 0
    limit = TermLimit("Lucene", lucene_term, "use --engine pisa or exact", vocabulary)
    out.write(MAGIC)
    for batch in batches:
        limit.check(batch.indices)
        if len(vocabulary) > sent:
            out.write(struct.pack("<i", TERMS))
            _write_terms(out, vocabulary.terms[sent:])
            sent = len(vocabulary)
        _write_rows(out, batch)
        counts.add(batch)
    out.write(struct.pack("<iqqq", END, counts.documents, counts.postings, counts.impact_sum))
    out.flush()
    return counts


def _write_rows(out: BinaryIO, batch: ImpactBatch) -> None:
    encoded = [doc_id.encode() for doc_id in batch.ids]
    blob = b"".join(encoded)
    out.write(struct.pack("<iiii", ROWS, len(encoded), len(batch.indices), len(blob)))
    out.write(_int32([len(e) for e in encoded]))
    out.write(blob)
    out.write(_int32(np.diff(batch.indptr)))
    out.write(_int32(batch.indices))
    out.write(_int32(batch.impacts))


def _write_terms(out: BinaryIO, terms: Sequence[str]) -> None:
    encoded = [term.encode() for term in terms]
    blob = b"".join(encoded)
    out.write(struct.pack("<ii", len(encoded), len(blob)))
    out.write(_int32([len(e) for e in encoded]))
    out.write(blob)


def _int32(values: Sequence[int] | np.ndarray) -> bytes:
    return np.asarray(values, dtype="<i4").tobytes()
