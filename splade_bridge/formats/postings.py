"""Documents from posting lists, in bounded memory: what CIFF and every index are as a source."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.invert import DEFAULT_MEMORY, Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int32Array, row_pointers, sliced
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource

BATCH_ROWS = 4096
TOGETHER = 1 << 16
"""Postings from which on lists are handed on; a call for each of many short ones takes longer."""


class PostingList(NamedTuple):
    """A posting list, or a part of one.

    Attributes:
        term: its id in the vocabulary.
        docs: int32[n], ascending.
        impacts: int32[n].
    """

    term: int
    docs: Int32Array
    impacts: Int32Array


class PostingListSource(ImpactSource):
    """Posting lists, turned back into documents with a transposition.

    Args:
        memory: budget in bytes of the transposition.
        temporary: folder for what does not fit into it.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        vocabulary: Vocabulary,
        manifest: Manifest | None,
        memory: int = DEFAULT_MEMORY,
        temporary: Path | None = None,
    ) -> None:
        super().__init__(path, vocabulary, manifest)
        self._memory = memory
        self._temporary = temporary

    def opened(self) -> AbstractContextManager[object]:
        """What must be open while lists and ids are read; their reader closes it."""
        return nullcontext()

    @abc.abstractmethod
    def lists(self) -> Iterator[PostingList]:
        """All lists in any order, each document once in those of a term.

        Raises:
            BadInputError: something is wrong with one, which is named.
        """

    @abc.abstractmethod
    def document_ids(self) -> Iterator[tuple[str, str]]:
        """The id of each document by its number, and where it stands."""

    def _read(self) -> Iterator[ImpactBatch]:
        with (
            self.opened(),
            Transposer(self._memory, self._temporary, self.expected_postings) as transposer,
        ):
            terms: list[int] = []
            documents = 0
            for group in _together(self.lists()):
                terms.extend(one.term for one in group)
                docs = _joined([one.docs for one in group])
                documents = max(documents, int(docs.max()) + 1 if len(docs) else 0)
                impacts = _joined([one.impacts for one in group])
                lengths = np.array([len(one.docs) for one in group], dtype=np.int64)
                transposer.add(row_pointers(lengths), docs, impacts)
            mapping = np.array(terms, dtype=np.int32)
            in_order = bool((mapping[1:] >= mapping[:-1]).all())  # then rows need no sorting
            ids = self._unique_ids()
            start = 0
            while names := list(islice(ids, BATCH_ROWS)):
                rows = np.arange(start, start + len(names), dtype=np.int32)
                start += len(names)
                done = 0
                for block in transposer.columns(rows):
                    part, indptr = sliced(block.indptr, 0, len(block.ids))
                    here = names[done : done + len(block.ids)]
                    done += len(block.ids)
                    lists, impacts = block.rows[part], block.values[part]
                    if in_order:
                        yield ImpactBatch(here, indptr, mapping[lists], impacts)
                    else:
                        yield ImpactBatch(here, indptr, lists, impacts).remap(mapping)
            if start < documents:
                raise BadInputError(
                    f"postings of document {documents - 1:,}, but ids of {start:,} documents only",
                    str(self.path),
                )

    def _unique_ids(self) -> Iterator[str]:
        guard = DuplicateGuard()
        for doc_id, place in self.document_ids():
            guard.check(checked_id(doc_id, place), place)
            yield doc_id


def _together(lists: Iterator[PostingList]) -> Iterator[list[PostingList]]:
    """Lists that follow one another, :data:`TOGETHER` postings or more at a time."""
    group: list[PostingList] = []
    postings = 0
    for one in lists:
        if len(one.docs) >= TOGETHER and group:  # a long one stands alone, and is not copied
            yield group
            group, postings = [], 0
        group.append(one)
        postings += len(one.docs)
        if postings >= TOGETHER or len(group) >= TOGETHER:
            yield group
            group, postings = [], 0
    if group:
        yield group


def _joined(parts: list[Int32Array]) -> Int32Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
