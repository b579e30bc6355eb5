"""Document ids by number, in a file that is mapped and not loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from splade_bridge.data.hits import best, contenders, string_ranks
from splade_bridge.data.vectors import Int64Array
from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import mapped, pointers

Number = TypeVar("Number", np.int64, np.float32)

BLOB = "doc_ids.bin"
OFFSETS = "doc_offsets.npy"
NAMES_AT_ONCE = 4096
SCANNED_AT_ONCE = 1 << 18

PADDED_MOST, PADDED_FREE = 8, 1 << 16
"""Bytes of ids in fixed width: so many times their own, and so many more."""


class DocIdWriter:
    """Appends ids; the blob goes to disk, 4 bytes an id stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blob = open(folder / BLOB, "wb")  # noqa: SIM115 - closed by close()
        self._lengths: list[np.ndarray] = []

    def add(self, ids: Sequence[str]) -> None:
        """Append ids, numbered from the last."""
        encoded = [doc_id.encode() for doc_id in ids]
        self._blob.write(b"".join(encoded))
        self._lengths.append(np.array([len(e) for e in encoded], dtype=np.int32))

    def close(self) -> None:
        """Write the offsets."""
        self._blob.close()
        lengths = np.concatenate([np.empty(0, np.int32), *self._lengths])
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        np.save(self._folder / OFFSETS, offsets)


class DocIds:
    """The ids of an index, as written by :class:`DocIdWriter`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = mapped(folder / OFFSETS)
        try:
            # Each slice of a memmap costs a microsecond more than one of a plain array.
            self._blob = np.asarray(np.memmap(folder / BLOB, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"no document ids ({error}): build it again", str(folder)
            ) from error
        self._offsets = pointers(self._offsets, len(self._blob), folder / OFFSETS)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def find(self, doc_id: str) -> int | None:
        """The number of ``doc_id``, by a look at all ids of its length; for single look-ups."""
        wanted = doc_id.encode()
        for first in range(0, len(self), SCANNED_AT_ONCE):
            offsets = self._offsets[first : first + SCANNED_AT_ONCE + 1]
            numbers = np.flatnonzero(np.diff(offsets) == len(wanted))
            starts = offsets[numbers]
            for place in reversed(range(len(wanted))):  # ids that are counted differ in their ends
                same = self._blob[starts + place] == wanted[place]
                numbers, starts = numbers[same], starts[same]
                if not len(numbers):
                    break
            else:
                if len(numbers):
                    return first + int(numbers[0])
        return None

    def placed(self, index: Path) -> Iterator[tuple[str, str]]:
        """Each id and, for messages, where it stands."""
        for start in range(0, len(self), NAMES_AT_ONCE):
            numbers = np.arange(start, min(start + NAMES_AT_ONCE, len(self)), dtype=np.int64)
            for number, name in enumerate(self._names(numbers).tolist(), start):
                yield name.decode(), f"{index}: document {number:,}"

    def rank(
        self, numbers: Int64Array, scores: npt.NDArray[Number], k: int
    ) -> tuple[list[str], npt.NDArray[Number]]:
        """The best ``k`` by (score descending, id ascending).

        Args:
            numbers: int64[n] documents, all that tie with the k-th best included.
            scores: int64[n] or float32[n].

        Raises:
            BadInputError: a document that is not there, or whose id is damaged.
        """
        places = contenders(scores, k)
        names, scores = self._names(numbers[places]), scores[places]
        order = best(scores, k, lambda tied: _keys(names[tied]))
        try:
            return [name.decode() for name in names[order].tolist()], scores[order]
        except UnicodeDecodeError as error:
            raise self._damaged(error) from error

    def _names(self, numbers: Int64Array) -> npt.NDArray[np.bytes_] | npt.NDArray[np.object_]:
        """The ids of ``numbers``: bytes of one width, whose order is that of code points.

        Bytes of their own each, where a few long ones would make that take many times what the ids
        themselves do.
        """
        try:
            starts = self._offsets[numbers]
            lengths = self._offsets[numbers + 1] - starts
        except IndexError as error:  # a posting of a document beyond the last one
            raise self._damaged(error) from error
        if lengths.size and (lengths.min() < 0 or lengths.max() > len(self._blob)):
            raise self._damaged(IndexError("an id begins after its end"))
        width = int(lengths.max(initial=1))
        if width * len(numbers) > PADDED_MOST * int(lengths.sum()) + PADDED_FREE:
            pairs = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
            return np.array([self._blob[start:stop].tobytes() for start, stop in pairs], object)
        column = np.arange(width)
        there = column < lengths[:, None]
        content = self._blob[np.where(there, starts[:, None] + column, 0)]
        content[~there] = 0  # no id holds a NUL, so it sorts first and is stripped
        return content.view(f"S{width}").ravel()

    def _damaged(self, error: Exception) -> BadInputError:
        return BadInputError(f"damaged ({error}): build it again", str(self._folder))


def _keys(names: npt.NDArray[np.bytes_] | npt.NDArray[np.object_]) -> npt.NDArray[np.generic]:
    """What compares as ``names`` do, and numpy can sort."""
    return string_ranks(names.tolist()) if names.dtype == object else names
