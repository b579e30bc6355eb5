"""Charts as SVG text: quality against cost, sorted bars of differences, growth with a size.

Drawn 360 units wide, so that a phone shows them at about their own size. Each has a title and a
description for those who cannot see it, and stands alone with :func:`standalone`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape
from zlib import crc32

from splade_bridge.report.style import CHART, COLOURS, SERIES

WIDTH = 360.0
FONT = 12.0
LETTER = 0.56
"""Mean width of a letter, in units of the font's size."""
QUALITY_TICKS = 7
FILLED = "filled: on the Pareto front (line); hollow: beaten"
LOG_FROM = 3.0
"""An axis of costs is logarithmic where the largest is so many times the smallest."""


@dataclass(frozen=True)
class Point:
    """One mark of a scatter.

    Attributes:
        x: cost; ``y``: quality.
        series: position in the list of series.
        label: short, drawn beside the mark if there is room.
        title: shown by browsers under the pointer, and read out.
        on_front: whether it is on the Pareto front (drawn filled).
    """

    x: float
    y: float
    series: int
    label: str
    title: str
    on_front: bool


@dataclass(frozen=True)
class Box:
    """A rectangle that labels must not touch."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return not (
            self.right <= other.left
            or other.right <= self.left
            or self.bottom <= other.top
            or other.bottom <= self.top
        )


@dataclass(frozen=True)
class Axis:
    """Values to units of the drawing.

    Attributes:
        low: value at ``start``; ``high``: value at ``end``.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where ``value`` lies."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Round values inside the axis, about ``wanted``."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for digits in ((1, 2, 5), (1, 3), (1,)):
                found = [d * 10.0**e for e in range(first, last + 1) for d in digits]
                found = [t for t in found if self.low <= t <= self.high]
                if len(found) <= wanted + 2:
                    break
            if len(found) >= 3:
                return found
        return nice_ticks(self.low, self.high, wanted)


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Multiples of 1, 2 or 5 x 10^n from ``low`` to ``high``, at most ``wanted`` + 1 or so."""
    raw = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float, *, log: bool = False) -> Axis:
    """An axis that holds ``values`` with some room on both sides."""
    low, high = min(values), max(values)
    if log and low > 0 and high / low >= LOG_FROM:
        room = (high / low) ** 0.07
        return Axis(low / room, high * room, start, end, log=True)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return Axis(max(0.0, low - room) if low >= 0 else low - room, high + room, start, end)


def _logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    """The same, logarithmic however near to one another they are."""
    low, high = min(values), max(values)
    room = max(1.1, (high / low) ** 0.07)
    return Axis(low / room, high * room, start, end, log=True)


def text_width(text: str, size: float = FONT) -> float:
    """About how wide ``text`` is drawn."""
    return len(text) * size * LETTER


def scatter(
    points: Sequence[Point],
    series: Sequence[str],
    *,
    title: str,
    x_name: str,
    y_name: str,
    x_text: Callable[[float], str],
    baseline: tuple[str, float] | None = None,
    lines: Sequence[tuple[str, float]] = (),
) -> str:
    """Quality (up is better) against cost (left is better), with the Pareto front as a line.

    Args:
        points: at least one.
        series: their names; a legend stands below the chart.
        x_text: writes a cost.
        baseline: a name and its quality, drawn as a dashed line.
        lines: names and costs, drawn as dashed lines upwards.
    """
    left, top, right, bottom = 50.0, 36.0, WIDTH - 14, 300.0
    x = axis([*(p.x for p in points), *(cost for _, cost in lines)], left, right, log=True)
    levels = [p.y for p in points] + ([] if baseline is None else [baseline[1]])
    y = axis(levels, bottom, top)
    used = sorted({p.series for p in points})
    legend, height = _legend([(i, series[i]) for i in used], bottom + 58)
    parts = [*_grid(x, y, x_text, _plain_digits(y)), _caption(y_name, x_name, bottom)]
    taken = []
    if baseline is not None:
        name, at = baseline[0], y(baseline[1])
        wide = text_width(name, 11) + 8
        sides = [Box(left, at - 16, left + wide, at), Box(right - wide, at - 16, right, at)]
        marks = _mark_boxes(points, x, y)
        place = next((s for s in sides if not any(s.meets(m) for m in marks)), sides[0])
        taken.append(place)
        parts.append(f'<path class="base" d="M{left} {at:.1f}H{right}"/>')
        where = f'font-size="11" x="{place.left + 4:.1f}" y="{at - 5:.1f}"'
        parts.append(f"<text {where}>{escape(name)}</text>")
    for name, cost in lines:
        parts.append(f'<path class="base" d="M{x(cost):.1f} {top}V{bottom}"/>')
        where = f'font-size="11" transform="translate({x(cost) - 4:.1f} {bottom - 6}) rotate(-90)"'
        parts.append(f"<text {where}>{escape(name)}</text>")
    front = sorted((p for p in points if p.on_front), key=lambda p: (p.x, p.y))
    if len(front) > 1:
        path = f"M{x(front[0].x):.1f} {y(front[0].y):.1f}" + "".join(
            f"H{x(p.x):.1f}V{y(p.y):.1f}" for p in front[1:]
        )
        parts.append(f'<path class="front" d="{path}"/>')
    for p in sorted(points, key=lambda p: p.on_front):
        filled = "over" if p.on_front else "under"
        mark = _mark(p.series, x(p.x), y(p.y))
        parts.append(
            f'<g class="s{_shade(p.series)}"><title>{escape(p.title)}</title>'
            f'<path class="mark {filled}" d="{mark}"/></g>'
        )
    parts += _labels(points, x, y, Box(left, top - 8, WIDTH, bottom), taken)
    on_front = ", ".join(p.title for p in front)
    described = f"{len(points)} variants; on the Pareto front: {on_front}"
    described += "".join(f"; {name} at {x_text(cost)}" for name, cost in lines)
    return _svg(height, title, described, [*parts, *legend])


@dataclass(frozen=True)
class Curve:
    """A line of :func:`growth`.

    Attributes:
        name: in the legend.
        points: (size, value), both above 0, by rising size; two or more.
    """

    name: str
    points: Sequence[tuple[float, float]]


def growth(
    curves: Sequence[Curve],
    *,
    title: str,
    x_name: str,
    y_name: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> str:
    """Values against a size, on two logarithmic axes; dashed: what would grow in proportion.

    Args:
        curves: at least one.
        x_text, y_text: write a size and a value.
    """
    left, top, right, bottom = 56.0, 36.0, WIDTH - 14, 300.0
    x = _logarithmic([size for c in curves for size, _ in c.points], left, right)
    y = _logarithmic([value for c in curves for _, value in c.points], bottom, top)
    legend, height = _legend(
        [(i, c.name) for i, c in enumerate(curves)], bottom + 58, "dashed: in proportion"
    )
    parts = [*_grid(x, y, x_text, y_text), _caption(y_name, x_name, bottom)]
    for number, curve in enumerate(curves):
        (first, low), (last, _) = curve.points[0], curve.points[-1]
        end = min(low * last / first, y.high)  # cut where the drawing ends
        parts.append(
            f'<path class="base" d="M{x(first):.1f} {y(low):.1f}'
            f'L{x(first * end / low):.1f} {y(end):.1f}"/>'
        )
        places = [(x(size), y(value)) for size, value in curve.points]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        told = ", ".join(f"{y_text(value)} at {x_text(size)}" for size, value in curve.points)
        marks = "".join(f'<path class="mark over" d="{_mark(number, a, b)}"/>' for a, b in places)
        parts.append(
            f'<g class="s{_shade(number)}"><title>{escape(f"{curve.name}: {told}")}</title>'
            f'<path fill="none" stroke="currentColor" stroke-width="1.6" d="M{path}"/>{marks}</g>'
        )
    described = "; ".join(f"{c.name}: {len(c.points)} sizes" for c in curves)
    return _svg(height, title, described, [*parts, *legend])


def differences(values: Sequence[float], *, title: str, limit: float) -> str:
    """Sorted bars, one a query: above the line better than the baseline, below worse.

    Args:
        values: one difference a query.
        limit: largest magnitude on the axis, so that several charts can share one scale.
    """
    ordered = sorted(values, reverse=True)
    left, top, right, bottom = 44.0, 32.0, WIDTH - 10, 150.0
    limit = limit or 1.0
    y = Axis(-limit, limit, bottom, top)
    gains, losses = sum(v > 0 for v in ordered), sum(v < 0 for v in ordered)
    parts = [*_grid_lines(y, left, right, lambda v: f"{v:+.1f}" if v else "0", 4)]
    width = (right - left) / max(1, len(ordered))
    for name, some, first in (
        ("gain", ordered[:gains], 0),
        ("loss", ordered[len(ordered) - losses :], len(ordered) - losses),
    ):
        if some:
            at = left + first * width
            path = f"M{at:.2f} {y(0):.1f}" + "".join(f"V{y(v):.1f}h{width:.3f}" for v in some)
            parts.append(f'<path class="{name}" d="{path}V{y(0):.1f}Z"/>')
    parts.append(f'<path class="axis" d="M{left} {y(0):.1f}H{right}"/>')
    equal = len(ordered) - gains - losses
    told = f"{gains} better, {losses} worse, {equal} equal"
    parts.append(f'<text x="{left + 6}" y="{bottom - 8}">{told}</text>')
    described = f"{told}; from {ordered[0]:+.3f} to {ordered[-1]:+.3f}" if ordered else told
    return _svg(bottom + 8, title, described, parts)


def standalone(chart: str) -> str:
    """``chart`` as a file of its own, with its colours and a background."""
    head, inner = chart.split(">", 1)
    style = f"<style>{COLOURS}{CHART}</style>"
    back = '<rect class="back" width="100%" height="100%"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{style}{back}{inner}\n'


def _svg(height: float, title: str, described: str, parts: Sequence[str]) -> str:
    heading = f'<text class="strong" x="8" y="18" font-size="13">{escape(title)}</text>'
    drawn = heading + "".join(parts)
    name = f"c{crc32((title + drawn).encode()):08x}"  # unique on a page that holds many
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}t {name}d" viewBox="0 0 {WIDTH:g} {height:g}">'
        f'<title id="{name}t">{escape(title)}</title>'
        f'<desc id="{name}d">{escape(described)}</desc>{drawn}</svg>'
    )


def _grid(
    x: Axis, y: Axis, x_text: Callable[[float], str], y_text: Callable[[float], str]
) -> list[str]:
    parts = _grid_lines(y, x.start, x.end, y_text, QUALITY_TICKS)
    last = -math.inf
    for tick in x.ticks(5):
        at, text = x(tick), x_text(tick)
        parts.append(f'<path class="axis" d="M{at:.1f} {y.start}v4"/>')
        half = text_width(text) / 2 + 3
        if at - half > last and at + half <= WIDTH:
            parts.append(
                f'<text x="{at:.1f}" y="{y.start + 17}" text-anchor="middle">{text}</text>'
            )
            last = at + half
    parts.append(f'<path class="axis" d="M{x.start} {y.start}H{x.end}"/>')
    return parts


def _grid_lines(
    y: Axis, left: float, right: float, text: Callable[[float], str], wanted: int
) -> list[str]:
    parts = []
    for tick in y.ticks(wanted):
        at = y(tick)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{text(tick)}</text>')
    return parts


def _caption(y_name: str, x_name: str, bottom: float) -> str:
    scale = f'<text x="{WIDTH - 14}" y="{bottom + 36}" text-anchor="end">{escape(x_name)}</text>'
    return f'<text x="8" y="{bottom + 36}">up: {escape(y_name)}</text>{scale}'


def _plain_digits(y: Axis) -> Callable[[float], str]:
    ticks = y.ticks(QUALITY_TICKS)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1.0
    digits = max(0, -math.floor(math.log10(step or 1.0) + 1e-9))
    return lambda value: f"{value:.{digits}f}"


def _shade(series: int) -> int:
    return min(series, len(SERIES) - 1)


def _mark(series: int, x: float, y: float) -> str:
    shapes = (
        lambda: f"M{x - 4.5:.1f} {y:.1f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
        lambda: f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8Z",
        lambda: f"M{x:.1f} {y - 5.2:.1f}l5 9h-10Z",
        lambda: f"M{x:.1f} {y - 5.6:.1f}l5.6 5.6l-5.6 5.6l-5.6 -5.6Z",
        lambda: f"M{x:.1f} {y + 5.2:.1f}l5 -9h-10Z",
        lambda: f"M{x - 5.2:.1f} {y:.1f}l9 -5v10Z",
        lambda: f"M{x + 5.2:.1f} {y:.1f}l-9 -5v10Z",
    )
    return shapes[series % len(shapes)]()


def _mark_boxes(points: Sequence[Point], x: Axis, y: Axis) -> list[Box]:
    return [Box(x(p.x) - 6, y(p.y) - 6, x(p.x) + 6, y(p.y) + 6) for p in points]


def _labels(
    points: Sequence[Point], x: Axis, y: Axis, area: Box, taken: Sequence[Box]
) -> list[str]:
    """Labels beside their marks; one that would touch another or a mark is left out."""
    marks = _mark_boxes(points, x, y)
    placed = list(taken)
    parts = []
    order = sorted(range(len(points)), key=lambda i: (not points[i].on_front, points[i].x))
    for i in order:
        p = points[i]
        if not p.label:
            continue
        wide, at_x, at_y = text_width(p.label, 11), x(p.x), y(p.y)
        for dx, dy in (
            (-wide / 2, -15), (8, -6), (-wide - 8, -6), (-wide / 2, 8), (6, -15), (-wide - 6, -15),
            (6, 7), (-wide - 6, 7),
        ):  # fmt: skip
            box = Box(at_x + dx, at_y + dy, at_x + dx + wide, at_y + dy + 11)
            inside = (
                box.left >= area.left
                and box.right <= area.right
                and box.top >= area.top
                and box.bottom <= area.bottom
            )
            others = (m for j, m in enumerate(marks) if j != i)
            if inside and not any(box.meets(b) for b in (*placed, *others)):
                placed.append(box)
                strong = " ink" if p.on_front else ""
                parts.append(
                    f'<text class="label s{_shade(p.series)}{strong}" font-size="11" '
                    f'x="{box.left:.1f}" y="{box.bottom - 2:.1f}">{escape(p.label)}</text>'
                )
                break
    return parts


def _legend(
    entries: Sequence[tuple[int, str]], top: float, note: str = FILLED
) -> tuple[list[str], float]:
    """Marks and names in rows, a note below, and the height of the whole chart."""
    parts, left, row = [], 8.0, top
    for series, name in entries:
        wide = 18 + text_width(name) + 18
        if left > 8 and left + wide > WIDTH:
            left, row = 8.0, row + 19
        parts.append(
            f'<g class="s{_shade(series)}"><path class="mark over" '
            f'd="{_mark(series, left + 6, row - 4)}"/></g>'
            f'<text x="{left + 18:.1f}" y="{row:.1f}">{escape(name)}</text>'
        )
        left += wide
    row += 19
    parts.append(f'<text x="8" y="{row:.1f}">{note}</text>')
    return parts, row + 10
