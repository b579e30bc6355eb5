"""Latencies: measured when all indexes are there, interleaved, and only for what is new."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from splade_bridge.comparison.make import Maker, chosen
from splade_bridge.comparison.spec import Spec, Variant
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import AUTO, Searcher
from splade_bridge.evaluation import bench
from splade_bridge.formats.queries import Queries
from splade_bridge.report.results import Session, TimedSearch
from splade_bridge.retrieval.search import open_searcher

KIND = "latency"


@dataclass(frozen=True)
class Latencies:
    """All latencies of a comparison, by variant, and the sessions that they come from.

    Variants of a fusion are timed at its depth, too.
    """

    of: dict[str, list[TimedSearch]]
    sessions: list[Session]


@dataclass(frozen=True)
class _Case:
    variant: Variant
    engine: str
    algorithm: str
    k: int
    inputs: dict[str, Any]


def latencies(maker: Maker, *, rebench: bool) -> Latencies:
    """All latencies; those that were measured before are taken over unless ``rebench``.

    Where only some are new, those of the baseline are measured again beside them, so that it shows
    whether the machine is as fast as it was.
    """
    cases = _cases(maker)
    if rebench:
        for case in cases:
            maker.steps.forget(KIND, case.inputs)
    known: dict[int, dict[str, Any]] = {}
    for i, case in enumerate(cases):
        if step := maker.steps.known(KIND, case.inputs):
            known[i] = step.outcome
    missing = [i for i in range(len(cases)) if i not in known]
    if missing:
        known |= _measured(maker, cases, missing, known)
    found: dict[str, list[TimedSearch]] = {case.variant.name: [] for case in cases}
    sessions = {o["session"]["started"]: Session(**o["session"]) for o in known.values()}
    order = sorted(sessions)
    for i, case in enumerate(cases):
        outcome = known[i]
        number = order.index(outcome["session"]["started"])
        found[case.variant.name].append(TimedSearch(**outcome["latency"], session=number))
    return Latencies(found, [sessions[started] for started in order])


def _cases(maker: Maker) -> list[_Case]:
    found: dict[str, _Case] = {}
    options, deep = maker.spec.bench, depths(maker.spec)
    for variant in maker.spec.variants:
        for engine, algorithms in maker.checked.algorithms.items():
            asked = maker.asked(variant, engine)
            for algorithm in algorithms:
                for k in deep[variant.name]:
                    inputs = {
                        **asked,
                        "algorithm": algorithm,
                        "k": k,
                        "repeat": options.repeat,
                        "sample": [options.queries, options.seed],
                        # The same index under two names is timed twice: it shows the noise.
                        "name": variant.name,
                    }
                    found[repr(inputs)] = _Case(variant, engine, algorithm, k, inputs)
    return list(found.values())


def depths(spec: Spec) -> dict[str, list[int]]:
    """Variant -> what k it is timed at: those of all, and the depths of the fusions it is in."""
    found = {v.name: {*spec.bench.ks} for v in spec.variants}
    for fusion in spec.fusions:
        for name in fusion.of:
            found[name].add(fusion.options.depth)
    return {name: sorted(ks) for name, ks in found.items()}


def _measured(
    maker: Maker, cases: list[_Case], missing: list[int], known: dict[int, dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    again = [i for i in known if cases[i].variant.name == maker.spec.baseline]
    asked = [*missing, *again]
    maker.steps.say(f"latencies of {len(asked)} cases, {maker.spec.bench.repeat} repeats")
    # Before we start: our own work is what follows.
    # The load is the whole machine's, so it is compared with all its cores.
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    started = datetime.now(UTC).isoformat(" ", "microseconds")  # tells sessions apart
    began = time.perf_counter()
    with ExitStack() as stack:
        there: dict[tuple[str, str], tuple[Searcher, ImpactBatch]] = {}
        opened = [_opened(maker, cases[i], there, stack) for i in asked]
        timings = bench.measure(opened, repeat=maker.spec.bench.repeat)
    seconds = (time.perf_counter() - began) / len(asked)
    measured = {
        i: TimedSearch(
            engine=cases[i].engine,
            algorithm=str(case.algorithm) + " (auto)" * (cases[i].algorithm == AUTO),
            k=case.k,
            queries=len(case.queries),
            repeat=maker.spec.bench.repeat,
            **asdict(timing.latency),
            spread=timing.spread,
        )
        for i, case, timing in zip(asked, opened, timings, strict=True)
    }
    ratios = [measured[i].mean / known[i]["latency"]["mean"] for i in again]
    session = Session(
        started=started,
        cases=len(missing),
        noisy=sum(measured[i].spread > bench.TOO_NOISY for i in missing),
        load=load,
        anchor=float(np.median(ratios)) if ratios else 1.0,
    )
    outcomes = {}
    for i in missing:
        latency = {k: v for k, v in asdict(measured[i]).items() if k != "session"}
        outcomes[i] = {"latency": latency, "session": asdict(session)}
        case = cases[i]
        what = f"{case.variant.name}: {case.engine}, {case.algorithm}, k = {case.k}"
        maker.steps.store(KIND, what, case.inputs, outcomes[i], seconds)
    return outcomes


def _opened(
    maker: Maker,
    case: _Case,
    there: dict[tuple[str, str], tuple[Searcher, ImpactBatch]],
    stack: ExitStack,
) -> bench.Case:
    """The case with its open index and queries, which all cases of one index share."""
    name = case.variant.name, case.engine
    if name not in there:
        options = maker.spec.bench
        path = maker.index_path(case.variant, case.engine)
        deepest = max(depths(maker.spec)[case.variant.name])
        opened = open_searcher(path, maker.options(case.variant, case.engine, deepest, None))
        searcher = stack.enter_context(opened)
        queries = sampled(maker.queries(case.variant), options.queries, options.seed)
        there[name] = searcher, searcher.aligned(queries)
    searcher, batch = there[name]
    algorithm = searcher.algorithm_for(batch, case.k, case.algorithm)
    return bench.Case(searcher, batch, case.k, algorithm)


def sampled(queries: Queries, count: int | None, seed: int) -> Queries:
    """``count`` queries in their order, the same for equal seeds; all if None or there are less."""
    batch = queries.batch
    if count is None or count >= len(batch):
        return queries
    rows = np.random.default_rng(seed).choice(len(batch), count, replace=False)
    return chosen(queries, [batch.ids[i] for i in sorted(rows.tolist())])
