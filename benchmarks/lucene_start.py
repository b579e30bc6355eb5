"""A search of Lucene from a cold JVM: with the cache of an earlier one and without it.

    .venv/bin/python benchmarks/lucene_start.py INDEX QUERIES --queries 30 300

``start`` is from nothing to the open index, ``search`` the whole of a search as ``search`` does it,
``a query`` the mean inside the JVM. The cache is made first, into a folder of its own. Both ways,
and the algorithms, take turns; a figure is the median of its rounds, the spread that of a search:
the slowest over the fastest, minus 1. Prints Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe
from splade_bridge.engines.java import java, java_version
from splade_bridge.engines.java_cache import java_cache
from splade_bridge.engines.java_training import learn
from splade_bridge.engines.lucene import LuceneSearcher
from splade_bridge.engines.lucene_index import SEARCH_HEAP, LuceneIndex
from splade_bridge.engines.registry import open_index
from splade_bridge.formats.queries import read_queries

SWITCH = "SPLADE_BRIDGE_JAVA_CACHE"
KS = (10, 100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries_file", type=Path, metavar="QUERIES")
    parser.add_argument("--queries", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(describe())
    lucene = LuceneIndex(arguments.index).lucene
    print(f"Java {java_version(java())} ({java()}), Lucene {lucene.version}\n")
    queries = read_queries(arguments.queries_file)
    if max(arguments.queries) > len(queries.batch.ids):
        parser.error(f"there are {len(queries.batch.ids)} queries")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        os.environ.pop(SWITCH, None)
        cache = java_cache(lucene.class_path, SEARCH_HEAP)
        if cache is None:
            raise SystemExit("this Java keeps no cache")
        cache.folder.mkdir(parents=True)
        began = time.perf_counter()
        learn(cache, arguments.index, SEARCH_HEAP)
        file = cache.find()
        size = 0 if file is None else file.stat().st_size
        print(f"The cache: {size / 1e6:.0f} MB, made in {time.perf_counter() - began:.1f} s.\n")
        print("| queries | k | algorithm | cache | start, s | search, s | spread | a query, ms |")
        print("|---|---|---|---|---|---|---|---|")
        rows: dict[tuple[int, int, str, str], list[tuple[float, float, float]]] = {}
        for _ in range(arguments.rounds):
            for count in arguments.queries:
                for k in KS:
                    for algorithm in LuceneSearcher.algorithms:
                        for switch in ("off", "on"):
                            os.environ[SWITCH] = switch
                            timed = once(arguments.index, queries, count, k, algorithm)
                            rows.setdefault((count, k, algorithm, switch), []).append(timed)
        for key, times in rows.items():
            median = [statistics.median(column) for column in zip(*times, strict=True)]
            told = " | ".join(map(str, key))
            searches = [search for _, search, _ in times]
            spread = max(searches) / min(searches) - 1
            print(
                f"| {told} | {median[0]:.2f} | {median[1]:.2f} | {spread:.0%} | {median[2]:.2f} |"
            )


def once(
    index: Path, queries: object, count: int, k: int, algorithm: str
) -> tuple[float, float, float]:
    """Seconds until the index is open and until all is found, and milliseconds of a query."""
    began = time.perf_counter()
    with open_index(index) as searcher:
        asked = searcher.aligned(queries).rows(0, count)  # type: ignore[arg-type]
        searcher.impacts("", [])
        opened = time.perf_counter() - began
        hits = list(searcher.search(asked, k, algorithm=algorithm))
        return (
            opened,
            time.perf_counter() - began,
            statistics.mean(h.nanoseconds for h in hits) / 1e6,
        )


if __name__ == "__main__":
    main()
