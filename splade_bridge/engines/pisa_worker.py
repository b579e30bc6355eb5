"""The process that PISA's library lives in; started by splade_bridge/engines/pisa.py.

The library aborts on much that is wrong and writes to stdout, so it gets a process of its own:
its death becomes an error message in the parent, and its chatter goes to the log. Requests and
answers are pickles on two pipes whose numbers it is told, from and to our own parent only.

This file is run by its path and imports nothing of ours, so the process needs no working directory
on its path, and it is the same in a checkout and in an installation.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import pickle
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

MODULE = "pyterrier_pisa._pisathon"
EXTRA_FOR_TIES = 64


class Answer(NamedTuple):
    """Documents of one query, best first; all that tie with the k-th are included."""

    documents: np.ndarray
    scores: np.ndarray
    nanoseconds: int


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
    """An index that :func:`prepare_index` made or opened."""

    def __init__(
        self, pisa: Any, folder: str, encoding: str, block_size: int, documents: int
    ) -> None:
        self._pisa = pisa
        self._documents = documents
        self._context = pisa.RetrievalContext()
        # "quantized" takes the stored frequency as the score; quantize=1 would destroy it. No
        # stemmer.
        pisa.prepare_index(
            self._context, folder, encoding, "quantized", "", block_size=block_size, quantize=0
        )

    def best(
        self, terms: dict[str, float], k: int, algorithm: str
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """The fields of an :class:`Answer`: the k best, and every other that scores as the k-th.

        PISA keeps any of those that tie at the end; asking for more until the last one scores
        below the k-th leaves no choice to it.
        """
        depth = min(k + EXTRA_FOR_TIES, self._documents)
        nanoseconds = 0
        while True:
            started = time.perf_counter_ns()
            names, scores = self._retrieve(terms, depth, algorithm)
            nanoseconds += time.perf_counter_ns() - started
            documents = _numbers(names)
            if len(scores) < depth or depth == self._documents or scores[-1] < scores[k - 1]:
                return documents, scores, nanoseconds
            depth = min(2 * depth, self._documents)

    def _retrieve(
        self, terms: dict[str, float], depth: int, algorithm: str
    ) -> tuple[list[str], np.ndarray]:
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
        return names[:found].tolist(), np.rint(scores[:found]).astype(np.int64)

    def postings(self, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents int32[n], ascending, and impacts int32[n] of a list of that many or fewer."""
        names, scores = self._retrieve({name: 1.0}, min(length + 1, self._documents), "ranked_or")
        documents = _numbers(names)
        order = np.argsort(documents)
        return documents[order].astype(np.int32), scores[order].astype(np.int32)

    def totals(self, lists: list[tuple[str, int]]) -> tuple[int, int]:
        """Postings and sum of impacts, as one-term queries find them.

        Args:
            lists: name and expected length of each list; one document more is asked for.
        """
        postings = total = 0
        for name, length in lists:
            depth = min(length + 1, self._documents)
            _, scores = self._retrieve({name: 1.0}, depth, "ranked_or")
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


def main() -> None:
    """Serve requests until their pipe ends.

    Arguments: the numbers of the pipes for requests and answers, the compiled module's path, and
    the most seconds of a request, 0 for any: the library never comes back from some damaged
    indexes, and SIGALRM, which nothing handles, ends the process also while it holds the GIL.
    """
    requests, answers = open(int(sys.argv[1]), "rb"), open(int(sys.argv[2]), "wb")  # noqa: SIM115
    pisa, patience = load(Path(sys.argv[3])), int(sys.argv[4])
    index: Index | None = None
    while True:
        try:
            method, arguments = pickle.load(requests)  # noqa: S301 - of our parent
        except EOFError:
            return
        signal.alarm(patience)
        if method == "open":
            index, result = Index(pisa, *arguments), None
        else:
            result = getattr(index, method)(*arguments)
        signal.alarm(0)
        pickle.dump(result, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()
