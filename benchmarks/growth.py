"""How time and memory of each step of benchmarks/scale.py grow with the postings.

A step that takes time in proportion grows with the power 1 of the postings; the table tells the
power between two sizes that follow one another, and the drawings hold each curve beside that line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from rows import Rows
from splade_bridge.report import svg, text

Points = list[tuple[float, float]]


def curves(rows: Rows, what: str) -> dict[str, Points]:
    """Step -> (postings, value), by rising postings; one thread, where there were several.

    Args:
        what: ``seconds`` of steps and mean ``milliseconds`` of queries, or ``private`` bytes.
    """
    found: dict[str, Points] = {}
    for key, row in rows:
        if key["step"] in ("ciff", "index") and what != "milliseconds":
            name, value = key.get("index", "draw, write CIFF"), row["private" if what == "private"
                                                                    else "seconds"]  # fmt: skip
        elif key["step"] == "search" and key["threads"] == 1 and what != "seconds":
            if what == "private" and key["k"] != 10:
                continue
            name = f"{key['index']}, k = {key['k']}"
            value = row["private" if what == "private" else "mean"]
        else:
            continue
        if value > 0:  # what ends before it is sampled has no memory
            found.setdefault(name, []).append((row["postings"], value))
    return {name: sorted(set(points)) for name, points in found.items()}


KINDS = {
    "seconds": ("Time of each step", "seconds", text.seconds),
    "milliseconds": ("Mean time of a query, one thread", "ms a query", text.milliseconds),
    "private": ("Memory of each step, without mapped files", "bytes", text.size),
}


def growth_table(rows: Rows) -> Iterator[str]:
    """As which power of the postings each step grows, from one size to the next."""
    yield "\nAs which power of the postings each step grows (1: in proportion)\n"
    yield "| step | what | postings | power |\n|---|---|---|---|"
    for what, (_, unit, _) in KINDS.items():
        for name, points in curves(rows, what).items():
            for (a, low), (b, high) in pairwise(points):
                power = math.log(high / low) / math.log(b / a)
                yield f"| {name} | {unit} | {text.short(a)} to {text.short(b)} | {power:.2f} |"


def draw(rows: Rows, folder: Path) -> list[Path]:
    """A drawing of each kind that has two sizes; where they lie."""
    made = []
    for what, (title, unit, told) in KINDS.items():
        found = [svg.Curve(*pair) for pair in curves(rows, what).items() if len(pair[1]) > 1]
        if found:
            drawing = svg.growth(
                found, title=title, x_name="postings", y_name=unit, x_text=text.short, y_text=told
            )
            path = folder / f"growth-{what}.svg"
            path.write_text(svg.standalone(drawing))
            made.append(path)
    return made
