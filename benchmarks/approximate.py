"""Recall against latency: approximate engines, and two-step search, beside the exact ones.

    .venv/bin/python benchmarks/approximate.py --documents 1000000 --work /tmp/approximate-1m
    .venv/bin/python benchmarks/approximate.py --work /tmp/approximate-32k \\
        --corpus ../shared/data/msmarco-dl1920 --model NAME

The first has synthetic documents (benchmarks/synth.py) and real queries (MS MARCO dev under
SPLADE-v3); the second encodes real passages and their queries with a published checkpoint. What is
made is kept in --work: indexes of each engine, the full vectors, and Lucene's index of documents
that are cut to their heaviest terms, as first steps. One thread, warm, repeats in turns. The tables
say what the fastest setting of each is that keeps a share of the exact top k, and --work gets a
drawing of each sweep.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from engines import QUERIES
from machine import describe
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.impact_index_options import ImpactIndexOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.evaluation.bench import BenchOptions, size_on_disk
from splade_bridge.evaluation.frontier import FrontierPoint, frontier
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.source import PrunedSource
from splade_bridge.report.frontier import frontier_chart, said
from synth import SyntheticSource

SHARES = (0.95, 0.975, 0.99, 0.995, 0.999)
ENGINES = {
    "lucene": None,
    "pisa": None,
    "impact-index": ImpactIndexOptions(bmp=True),
    "seismic": None,
}


def made(out: Path, make: Callable[[], object]) -> None:
    """Make it if it is not there; what it took."""
    started = time.perf_counter()
    there = out.exists()
    if not there:
        make()
    seconds = f"{time.perf_counter() - started:,.0f} s" if not there else "there already"
    print(f"| {out.name} | {seconds} | {size_on_disk(out) / 1e6:,.0f} MB |", flush=True)


def encoded(work: Path, corpus: str, model: str, side: str) -> Path:
    """The vectors of a side of ``corpus``, made by the command."""
    out = work / f"{side}-vectors"
    if not out.exists():
        line = ["encode", corpus, "-m", model, "-o", str(out), "--side", side]
        subprocess.run([sys.executable, "-m", "splade_bridge", *line], check=True)
    return out


def some(queries: Queries, count: int) -> Queries:
    """So many, from all over; all if there are fewer."""
    rows = np.linspace(0, len(queries.batch) - 1, min(count, len(queries.batch))).astype(int)
    picked = ImpactBatch.concat([queries.batch.rows(i, i + 1) for i in rows.tolist()])
    return Queries(queries.path, picked, queries.vocabulary)


def told(title: str, points: Sequence[FrontierPoint]) -> None:
    """The exact engines, and the fastest of each group that keeps a share."""
    exact = [p for p in points if p.exact]
    best = min(exact, key=lambda p: p.milliseconds)
    print(f"\n## {title}\n\n| exact | ms a query | p95 | spread |\n|---|---|---|---|")
    for p in exact:
        timing = p.row.timing
        print(
            f"| {p.row.engine} {p.row.algorithm} | {p.milliseconds:.3f} | "
            f"{timing.latency.p95:.3f} | {timing.spread:.0%} |"
        )
    print("\n| at least | of | setting | kept | ms a query | faster than the fastest exact |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        for of in dict.fromkeys(p.of for p in points if not p.exact):
            enough = [p for p in points if p.of == of and p.recall >= share]
            if not enough:
                continue
            p = min(enough, key=lambda p: p.milliseconds)
            ratio = best.milliseconds / p.milliseconds
            print(
                f"| {share:.1%} | {Path(of).name} | {said(p.setting) or 'as it is'} | "
                f"{p.recall:.2%} | {p.milliseconds:.3f} | {ratio:.2f}x |"
            )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, help="so many synthetic ones")
    parser.add_argument("--corpus", help="a folder or file of texts, with its queries")
    parser.add_argument("--model", help="a checkpoint, for --corpus")
    parser.add_argument("--terms", type=int, nargs="*", default=[8, 16, 24, 32, 48])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("-k", type=int, nargs="+", default=[10])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="for building")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    arguments = parser.parse_args()
    if (arguments.documents is None) == (arguments.corpus is None):
        parser.error("--documents or --corpus, one of them")
    if (arguments.corpus is None) != (arguments.model is None):
        parser.error("--corpus and --model belong together")
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    packages = ("pyseismic-lsr", "impact-index", "pyterrier-pisa", "numpy")
    print(describe(*packages))

    if arguments.documents is not None:
        print(f"{arguments.documents:,} synthetic documents\n")
        asked = read_queries(QUERIES)

        def source() -> ImpactSource:
            return SyntheticSource(arguments.documents)
    else:
        print(f"{arguments.corpus} under {arguments.model}\n")
        documents = encoded(work, arguments.corpus, arguments.model, "document")
        asked = read_queries(encoded(work, arguments.corpus, arguments.model, "query"))

        def source() -> ImpactSource:
            return open_source(documents)

    options = BuildOptions(threads=arguments.threads)
    print("| made | time | size |\n|---|---|---|")
    for name in arguments.engines:
        made(
            work / name,
            lambda name=name: engine(name, ENGINES[name]).build(source(), work / name, options),
        )
    made(work / "full", lambda: export(source, work / "full", ExportOptions(("forward",))))
    for terms in arguments.terms:
        out = work / f"lucene-top-{terms}"
        pruned = PrunedSource(source, policy("top-k", terms))
        made(out, lambda out=out, pruned=pruned: engine("lucene").build(pruned, out, options))

    queries = some(asked, arguments.queries)
    print(f"\n{len(queries.batch)} queries, one thread, {arguments.repeat} repeats")
    figures = {}
    with ExitStack() as stack:

        def opened(name: str) -> Searcher:
            return stack.enter_context(open_index(work / name))

        whole = [opened(name) for name in arguments.engines]
        cut = [opened(f"lucene-top-{terms}") for terms in arguments.terms]
        lines = [s for s in whole if not s.approximate]
        for k in arguments.k:
            bench = BenchOptions((k,), ("all",), arguments.repeat)
            exact = lines[0]
            sweeps = {f"Approximate engines, k = {k}": partial(frontier, whole)}
            if cut:
                forward = ForwardStore(work / "full")
                swept = partial(frontier, [exact, *cut], forward=forward)
                sweeps[f"Two-step with Lucene as the first step, k = {k}"] = swept
            for title, sweep in sweeps.items():
                points = sweep(queries, bench, exact=exact)
                told(title, points)
                file = work / f"{title.partition(' ')[0].lower()}-{k}.svg"
                file.write_text(frontier_chart(points, k))
                figures[title] = [
                    {"of": p.of, "setting": p.setting, "exact": p.exact, "kept": p.recall,
                     "ms": p.milliseconds, "algorithm": p.row.algorithm,
                     "spread": p.row.timing.spread}
                    for p in points
                ]  # fmt: skip
    (work / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
