"""What impact-index is asked in its own process; see splade_bridge/engines/library_server.py.

The package is GPL-3, and this process is the only one that imports it. Documents are numbered as
they come, terms as in the vocabulary, and every weight is a whole number of 1 or more, as float32:
the library panics on others, and a term's number is the length of an array that it makes.
"""

from __future__ import annotations

import itertools
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


class Index:
    """An index that is built here or was opened."""

    extra = 64

    def __init__(self) -> None:
        self._library: Any = import_module("impact_index")
        self._index: Any = None
        self._bmp: Any = None
        self.documents = 0

    def create(self, folder: str, name: str, postings_in_memory: int) -> None:
        """Begin an index.

        Args:
            postings_in_memory: of a list, before they go to disk.
        """
        self._folder = Path(folder)
        (self._folder / name).mkdir()
        options = self._library.BuilderOptions()
        options.in_memory_threshold = postings_in_memory
        self._builder = self._library.IndexBuilder(str(self._folder / name), options)

    def add(self, indptr: np.ndarray, terms: np.ndarray, impacts: np.ndarray) -> None:
        """Add documents, in compressed rows."""
        numbers, weights = terms.astype(np.uintp), impacts.astype(np.float32)
        bounds = indptr.tolist()
        for start, stop in itertools.pairwise(bounds):
            if start < stop:
                self._builder.add(self.documents, numbers[start:stop], weights[start:stop])
            self.documents += 1

    def finish(self, bmp: str | None, block_size: int) -> None:
        """Write what is left, and under the name ``bmp`` the index of Block-Max Pruning."""
        index = self._builder.build(False)
        if bmp is not None:
            index.to_bmp_streaming(str(self._folder / bmp), block_size, True)

    def open(self, folder: str, name: str, documents: int) -> None:
        """Map an index."""
        self._folder = Path(folder)
        self._index = self._library.Index.load(str(self._folder / name), False)
        self.documents = documents

    def retrieve(
        self, depth: int, query: dict[int, float], algorithm: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Documents int64[n] and scores int64[n] of the best ``depth``, best first."""
        found = getattr(self._index, f"search_{algorithm}")(query, depth)
        documents = np.array([document.docid for document in found], dtype=np.int64)
        scores = np.array([document.score for document in found])
        return documents, np.rint(scores).astype(np.int64)

    def pruned(
        self, bmp: str, query: dict[str, float], k: int, alpha: float, beta: float
    ) -> tuple[np.ndarray, int]:
        """Documents int64[n], at most k, that Block-Max Pruning finds, and its nanoseconds."""
        if self._bmp is None:
            self._bmp = self._library.BmpSearcher(str(self._folder / bmp))
        started = time.perf_counter_ns()
        names, _ = self._bmp.search(query, k, alpha, beta)
        spent = time.perf_counter_ns() - started
        return np.array([int(name) for name in names], dtype=np.int64), spent

    def postings(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents int32[n], ascending, and impacts int32[n] of a list."""
        held = [(posting.docid, posting.value) for posting in self._index.postings(term)]
        documents, values = zip(*held, strict=True) if held else ((), ())
        return np.array(documents, dtype=np.int32), np.rint(values).astype(np.int32)

    def totals(self, terms: list[int]) -> tuple[int, int]:
        """Postings and sum of impacts of some lists."""
        postings, total = 0, 0.0
        for term in terms:
            values = [posting.value for posting in self._index.postings(term)]
            postings += len(values)
            total += sum(values)
        return postings, int(total)
