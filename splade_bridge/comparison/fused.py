"""What a fusion of variants comes to."""

from __future__ import annotations

from typing import Any

from splade_bridge.comparison.make import Maker, agree
from splade_bridge.comparison.spec import FusedVariants
from splade_bridge.comparison.steps import Step, by_kind
from splade_bridge.evaluation.agreement import DEFAULT_PERSISTENCE
from splade_bridge.evaluation.significance import Comparison
from splade_bridge.report.results import IndexResult, TimedSearch, VariantResult


def fusion_result(
    maker: Maker,
    f: FusedVariants,
    runs: dict[str, list[Step]],
    evaluation: dict[str, Any],
    tests: dict[str, Comparison],
    depths: list[int],
    found: list[VariantResult],
) -> VariantResult:
    """A fusion as a variant, with its cost as the sum of its parts.

    Args:
        runs: of all variants and fusions, one an engine.
        depths: of the agreement with the baseline.
        found: the results of the variants.
    """
    engines, mine = list(maker.checked.algorithms), runs[f.name]
    variants = maker.spec.parts(f)
    parts = [next(r for r in found if r.name == name) for name in f.of]
    agreed = maker.agreement(mine[0], runs[maker.spec.baseline][0], depths, DEFAULT_PERSISTENCE)
    # What two parts share is there once; what is searched twice takes its time twice.
    made = {step.key: step for v in variants for step in maker.sources(v)}
    forwards = [maker.forward(v) for v in variants]
    made |= {step.key: step for step in forwards if step}
    first = {maker.index(v, engines[0]).key: maker.index(v, engines[0]) for v in variants}
    encodings = [step for v in variants if (step := maker.query_encoding(v))]
    flops = [part.qd_flops for part in parts]
    counted = [*(s.outcome["counts"]["postings"] for s in first.values())]
    counted += [*{s.key: s.outcome["postings"] for s in forwards if s}.values()]
    indexes = []
    for i, name in enumerate(engines):
        built = {maker.index(v, name).key: maker.index(v, name) for v in variants}
        indexes.append(
            IndexResult(
                name,
                sum(step.outcome["bytes"] for step in built.values()),
                {
                    "index": sum(step.seconds for step in built.values()),
                    "search": sum(runs[part][i].seconds for part in f.of),
                    "fusion": mine[i].seconds,
                },
            )
        )
    return VariantResult(
        name=f.name,
        group=f.group,
        label=f.label,
        steps=[f.options.sentence(f.of)],
        documents=parts[0].documents,
        empty=parts[0].empty,
        postings=sum(counted),
        max_impact=max(part.max_impact for part in parts),
        query_terms=sum(part.query_terms for part in parts),
        qd_flops=None if None in flops else sum(flop for flop in flops if flop),
        means=evaluation["means"],
        per_query=evaluation["per_query"],
        engines_agree=agree(engines, mine),
        indexes=indexes,
        latencies=_summed(maker, f, parts),
        encoding_ms=sum(s.outcome["mean"] for s in {s.key: s for s in encodings}.values())
        if encodings
        else None,
        overlap={k: agreed.outcome[f"overlap@{k}"] for k in depths},
        rbo=agreed.outcome["RBO"],
        tests=tests,
        seconds=by_kind(list(made.values()), lambda step: step.seconds),
        bytes=by_kind(list(made.values()), lambda step: step.outcome["bytes"]),
        parts=list(f.of),
    )


def _summed(maker: Maker, f: FusedVariants, parts: list[VariantResult]) -> list[TimedSearch]:
    """What it takes to search all parts to the fusion's depth, for each k up to that."""
    rows = []
    for name in maker.checked.algorithms:
        timed = [t for part in parts if (t := part.fastest(name, f.options.depth))]
        rows += [
            TimedSearch(
                engine=name,
                algorithm=" + ".join(dict.fromkeys(t.algorithm for t in timed)),
                k=k,
                queries=timed[0].queries,
                repeat=timed[0].repeat,
                mean=sum(t.mean for t in timed),
                p50=None,
                p95=None,
                p99=None,
                spread=max(t.spread for t in timed),
                session=max(t.session for t in timed),
            )
            for k in maker.spec.bench.ks
            if k <= f.options.depth
        ]
    return rows
