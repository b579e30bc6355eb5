"""One number for what a collection of vectors holds, whatever file or engine holds it.

::

    a, t   = BLAKE2b-128 of the UTF-8 of an id and of a term, personalised "splade-bridge-id" and
             "splade-bridge-t", each read as two little-endian uint64: a[0], a[1]
    v      = an impact, or 2^32 + the bits of a float32 weight
    document lane i = mix(a[i] ^ 0xD1B54A32D192ED03)
    posting lane i  = mix(mix(a[i] + (v + 1) * 0x9E3779B97F4A7C15) + t[i])
    content         = sum over documents and postings of lane 0 + 2^64 * lane 1, modulo 2^128

``mix`` is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; Stafford's variant 13);
all of it is arithmetic modulo 2^64. A sum does not depend on any order, so an index that keeps
posting lists has the number of the documents that it was made from; an id or a posting that is
there twice changes it; and documents can be added to it and taken away. It is a check against
mistakes, not against an adversary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from splade_bridge.data.vectors import (
    Float32Array,
    ImpactBatch,
    Int32Array,
    Int64Array,
    SparseBatch,
)
from splade_bridge.data.vocabulary import Vocabulary

UInt64Array = npt.NDArray[np.uint64]
ID, TERM = b"splade-bridge-id", b"splade-bridge-t"
OF_DOCUMENT = np.uint64(0xD1B54A32D192ED03)
OF_VALUE = np.uint64(0x9E3779B97F4A7C15)
FLOAT = np.uint64(1 << 32)
MODULUS = 1 << 128
CHUNK = 1 << 14
"""Postings that are mixed at once: what is made of them stays in the cache."""


class Content:
    """The sum so far; :meth:`add` takes documents, :meth:`add_lists` posting lists."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._terms: UInt64Array = np.empty((2, 0), np.uint64)
        self.total = 0

    def __str__(self) -> str:
        return f"{self.total:032x}"

    def add(self, batch: ImpactBatch | SparseBatch) -> None:
        """Count in all documents of ``batch``."""
        ids = hashed(batch.ids, ID)
        self.add_documents(ids)
        values = batch.impacts if isinstance(batch, ImpactBatch) else batch.weights
        self._add(ids, np.repeat(np.arange(len(batch)), batch.lengths), batch.indices, values)

    def add_documents(self, ids: UInt64Array) -> None:
        """Count in documents, without their postings.

        Args:
            ids: uint64[2, n], as :func:`hashed` gives them.
        """
        self._sum(_mix(ids ^ OF_DOCUMENT))

    def add_list(self, ids: UInt64Array, term: int, docs: Int32Array, impacts: Int32Array) -> None:
        """Count in a posting list, or a part of one.

        Args:
            ids: uint64[2, documents] of all documents, as :func:`hashed` gives them.
            term: its id in the vocabulary.
            docs: int32[n], columns of ``ids``.
            impacts: int32[n].
        """
        self._add(ids, docs, np.broadcast_to(np.int32(term), docs.shape), impacts)

    def add_lists(
        self,
        ids: UInt64Array,
        terms: Int32Array,
        indptr: Int64Array,
        docs: Int32Array,
        impacts: Int32Array,
    ) -> None:
        """Count in some posting lists, or parts of them.

        Args:
            ids: see :meth:`add_list`.
            terms: int32[n], ids in the vocabulary.
            indptr: int64[n + 1], list i is ``docs[indptr[i]:indptr[i + 1]]``.
            docs: int32[nnz], columns of ``ids``.
            impacts: int32[nnz].
        """
        self._add(ids, docs, np.repeat(terms, np.diff(indptr)), impacts)

    def _add(
        self,
        ids: UInt64Array,
        docs: Int64Array | Int32Array,
        terms: Int32Array,
        values: Int32Array | Float32Array,
    ) -> None:
        if new := self._vocabulary.terms[self._terms.shape[1] :]:
            self._terms = np.concatenate([self._terms, hashed(new, TERM)], axis=1)
        is_float = values.dtype == np.float32
        for start in range(0, len(docs), CHUNK):
            part = slice(start, start + CHUNK)
            bits = values[part].view(np.uint32).astype(np.uint64)
            value = (bits + FLOAT if is_float else bits) * OF_VALUE + OF_VALUE
            lanes = _mix(ids.take(docs[part], axis=1) + value)
            lanes += self._terms.take(terms[part], axis=1)
            self._sum(_mix(lanes))

    def _sum(self, lanes: UInt64Array) -> None:
        """Add all of lane 0 and, times 2^64, of lane 1."""
        # A sum of lane 0 is larger than 64 bits: that of its upper halves, which is not, tells how
        # much. What lane 1 has beyond 64 bits is beyond the modulus.
        low, high = (int(x) for x in lanes.sum(axis=1))
        upper = int((lanes[0] >> np.uint64(32)).sum())
        lower = (low - (upper << 32)) % (1 << 64)
        self.total = (self.total + (upper << 32) + lower + (high << 64)) % MODULUS


def hashed(texts: Sequence[str], kind: bytes) -> UInt64Array:
    """uint64[2, n]: both halves of the digest of each id (:data:`ID`) or term (:data:`TERM`)."""
    base = hashlib.blake2b(digest_size=16, person=kind)
    digests = bytearray()
    for text in texts:
        one = base.copy()
        one.update(text.encode())
        digests += one.digest()
    return np.frombuffer(digests, "<u8").reshape(-1, 2).T.copy()


def _mix(x: UInt64Array) -> UInt64Array:
    """The finalizer of SplitMix64, in place where ``x`` is nobody else's: it is always new here."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
