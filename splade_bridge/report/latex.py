"""Tables for papers: ``tabular`` with the rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from splade_bridge.report import text
from splade_bridge.report.results import Results, VariantResult

NAMED = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
RULE = ("\\midrule",)
"""A row that is a rule."""
SHOWN = "$^{\\dagger}$"
"""Behind a mean that differs from the baseline's by more than chance."""


def tex(words: str) -> str:
    """Words as LaTeX prints them."""
    return re.sub(
        r"[\\~^&%$#_{}\n]",
        lambda m: " " if m[0] == "\n" else NAMED.get(m[0], f"\\{m[0]}"),
        words,
    )


def tabular(
    columns: str, head: Iterable[str], rows: Iterable[Sequence[str]], told: Iterable[str] = ()
) -> str:
    """A table.

    Args:
        columns: as ``tabular`` takes them.
        head: words of the first row, which are escaped.
        rows: cells that are LaTeX already; :data:`RULE` is a rule.
        told: what stands above it, as comments.
    """
    lines = [f"% {line}" for line in told]
    lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [" & ".join(map(tex, head)) + " \\\\", "\\midrule"]
    lines += [row[0] if row is RULE else " & ".join(row) + " \\\\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def compared(results: Results) -> str:
    """All variants: measures, the share of postings, size and latency.

    The best of each measure is bold; a dagger stands where Fisher's randomisation test, corrected
    for the number of variants, tells a mean from the baseline's.
    """
    timed = [(engine, k) for engine in results.engines for k in results.ks]
    head = [
        "variant", *results.measures, "postings",
        *(f"{engine}, MB" for engine in results.engines),
        *(f"{engine}, k = {k:,}, ms" for engine, k in timed),
    ]  # fmt: skip
    best = {m: max(text.measured(v.means[m]) for v in results.variants) for m in results.measures}
    rows = [
        [
            tex(v.name),
            *(_mean(v, m, best[m]) for m in results.measures),
            tex(text.share(v.postings / results.base.postings)),
            *(f"{v.index(engine).bytes / 1e6:.1f}" for engine in results.engines),
            *(_latency(v, engine, k) for engine, k in timed),
        ]
        for v in results.variants
    ]
    told = [
        f"{results.title}: {results.judged:,} judged queries".replace("\n", " "),
        "latencies: the fastest algorithm, mean of one thread of a warm index",
        f"dagger: p < {1 - results.confidence:g} against {results.baseline}, randomisation test "
        "with Holm's correction",
    ]
    return tabular("l" + "r" * (len(head) - 1), head, rows, told)


def _mean(variant: VariantResult, measure: str, best: str) -> str:
    mean = text.measured(variant.means[measure])
    test = variant.tests.get(measure)
    shown = SHOWN if test is not None and test.significant else ""
    return (f"\\textbf{{{mean}}}" if mean == best else mean) + shown


def _latency(variant: VariantResult, engine: str, k: int) -> str:
    found = variant.fastest(engine, k)
    return "" if found is None else text.milliseconds(found.mean)
