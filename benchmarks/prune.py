"""How fast each pruning policy is, on synthetic vectors in memory; one thread.

    .venv/bin/python benchmarks/prune.py --documents 50000

Seconds are those of the processor, so that other jobs on the machine count less.

What is measured is the pass that prunes: choosing what stays, giving terms back for --min-terms and
making the new batches, with their checks. The pass that gathers statistics has a column of its own.
Weights are the impacts / 100 with noise, so that there are hardly any ties among them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np

from machine import describe
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.policy import PruneOptions
from splade_bridge.pruning.pruning import Pruning
from splade_bridge.pruning.rows import Unit
from synth import SyntheticSource

STEPS = {
    "impact": [
        ("top-k", 8), ("top-k", 64), ("threshold", 50), ("max-share", 0.3), ("mass-share", 0.7),
        ("term-quantile", 0.75), ("list-cap", 1000), ("postings", "30%"), ("bytes", "4M"),
        ("drop-terms", "@punctuation"),
    ],
    "weight": [
        ("top-k", 64), ("threshold", 0.5), ("max-share", 0.3), ("mass-share", 0.7),
        ("term-quantile", 0.75), ("list-cap", 1000), ("postings", "30%"), ("bytes", "4M"),
    ],
}  # fmt: skip


def weighted(batch: ImpactBatch) -> SparseBatch:
    noise = np.random.default_rng(0).random(len(batch.impacts))
    weights = ((batch.impacts + noise - 0.5) / 100).astype(np.float32)
    return SparseBatch(batch.ids, batch.indptr, batch.indices, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--min-terms", type=int, default=1)
    arguments = parser.parse_args()
    source = SyntheticSource(arguments.documents)
    impacts = list(source.batches())
    total = source.counts.postings
    print(f"{describe('numpy')}\n{arguments.documents:,} documents, {total:,} postings\n")
    print("| unit | policy | M postings/s | spread | first pass, M postings/s | kept |")
    print("|---|---|---|---|---|---|")
    for unit, batches in (("impact", impacts), ("weight", [weighted(b) for b in impacts])):
        for method, value in STEPS[unit]:
            measure(unit, batches, source.vocabulary, method, value, total, arguments)


def measure(
    unit: Unit,
    batches: list[ImpactBatch] | list[SparseBatch],
    vocabulary: Vocabulary,
    method: str,
    value: float | str,
    total: int,
    arguments: argparse.Namespace,
) -> None:
    def opened() -> tuple[Iterator[ImpactBatch | SparseBatch], Vocabulary]:
        return iter(batches), vocabulary

    options = PruneOptions(min_terms=arguments.min_terms)
    pruning = Pruning(opened, [policy(method, value)], unit, options)
    start = time.process_time()
    pruning.steps()
    learning = time.process_time() - start
    seconds = []
    for _ in range(arguments.rounds):
        steps = pruning.steps()
        start = time.process_time()
        for _ in pruning.run(iter(batches), vocabulary, steps):
            pass
        seconds.append(time.process_time() - start)
    median = statistics.median(seconds)
    first = f"{total / learning / 1e6:,.1f}" if learning > 1e-3 else ""
    print(
        f"| {unit} | {method} {value} | {total / median / 1e6:,.1f} "
        f"| {(max(seconds) - min(seconds)) / median:.0%} | {first} "
        f"| {steps[0].after / total:.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
