"""Texts by id, from a file that is mapped and not loaded."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import mapped, pointers
from splade_bridge.text.corpora import Text

TEXTS, OFFSETS, KEYS, ROWS = "texts.bin", "offsets.npy", "keys.npy", "rows.npy"


def id_key(text_id: str) -> int:
    """64 bits of BLAKE2b: what an id is found by; :meth:`TextTable.build` refuses two of the same.

    Among 10 million ids two share them with a probability of 3e-6.
    """
    return int.from_bytes(hashlib.blake2b(text_id.encode(), digest_size=8).digest(), "big")


def text_key(text: str) -> int:
    """63 bits of a text's BLAKE2b, never 0: what tells in a batch that two texts are the same."""
    return (id_key(text) >> 1) or 1


class TextTable:
    """The texts of a collection, found by id, in 24 bytes a text of mapped memory.

    The 8.8 million passages of MS MARCO make 211 MB of tables and 3 GB of text on the disk; the
    system keeps in memory what is used.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._offsets = mapped(folder / OFFSETS)
            self._keys = mapped(folder / KEYS)
            self._rows = mapped(folder / ROWS)
            self._blob = np.memmap(folder / TEXTS, dtype=np.uint8, mode="r")
            pointers(self._offsets, len(self._blob), folder / OFFSETS)
            if not len(self._offsets) - 1 == len(self._keys) == len(self._rows):
                raise ValueError("its arrays do not belong together")
            if not 0 <= int(self._rows.min()) <= int(self._rows.max()) < len(self._rows):
                raise ValueError("a row that is not there")
        except (OSError, ValueError, BadInputError) as error:
            raise BadInputError(
                f"no table of texts ({error}): remove it, it is made again", str(folder)
            ) from error

    @classmethod
    def build(cls, texts: Iterable[Text], folder: Path) -> TextTable:
        """Write the tables of ``texts`` into ``folder`` and open them.

        Raises:
            BadInputError: no texts, an id that comes twice, or what ``texts`` itself raises.
        """
        keys, ends, size, place = array("Q"), array("q", [0]), 0, str(folder)
        with open(folder / TEXTS, "wb") as blob:
            for text in texts:
                content = text.text.encode("utf-8", "surrogatepass")
                size += blob.write(content)
                keys.append(id_key(text.id))
                ends.append(size)
                place = text.place
            if not size:
                raise BadInputError("holds no texts", place)
        found = np.frombuffer(keys, dtype=np.uint64)
        order = np.argsort(found, kind="stable")
        found = found[order]
        if (found[1:] == found[:-1]).any():
            raise BadInputError("two of its ids are the same, or have the same hash", place)
        np.save(folder / OFFSETS, np.frombuffer(ends, dtype=np.int64))
        np.save(folder / KEYS, found)
        np.save(folder / ROWS, order)
        return cls(folder)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, text_id: object) -> bool:
        return isinstance(text_id, str) and self._row(text_id) is not None

    def __getitem__(self, text_id: str) -> str:
        """The text of ``text_id``; KeyError for an id that is not there."""
        row = self._row(text_id)
        if row is None:
            raise KeyError(text_id)
        return self._at(row)

    def size(self, text_id: str) -> int | None:
        """Bytes of the text of ``text_id``, or None for an id that is not there."""
        row = self._row(text_id)
        return None if row is None else int(self._offsets[row + 1] - self._offsets[row])

    def __iter__(self) -> Iterator[str]:
        """All texts in the order of the collection."""
        for row in range(len(self)):
            yield self._at(row)

    def _at(self, row: int) -> str:
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        return bytes(self._blob[start:stop]).decode("utf-8", "replace")

    def _row(self, text_id: str) -> int | None:
        key = np.uint64(id_key(text_id))
        at = int(np.searchsorted(self._keys, key))
        return int(self._rows[at]) if at < len(self) and self._keys[at] == key else None
