"""The oracle: an integer product of query and documents over plain posting lists.

Nothing is skipped or approximated, so what this engine says is what the others must say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import Hits
from splade_bridge.data.invert import Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import VOCABULARY, BuildOptions, ReadBack
from splade_bridge.engines.kept_lists import impact_in
from splade_bridge.engines.list_source import ListEngine, ListSearcher
from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import mapped, pointers
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.postings import PostingList

INDPTR, DOCS, IMPACTS = "indptr.npy", "docs.bin", "impacts.bin"


class ExactEngine(ListEngine):
    """Posting lists as two flat int32 files."""

    name = "exact"
    algorithms = ("exhaustive",)

    def check_installed(self) -> None:
        """Needs nothing but numpy."""

    def recorded(self) -> dict[str, Any]:
        """There is nothing to choose."""
        return {}

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        ids = DocIdWriter(folder)
        with Transposer(options.memory, folder.parent, source.expected_postings) as transposer:
            for batch in source.batches():
                transposer.add(batch.indptr, batch.indices, batch.impacts)
                ids.add(batch.ids)
            ids.close()
            refuse_empty(source.counts, source.path)
            width = len(source.vocabulary)
            np.save(folder / INDPTR, row_pointers(transposer.column_counts(width)))
            with open(folder / DOCS, "wb") as docs, open(folder / IMPACTS, "wb") as impacts:
                for block in transposer.columns(np.arange(width, dtype=np.int32)):
                    docs.write(block.rows.tobytes())
                    impacts.write(block.values.tobytes())
        written = np.memmap(folder / IMPACTS, dtype=np.int32, mode="r")
        return ReadBack(len(DocIds(folder)), len(written), int(written.sum(dtype=np.int64)))

    def open(self, path: Path, manifest: Manifest | None) -> ListSearcher:
        """Map the posting lists."""
        return ExactSearcher(path, manifest)


class ExactSearcher(ListSearcher):
    """Adds up one query at a time in an int64 for every document."""

    algorithms = ExactEngine.algorithms
    uses_threads = False

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        super().__init__(path, manifest, Vocabulary.load(path / VOCABULARY))
        self.doc_ids = DocIds(path)
        try:
            self._docs = np.asarray(np.memmap(path / DOCS, dtype=np.int32, mode="r"))
            self._impacts = np.asarray(np.memmap(path / IMPACTS, dtype=np.int32, mode="r"))
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        self._indptr = pointers(mapped(path / INDPTR), len(self._docs), path / INDPTR)
        if len(self._docs) != len(self._impacts):
            raise self._damaged(f"{len(self._docs)} postings and {len(self._impacts)} impacts")
        if len(self._indptr) != len(self.vocabulary) + 1:
            raise self._damaged(
                f"{len(self._indptr) - 1} posting lists of {len(self.vocabulary)} terms"
            )

    def _damaged(self, how: str) -> BadInputError:
        return BadInputError(f"damaged ({how}): build it again", str(self.path))

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        scores = np.zeros(len(self.doc_ids), dtype=np.int64)
        for number, query_id in enumerate(queries.ids):
            started = time.perf_counter_ns()
            scores[:] = 0
            scored = 0
            for term, weight in zip(*queries.row(number), strict=True):
                part = slice(int(self._indptr[term]), int(self._indptr[term + 1]))
                scored += part.stop - part.start
                try:
                    scores[self._docs[part]] += self._impacts[part] * np.int64(weight)
                except (IndexError, ValueError) as error:
                    raise self._damaged(str(error)) from error
            found = np.flatnonzero(scores)
            doc_ids, best = self.doc_ids.rank(found, scores[found], k)
            yield Hits(query_id, doc_ids, best, time.perf_counter_ns() - started, scored)

    def posting_list(self, term: int) -> tuple[Int32Array, Int32Array]:
        """Documents, ascending, and impacts of a term."""
        part = slice(int(self._indptr[term]), int(self._indptr[term + 1]))
        return self._docs[part], self._impacts[part]

    def lists(self) -> Iterator[PostingList]:
        """Those of all terms, an empty one too."""
        for term in range(len(self.vocabulary)):
            yield PostingList(term, *self.posting_list(term))

    def document_frequencies(self) -> Int64Array:
        """See :class:`Searcher`."""
        return np.asarray(np.diff(self._indptr))

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        number = self.doc_ids.find(doc_id)
        if number is None:
            return None
        return [impact_in(self.posting_list(term), number) for term in term_ids]
