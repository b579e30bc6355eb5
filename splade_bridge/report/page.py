"""The report: one HTML file that needs no network, no scripts and no fonts.

``page.html.jinja`` is the page and ``parts.html.jinja`` what it is made of; ``tables`` says what
stands in each column, ``sentences`` and ``charts`` what the results come to.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from splade_bridge.report import charts, sentences, tables, text
from splade_bridge.report.results import Results
from splade_bridge.report.style import CHART, COLOURS, PAGE


def environment() -> Environment:
    """What fills the templates of this folder; all that they are given is escaped."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def page(results: Results) -> str:
    """The whole report."""
    template = environment().get_template("page.html.jinja")
    return template.render(
        results=results,
        several=len(results.variants) > 1,
        style=COLOURS + CHART + PAGE,
        facts=_facts(results),
        findings=sentences.findings(results),
        warnings=sentences.warnings(results),
        method=sentences.method(results),
        latency_charts=charts.latency_charts(results),
        size_charts=charts.size_charts(results),
        difference_charts=[chart for _, chart in charts.difference_charts(results)],
        variants=tables.variants(results),
        latencies=tables.latencies(results),
        tests=[(m, tables.tests(results, m)) for m in results.measures],
        agreement=tables.agreement(results),
        published=tables.published(results),
        costs=tables.costs(results),
        machine=tables.pairs("Machine", results.machine),
        versions=tables.pairs("Versions", results.versions),
    )


def _facts(results: Results) -> list[tuple[str, str]]:
    base = results.base
    return [
        (str(len(results.variants)), "variants"),
        (text.short(base.documents), "documents"),
        (f"{results.judged:,}", "judged queries"),
        (", ".join(results.engines), "engines"),
        (text.measured(base.means[results.main]), f"{results.main} of {results.baseline}"),
    ]
