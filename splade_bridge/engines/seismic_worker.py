"""What Seismic is asked in its own process; see splade_bridge/engines/library_server.py.

Terms are numbers, written as strings, and so are documents: their rows in the forward store that
lies beside the index. A row without terms is in no list, and Seismic leaves it out.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

NARROW = 1 << 16
"""Terms that the plain class can number; the other takes 2 bytes a posting more."""
AT_ONCE = 1 << 22
"""Postings that are handed over in one call."""
ROWS_AT_ONCE = 8192


class Index:
    """An index that was built here or opened."""

    extra = 1

    def __init__(self) -> None:
        self._seismic: Any = import_module("seismic")
        self._index: Any = None
        self.documents = 0

    def build(
        self, folder: str, forward: str, name: str, terms: int, factor: float,
        options: dict[str, Any], threads: int,
    ) -> None:  # fmt: skip
        """Build an index of a forward store, and save it.

        Args:
            folder: that both lie in, by these names; Seismic adds an ending to its own.
            terms: in the vocabulary.
            factor: impacts are multiplied by it; a power of 2.
            options: of Seismic's own build.
        """
        store = Path(folder) / forward
        indptr, indices, impacts = _arrays(store)
        dataset = self._class(terms, "SeismicDataset")(dim=terms)
        start = 0
        while start < len(indptr) - 1:
            within = int(np.searchsorted(indptr, indptr[start] + AT_ONCE, side="right")) - 1
            stop = max(start + 1, min(within, start + ROWS_AT_ONCE, len(indptr) - 1))
            part = slice(int(indptr[start]), int(indptr[stop]))
            dataset.add_documents_by_id(
                [str(row) for row in range(start, stop)],
                indices[part].astype(np.int64),
                (impacts[part] * factor).astype(np.float32),
                np.asarray(indptr[start : stop + 1] - indptr[start], dtype=np.int64),
            )
            start = stop
        index = self._class(terms, "SeismicIndex").build_from_dataset(
            dataset, num_threads=threads, **options
        )
        index.save(str(Path(folder) / name))

    def open(self, folder: str, file: str, terms: int) -> None:
        """Load an index into memory."""
        self._index = self._class(terms, "SeismicIndex").load(str(Path(folder) / file))
        self.documents = int(self._index.len)
        self._folder = Path(folder)
        self._names = np.arange(terms).astype(self._seismic.get_seismic_string())

    def check(self, forward: str, factor: float) -> tuple[int, int, int]:
        """Documents, postings, and documents whose weights are not those of the forward store.

        Weights are float16 here: an impact times ``factor``, rounded to 11 significant bits.
        """
        indptr, indices, impacts = _arrays(self._folder / forward)
        rows = np.flatnonzero(np.diff(indptr))  # empty ones are not here
        differing = postings = 0
        for number, row in enumerate(rows[: self.documents].tolist()):
            terms, weights = self._index.get(number)
            part = slice(int(indptr[row]), int(indptr[row + 1]))
            wanted = (impacts[part] * factor).astype(np.float16).astype(np.float32)
            postings += len(terms)
            same = np.array_equal(terms, indices[part]) and np.array_equal(weights, wanted)
            differing += not same
        return self.documents, postings, differing

    def retrieve(
        self, depth: int, terms: np.ndarray, weights: np.ndarray, query_cut: int, heap_factor: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows int64[n] and scores float32[n] of the best ``depth`` that it finds, best first."""
        found = self._index.search(
            query_id="", query_components=self._names[terms],
            query_values=weights.astype(np.float32), k=depth, query_cut=query_cut,
            heap_factor=heap_factor,
        )  # fmt: skip
        rows = np.array([int(row) for _, _, row in found], dtype=np.int64)
        return rows, np.array([score for _, score, _ in found], dtype=np.float32)

    def _class(self, terms: int, name: str) -> Any:
        return getattr(self._seismic, name if terms < NARROW else f"{name}LV")


def _arrays(store: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row pointers, terms and impacts of a forward store."""
    indptr, terms, impacts = (
        np.load(store / f"{name}.npy", mmap_mode="r") for name in ("indptr", "terms", "impacts")
    )
    return indptr, terms, impacts
