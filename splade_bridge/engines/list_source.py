"""An index of posting lists as a source, read through its open searcher."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from splade_bridge.data.doc_ids import DocIds
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.base import Engine, Searcher
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.postings import PostingList, PostingListSource


class ListSearcher(Searcher):
    """A searcher that gives its posting lists, too.

    Attributes:
        doc_ids: by the numbers that stand in the lists.
    """

    path: Path
    doc_ids: DocIds

    @abc.abstractmethod
    def lists(self) -> Iterator[PostingList]:
        """Those of all terms that a document has."""


class ListEngine(Engine):
    """An engine whose indexes are read list by list."""

    @abc.abstractmethod
    def open(self, path: Path, manifest: Manifest | None) -> ListSearcher:
        """See :class:`Engine`."""

    def read(
        self, path: Path, manifest: Manifest | None, memory: int, temporary: Path | None
    ) -> ImpactSource:
        """See :class:`Engine`."""
        return IndexLists(self.open(path, manifest), memory, temporary)


class IndexLists(PostingListSource):
    """The posting lists of an index.

    Args:
        index: closed when all has been read.
    """

    path: Path

    def __init__(self, index: ListSearcher, memory: int, temporary: Path | None) -> None:
        super().__init__(index.path, index.vocabulary, index.manifest, memory, temporary)
        self._index = index

    def opened(self) -> AbstractContextManager[object]:
        """Its processes, if it has any."""
        return self._index

    def document_ids(self) -> Iterator[tuple[str, str]]:
        """Those beside the index."""
        yield from self._index.doc_ids.placed(self.path)

    def lists(self) -> Iterator[PostingList]:
        """As the index gives them."""
        return self._index.lists()
