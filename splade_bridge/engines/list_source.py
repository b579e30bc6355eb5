"""An index of posting lists as a source, read through its open searcher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from splade_bridge.data.doc_ids import DocIds
from splade_bridge.engines.base import Searcher
from splade_bridge.formats.postings import PostingListSource


class IndexLists(PostingListSource):
    """What such sources share; a subclass gives the lists.

    Args:
        index: closed when all has been read.
        doc_ids: those beside it.
    """

    path: Path

    def __init__(
        self, index: Searcher, doc_ids: DocIds, memory: int, temporary: Path | None
    ) -> None:
        assert isinstance(index.path, Path)
        super().__init__(index.path, index.vocabulary, index.manifest, memory, temporary)
        self._searcher = index
        self._doc_ids = doc_ids

    def opened(self) -> AbstractContextManager[object]:
        """Its processes, if it has any."""
        return self._searcher

    def document_ids(self) -> Iterator[tuple[str, str]]:
        """Those beside the index."""
        yield from self._doc_ids.placed(self.path)
