"""How time and memory of each step of benchmarks/scale.py grow with the postings.

A step that takes time in proportion grows with the power 1 of the postings; the table tells the
power between two sizes that follow one another, and the drawings hold each curve beside that line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rows import Found, Rows
from splade_bridge.report import svg, text

Points = list[tuple[float, float]]


class Kind(NamedTuple):
    """A drawing: its title, what its values are called and how they are written."""

    title: str
    unit: str
    told: Callable[[float], str]


KINDS = {
    "seconds": Kind("Time of each step", "seconds", text.seconds),
    "mean": Kind("Mean time of a query, one thread", "ms a query", text.milliseconds),
    "private": Kind("Memory of each step, without mapped files", "bytes", text.size),
}


def step_of(key: Found, what: str) -> str | None:
    """What a row is called in the drawing of ``what``; None where it is not drawn."""
    if key["step"] in ("ciff", "index"):
        built = f"{key['index']}, built" if "index" in key else "CIFF, drawn and written"
        return None if what == "mean" else built
    one = key["step"] == "search" and key["threads"] == 1
    if not one or what == "seconds" or (what == "private" and key["k"] != 10):
        return None
    return f"{key['index']}, k = {key['k']}"


def curves(rows: Rows, what: str) -> dict[str, Points]:
    """Step -> (postings, value), by rising postings; the least, where there are several.

    Args:
        what: one of :data:`KINDS`.
    """
    found: dict[str, dict[float, float]] = {}
    for key, row in rows:
        name = step_of(key, what)
        if name is not None and row[what] > 0:  # what ends before it is sampled has no memory
            points = found.setdefault(name, {})
            points[row["postings"]] = min(row[what], points.get(row["postings"], math.inf))
    return {name: sorted(points.items()) for name, points in found.items()}


def growth_table(rows: Rows) -> Iterator[str]:
    """As which power of the postings each step grows, from one size to the next."""
    yield "\nAs which power of the postings each step grows (1: in proportion)\n"
    yield "| step | what | postings | power |\n|---|---|---|---|"
    for what, kind in KINDS.items():
        for name, points in curves(rows, what).items():
            for (a, low), (b, high) in pairwise(points):
                power = math.log(high / low) / math.log(b / a)
                yield f"| {name} | {kind.unit} | {text.short(a)} to {text.short(b)} | {power:.2f} |"


def draw(rows: Rows, folder: Path) -> list[Path]:
    """A drawing of each kind that has two sizes; where they lie."""
    made = []
    for what, kind in KINDS.items():
        found = [svg.Curve(*pair) for pair in curves(rows, what).items() if len(pair[1]) > 1]
        if found:
            drawing = svg.growth(
                found, title=kind.title, x_name="postings", y_name=kind.unit, x_text=text.short,
                y_text=kind.told,
            )  # fmt: skip
            path = folder / f"growth-{what}.svg"
            path.write_text(svg.standalone(drawing))
            made.append(path)
    return made
