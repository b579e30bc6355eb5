"""The BM25 baseline on the same documents: Anserini's own, and the same weights as sparse vectors.

Anserini indexes and searches the text. Beside it the same analyzer (Anserini's
DefaultEnglishAnalyzer: Porter stemming, Lucene's English stop words) counts terms for a vector
store whose weights are those of Lucene's BM25Similarity, so that every engine can search BM25 as
impacts. The analyzed counts are also what Anserini's index is checked with: it loses documents
silently.

::

    OUT/anserini/    Lucene index of the text, for Anserini and Pyserini
    OUT/documents/   vector store of BM25 weights
    OUT/queries/     vector store: how often each analyzed term occurs
    OUT/run.trec     Anserini's BM25 run
    OUT/manifest.json
"""

from __future__ import annotations

import logging
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest, VocabularyInfo, base_tools
from splade_bridge.data.store import VectorStore, write_store
from splade_bridge.data.vectors import Float32Array, Int64Array, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.java import anserini_jar, java, java_command
from splade_bridge.engines.lucene import DOCS_PER_FILE, MEGABYTE, SEARCH_HEAP, helper
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files import atomic_writer, staged_folder
from splade_bridge.reading.lines import numbered_lines
from splade_bridge.text.corpora import Text

log = logging.getLogger(__name__)

INDEX = "anserini"
DOCUMENTS = "documents"
QUERIES = "queries"
RUN = "run.trec"
TAG = "bm25"
ANALYZER = "DefaultEnglishAnalyzer"
ROWS = 2048
NAMED = 10

JAVA_BLANKS = "".join(map(chr, range(33)))
"""What Java's trim() takes away; Anserini drops a document of which nothing is left."""

EXACT_LENGTHS = 24


@dataclass(frozen=True)
class Bm25Options:
    """One to one with the flags of ``splade-bridge bm25``; k1 and b are Anserini's defaults.

    Attributes:
        k: depth of Anserini's run.
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
class Statistics:
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
        ExternalProgramError: Java failed, or Anserini's counts are not those of the texts.
        MissingToolError: Java or Anserini is not installed.
        UsageError: ``out`` exists, or an option is out of range.
    """
    if not (options.k1 >= 0 and np.isfinite(options.k1) and 0 <= options.b <= 1):
        raise UsageError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, not {options.k1:g}, {options.b:g}")
    java()
    anserini_jar()
    asked = None if queries is None else list(queries)
    with (
        staged_folder(out, overwrite=overwrite) as folder,
        tempfile.TemporaryDirectory(prefix="splade-bridge-", dir=folder.parent) as temporary,
    ):
        scratch = Path(temporary)
        texts = _JsonFiles(scratch / "texts")
        vocabulary = Vocabulary(observed=True)
        statistics = Statistics()
        with write_store(scratch / "counts", vocabulary, {}) as counts:
            for batch in analyze(texts.watch(documents), vocabulary):
                statistics.add(batch)
                counts.add(batch)
            if not statistics.postings:
                raise BadInputError(
                    f"none of the {statistics.documents:,} documents has a term that is not a "
                    "stop word"
                )
            counts.finish()
        _index(texts, folder / INDEX, statistics, options)
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
            answered = _search(asked, vocabulary, folder, scratch, options)
            summary = Bm25Summary(**asdict(summary) | answered)
        Manifest(
            kind="bm25",
            vocabulary=VocabularyInfo.of(vocabulary),
            counts=found.counts,
            options={k: v for k, v in asdict(options).items() if k not in ("threads", "memory")},
            tools=base_tools() | {"anserini": anserini_jar().name.split("-")[1]},
        ).save(folder)
    return summary


class Weights:
    """Term frequencies to BM25 weights, in the float32 steps of Lucene 9's BM25Similarity.

    weight = idf - idf / (1 + tf / (k1 (1 - b + b dl / avgdl))), which is idf tf / (tf + k1 (...)),
    idf = ln(1 + (N - df + .5) / (df + .5)). N counts the documents with a term; dl is Lucene's
    one-byte length (:func:`stored_lengths`); avgdl is the true mean over those N.
    """

    def __init__(self, statistics: Statistics, k1: float, b: float) -> None:
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


def analyze(texts: Iterable[Text], vocabulary: Vocabulary) -> Iterator[SparseBatch]:
    """Term frequencies of ``texts`` in batches; new terms are added to ``vocabulary``.

    Raises:
        ExternalProgramError: Java failed.
        SpladeBridgeError: whatever reading ``texts`` raised.
    """
    ids: deque[str] = deque()
    known = len(vocabulary)

    def send(stdin: BinaryIO) -> None:
        for text in texts:
            content = text.text.encode()
            ids.append(text.id)
            stdin.write(struct.pack("<i", len(content)) + content)
        stdin.write(struct.pack("<i", -1))
        stdin.flush()

    with helper("analyze", heap=SEARCH_HEAP, send=send) as stdout:
        rows: list[SparseBatch] = []
        while (fresh := _int(stdout)) >= 0:
            for _ in range(fresh):
                vocabulary.add(_exactly(stdout, _int(stdout)).decode())
            n = _int(stdout)
            indices, counts = np.frombuffer(_exactly(stdout, 8 * n), "<i4").reshape(2, n)
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
        if rows:
            yield SparseBatch.concat(rows)


class _JsonFiles:
    """Texts on their way through, written as Anserini's JsonCollection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blank = 0

    def watch(self, texts: Iterable[Text]) -> Iterator[Text]:
        """Pass ``texts`` on, each once it is written."""
        for number, block in groupby(enumerate(texts), key=lambda item: item[0] // DOCS_PER_FILE):
            with atomic_writer(self.folder / f"part-{number:05d}.jsonl") as out:
                for _, text in block:
                    self.blank += not text.text.strip(JAVA_BLANKS)
                    line = {"id": text.id, "contents": text.text}
                    out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                    yield text


def _index(texts: _JsonFiles, index: Path, statistics: Statistics, options: Bm25Options) -> None:
    heap = max(options.memory, 512 * MEGABYTE)
    _anserini(
        "io.anserini.index.IndexCollection",
        "-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator",
        "-input", str(texts.folder), "-index", str(index), "-threads", str(options.threads),
        "-optimize", "-memoryBuffer", str(heap // MEGABYTE // 2),
        heap=heap,
    )  # fmt: skip
    (index / "write.lock").unlink(missing_ok=True)
    with helper("stats", str(index), heap=SEARCH_HEAP) as stdout:
        found = orjson.loads(stdout.read())
    held = statistics.documents - texts.blank
    expected = {
        "documents": held,
        "ids": held,
        "postings": statistics.postings,
        "impact_sum": statistics.tokens,
        "terms": len(statistics.document_frequencies),
    }
    wrong = [
        f"{'tokens' if name == 'impact_sum' else name} {found[name]:,} instead of {value:,}"
        for name, value in expected.items()
        if found[name] != value
    ]
    if wrong:
        raise ExternalProgramError(
            f"Anserini's index does not hold what it was given: {', '.join(wrong)}: it was thrown "
            "away"
        )


def _search(
    queries: list[Text],
    documents: Vocabulary,
    folder: Path,
    scratch: Path,
    options: Bm25Options,
) -> dict[str, Any]:
    """Write the query store and Anserini's run; returns the fields of the summary."""
    if not queries:
        raise BadInputError("there are no queries")
    vocabulary = Vocabulary(observed=True)
    findable: list[bool] = []
    described = {"weights": "term frequencies", "analyzer": ANALYZER}
    with write_store(folder / QUERIES, vocabulary, described) as store:
        for batch in analyze(queries, vocabulary):
            store.add(batch)
            known = batch.remap(vocabulary.mapping(documents))
            findable += (known.lengths > 0).tolist()
        store.finish(options=described)
    raw = scratch / "run"
    results: dict[str, int] = {}
    if any(findable):
        _run_anserini(queries, findable, folder / INDEX, raw, options)
        with atomic_writer(folder / RUN) as out:
            results = dict(_renamed(raw, queries, out, options))
    else:
        (folder / RUN).touch()
    lost = [q.id for q, f in zip(queries, findable, strict=True) if f and q.id not in results]
    if lost:
        raise ExternalProgramError(
            f"Anserini did not answer {len(lost):,} of {len(queries):,} queries, which have terms "
            f"of the collection: {', '.join(lost[:NAMED])}{' ...' if len(lost) > NAMED else ''}. "
            "It drops those of more than 1,024 different terms"
        )
    return {
        "queries": len(queries),
        "results": sum(results.values()),
        "without_results": [q.id for q in queries if not results.get(q.id)],
    }


def _run_anserini(
    queries: list[Text], findable: list[bool], index: Path, raw: Path, options: Bm25Options
) -> None:
    # Numbers for ids: Anserini takes only integers in a TSV, and answers nothing at all after a
    # query that it cannot read.
    topics = raw.with_name("topics.tsv")
    with atomic_writer(topics) as out:
        for number, query in enumerate(queries):
            if findable[number]:
                out.write(f"{number}\t{' '.join(query.text.split())}\n".encode())
    _anserini(
        "io.anserini.search.SearchCollection",
        "-index", str(index), "-topics", str(topics), "-topicReader", "TsvInt",
        "-output", str(raw), "-bm25", "-bm25.k1", str(options.k1), "-bm25.b", str(options.b),
        "-hits", str(options.k + options.remove_query), "-threads", str(options.threads),
        heap=max(options.memory, SEARCH_HEAP),
    )  # fmt: skip
    if not raw.is_file():
        raise ExternalProgramError("Anserini wrote no run, and did not say why")


def _renamed(
    raw: Path, queries: list[Text], out: BinaryIO, options: Bm25Options
) -> Iterator[tuple[str, int]]:
    """Write the run with the queries' own ids; yields (query id, results)."""
    lines = (line.decode().split() for _, line in numbered_lines(raw))
    for number, group in groupby(lines, key=lambda columns: columns[0]):
        query_id = queries[int(number)].id
        found = [(doc_id, score) for _, _, doc_id, _, score, _ in group]
        if options.remove_query:
            found = [hit for hit in found if hit[0] != query_id][: options.k]
        for rank, (doc_id, score) in enumerate(found, start=1):
            out.write(f"{query_id} Q0 {doc_id} {rank} {score} {TAG}\n".encode())
        yield query_id, len(found)


def _anserini(main_class: str, *arguments: str, heap: int) -> None:
    program, *rest = java_command(main_class, *arguments, heap_megabytes=heap // MEGABYTE)
    # Scores are written in the user's language, some of which have a decimal comma.
    done = subprocess.run([program, "-Duser.language=en", *rest], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ExternalProgramError(
            f"{main_class} ended with status {done.returncode}"
            f"{': ' + said[-1] if said else ' and no message'}"
        )


def _int(stream: BinaryIO) -> int:
    return int(struct.unpack("<i", _exactly(stream, 4))[0])


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content
