"""Documents from posting lists, in bounded memory: what CIFF and every index are as a source."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from splade_bridge.data.beside import Beside
from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.invert import DEFAULT_MEMORY, Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.posting_lists import KnownDocuments, ListBlock, ListCounter
from splade_bridge.data.vectors import (
    ImpactBatch,
    Int32Array,
    Int64Array,
    row_pointers,
    sliced,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource, OrderedLists

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
    """Posting lists, turned back into documents with a transposition, or read as lists.

    Args:
        memory: budget in bytes of the transposition.
        temporary: folder for what does not fit into it.

    Attributes:
        sorted_terms: whether :meth:`blocks` gives lists by the bytes of their terms.
        known: after :meth:`counted_lists`, the ids of all documents.
        sums: then, int64[documents]: the impacts of each.
    """

    path: Path
    sorted_terms = False

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
        self.known = KnownDocuments(path)
        self.sums: Int64Array = np.empty(0, np.int64)

    @property
    def in_order(self) -> bool:
        """Whether :meth:`counted_lists` gives what an output wants that is sorted by terms."""
        return self.sorted_terms and self.clipper is None

    @abc.abstractmethod
    def lists(self) -> Iterator[PostingList]:
        """All lists in any order, each document once in those of a term.

        Raises:
            BadInputError: something is wrong with one, which is named.
        """

    @abc.abstractmethod
    def document_ids(self) -> Iterator[tuple[str, str]]:
        """The id of each document by its number, and where it stands."""

    def blocks(self) -> Iterator[ListBlock]:
        """All lists as :meth:`lists` has them, many at a time and without empty ones."""
        for group in _together(one for one in self.lists() if len(one.docs)):
            terms = np.array([one.term for one in group], dtype=np.int32)
            first = np.flatnonzero(np.concatenate([[True], terms[1:] != terms[:-1]]))
            lengths = np.add.reduceat([len(one.docs) for one in group], first)  # parts of one list
            yield ListBlock(
                terms[first],
                row_pointers(lengths),
                _joined([one.docs for one in group]),
                _joined([one.impacts for one in group]),
            )

    def id_batches(self) -> Iterator[list[str]]:
        """The ids of all documents by their numbers, some thousand at a time."""
        ids = (doc_id for doc_id, _ in self.document_ids())
        while names := list(islice(ids, BATCH_ROWS)):
            yield names

    def counted_lists(self) -> Iterator[ListBlock]:
        """All lists, counted and hashed, and watched, as :meth:`batches` does it with documents.

        Takes 24 bytes a document, and those of its id.

        Raises:
            BadInputError: as :meth:`batches`.
        """
        assert self.clipper is None, "what is clipped is read as documents"
        with self.opened():
            for names in self.id_batches():
                self.known.add(names)
            counter = ListCounter(self.known.hashed(), self.content, self.counts, self.path)
            self.sums = counter.sums
            yield from counted(self, self.blocks(), counter, self.expected_postings)
            counter.end(self.known.batches())

    def ordered_lists(self) -> OrderedLists | None:
        """See :meth:`.ImpactSource.ordered_lists`."""
        if not self.in_order:
            return None
        blocks = self.counted_lists()
        first = list(islice(blocks, 1))  # all ids are known with it
        return OrderedLists(self.known.batches(), chain(first, blocks), lambda: self.sums)

    def read_all(self) -> None:
        """See :meth:`.Source.read_all`; no document is made."""
        if self.clipper is not None:
            super().read_all()
        else:
            for _ in self.counted_lists():
                pass

    def _read(self) -> Iterator[ImpactBatch]:
        with (
            self.opened(),
            Transposer(self._memory, self._temporary, self.expected_postings) as transposer,
        ):
            terms = [np.empty(0, np.int32)]
            documents = 0
            for group in self.blocks():
                terms.append(group.terms)
                documents = max(documents, int(group.docs.max()) + 1)
                transposer.add(group.indptr, group.docs, group.impacts)
            mapping = np.concatenate(terms)
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


def counted(
    source: ImpactSource, blocks: Iterator[ListBlock], counter: ListCounter, expected: int | None
) -> Iterator[ListBlock]:
    """``blocks``, counted by ``counter`` beside whoever takes them, and watched.

    Args:
        expected: postings in all, if known: a bar counts as many documents as those so far are
            worth.
    """
    documents = len(counter.sums)
    now: list[ListBlock] = []

    def shares() -> Iterator[range]:
        told = 0
        for block in blocks:
            beside.call(counter.add, block)
            now[:] = [block]
            part = min(documents, documents * source.counts.postings // expected) if expected else 0
            yield range(part - told)
            told = part

    watch: Callable[[Iterator[Any]], Iterator[Any]] = source.watch
    with Beside() as beside:
        for _ in watch(shares()):
            yield now.pop()
        beside.finish()


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
