"""What PISA's library is asked in its own process; see splade_bridge/engines/library_server.py."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

MODULE = "pyterrier_pisa._pisathon"


def library() -> Path | None:
    """PISA's compiled module, found without importing the Python package around it (2.4 s)."""
    spec = importlib.util.find_spec("pyterrier_pisa")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return next(iter(sorted(folder.glob("_pisathon*.so"))), None)


def load(path: Path) -> ModuleType:
    """The compiled module alone."""
    loader = importlib.machinery.ExtensionFileLoader(MODULE, str(path))
    spec = importlib.util.spec_from_loader(MODULE, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Index:
    """An index that :func:`prepare_index` made or opened.

    Args:
        library: the compiled module's path.
    """

    extra = 64

    def __init__(self, library: str) -> None:
        self._pisa: Any = load(Path(library))
        self.documents = 0

    def open(self, folder: str, encoding: str, block_size: int, documents: int) -> None:
        """Open the index in ``folder``, which is built if it is not yet."""
        self.documents = documents
        self._context = self._pisa.RetrievalContext()
        # "quantized" takes the stored frequency as the score; quantize=1 would destroy it. No
        # stemmer.
        self._pisa.prepare_index(
            self._context, folder, encoding, "quantized", "", block_size=block_size, quantize=0
        )

    def retrieve(
        self, depth: int, terms: dict[str, float], algorithm: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Documents int64[n] and scores int64[n] of the best ``depth``, best first."""
        queries = np.empty(depth, dtype=np.int32)
        names = np.empty(depth, dtype=object)
        ranks = np.empty(depth, dtype=np.int32)
        scores = np.empty(depth, dtype=np.float32)
        # The module floors weights and reads them as C doubles without a check: floats only.
        found = self._pisa.retrieve(
            self._context, algorithm, [(0, terms)], k=depth, threads=1, pretokenised=1,
            query_weighted=1, result_qidxs=queries, result_docnos=names, result_ranks=ranks,
            result_scores=scores,
        )  # fmt: skip
        return _numbers(names[:found].tolist()), np.rint(scores[:found]).astype(np.int64)

    def postings(self, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents int32[n], ascending, and impacts int32[n] of a list of that many or fewer."""
        depth = min(length + 1, self.documents)
        documents, scores = self.retrieve(depth, {name: 1.0}, "ranked_or")
        order = np.argsort(documents)
        return documents[order].astype(np.int32), scores[order].astype(np.int32)

    def totals(self, lists: list[tuple[str, int]]) -> tuple[int, int]:
        """Postings and sum of impacts, as one-term queries find them.

        Args:
            lists: name and expected length of each list; one document more is asked for.
        """
        postings = total = 0
        for name, length in lists:
            depth = min(length + 1, self.documents)
            _, scores = self.retrieve(depth, {name: 1.0}, "ranked_or")
            postings += len(scores)
            total += int(scores.sum())
        return postings, total


def _numbers(names: list[str]) -> np.ndarray:
    """int64 of zero-padded names; four times as fast as int() of each, and this is every answer."""
    if not names:
        return np.empty(0, np.int64)
    digits = np.frombuffer("".join(names).encode(), np.uint8).reshape(len(names), -1)
    powers = 10.0 ** np.arange(digits.shape[1] - 1, -1, -1)
    return ((digits - np.uint8(ord("0"))) @ powers).astype(np.int64)
