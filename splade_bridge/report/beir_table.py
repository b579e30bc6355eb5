"""The table of a BEIR evaluation, as papers print it: a row a data set, a column a model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splade_bridge.report import text
from splade_bridge.report.latex import RULE, tabular, tex
from splade_bridge.report.published_beir import SOURCES, published_beir

MSMARCO = "msmarco"
"""Not in the mean: it is what models are trained on."""
MEAN = "mean"


@dataclass(frozen=True)
class BeirTable:
    """The values of one measure.

    Attributes:
        measure: as it was asked for.
        models: ours.
        published: those of others.
        values: data set -> model -> value; what is not known is not there. The last row is the
            mean over all data sets but MS MARCO, of the models that have a value for each.
    """

    measure: str
    models: list[str]
    published: list[str]
    values: dict[str, dict[str, float]]

    @property
    def sources(self) -> list[str]:
        """Where the published values come from."""
        return [f"{model}: {SOURCES[model]}" for model in self.published]


def beir_table(
    measure: str, models: Sequence[str], values: Mapping[str, Mapping[str, float]]
) -> BeirTable:
    """Our values with those that others have published for the same data sets.

    Args:
        values: data set -> model of ours -> value.
    """
    known = published_beir(measure)
    others = [m for m, found in known.items() if found.keys() & values.keys()]
    rows = {
        name: {**found, **{m: known[m][name] for m in others if name in known[m]}}
        for name, found in values.items()
    }
    counted = [found for name, found in rows.items() if name != MSMARCO]
    if len(counted) > 1:
        rows[MEAN] = {
            m: statistics.mean(found[m] for found in counted)
            for m in (*models, *others)
            if all(m in found for found in counted)
        }
    return BeirTable(measure, list(models), others, rows)


def markdown(tables: Sequence[BeirTable], told: Sequence[str]) -> str:
    """All tables; ``told`` says how they came about, a paragraph each."""
    lines = ["# BEIR", "", *(line for said in told for line in (said, ""))]
    for table in tables:
        columns = [*table.models, *table.published]
        lines += [f"## {table.measure}", ""]
        lines += ["| data set | " + " | ".join(map(_cell, columns)) + " |"]
        lines += ["|---|" + "---:|" * len(columns)]
        for name, found in table.values.items():
            cells = [text.measured(found[m]) if m in found else "" for m in columns]
            lines += [f"| {_cell(name)} | " + " | ".join(cells) + " |"]
        lines += ["", *(f"- {source}" for source in table.sources)]
        lines += [""] if table.sources else []
    return "\n".join(lines).rstrip() + "\n"


def latex(tables: Sequence[BeirTable]) -> str:
    """A ``tabular`` for each measure, in per cent; it needs the package booktabs."""
    return "\n".join(_tabular(table) for table in tables)


def _tabular(table: BeirTable) -> str:
    columns = [*table.models, *table.published]
    others = "@{\\quad}" + "r" * len(table.published) if table.published else ""
    rows: list[Sequence[str]] = []
    for name, found in table.values.items():
        if name == MEAN:
            rows.append(RULE)
        cells = (f"{100 * found[m]:.1f}" if m in found else "" for m in columns)
        rows.append([tex(name), *cells])
    told = [f"{table.measure} in per cent", *table.sources]
    return tabular(f"l{'r' * len(table.models)}{others}", ["data set", *columns], rows, told)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")
