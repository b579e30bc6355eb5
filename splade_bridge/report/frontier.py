"""Recall against latency: which settings are worth their time, and what exact engines need."""

from __future__ import annotations

from collections.abc import Sequence

from splade_bridge.evaluation.frontier import FrontierPoint
from splade_bridge.report import svg, text
from splade_bridge.report.pareto import pareto_front


def on_front(points: Sequence[FrontierPoint]) -> list[bool]:
    """Whether each is on the Pareto front: none finds as much in less time, or more in the same."""
    front = set(pareto_front([p.milliseconds for p in points], [p.recall for p in points]))
    return [number in front for number in range(len(points))]


def said(setting: dict[str, object]) -> str:
    """A setting in words."""
    told = {name: "all" if value is None else value for name, value in setting.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def frontier_chart(points: Sequence[FrontierPoint], k: int) -> str:
    """The chart as SVG that stands alone; exact engines are lines, each at its fastest."""
    series = list(dict.fromkeys(p.of for p in points if not p.exact))
    marks = [
        svg.Point(
            x=point.milliseconds,
            y=point.recall,
            series=series.index(point.of),
            label="",
            title=f"{point.of} {said(point.setting)}: {text.measured(point.recall)} at "
            f"{text.milliseconds(point.milliseconds)} ms",
            on_front=front,
        )
        for point, front in zip(points, on_front(points), strict=True)
        if not point.exact
    ]
    exact = sorted((p for p in points if p.exact), key=lambda p: p.milliseconds, reverse=True)
    fastest = {p.of: p for p in exact}  # the last of each
    drawing = svg.scatter(
        marks,
        [of.rstrip("/").rpartition("/")[2] for of in series],
        title=f"Recall against latency, k = {k}",
        x_name="ms a query",
        y_name=f"share of the exact top {k}",
        x_text=text.milliseconds,
        lines=[(f"{p.row.engine} {p.row.algorithm}", p.milliseconds) for p in fastest.values()],
    )
    return svg.standalone(drawing)
