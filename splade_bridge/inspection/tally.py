"""Counts, distributions and the content hash of vectors, in one pass and bounded memory.

Lengths and integers below 65,536 are counted one by one, larger integers and weights in bins of the
upper bits of a float32. What grows with the collection is 4 bytes a document where posting lists
are read, and 28 bytes a term.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splade_bridge.data.content import Content, UInt64Array
from splade_bridge.data.counts import Counts
from splade_bridge.data.vectors import (
    Float32Array,
    ImpactBatch,
    Int32Array,
    Int64Array,
    SparseBatch,
    row_numbers,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.inspection.found import ContentHash, Distribution, Inspection, LongList
from splade_bridge.inspection.scale import ScaleEvidence

QUANTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
SMALL = 1 << 16
DROPPED_BITS = 12
LONGEST = 10
SAMPLE = 2000
"""Documents whose postings are kept, to be compared with their texts."""

AT_ONCE = 1 << 19
"""Values that are counted together."""

Values = Int32Array | Float32Array


class Histogram:
    """Positive numbers, counted."""

    def __init__(self) -> None:
        self._small = np.zeros(SMALL, np.int64)
        self._wide: Int64Array | None = None
        self.count = 0
        self.total = 0.0
        self.least, self.most = np.inf, 0.0

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count in integers or float32."""
        if not len(values):
            return
        self.count += len(values)
        self.total += float(values.sum(dtype=np.float64))
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))
        if values.dtype.kind == "f":
            self._add_wide(values.astype(np.float32))
        elif float(values.max()) < SMALL:
            self._small += np.bincount(values, minlength=SMALL)
        else:
            small = values < SMALL  # type: ignore[operator]
            self._small += np.bincount(values[small], minlength=SMALL)
            self._add_wide(values[~small].astype(np.float32))

    def _add_wide(self, values: Float32Array) -> None:
        if self._wide is None:
            self._wide = np.zeros(1 << (32 - DROPPED_BITS), np.int64)
        bins, counts = np.unique(values.view(np.uint32) >> DROPPED_BITS, return_counts=True)
        self._wide[bins] += counts

    def distribution(self) -> Distribution | None:
        """Of all that was added; None for nothing."""
        if not self.count:
            return None
        at = [np.flatnonzero(self._small)]
        counts = [self._small[at[0]]]
        if self._wide is not None:
            bins = np.flatnonzero(self._wide)
            at.append((bins.astype(np.uint32) << DROPPED_BITS).view(np.float32))
            counts.append(self._wide[bins])
        numbers = np.concatenate(at, dtype=np.float64)
        ends = np.cumsum(np.concatenate(counts))
        found = {
            name: max(
                self.least,
                float(numbers[np.searchsorted(ends, max(1, int(np.ceil(q * self.count))))]),
            )
            for name, q in QUANTILES.items()
        }
        return Distribution(
            least=self.least,
            most=self.most,
            mean=self.total / self.count,
            exact=self._wide is None,
            **found,
        )

    @property
    def integers(self) -> Int64Array:
        """int64[65536]: how often each integer below that was there."""
        return self._small


class Tally:
    """Of the documents of one artefact, by rows or by posting lists.

    Args:
        vocabulary: it may grow.
        with_content: whether the content hash is wanted.
    """

    def __init__(self, vocabulary: Vocabulary, *, with_content: bool = True) -> None:
        self.vocabulary = vocabulary
        self.counts = Counts()
        self.values = Histogram()
        self.evidence = ScaleEvidence()
        self.content = Content(vocabulary) if with_content else None
        self._row_lengths = Histogram()
        self._list_lengths: Int32Array | None = None
        self._hashed: UInt64Array | None = None
        self._frequencies = np.zeros(0, np.int64)
        self._sums = np.zeros(0, np.float64)
        self._most = np.zeros(0, np.float64)
        self._waiting: list[Values] = []
        self._waiting_count = 0
        self.sample_ids: list[str] = []
        self._sample: list[tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]] = []

    def add(self, batch: ImpactBatch | SparseBatch) -> None:
        """Count in documents."""
        values: Values = batch.impacts if isinstance(batch, ImpactBatch) else batch.weights
        first = self.counts.documents
        self.counts.add(batch)
        if self.content is not None:
            self.content.add(batch)
        self._row_lengths.add(batch.lengths)
        self._add_values(values)
        self._widen()
        terms, counts = np.unique(batch.indices, return_counts=True)
        self._frequencies[terms] += counts
        self._sums += np.bincount(batch.indices, values, len(self._sums))
        np.maximum.at(self._most, batch.indices, values)
        if first < SAMPLE:
            kept = min(len(batch), SAMPLE - first)
            end = int(batch.indptr[kept])
            self.sample_ids += batch.ids[:kept]
            self._sample.append(
                (
                    first + row_numbers(batch.indptr[: kept + 1]),
                    batch.indices[:end].astype(np.int64),
                    values[:end].astype(np.float64),
                )
            )

    def begin_lists(self, documents: int, hashed: UInt64Array | None, first: list[str]) -> None:
        """Say what the lists to come are of.

        Args:
            hashed: uint64[2, documents] of the ids, see :mod:`splade_bridge.data.content`.
            first: ids of the first documents, :data:`SAMPLE` at most.
        """
        self.counts.documents = documents
        self._list_lengths = np.zeros(documents, np.int32)
        self._hashed = hashed
        self.sample_ids = list(first)
        if self.content is not None and hashed is not None:
            self.content.add_documents(hashed)

    def add_list(self, term: int, docs: Int32Array, values: Int32Array) -> None:
        """Count in a posting list, or a part of one."""
        assert self._list_lengths is not None
        if not len(docs):
            return
        self._list_lengths[docs] += 1
        self.counts.postings += len(docs)
        self.counts.impact_sum += int(values.sum(dtype=np.int64))
        self.counts.max_impact = max(self.counts.max_impact, int(values.max()))
        if self.content is not None and self._hashed is not None:
            self.content.add_list(self._hashed, term, docs, values)
        self._add_values(values)
        self._widen()
        self._frequencies[term] += len(docs)
        self._sums[term] += float(values.sum(dtype=np.int64))
        self._most[term] = max(self._most[term], float(values.max()))
        kept = int(np.searchsorted(docs, len(self.sample_ids)))
        if kept:
            self._sample.append(
                (
                    docs[:kept].astype(np.int64),
                    np.full(kept, term, np.int64),
                    values[:kept].astype(np.float64),
                )
            )

    def end_lists(self, first_empty: list[str]) -> None:
        """Say which documents have no posting, the first of them by id."""
        assert self._list_lengths is not None
        self._row_lengths.add(self._list_lengths)
        self.counts.empty = int((self._list_lengths == 0).sum())
        self.counts.empty_ids = first_empty[: Counts.KEEP_EMPTY_IDS]

    def empty_rows(self) -> Int64Array:
        """int64[n]: the first documents without a posting."""
        assert self._list_lengths is not None
        return np.flatnonzero(self._list_lengths == 0)[: Counts.KEEP_EMPTY_IDS]

    def _add_values(self, values: Values) -> None:
        """Count them in, many at a time: most posting lists are short."""
        self._waiting.append(values)
        self._waiting_count += len(values)
        if self._waiting_count >= AT_ONCE:
            self._count_waiting()

    def _count_waiting(self) -> None:
        if self._waiting:
            together = np.concatenate(self._waiting)
            self.values.add(together)
            self.evidence.add(together)
        self._waiting, self._waiting_count = [], 0

    def _widen(self) -> None:
        if (more := len(self.vocabulary) - len(self._frequencies)) > 0:
            more = max(more, len(self._frequencies))  # twice as many: seldom
            self._frequencies = np.pad(self._frequencies, (0, more))
            self._sums = np.pad(self._sums, (0, more))
            self._most = np.pad(self._most, (0, more))

    def sample(self) -> tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]:
        """Document, term and value of the postings of the first documents."""
        if not self._sample:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        documents, terms, values = (np.concatenate(c) for c in zip(*self._sample, strict=True))
        return documents, terms, values

    def longest(self) -> list[LongList]:
        """The longest lists, equal ones by term."""
        self._widen()
        used = np.flatnonzero(self._frequencies)
        top = used[np.argsort(-self._frequencies[used], kind="stable")]
        if len(top) > LONGEST:  # all that are as long as the last one, before the terms decide
            top = top[self._frequencies[top] >= self._frequencies[top[LONGEST - 1]]]
        ranked = sorted((-int(self._frequencies[t]), self.vocabulary[t]) for t in top.tolist())
        found = []
        for minus, term in ranked[:LONGEST]:
            at = self.vocabulary.get(term)
            assert at is not None
            share = -minus / max(1, self.counts.documents)
            found.append(
                LongList(term, -minus, share, float(self._sums[at]), float(self._most[at]))
            )
        return found

    def report(self, found: Inspection, said: str | None) -> None:
        """Put all of it into ``found``.

        Args:
            said: the content hash that the manifest has.
        """
        self._count_waiting()
        found.counts = self.counts
        found.distinct_terms = int((self._frequencies > 0).sum())
        found.values = self.values.distribution()
        found.lengths = self._row_lengths.distribution()
        found.longest = self.longest()
        computed = None if self.content is None else str(self.content)
        equal = None if said is None or computed is None else said == computed
        found.content = ContentHash(said, computed, equal)
        if self.counts.empty:
            ids = ", ".join(map(repr, self.counts.empty_ids[:3])) or "not among the first ones"
            found.fault(
                "documents without a term",
                ids,
                "no query finds them",
                self.counts.empty,
            )
