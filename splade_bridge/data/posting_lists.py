"""Posting lists as blocks of arrays, and what is counted and hashed of them without documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splade_bridge.data.content import ID, Content, hashed
from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, check_ids, checked_id
from splade_bridge.data.vectors import Int32Array, Int64Array, check_rows, check_values
from splade_bridge.errors import BadInputError


@dataclass(frozen=True, eq=False)
class ListBlock:
    """Some posting lists; the first may go on with the last list of the block before.

    Attributes:
        terms: int32[n], ids in a vocabulary, each once.
        indptr: int64[n + 1], list i is ``docs[indptr[i]:indptr[i + 1]]``, which is not empty.
        docs: int32[nnz], numbers of documents, strictly increasing in each list.
        impacts: int32[nnz], >= 1.

    Raises:
        ValueError: an invariant does not hold.
    """

    terms: Int32Array
    indptr: Int64Array
    docs: Int32Array
    impacts: Int32Array

    def __post_init__(self) -> None:
        check_rows(len(self.terms), self.indptr, self.docs)
        check_values(self.impacts, self.docs, np.dtype(np.int32))
        if self.impacts.size and int(self.impacts.min()) < 1:
            raise ValueError("impacts must be 1 or more")
        if (self.lengths < 1).any():
            raise ValueError("a list must have a posting")

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def lengths(self) -> Int64Array:
        """int64[n]: postings of each list."""
        return np.diff(self.indptr)


class KnownDocuments:
    """The ids of all documents, kept as UTF-8: what is needed of them beside posting lists.

    Takes the bytes of an id, its line end, and 16 bytes for its hash.

    Args:
        path: of the source, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: list[bytes] = []
        self._hashes = [np.empty((2, 0), np.uint64)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, names: list[str]) -> None:
        """Take the next ones.

        Raises:
            BadInputError: one is no id.
        """
        try:
            check_ids(names, str(self._path))
        except BadInputError:
            for number, name in enumerate(names, self._count):
                checked_id(name, f"{self._path}: document {number:,}")
            raise
        self._texts.append("\n".join(names).encode())  # no id holds white space
        self._hashes.append(hashed(names, ID))
        self._count += len(names)

    def batches(self) -> Iterator[list[str]]:
        """All ids in their order, as they were given."""
        for text in self._texts:
            yield text.decode().split("\n")

    def hashed(self) -> np.ndarray:
        """uint64[2, documents], as :func:`.content.hashed` gives them; to be asked for once.

        Raises:
            BadInputError: an id is there twice.
        """
        hashes = np.concatenate(self._hashes, axis=1)
        self._hashes = []
        if has_twice(hashes[0]):
            guard, number = DuplicateGuard(), 0
            for names in self.batches():
                for name in names:
                    guard.check(name, f"{self._path}: document {number:,}")
                    number += 1
        return hashes


def has_twice(hashes: np.ndarray) -> bool:
    """Whether a number of uint64[n] is there twice."""
    rising = np.sort(hashes)
    return bool((rising[1:] == rising[:-1]).any())


class ListCounter:
    """Counts and hashes posting lists as their documents would be.

    Args:
        hashes: uint64[2, documents] of all ids.
        content, counts: what is counted in.
        path: of the source, for messages.

    Attributes:
        sums: int64[documents], the impacts of each.
    """

    def __init__(self, hashes: np.ndarray, content: Content, counts: Counts, path: Path) -> None:
        self._hashes = hashes
        self._content, self._counts, self._path = content, counts, path
        self._there = np.zeros(0, bool)
        self._last_term = self._last_doc = -1
        self.sums = np.zeros(hashes.shape[1], np.int64)
        counts.documents += hashes.shape[1]
        content.add_documents(hashes)

    def add(self, block: ListBlock) -> None:
        """Count in all lists of ``block``.

        Raises:
            BadInputError: a posting of a document without an id, or a term that has a list already.
        """
        if not block.docs.size:
            return
        self._check_terms(block)
        last = int(block.docs.max())
        if last >= len(self.sums):
            raise BadInputError(
                f"postings of document {last:,}, but ids of {len(self.sums):,} documents only",
                str(self._path),
            )
        self._content.add_lists(self._hashes, block.terms, block.indptr, block.docs, block.impacts)
        np.add.at(self.sums, block.docs, block.impacts.astype(np.int64))
        self._counts.postings += len(block.docs)
        self._counts.impact_sum += int(block.impacts.sum(dtype=np.int64))
        self._counts.max_impact = max(self._counts.max_impact, int(block.impacts.max()))

    def _check_terms(self, block: ListBlock) -> None:
        goes_on = int(block.terms[0]) == self._last_term and int(block.docs[0]) > self._last_doc
        new = block.terms[1:] if goes_on else block.terms
        if len(new):
            wanted = max(2 * len(self._there), int(new.max()) + 1)
            if int(new.max()) >= len(self._there):
                self._there = np.concatenate([self._there, np.zeros(wanted, bool)])
            twice = self._there[new].any()
            self._there[new] = True
            if twice or len(np.unique(new)) < len(new):
                raise BadInputError("a term has two posting lists: damaged", str(self._path))
        self._last_term, self._last_doc = int(block.terms[-1]), int(block.docs[-1])

    def end(self, known: Iterator[list[str]]) -> None:
        """Count the empty documents.

        Args:
            known: all ids in their order; read only as far as names are wanted.
        """
        empty = np.flatnonzero(self.sums == 0)
        counts = self._counts
        counts.empty += len(empty)
        wanted = empty[: counts.KEEP_EMPTY_IDS - len(counts.empty_ids)].tolist()
        start = 0
        while wanted:
            names = next(known)
            while wanted and wanted[0] < start + len(names):
                counts.empty_ids.append(names[wanted.pop(0) - start])
            start += len(names)
