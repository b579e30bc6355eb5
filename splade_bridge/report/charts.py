"""Which charts a comparison has, and what they show."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from splade_bridge.report import svg, text
from splade_bridge.report.pareto import pareto_front
from splade_bridge.report.results import Results, VariantResult


@dataclass(frozen=True)
class Chart:
    """A drawing, its file name without suffix, and what stands below it."""

    name: str
    drawing: str
    caption: str


Cost = Callable[[VariantResult], float | None]


def latency_charts(results: Results) -> list[Chart]:
    """Quality against latency, one chart an engine and k."""
    charts = []
    for engine in results.engines:
        for k in results.ks:

            def cost(v: VariantResult, engine: str = engine, k: int = k) -> float | None:
                fastest = v.fastest(engine, k)
                return fastest.mean if fastest else None

            several = len(results.algorithms[engine]) > 1
            which = "the fastest algorithm of each variant" if several else "one algorithm"
            drawn = _scatter(
                results,
                cost,
                name=f"latency-{_file_name(engine)}-{k}",
                title=f"{results.main} against latency: {engine}, k = {k}",
                x_name="ms a query",
                x_text=text.milliseconds,
                told=lambda ms: f"{text.milliseconds(ms)} ms",
                caption=f"Mean of one thread, {which}.",
            )
            charts += [drawn] if drawn else []
    return charts


def size_charts(results: Results) -> list[Chart]:
    """Quality against postings, and against the bytes of each engine's index."""
    charts = [
        _scatter(
            results,
            lambda v: v.postings,
            name="postings",
            title=f"{results.main} against postings",
            x_name="postings",
            x_text=text.short,
            told=lambda n: f"{text.short(n)} postings",
            caption="Postings of the documents, the same in every engine.",
        )
    ]
    for engine in results.engines:
        charts.append(
            _scatter(
                results,
                lambda v, engine=engine: v.index(engine).bytes + v.bytes.get("forward", 0),  # type: ignore[misc]
                name=f"size-{_file_name(engine)}",
                title=f"{results.main} against size: {engine}",
                x_name="bytes",
                x_text=text.size,
                told=text.size,
                caption="All files of the index, and of the forward index that two steps need.",
            )
        )
    return [c for c in charts if c]


def _scatter(
    results: Results,
    cost: Cost,
    *,
    name: str,
    title: str,
    x_name: str,
    x_text: Callable[[float], str],
    told: Callable[[float], str],
    caption: str,
) -> Chart | None:
    shown = [(v, c) for v in results.variants if (c := cost(v)) is not None]
    if not shown:
        return None
    groups = results.groups()
    qualities = [v.means[results.main] for v, _ in shown]
    front = set(pareto_front([c for _, c in shown], qualities))
    points = [
        svg.Point(
            x=c,
            y=quality,
            series=groups.index(v.group),
            label="" if v.name == results.baseline else v.label,
            title=f"{v.name}: {text.measured(quality)} at {told(c)}",
            on_front=i in front,
        )
        for i, ((v, c), quality) in enumerate(zip(shown, qualities, strict=True))
    ]
    drawing = svg.scatter(
        points,
        groups,
        title=title,
        x_name=x_name,
        y_name=results.main,
        x_text=x_text,
        baseline=(results.baseline, results.base.means[results.main]),
    )
    by_cost = sorted(front, key=lambda i: shown[i][1])
    listed = ", ".join(f"{shown[i][0].name} ({told(shown[i][1])})" for i in by_cost)
    caption = f"{caption} Dashed: {results.baseline}. On the front: {listed}."
    return Chart(name, drawing, caption)


def _file_name(engine: str) -> str:
    """Its name, or what is left of an address and a hash of all of it."""
    if re.fullmatch(r"\w+", engine):
        return engine
    plain = re.sub(r"\W+", "-", engine).strip("-")[:60]
    return f"{plain}-{hashlib.sha256(engine.encode()).hexdigest()[:6]}"


def difference_charts(results: Results) -> list[tuple[VariantResult, Chart]]:
    """Sorted per-query differences of each variant against the baseline, on one common scale."""
    measure = results.main
    base = results.base.per_query[measure]
    changes = {
        v.name: {q: value - base[q] for q, value in v.per_query[measure].items()}
        for v in results.others()
    }
    limit = max((abs(d) for c in changes.values() for d in c.values()), default=0.0)
    charts = []
    for number, v in enumerate(results.others()):
        change = changes[v.name]
        drawing = svg.differences(list(change.values()), title=v.name, limit=limit)
        charts.append((v, Chart(f"queries-{number:02d}", drawing, _extremes(change))))
    return charts


def _extremes(change: dict[str, float], shown: int = 3) -> str:
    ordered = sorted(change, key=lambda q: (change[q], q))
    worst = [q for q in ordered[:shown] if change[q] < 0]
    best = [q for q in reversed(ordered[-shown:]) if change[q] > 0]

    def listed(ids: list[str]) -> str:
        return ", ".join(f"{q} ({text.signed(change[q])})" for q in ids)

    return f"Best: {listed(best) or 'none'}. Worst: {listed(worst) or 'none'}."
