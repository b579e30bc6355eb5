"""The BM25 baseline on the same documents: Lucene's own, and the same weights as sparse vectors.

Lucene's analyzer for English (Porter stemming, English stop words; Anserini's
DefaultEnglishAnalyzer is the same chain) counts the terms of a text once: for a Lucene index with
the fields and norms that Anserini writes, and for a vector store whose weights are those of
Lucene's BM25Similarity, so that every engine can search BM25 as impacts. The run is Anserini's,
byte for byte.

::

    OUT/anserini/    Lucene index of the text, for Anserini and Pyserini
    OUT/documents/   vector store of BM25 weights
    OUT/queries/     vector store: how often each analyzed term occurs
    OUT/run.trec     Lucene's BM25 run
    OUT/manifest.json
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from splade_bridge.data.choices import check_threads
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest, VocabularyInfo, base_tools
from splade_bridge.data.store import VectorStore, write_store
from splade_bridge.data.vectors import Float32Array, Int64Array, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.jars import Lucene, lucene_for_writing
from splade_bridge.engines.java import answering, exactly
from splade_bridge.engines.lucene import MEGABYTE, LuceneEngine
from splade_bridge.engines.lucene_index import (
    SEARCH_HEAP,
    LuceneIndex,
    Query,
    Scoring,
    Statistics,
)
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.writing import atomic_writer, staged_folder
from splade_bridge.text.corpora import Text

log = logging.getLogger(__name__)

INDEX = "anserini"
DOCUMENTS = "documents"
QUERIES = "queries"
RUN = "run.trec"
TAG = "bm25"
ANALYZER = "DefaultEnglishAnalyzer"
ROWS = 2048
LIKE_ANSERINI = 2
"""The kind of :class:`Scoring`."""
MILLIONTH = Decimal("0.000001")

EXACT_LENGTHS = 24


@dataclass(frozen=True)
class Bm25Options:
    """One to one with the flags of ``splade-bridge bm25``; k1 and b are Anserini's defaults.

    Attributes:
        k: depth of the run.
        remove_query: leave out the document whose id is the query's, as BEIR does.
        memory: budget in bytes of the JVM.
    """

    k1: float = 0.9
    b: float = 0.4
    k: int = 1000
    remove_query: bool = False
    threads: int = 1
    memory: int = DEFAULT_MEMORY


@dataclass
class TermStatistics:
    """Lucene's statistics of the field, taken from analyzed texts.

    Attributes:
        documents: all texts; those without a term count for nothing else.
        with_terms: texts that have a term: Lucene's N.
        tokens: sum of all term frequencies.
        document_frequencies: int64, one a term of the vocabulary that was seen so far.
    """

    documents: int = 0
    with_terms: int = 0
    postings: int = 0
    tokens: int = 0
    document_frequencies: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, batch: SparseBatch) -> None:
        """Count ``batch``, whose weights are term frequencies."""
        self.documents += len(batch)
        self.with_terms += int((batch.lengths > 0).sum())
        self.postings += len(batch.indices)
        self.tokens += int(batch.weights.sum(dtype=np.float64))
        counted = np.bincount(batch.indices, minlength=len(self.document_frequencies))
        counted[: len(self.document_frequencies)] += self.document_frequencies
        self.document_frequencies = counted

    def check(self, held: Statistics) -> None:
        """Raise ExternalProgramError if an index does not hold just these texts."""
        expected = Statistics(
            documents=self.documents,
            ids=self.documents,
            postings=self.postings,
            frequencies=self.tokens,
            terms=len(self.document_frequencies),
        )
        wrong = [
            f"{name.replace('frequencies', 'tokens')} {getattr(held, name):,} instead of {value:,}"
            for name, value in expected._asdict().items()
            if getattr(held, name) != value
        ]
        if wrong:
            raise ExternalProgramError(
                f"Lucene's index does not hold what it was given: {', '.join(wrong)}: it was "
                "thrown away"
            )


@dataclass(frozen=True)
class Bm25Summary:
    """What was built.

    Attributes:
        empty: texts without a term; they have an empty row, and are never found.
        queries: None where none were given; the rest then too.
        without_results: ids of queries that found nothing.
    """

    documents: int
    empty: int
    postings: int
    terms: int
    average_length: float
    queries: int | None = None
    results: int | None = None
    without_results: list[str] = field(default_factory=list)


def build_bm25(
    documents: Iterable[Text],
    queries: Iterable[Text] | None,
    out: Path,
    options: Bm25Options = Bm25Options(),
    *,
    overwrite: bool = False,
) -> Bm25Summary:
    """Make the baseline in a new folder ``out``, whole or not at all.

    Args:
        documents: read once, from start to end.
        queries: held in memory; without them there is neither a run nor a query store.

    Raises:
        BadInputError: a text cannot be read, or no document has a term.
        ExternalProgramError: Java failed, or the index's counts are not those of the texts.
        MissingToolError: Java or Lucene is not installed.
        UsageError: ``out`` exists, or an option is out of range.
    """
    if not (options.k1 >= 0 and np.isfinite(options.k1) and 0 <= options.b <= 1):
        raise UsageError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, not {options.k1:g}, {options.b:g}")
    check_threads(options.threads)
    engine = LuceneEngine()
    engine.check_installed()
    lucene = engine.lucene()
    asked = None if queries is None else list(queries)
    with (
        staged_folder(out, overwrite=overwrite) as folder,
        scratch_folder(folder.parent) as scratch,
    ):
        vocabulary = Vocabulary(observed=True)
        statistics = TermStatistics()
        held: list[Statistics] = []
        (folder / INDEX).mkdir()
        with write_store(scratch / "counts", vocabulary, {}) as counts:
            place = folder / INDEX
            for batch in analyze(documents, vocabulary, place, options.memory, held, lucene):
                statistics.add(batch)
                counts.add(batch)
            if not statistics.postings:
                raise BadInputError(
                    f"none of the {statistics.documents:,} documents has a term that is not a "
                    "stop word"
                )
            counts.finish()
        statistics.check(held[0])
        (folder / INDEX / "write.lock").unlink()
        weigh = Weights(statistics, options.k1, options.b)
        described = {"weights": "bm25", "k1": options.k1, "b": options.b, "analyzer": ANALYZER}
        with write_store(folder / DOCUMENTS, vocabulary, described) as store:
            for batch in VectorStore(scratch / "counts").batches():
                store.add(weigh(batch))
            found = store.finish(options=described)
        summary = Bm25Summary(
            documents=statistics.documents,
            empty=statistics.documents - statistics.with_terms,
            postings=statistics.postings,
            terms=len(vocabulary),
            average_length=float(weigh.average_length),
        )
        if asked is not None:
            answered = _search(asked, folder, options, lucene)
            summary = Bm25Summary(**asdict(summary) | answered)
        Manifest(
            kind="bm25",
            vocabulary=VocabularyInfo.of(vocabulary),
            counts=found.counts,
            options={k: v for k, v in asdict(options).items() if k not in ("threads", "memory")},
            tools=base_tools() | engine.tools(),
        ).save(folder)
    return summary


class Weights:
    """Term frequencies to BM25 weights, in the float32 steps of Lucene 9's BM25Similarity.

    weight = idf - idf / (1 + tf / (k1 (1 - b + b dl / avgdl))), which is idf tf / (tf + k1 (...)),
    idf = ln(1 + (N - df + .5) / (df + .5)). N counts the documents with a term; dl is Lucene's
    one-byte length (:func:`stored_lengths`); avgdl is the true mean over those N.
    """

    def __init__(self, statistics: TermStatistics, k1: float, b: float) -> None:
        n, df = statistics.with_terms, statistics.document_frequencies
        self.idf: Float32Array = np.log(1 + (n - df + 0.5) / (df + 0.5)).astype(np.float32)
        self.average_length = np.float32(statistics.tokens / n)
        self._k1, self._b = np.float32(k1), np.float32(b)

    def __call__(self, batch: SparseBatch) -> SparseBatch:
        """The weights of ``batch``, whose own are term frequencies."""
        lengths = batch.row_sums().astype(np.int64)
        one = np.float32(1)
        dl = stored_lengths(lengths).astype(np.float32)
        with np.errstate(divide="ignore", over="ignore"):  # k1 = 0: every tf saturates at once
            inverse = one / (self._k1 * ((one - self._b) + self._b * dl / self.average_length))
        idf = self.idf[batch.indices]
        weights = idf - idf / (one + batch.weights * np.repeat(inverse, batch.lengths))
        return SparseBatch(batch.ids, batch.indptr, batch.indices, weights.astype(np.float32))


def stored_lengths(lengths: Int64Array) -> Int64Array:
    """Document lengths as Lucene's norms give them back (SmallFloat.intToByte4).

    Exact up to 40; of a longer one, what is over 24 keeps its four highest bits.
    """
    over = np.maximum(lengths - EXACT_LENGTHS, 0)
    bits = np.frexp(over.astype(np.float64))[1]  # as int.bit_length()
    shift = np.maximum(bits - 4, 0)
    found: Int64Array = np.minimum(lengths, EXACT_LENGTHS) + (over >> shift << shift)
    return found


def analyze(
    texts: Iterable[Text],
    vocabulary: Vocabulary,
    index: Path | None = None,
    memory: int = SEARCH_HEAP,
    held: list[Statistics] | None = None,
    lucene: Lucene | None = None,
) -> Iterator[SparseBatch]:
    """Term frequencies of ``texts`` in batches; new terms are added to ``vocabulary``.

    Args:
        index: an empty folder, for a Lucene index of the texts.
        memory: budget in bytes of the JVM.
        held: takes what that index says that it holds.
        lucene: whose analyzer it is; None for the one that indexes are written with.

    Raises:
        ExternalProgramError: Java failed.
        SpladeBridgeError: whatever reading ``texts`` raised.
    """
    ids: deque[str] = deque()
    known = len(vocabulary)
    heap = max(memory, 512 * MEGABYTE)
    command: tuple[str, *tuple[str | Path, ...]] = ("analyze",)
    if index is not None:
        command = ("index-text", index, str(heap // MEGABYTE // 4))

    def send(requests: BinaryIO) -> None:
        for text in texts:
            ids.append(text.id)
            for part in (text.id.encode(), text.text.encode()):
                requests.write(struct.pack("<i", len(part)) + part)
        requests.write(struct.pack("<i", -1))

    class_path = (lucene or lucene_for_writing()).class_path
    with answering(*command, class_path=class_path, heap=heap, send=send) as answers:
        rows: list[SparseBatch] = []
        while (fresh := _int(answers)) >= 0:
            for _ in range(fresh):
                vocabulary.add(exactly(answers, _int(answers)).decode())
            n = _int(answers)
            indices, counts = np.frombuffer(exactly(answers, 8 * n), "<i4").reshape(2, n)
            rows.append(
                SparseBatch(
                    [ids.popleft()],
                    row_pointers([n]),
                    (indices + known).astype(np.int32),
                    counts.astype(np.float32),
                )
            )
            if len(rows) == ROWS:
                yield SparseBatch.concat(rows)
                rows = []
        if held is not None:
            held.append(Statistics.unpack(exactly(answers, 40)))
        if rows:
            yield SparseBatch.concat(rows)


def _search(
    queries: list[Text], folder: Path, options: Bm25Options, lucene: Lucene
) -> dict[str, Any]:
    """Write the query store and the run; returns the fields of the summary."""
    if not queries:
        raise BadInputError("there are no queries")
    vocabulary = Vocabulary(observed=True)
    described = {"weights": "term frequencies", "analyzer": ANALYZER}
    with write_store(folder / QUERIES, vocabulary, described) as store:
        for batch in analyze(queries, vocabulary, lucene=lucene):
            store.add(batch)
        store.finish(options=described)
    results: dict[str, int] = {}
    scoring = Scoring(LIKE_ANSERINI, options.k1, options.b)
    heap = max(options.memory, 512 * MEGABYTE)
    with LuceneIndex(folder / INDEX, lucene, heap) as index, atomic_writer(folder / RUN) as out:
        for query_id, doc_ids, scores, _ in index.search(
            _queries(VectorStore(folder / QUERIES)),
            options.k + options.remove_query,
            threads=options.threads,
            exhaustive=True,
            scoring=scoring,
        ):
            found = list(zip(doc_ids, scores.tolist(), strict=True))
            if options.remove_query:
                found = [hit for hit in found if hit[0] != query_id][: options.k]
            for rank, (doc_id, score) in enumerate(found, start=1):
                out.write(f"{query_id} Q0 {doc_id} {rank} {_printed(score)} {TAG}\n".encode())
            results[query_id] = len(found)
    return {
        "queries": len(queries),
        "results": sum(results.values()),
        "without_results": [q.id for q in queries if not results[q.id]],
    }


def _queries(store: VectorStore) -> Iterator[Query]:
    for batch in store.batches():
        for number, query_id in enumerate(batch.ids):
            part = slice(*batch.indptr[number : number + 2].tolist())
            terms = [store.vocabulary[i].encode() for i in batch.indices[part].tolist()]
            yield Query(query_id, terms, batch.weights[part])


def _printed(score: float) -> str:
    """Six decimals, the last one rounded as Java does it."""
    return str(Decimal(score).quantize(MILLIONTH, ROUND_HALF_UP))


def _int(stream: BinaryIO) -> int:
    return int(struct.unpack("<i", exactly(stream, 4))[0])
