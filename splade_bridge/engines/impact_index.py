"""impact-index: MaxScore and WAND over mapped lists, exact; and Block-Max Pruning, approximate.

The package is GPL-3: it is imported by nothing but the worker process of an index that names this
engine (``impact_index_worker.py``), and no extra brings it but its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import EXACT_SCORES_BELOW
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import impact_index_worker
from splade_bridge.engines.base import (
    VOCABULARY,
    BuildOptions,
    ReadBack,
    Searcher,
    refuse_beyond_float32,
)
from splade_bridge.engines.findings import Finding, version_of
from splade_bridge.engines.forward import KeptVectors
from splade_bridge.engines.impact_index_options import ImpactIndexOptions
from splade_bridge.engines.kept_lists import KeptLists
from splade_bridge.engines.library_process import PATIENCE, LibraryPool, LibraryProcess
from splade_bridge.engines.library_server import NOTHING
from splade_bridge.engines.list_source import ListEngine, ListSearcher
from splade_bridge.errors import BadInputError, MissingToolError, UsageError, install
from splade_bridge.files.writing import mapped
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.forward import FORWARD_FOLDER, ForwardStore, write_forward
from splade_bridge.formats.postings import PostingList

PACKAGE, DISTRIBUTION = "impact_index", "impact-index"
LISTS, BMP = "lists", "blocks.bmp"
FREQUENCIES = "frequencies.npy"
ALGORITHMS = ("maxscore", "wand")
MOST_TERMS = 1 << 16
"""That Block-Max Pruning can number."""
POSTING_BYTES = 16
"""Of a posting in memory, while it is built."""
USUAL_TERMS = 1 << 16
"""At least so many are reckoned with: an observed vocabulary is known in the end alone."""
LEAST_POSTINGS = 16
"""Of a list in memory."""

ALPHAS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
BETAS = (1.0, 0.8, 0.6)


class ImpactIndexEngine(ListEngine):
    """Builds lists on disk, a process beside ours."""

    name = "impact-index"
    algorithms = ALGORITHMS
    options: ImpactIndexOptions = ImpactIndexOptions()

    def check_installed(self) -> None:
        """Look for the package, which is not imported here."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise MissingToolError(f"impact-index is not installed: {install('impact-index')}")

    def tools(self) -> dict[str, str]:
        """The package's version."""
        version = version_of(DISTRIBUTION)
        return {DISTRIBUTION: version} if version else {}

    def findings(self) -> list[Finding]:
        """The package."""
        version = version_of(DISTRIBUTION)
        remedy = f"optional, GPL-3: {install('impact-index')}"
        return [Finding("impact-index", "engine impact-index", version, remedy)]

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        bmp = BMP if self.options.bmp else None
        batches = source.batches()
        if bmp is not None:
            forward = folder / FORWARD_FOLDER
            write_forward(forward, source, options.memory)
            batches = ForwardStore(forward).batches()
        ids = DocIdWriter(folder)
        frequencies: Int64Array = np.zeros(0, dtype=np.int64)
        beyond = documents = 0
        in_memory = options.memory // (POSTING_BYTES * max(USUAL_TERMS, len(source.vocabulary)))
        with _process(folder, ("create", LISTS, max(LEAST_POSTINGS, in_memory))) as worker:
            for batch in batches:
                ids.add(batch.ids)
                documents += len(batch)
                frequencies = _added(frequencies, np.bincount(batch.indices))
                beyond += int((batch.impacts > EXACT_SCORES_BELOW).sum())
                if not beyond:
                    worker.call("add", batch.indptr, batch.indices, batch.impacts)
            ids.close()
            refuse_empty(source.counts, source.path)
            refuse_beyond_float32(source, beyond, "impact-index")
            if bmp is not None and len(source.vocabulary) > MOST_TERMS:
                raise BadInputError(
                    f"has {len(source.vocabulary):,} terms, and Block-Max Pruning numbers "
                    f"{MOST_TERMS:,}: leave --impact-index-bmp out",
                    str(source.path),
                )
            worker.call("finish", bmp, self.options.bmp_block_size)
        np.save(folder / FREQUENCIES, frequencies)
        with _process(folder, ("open", LISTS, documents)) as opened:
            postings, impact_sum = opened.call("totals", np.flatnonzero(frequencies).tolist())
        return ReadBack(len(DocIds(folder)), postings, impact_sum)

    def open(self, path: Path, manifest: Manifest | None) -> ListSearcher:
        """Start no process yet; :meth:`Searcher.search` does."""
        assert manifest is not None
        self.check_installed()
        return ImpactIndexSearcher(path, manifest)


class ImpactIndexSearcher(ListSearcher):
    """MaxScore or WAND, one process a thread; they map the same lists."""

    algorithms = ALGORITHMS

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest, Vocabulary.load(path / VOCABULARY))
        self.doc_ids = DocIds(path)
        self._held: Int64Array = np.zeros(len(self.vocabulary), dtype=np.int64)
        found = mapped(path / FREQUENCIES)
        if len(found) > len(self._held) or found.dtype.kind not in "iu" or found.ndim != 1:
            raise BadInputError(
                "damaged (no count for each list): build it again", str(path / FREQUENCIES)
            )
        self._held[: len(found)] = found
        opening = "open", LISTS, len(self.doc_ids)
        self.pool = LibraryPool(lambda: _process(path, opening, PATIENCE))
        self._lists = KeptLists(self.posting_list)

    def weighted(self, queries: ImpactBatch, number: int) -> dict[int, float]:
        """Term -> weight of one query; terms without postings are left out."""
        terms, weights = queries.row(number)
        there = self._held[terms] > 0
        pairs = zip(terms[there].tolist(), weights[there].tolist(), strict=True)
        return {term: float(weight) for term, weight in pairs}

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def question(number: int) -> tuple[Any, ...] | None:
            query = self.weighted(queries, number)
            return (k, query, algorithm) if query else None

        asked = map(question, range(len(queries)))
        answers = self.pool.ask("best", asked, max(1, min(threads, len(queries))))
        with contextlib.closing(answers):
            for query_id, answer in zip(queries.ids, answers, strict=True):
                documents, scores, spent = answer or NOTHING
                yield Hits(query_id, *self.doc_ids.rank(documents, scores, k), spent)

    def posting_list(self, term: int) -> tuple[Int32Array, Int32Array]:
        """Documents, ascending, and impacts of a term that a document has."""
        documents, impacts = self.pool.call("postings", term)
        return documents, impacts

    def lists(self) -> Iterator[PostingList]:
        """See :class:`ListSearcher`."""
        for term in np.flatnonzero(self._held).tolist():
            yield PostingList(term, *self.posting_list(term))

    def document_frequencies(self) -> Int64Array:
        """As counted when the index was built."""
        return self._held

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """Looked up in the lists."""
        terms = ((int(term), bool(self._held[term])) for term in term_ids)
        return self._lists.impacts(self.doc_ids, doc_id, terms)

    def approximated(self, own: Mapping[str, Any]) -> BmpSearcher:
        """See :class:`Searcher`: by Block-Max Pruning."""
        if not (self.path / FORWARD_FOLDER).is_dir():
            raise UsageError(
                f"{self.path}: was built without Block-Max Pruning: index with --impact-index-bmp, "
                "or leave --approximate out"
            )
        return BmpSearcher(self, **own)

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`Searcher`."""
        if not (self.path / FORWARD_FOLDER).is_dir():
            return []
        return [{"alpha": alpha, "beta": beta} for alpha in ALPHAS for beta in BETAS]

    def close(self) -> None:
        """End the processes."""
        self.pool.close()


class BmpSearcher(Searcher):
    """Block-Max Pruning over the same documents, and exact scores for what it finds.

    Its own weights are 8 bits wide, so its answer is approximate at alpha = beta = 1, too.

    Args:
        alpha: a block is passed over that promises less than the k-th score divided by this.
        beta: the part of a query's terms, the heaviest, that is used.
    """

    path: Path

    approximate = True

    def __init__(self, index: ImpactIndexSearcher, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(index.path, index.manifest, index.vocabulary)
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 < value <= 1:
                raise UsageError(f"impact-index {name} must lie between 0 and 1, 0 left out")
        self._index = index
        self._kept = KeptVectors(ForwardStore(index.path / FORWARD_FOLDER))
        self._pruning = alpha, beta
        self.algorithms = (f"bmp alpha={alpha:g} beta={beta:g}",)

    def approximated(self, own: Mapping[str, Any]) -> BmpSearcher:
        """See :class:`Searcher`."""
        return self._index.approximated(own)

    def exact(self) -> Searcher:
        """See :class:`Searcher`: MaxScore."""
        return self._index

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def question(number: int) -> tuple[Any, ...] | None:
            query = self._index.weighted(queries, number)
            names = {str(term): weight for term, weight in query.items()}
            return (BMP, names, k, *self._pruning) if names else None

        asked = map(question, range(len(queries)))
        answers = self._index.pool.ask("pruned", asked, max(1, min(threads, len(queries))))
        with contextlib.closing(answers):
            for number, answer in enumerate(answers):
                rows, spent = answer or (NOTHING.documents, 0)
                hits = self._kept.rescored(queries.ids[number], *queries.row(number), rows, k)
                yield hits._replace(nanoseconds=hits.nanoseconds + spent)

    def document_frequencies(self) -> Int64Array:
        """See :class:`Searcher`."""
        return self._index.document_frequencies()

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        return self._kept.store.impacts(doc_id, term_ids)

    def close(self) -> None:
        """End the processes."""
        self._index.close()


def _added(frequencies: Int64Array, more: np.ndarray) -> Int64Array:
    """The sum of both, as long as the longer one."""
    total = np.zeros(max(len(frequencies), len(more)), dtype=np.int64)
    total[: len(frequencies)] += frequencies
    total[: len(more)] += more
    return total


def _process(folder: Path, opening: tuple[Any, ...], patience: int = 0) -> LibraryProcess:
    """One process of the library.

    Raises:
        ExternalProgramError: it died.
    """
    return LibraryProcess(
        "impact-index", impact_index_worker.__file__, folder, opening, patience=patience
    )
