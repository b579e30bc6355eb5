"""A dense index that is open: queries in, the nearest documents out.

Scores do not depend on threads, blocks or the BLAS at hand: what faiss finds is scored anew, each
product exact in float64, their sum rounded to float32 once. So equal vectors have equal scores, and
documents of equal scores come by id. In a flat index the answer is the exact one by these scores:
a ranking that faiss gives by its own sums is cut where the difference between the two can no longer
change the first k, and made deeper where it does not reach so far.
"""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from splade_bridge.data.choices import check_threads
from splade_bridge.data.closing import Closing
from splade_bridge.data.doc_ids import DocIds
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import Float32Array, Int64Array
from splade_bridge.embeddings.build import FAISS, INDEX_FOLDER, flat_vectors
from splade_bridge.embeddings.choices import DEFAULT_EF_SEARCH, KIND, IndexKind, Similarity
from splade_bridge.embeddings.faiss_module import faiss_module
from splade_bridge.embeddings.graph import read_graph
from splade_bridge.embeddings.vectors import DenseBatch, normalized
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.inputs import is_there
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.typed import Where, as_table, json_file

BLOCK_BYTES = 1 << 25
"""Of vectors that one thread compares at a time: what is mapped may go again after that."""
QUERIES_AT_ONCE = 64
RESULTS_AT_ONCE = 1_000_000
"""Candidates of all queries that are searched together."""
MARGIN = 32
"""Candidates beyond k that are asked for at first."""
SCORED_AT_ONCE = 4096
ROUNDING = 2.0**-24
"""Largest relative error of one rounding of a float32."""


def is_dense_index(path: Path) -> bool:
    """Whether ``path`` is a finished dense index, by its manifest; what is damaged is none."""
    if not is_there(path) or not (file := manifest_file(path)).is_file():
        return False
    with contextlib.suppress(BadInputError):
        where = Where(str(file))
        return as_table(json_file(where), where).get("kind") == KIND
    return False


class DenseIndex(Closing):
    """An open dense index; several threads may search it. A context manager.

    Args:
        path: its folder.

    Attributes:
        path: of its folder.
        manifest: what it was made from.
        kind: ``flat`` is exact, ``hnsw`` is not.
        similarity: what scores are.
        dimension: numbers of a vector.

    Raises:
        BadInputError: not a dense index, or a damaged one.
        MissingToolError: faiss is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest.load(path)
        if self.manifest.kind != KIND:
            raise BadInputError(f"holds {self.manifest.kind}, not a dense index", str(path))
        self.kind: IndexKind = self.manifest.option("index_kind", IndexKind, path)
        self.similarity: Similarity = self.manifest.option("similarity", Similarity, path)
        self.dimension: int = self.manifest.option("dimension", int, path)
        longest: float = self.manifest.option("longest", float, path)
        faiss_module()
        self._ids = DocIds(path / INDEX_FOLDER)
        if len(self._ids) != self.manifest.counts.documents or self.dimension < 1:
            raise self._damaged(f"{len(self._ids):,} documents of {self.dimension} numbers")
        self._nearest: _Nearest
        try:
            if self.kind == "flat":
                self._nearest = _Flat(
                    path / INDEX_FOLDER / FAISS, len(self), self.dimension, longest
                )
            else:
                self._nearest = _Graph(path / INDEX_FOLDER / FAISS, len(self), self.dimension)
        except (OSError, ValueError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
            raise self._damaged(str(error)) from error

    def __len__(self) -> int:
        return len(self._ids)

    def search(
        self,
        queries: DenseBatch,
        k: int,
        *,
        threads: int = 1,
        ef_search: int | None = None,
        alone: bool = False,
    ) -> Iterator[Hits]:
        """The best ``k`` documents of every query in its order; ``scores`` are float32.

        Args:
            queries: vectors of :attr:`dimension` numbers; for cosine of any length.
            threads: that compare at a time.
            ef_search: candidates of a query in a graph; None for 128, or k where that is more.
            alone: search each query by itself, so that its time is its own; else the time of
                those that a flat index is asked together is shared out evenly.

        Raises:
            UsageError: ``k`` below 1, too many threads, or ``ef_search`` of what is no graph.
            MismatchError: vectors of another dimension.
            BadInputError: a vector that is not finite.
        """
        if k < 1:
            raise UsageError(f"k must be 1 or more, not {k}")
        check_threads(threads)
        self.check_ef_search(ef_search, k)
        if queries.vectors.shape[1] != self.dimension:
            raise MismatchError(
                f"{self.path}: vectors of {self.dimension} numbers, and the queries have "
                f"{queries.vectors.shape[1]}: they were made by different models"
            )
        queries.refuse_endless("queries")
        if self.similarity == "cosine":
            queries = DenseBatch(queries.ids, normalized(queries.vectors))
        depth = min(k, len(self))
        return self._search(queries, depth, threads, max(ef_search or DEFAULT_EF_SEARCH, k), alone)

    def check_ef_search(self, ef_search: int | None, k: int) -> None:
        """Raise UsageError for candidates of what is no graph, or too few for ``k`` documents."""
        if ef_search is not None and self.kind != "hnsw":
            raise UsageError(f"{self.path}: is a flat index, and --ef-search is of graphs")
        if ef_search is not None and ef_search < k:
            raise UsageError(f"--ef-search {ef_search} cannot give {k} documents: at least -k")

    def _search(
        self, queries: DenseBatch, k: int, threads: int, ef_search: int, alone: bool
    ) -> Iterator[Hits]:
        together = 1 if alone else max(1, min(QUERIES_AT_ONCE, RESULTS_AT_ONCE // k))
        one = faiss_module().omp_set_num_threads
        # OpenMP's threads would be as many for each of ours; the number is a thread's own.
        with ThreadPoolExecutor(threads, "dense-search", initializer=one, initargs=(1,)) as pool:
            for start in range(0, len(queries), together):
                group = queries.rows(start, start + together)
                before = time.perf_counter_ns()
                found = self._nearest.find(group.vectors, k, _How(ef_search, pool, threads))
                ranked = [self._ids.rank(*hits, k) for hits in found]
                spent = (time.perf_counter_ns() - before) // len(group)
                for query_id, (doc_ids, scores) in zip(group.ids, ranked, strict=True):
                    yield Hits(query_id, doc_ids, scores, spent)

    def _damaged(self, how: str) -> BadInputError:
        return BadInputError(f"damaged ({how}): build it again", str(self.path))

    def close(self) -> None:
        """Let the files go."""
        self.__dict__.pop("_nearest", None)


_Found = tuple[Int64Array, Float32Array]
"""Numbers and scores of documents."""


class _How(NamedTuple):
    """How queries are searched."""

    ef_search: int
    pool: ThreadPoolExecutor
    threads: int


class _Nearest(abc.ABC):
    """Finds documents that are near to a query, and scores them."""

    @abc.abstractmethod
    def find(self, queries: Float32Array, k: int, how: _How) -> list[_Found]:
        """At least ``k`` documents a query, those that tie with the k-th included where the index
        is exact.
        """


class _Flat(_Nearest):
    """All vectors, mapped."""

    def __init__(self, path: Path, documents: int, dimension: int, longest: float) -> None:
        self._vectors = flat_vectors(path, documents, dimension)
        self._longest = longest
        self._rows = max(1, BLOCK_BYTES // (4 * dimension))

    def find(self, queries: Float32Array, k: int, how: _How) -> list[_Found]:
        """See :class:`_Nearest`."""
        documents = len(self._vectors)
        found: list[_Found | None] = [None] * len(queries)
        still, depth = list(range(len(queries))), min(documents, k + max(MARGIN, k // 8))
        while still:
            numbers, sums = self._by_sums(queries[still], depth, how)
            for row, query in enumerate(still):
                scores = scored(self._vectors, numbers[row], queries[query])
                if depth < documents:
                    worst = np.partition(scores, len(scores) - k)[len(scores) - k]
                    if float(sums[row].min()) + self._error(queries[query]) >= float(worst):
                        continue  # what was not found might score as much
                found[query] = numbers[row], scores
            still = [query for query in still if found[query] is None]
            depth = min(documents, 2 * depth)
        return [hits for hits in found if hits is not None]

    def _error(self, query: Float32Array) -> float:
        """By how much faiss's sum and a score of :func:`scored` may differ.

        |fl(x.y) - x.y| <= n u / (1 - n u) |x| |y| in any order of adding (Higham, Accuracy and
        Stability of Numerical Algorithms, 3.5), and the score is rounded once more.
        """
        n = (len(query) + 8) * ROUNDING
        length = float(np.sqrt(np.square(query, dtype=np.float64).sum()))
        return n / (1 - n) * length * self._longest

    def _by_sums(self, queries: Float32Array, depth: int, how: _How) -> _Found:
        """Numbers and faiss's own sums, both [queries, depth], of the nearest in any order."""
        faiss = faiss_module()

        def block(start: int) -> _Found:
            part = self._vectors[start : start + self._rows]
            wanted = min(depth, len(part))
            sums, numbers = faiss.knn(queries, part, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            return numbers + start, sums

        numbers = np.empty((len(queries), 0), dtype=np.int64)
        sums = np.empty((len(queries), 0), dtype=np.float32)
        starts = range(0, len(self._vectors), self._rows)
        for wave in range(0, len(starts), how.threads):  # no more results than threads wait
            for more_numbers, more_sums in how.pool.map(block, starts[wave : wave + how.threads]):
                numbers = np.hstack([numbers, more_numbers])
                sums = np.hstack([sums, more_sums])
                if numbers.shape[1] > depth:
                    best = np.argpartition(-sums, depth - 1, axis=1)[:, :depth]
                    numbers = np.take_along_axis(numbers, best, axis=1)
                    sums = np.take_along_axis(sums, best, axis=1)
        return numbers, sums


class _Graph(_Nearest):
    """A graph, in memory."""

    def __init__(self, path: Path, documents: int, dimension: int) -> None:
        self._index, self._vectors = read_graph(path, documents, dimension)

    def find(self, queries: Float32Array, k: int, how: _How) -> list[_Found]:
        """See :class:`_Nearest`; fewer than ``k`` where the walk ends before."""
        faiss = faiss_module()
        options = faiss.SearchParametersHNSW(efSearch=how.ef_search)

        def one(query: Float32Array) -> _Found:
            _, numbers = self._index.search(query[None], k, params=options)
            near = numbers[0][numbers[0] >= 0]
            return near, scored(self._vectors, near, query)

        return list(how.pool.map(one, queries))


def scored(vectors: Float32Array, numbers: Int64Array, query: Float32Array) -> Float32Array:
    """float32[n]: the inner products of ``query`` with the vectors of ``numbers``.

    The same for equal vectors, wherever they stand: products of two float32 are exact in float64,
    and their sum goes through the columns in one order.
    """
    scores = np.empty(len(numbers), dtype=np.float32)
    wide = query.astype(np.float64)
    for start in range(0, len(numbers), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        scores[part] = (vectors[numbers[part]].astype(np.float64) * wide).sum(axis=1)
    return scores
