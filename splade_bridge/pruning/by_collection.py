"""Policies that must have seen the whole collection: one pass gathers exact statistics.

They are exact at any size. What depends on terms is sorted by :class:`Transposer`, within its
budget and else on disk; the order of all values is found with histograms of 2^16 bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from splade_bridge.data.invert import Columns, Transposer
from splade_bridge.data.vectors import BoolArray, Int32Array, Int64Array, counted, row_numbers
from splade_bridge.errors import UsageError
from splade_bridge.pruning.policy import (
    Collection,
    Keep,
    Policy,
    Rule,
    check_share,
    check_whole,
    number,
    whole_number,
)
from splade_bridge.pruning.rows import Rows, Unit, heaviest, value_of, values_of
from splade_bridge.pruning.size import packed_bytes

BINS = 1 << 16


@dataclass(frozen=True)
class TermQuantile(Policy):
    """In each posting list, all values from its q-quantile on: term-centric, arXiv 2304.12702.

    The quantile of n sorted values is number ceil(q (n - 1)), counted from 0 (numpy's "higher").
    All values that are equal to it stay, so a list of equal values, or of one, is never cut.
    """

    method: ClassVar[str] = "term-quantile"
    quantile: float

    def __post_init__(self) -> None:
        check_share(self.quantile, self.method)

    def rule(self, collection: Collection) -> Rule:
        """The least key of each list."""
        parts = [np.zeros(0, dtype=np.int32)]
        for block, values in _sorted_lists(collection):
            lengths = np.diff(block.indptr)
            # 0.1 x 30 is a little more than 3 in floating point, and 3 is meant.
            place = np.ceil(self.quantile * (lengths - 1) - 1e-9).astype(np.int64)
            parts.append(np.where(lengths > 0, _at(values, block, place), 0))
        least = np.concatenate(parts)
        return Rule(lambda: lambda rows: np.asarray(rows.keys >= least[rows.batch.indices]))


@dataclass(frozen=True)
class ListCap(Policy):
    """The ``longest`` heaviest postings of each list: arXiv 2304.12702, appendix; Seismic's lambda.

    Of postings with equal values those of earlier documents stay.
    """

    method: ClassVar[str] = "list-cap"
    longest: int

    def __post_init__(self) -> None:
        check_whole(self.longest, self.method)

    def rule(self, collection: Collection) -> Rule:
        """The least key of each list, and how many postings with that key stay."""
        parts, rooms = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
        for block, values in _sorted_lists(collection):
            lengths = np.diff(block.indptr)
            cut = lengths > self.longest
            least = np.where(cut, _at(values, block, lengths - self.longest), 0).astype(np.int32)
            above = counted(values > np.repeat(least, lengths), block.indptr)
            parts.append(least)
            rooms.append(np.where(cut, self.longest - above, 0))
        least, room = np.concatenate(parts), np.concatenate(rooms)
        return Rule(lambda: _with_room(least, room), {"lists_cut": int((least > 0).sum())})


def _with_room(least: Int32Array, room: Int64Array) -> Keep:
    left = room.copy()

    def keep(rows: Rows[Any]) -> BoolArray:
        indices = rows.batch.indices
        bound = least[indices]
        stays: BoolArray = rows.keys >= bound
        tied = np.flatnonzero(rows.keys == bound)
        tied = tied[np.argsort(indices[tied], kind="stable")]  # by term, then in reading order
        terms = indices[tied]
        first = np.searchsorted(terms, terms)
        stays[tied[np.arange(len(tied)) - first >= left[terms]]] = False
        distinct, count = np.unique(terms, return_counts=True)
        left[distinct] = np.maximum(left[distinct] - count, 0)
        return stays

    return keep


def _sorted_lists(collection: Collection) -> Iterator[tuple[Columns, Int32Array]]:
    """All lists in the order of term ids, some at a time, and their keys, ascending in each."""
    options = collection.options
    with Transposer(options.memory, options.temporary) as transposer:
        width = 0
        for rows in collection.rows():
            transposer.add(rows.batch.indptr, rows.batch.indices, rows.keys)
            width = len(rows.order.vocabulary)
        for block in transposer.columns(np.arange(width, dtype=np.int32)):
            column = row_numbers(block.indptr)
            pairs = column << 32 | block.values
            pairs.sort()
            yield block, (pairs & 0xFFFFFFFF).astype(np.int32)


def _at(values: Int32Array, block: Columns, place: Int64Array) -> Int32Array:
    """The value at ``place`` of each list; any where it has none there."""
    where = np.clip(block.indptr[:-1] + place, 0, max(0, len(values) - 1))
    return values[where] if len(values) else np.zeros(len(where), dtype=np.int32)


@dataclass(frozen=True)
class Postings(Policy):
    """The :class:`Threshold` that leaves the most postings, but no more than ``target``.

    A number, or a share of the collection as ``30%``. Found exactly. All that are equal to the
    threshold stay, so what is left can be less than the target by as many as one value has.
    """

    method: ClassVar[str] = "postings"
    target: int | None
    share: float | None = None

    @classmethod
    def of(cls, value: float | str) -> Postings:
        """The policy for ``2000000``, ``2M`` or ``30%``.

        Raises:
            UsageError: none of these.
        """
        if isinstance(value, str) and value.strip().endswith("%"):
            return cls(None, number(value.strip().removesuffix("%"), cls.method) / 100)
        return cls(whole_number(value, cls.method))

    def __post_init__(self) -> None:
        if self.target is None:
            check_share(self.share or 0, self.method)
        else:
            check_whole(self.target, self.method)

    @property
    def value(self) -> float | str:
        """The value, for the manifest."""
        return f"{(self.share or 0) * 100:g}%" if self.target is None else self.target

    def rule(self, collection: Collection) -> Rule:
        """The threshold.

        Raises:
            UsageError: what ``min_terms`` keeps is more than the target.
        """
        low, shift = 0, 0 if collection.unit == "impact" else 15
        while True:
            bins = _histogram(collection, low, shift)
            target = self._target(bins.postings)
            if bins.kept > target:
                raise UsageError(
                    f"{self.method}: {target:,} is out of reach: --min-terms "
                    f"{collection.options.min_terms} alone keeps {bins.kept:,} of "
                    f"{bins.postings:,} postings"
                )
            # What stays with a threshold at the lower edge of each bin, and above all of them.
            staying = bins.kept + np.cumsum(bins.counts[::-1])[::-1]
            fits = np.flatnonzero(staying <= target)
            if not fits.size:
                low, shift = low + (BINS << shift), 15
                continue
            edge = low + (int(fits[0]) << shift)
            if shift == 0 or edge == 0:
                return _threshold(edge, collection.unit)
            low, shift = edge - (1 << shift), 0

    def _target(self, postings: int) -> int:
        if self.target is not None:
            return self.target
        return math.floor((self.share or 0) * postings * (1 + 1e-12))


class _Histogram(NamedTuple):
    """How many keys lie where.

    Attributes:
        counts: int64[BINS + 1], of the postings that may go; the last bin holds all that are
            beyond the others.
        kept: postings that stay in any case.
        postings: all.
    """

    counts: Int64Array
    kept: int
    postings: int


def _histogram(collection: Collection, low: int, shift: int) -> _Histogram:
    """Keys from ``low`` on in bins of width 2^shift."""
    counts = np.zeros(BINS + 1, dtype=np.int64)
    kept = postings = 0
    for rows in collection.rows():
        loose = rows.keys[~_always_kept(rows, collection)]
        postings += len(rows.keys)
        kept += len(rows.keys) - len(loose)
        places = (loose[loose >= low] - low) >> shift
        found = np.bincount(np.minimum(places, BINS))
        counts[: len(found)] += found
    return _Histogram(counts, kept, postings)


def _always_kept(rows: Rows[Any], collection: Collection) -> BoolArray:
    """What a threshold cannot take, since ``min_terms`` would bring it back."""
    least = collection.options.min_terms
    if not least:
        return np.zeros(len(rows.keys), dtype=bool)
    batch = rows.batch
    counts = np.full(len(batch), least)
    return heaviest(batch.indptr, batch.indices, rows.keys, counts, rows.order)


def _threshold(least: int, unit: Unit) -> Rule:
    return Rule(
        lambda: lambda rows: np.asarray(rows.keys >= least), {"threshold": value_of(least, unit)}
    )


@dataclass(frozen=True)
class Bytes(Policy):
    """The :class:`Threshold` that leaves the most postings in ``target`` bytes or fewer.

    Bytes are those of packed posting lists (:mod:`splade_bridge.pruning.size`), not of a whole
    index; weights count as impacts of weight x scale. Found by bisection. All that are equal to the
    threshold stay.
    """

    method: ClassVar[str] = "bytes"
    target: int

    @classmethod
    def of(cls, value: float | str) -> Bytes:
        """The policy for ``200000000`` or ``200M``.

        Raises:
            UsageError: neither.
        """
        return cls(whole_number(value, cls.method))

    def __post_init__(self) -> None:
        check_whole(self.target, self.method)

    def rule(self, collection: Collection) -> Rule:
        """The threshold.

        Raises:
            UsageError: what ``min_terms`` keeps takes more than the target.
        """
        options = collection.options
        with Transposer(options.memory, options.temporary) as transposer:
            largest = width = 0
            for rows in collection.rows():
                # What stays in any case has a negative key.
                keys = np.where(_always_kept(rows, collection), -rows.keys, rows.keys)
                transposer.add(rows.batch.indptr, rows.batch.indices, keys)
                largest = max(largest, int(rows.keys.max(initial=0)))
                width = len(rows.order.vocabulary)
            fits, size = largest + 1, self._size(transposer, width, largest + 1, collection)
            if size > self.target:
                raise UsageError(
                    f"{self.method}: {self.target:,} is out of reach: --min-terms "
                    f"{options.min_terms} alone keeps {size:,} bytes"
                )
            too_low = 0
            while fits - too_low > 1:
                middle = (fits + too_low) // 2
                tried = self._size(transposer, width, middle, collection)
                if tried <= self.target:
                    fits, size = middle, tried
                else:
                    too_low = middle
        rule = _threshold(fits, collection.unit)
        return Rule(rule.start, {**rule.found, "bytes": size})

    def _size(self, transposer: Transposer, width: int, least: int, collection: Collection) -> int:
        total = 0
        for block in transposer.columns(np.arange(width, dtype=np.int32)):
            keys = np.abs(block.values)
            impacts = keys
            if collection.unit == "weight":
                weights = values_of(keys, "weight").astype(np.float64)
                impacts = np.rint(weights * collection.options.scale).astype(np.int32)
            stays = ((block.values < 0) | (keys >= least)) & (impacts > 0)
            lengths = counted(stays, block.indptr)
            total += packed_bytes(lengths, block.rows[stays], impacts[stays])
        return total
