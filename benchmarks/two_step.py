"""Two-step search beside the best one-step algorithm, on a large synthetic collection.

    .venv/bin/python benchmarks/two_step.py --documents 8388608 --work /tmp/scale/8388608 \\
        --terms 48 --query-terms 12 --candidates 1000

--work is the folder of a size in that of benchmarks/scale.py: its PISA index is the one-step rival
(built if it is not there). Pruned indexes and the forward store are kept in it too. Documents are
cut to their heaviest --terms, queries to theirs; candidates are scored exactly from the full
vectors. One thread, warm.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from engines import QUERIES
from machine import describe
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.evaluation.bench import Case, measure, size_on_disk
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.source import PrunedSource
from splade_bridge.retrieval.two_step import KeptShare, TwoStepOptions, TwoStepSearcher
from synth import SyntheticSource

K = 1000
DEPTHS = (10, K)


def made(out: Path, make: object) -> None:
    started = time.perf_counter()
    if not out.exists():
        make()  # type: ignore[operator]
    seconds, size = time.perf_counter() - started, size_on_disk(out)
    print(f"- {out.name}: {seconds:,.0f} s, {size / 1e9:.2f} GB", flush=True)


def answers(searcher: Searcher, batch: ImpactBatch) -> list[list[str]]:
    return [hits.doc_ids for hits in searcher.search(batch, K, algorithm="maxscore")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--terms", type=int, nargs="+", default=[32, 48])
    parser.add_argument("--query-terms", type=int, nargs="+", default=[8, 12])
    parser.add_argument("--candidates", type=int, nargs="+", default=[K])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="for building")
    parser.add_argument("--build-only", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    print(describe("pyterrier-pisa", "numpy"))
    print(f"{arguments.documents:,} synthetic documents\n")

    def source() -> SyntheticSource:
        return SyntheticSource(arguments.documents)

    options = BuildOptions(threads=arguments.threads)
    made(work / "pisa", lambda: engine("pisa").build(source(), work / "pisa", options))
    made(work / "full", lambda: export(source, work / "full", ExportOptions(("forward",))))
    for terms in arguments.terms:
        out = work / f"pisa-top-{terms}"
        pruned = PrunedSource(source, policy("top-k", terms))
        made(out, lambda out=out, pruned=pruned: engine("pisa").build(pruned, out, options))

    if arguments.build_only:
        return
    loaded = read_queries(QUERIES)
    rows = np.linspace(0, len(loaded.batch) - 1, arguments.queries).astype(int)
    picked = [loaded.batch.rows(i, i + 1) for i in rows.tolist()]
    forward = ForwardStore(work / "full" / "forward")
    with open_index(work / "pisa") as full:
        queries = Queries(loaded.path, ImpactBatch.concat(picked), loaded.vocabulary)
        one_step = queries.aligned(full.vocabulary, work / "pisa")
        exact = answers(full, one_step)
        cases = [
            (f"one step, {name}", None, Case(full, one_step, K, name))
            for name in ("maxscore", "block_max_maxscore", "block_max_wand")
        ]
        for terms, most, candidates in itertools.product(
            arguments.terms, arguments.query_terms, arguments.candidates
        ):
            two = TwoStepSearcher(
                open_index(work / f"pisa-top-{terms}"), forward, TwoStepOptions(candidates, most)
            )
            batch = queries.aligned(two.vocabulary, forward.path)
            kept = KeptShare(DEPTHS)
            for found, wanted in zip(answers(two, batch), exact, strict=True):
                kept.add(found, wanted)
            algorithm = two.algorithm_for(batch, K, "auto")
            name = f"two steps, {terms} and {most} terms, {candidates:,} candidates, {algorithm}"
            cases.append((name, kept.result().share, Case(two, batch, K, algorithm)))
        timings = measure([case for _, _, case in cases], repeat=arguments.repeat)
    best = min(t.latency.mean for (_, kept, _), t in zip(cases, timings, strict=True) if not kept)
    print(f"\n{arguments.queries} real queries, k = {K}; milliseconds a query\n")
    print("| | mean | p50 | p95 | p99 | faster | top 10 kept | top 1000 kept | noisy |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, share, _), timing in zip(cases, timings, strict=True):
        of = timing.latency
        kept_text = " | ".join(f"{share[c]:.1%}" if share else "all" for c in DEPTHS)
        print(
            f"| {name} | {of.mean:.2f} | {of.p50:.2f} | {of.p95:.2f} | {of.p99:.2f} | "
            f"{best / of.mean:.2f}x | {kept_text} | {'yes' if timing.noisy else 'no'} |"
        )


if __name__ == "__main__":
    main()
