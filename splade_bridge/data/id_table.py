"""From document ids to row numbers, a thousand at a time: a hash table that is mapped, not loaded.

Rows are grouped in buckets by the first bits of their ids' hashes, less than one a bucket, each
with the next 16 bits as a tag. What has the right tag is compared byte by byte.

::

    id_buckets.npy   uint32[2^b + 1], where each bucket starts
    id_tags.npy      uint16[n]
    id_rows.npy      uint32[n]
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splade_bridge.data.doc_ids import BLOB, OFFSETS
from splade_bridge.data.vectors import Int64Array
from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import mapped

BUCKETS, TAGS, ROWS = "id_buckets.npy", "id_tags.npy", "id_rows.npy"

TAG_BITS = 16
MAX_BUCKET_BITS = 30
AT_ONCE, BYTES_AT_ONCE = 1 << 16, 1 << 22
BYTES_AN_ID = 32
"""Of memory while a part of the table is sorted."""

UInt8Array = npt.NDArray[np.uint8]
UInt64Array = npt.NDArray[np.uint64]


def write_id_table(folder: Path, memory: int) -> None:
    """Make the table of the ids that :class:`~.doc_ids.DocIdWriter` left in ``folder``.

    Args:
        memory: budget in bytes; the table is made in parts that fit into it.
    """
    count = len(np.load(folder / OFFSETS, mmap_mode="r")) - 1
    bits = min(count.bit_length(), MAX_BUCKET_BITS)
    parts = min(max(BYTES_AN_ID * count // memory, 0).bit_length(), bits)
    with tempfile.TemporaryFile(dir=folder) as scratch:
        for hashed in _hashes_of_all(folder):
            scratch.write(hashed.tobytes())
        scratch.flush()
        hashes = np.memmap(scratch, dtype=np.uint64, mode="r")
        tags = np.lib.format.open_memmap(folder / TAGS, "w+", np.uint16, (count,))
        rows = np.lib.format.open_memmap(folder / ROWS, "w+", np.uint32, (count,))
        filled = np.zeros((1 << bits) + 1, dtype=np.uint32)
        start = 0
        for part in range(1 << parts):
            mine = _rows_in_part(hashes, part, parts)
            order = np.argsort(hashes[mine], kind="stable")
            sorted_hashes = hashes[mine][order]
            stop = start + len(mine)
            rows[start:stop] = mine[order]
            tags[start:stop] = _tag(sorted_hashes, bits)
            buckets = _first_bits(sorted_hashes, bits)
            found, counts = np.unique(buckets, return_counts=True)
            filled[found.astype(np.int64) + 1] = counts
            start = stop
        np.save(folder / BUCKETS, np.cumsum(filled, dtype=np.uint32))
        tags.flush()
        rows.flush()


class IdTable:
    """The rows of document ids.

    Raises:
        BadInputError: files are missing or do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = mapped(folder / OFFSETS)
        self._buckets = mapped(folder / BUCKETS)
        self._tags = mapped(folder / TAGS)
        self._rows = mapped(folder / ROWS)
        try:
            self._blob = np.asarray(np.memmap(folder / BLOB, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise BadInputError(f"no document ids ({error}): make it again", str(folder)) from error
        count = len(self._offsets) - 1
        self._bits = (len(self._buckets) - 1).bit_length() - 1
        fits = (
            self._bits >= 0
            and len(self._offsets) > 0
            and len(self._buckets) == (1 << self._bits) + 1
            and len(self._tags) == len(self._rows) == int(self._buckets[-1]) == count
            and len(self._blob) == int(self._offsets[-1])
        )
        if not fits:
            raise BadInputError("damaged table of document ids: make it again", str(folder))

    def __len__(self) -> int:
        return len(self._rows)

    def names(self, start: int, stop: int) -> list[str]:
        """The ids of rows ``start`` to ``stop`` (exclusive)."""
        ends = self._offsets[start : stop + 1].tolist()
        raw = self._blob[ends[0] : ends[-1]].tobytes()
        edges = [end - ends[0] for end in ends]
        try:
            return [raw[a:b].decode() for a, b in itertools.pairwise(edges)]
        except UnicodeDecodeError as error:
            raise BadInputError(
                f"damaged table of document ids ({error}): make it again", str(self._folder)
            ) from error

    def find(self, doc_ids: Sequence[str]) -> Int64Array:
        """int64[len(doc_ids)]: the row of each id, -1 where there is no such document.

        Raises:
            BadInputError: the table is damaged.
        """
        try:
            return self._find(doc_ids)
        except IndexError as error:
            raise BadInputError(
                f"damaged table of document ids ({error}): make it again", str(self._folder)
            ) from error

    def _find(self, doc_ids: Sequence[str]) -> Int64Array:
        blob, lengths = _encoded(doc_ids)
        starts = np.cumsum(lengths) - lengths
        hashes = _hashes(blob, starts, lengths)
        tags = _tag(hashes, self._bits)
        buckets = _first_bits(hashes, self._bits).astype(np.int64)
        at = self._buckets[buckets].astype(np.int64)
        stop = np.minimum(self._buckets[buckets + 1], len(self._tags))
        found = np.full(len(doc_ids), -1, dtype=np.int64)
        still = np.arange(len(doc_ids))
        while len(still := still[at[still] < stop[still]]):
            self._skip_to_tag(at, stop, tags, still)
            still = still[at[still] < stop[still]]
            rows = self._rows[at[still]].astype(np.int64)
            same = self._are(rows, blob, starts[still], lengths[still])
            found[still[same]] = rows[same]
            still = still[~same]  # another id with the same tag
            at[still] += 1
        return found

    def _skip_to_tag(
        self, at: Int64Array, stop: Int64Array, tags: npt.NDArray[np.uint16], still: Int64Array
    ) -> None:
        """Move ``at[still]`` on to the next entry with the tag that is wanted, or to the end."""
        while len(still):
            still = still[self._tags[at[still]] != tags[still]]
            at[still] += 1
            still = still[at[still] < stop[still]]

    def _are(
        self, rows: Int64Array, blob: UInt8Array, starts: Int64Array, lengths: Int64Array
    ) -> npt.NDArray[np.bool_]:
        """Whether each row's id is the piece of ``blob`` with that start and length."""
        there = rows < len(self)  # else a damaged table
        rows = np.where(there, rows, 0)
        ours = self._offsets[rows]
        there &= self._offsets[rows + 1] - ours == lengths
        n = lengths[there]
        equal = self._blob[_spread(ours[there], n)] == blob[_spread(starts[there], n)]
        running = np.zeros(len(equal) + 1, dtype=np.int64)
        np.cumsum(equal, out=running[1:])
        ends = np.cumsum(n)
        there[there] = running[ends] - running[ends - n] == n
        return there


def _spread(starts: Int64Array, lengths: Int64Array) -> Int64Array:
    """The positions of ranges, one after another: starts 5, 9 and lengths 2, 3: 5 6 9 10 11."""
    ends = np.cumsum(lengths)
    positions = np.repeat(starts - ends + lengths, lengths)
    positions += np.arange(len(positions))
    return positions


def _encoded(doc_ids: Sequence[str]) -> tuple[UInt8Array, Int64Array]:
    """All ids as UTF-8 one after another, and the length of each in bytes."""
    text = "".join(doc_ids)
    raw = text.encode()
    sizes = map(len, doc_ids) if len(raw) == len(text) else (len(i.encode()) for i in doc_ids)
    return np.frombuffer(raw, np.uint8), np.fromiter(sizes, np.int64, len(doc_ids))


@functools.lru_cache(maxsize=4)
def _coefficients(count: int) -> UInt64Array:
    """Random numbers that are always the same: splitmix64 of 1, 2, 3 ..."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _hashes(blob: UInt8Array, starts: Int64Array, lengths: Int64Array) -> UInt64Array:
    """Multilinear hashes: the sum of (byte + 1) x a random number for its place, modulo 2^64."""
    place = np.arange(len(blob)) - np.repeat(starts, lengths)
    factors = _coefficients(1 << max(int(lengths.max(initial=1)) - 1, 0).bit_length())
    summands = (blob.astype(np.uint64) + np.uint64(1)) * factors[place]
    running = np.zeros(len(blob) + 1, dtype=np.uint64)
    np.cumsum(summands, out=running[1:])
    return np.asarray(running[starts + lengths] - running[starts])


def _first_bits(hashes: UInt64Array, bits: int) -> UInt64Array:
    # A shift by 64 is undefined in C.
    return hashes >> np.uint64(64 - bits) if bits else np.zeros_like(hashes)


def _tag(hashes: UInt64Array, bits: int) -> npt.NDArray[np.uint16]:
    return (hashes >> np.uint64(64 - bits - TAG_BITS)).astype(np.uint16)


def _hashes_of_all(folder: Path) -> Iterator[UInt64Array]:
    offsets = mapped(folder / OFFSETS)
    blob = np.memmap(folder / BLOB, dtype=np.uint8, mode="r")
    start, count = 0, len(offsets) - 1
    while start < count:
        # Long ids come fewer at a time: their bytes take 24 times as much while they are hashed.
        full = int(np.searchsorted(offsets, offsets[start] + BYTES_AT_ONCE, side="right")) - 1
        stop = min(start + AT_ONCE, max(full, start + 1), count)
        ends = offsets[start : stop + 1].astype(np.int64)
        start = stop
        piece = np.asarray(blob[int(ends[0]) : int(ends[-1])])
        yield _hashes(piece, ends[:-1] - ends[0], np.diff(ends))


def _rows_in_part(hashes: UInt64Array, part: int, bits: int) -> Int64Array:
    found = []
    for start in range(0, len(hashes), AT_ONCE):
        piece = _first_bits(np.asarray(hashes[start : start + AT_ONCE]), bits)
        found.append(start + np.flatnonzero(piece == part))
    return np.concatenate(found)
