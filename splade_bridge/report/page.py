"""The report: one HTML file that needs no network, no scripts and no fonts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from splade_bridge.report import text
from splade_bridge.report.charts import Chart, difference_charts, latency_charts, size_charts
from splade_bridge.report.results import Results
from splade_bridge.report.style import CHART, COLOURS, PAGE

PRUNING_STUDY = "https://arxiv.org/abs/2304.12702"
SMUCKER = "https://doi.org/10.1145/1321440.1321528"
WEBBER = "https://doi.org/10.1145/1852102.1852106"
BUSY = 0.5
"""Load a processor from which on something else was running while latencies were measured."""
DRIFT = 0.1


WORDS = '<td class="text"'
LEFT = ' class="text"'


class Raw(str):
    """HTML that is not escaped again; in a row of a table a whole cell."""


def page(results: Results) -> str:
    """The whole report."""
    title = escape(results.title)
    parts = [
        f"<h1>{title}</h1>",
        *_summary(results),
        *_warnings(results),
        "<h2>Quality and latency</h2>",
        _note(
            "Up is better, left is better. A filled mark is on the Pareto front: no other variant "
            "is both as fast and as good. The line is the best quality that each latency buys."
        ),
        _grid(latency_charts(results)),
        "<h2>Quality and size</h2>",
        _grid(size_charts(results)),
        "<h2>All variants</h2>",
        _variants(results),
        _latencies(results),
        "<h2>Are the differences more than chance?</h2>",
        *_significance(results),
        "<h2>Gains and losses, query by query</h2>",
        _note(
            f"Each bar is one query: its {results.main} minus that of {results.baseline}, sorted; "
            "all charts have one scale. A mean hides queries that lose much; here they are."
        ),
        _grid([chart for _, chart in difference_charts(results)], "grid small"),
        "<h2>Agreement of rankings</h2>",
        *_agreement(results),
        *_published(results),
        "<h2>What each step cost</h2>",
        _costs(results),
        "<h2>How it was measured</h2>",
        *_method(results),
    ]
    style = COLOURS + CHART + PAGE
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _summary(results: Results) -> list[str]:
    base = results.base
    facts = [
        (str(len(results.variants)), "variants"),
        (text.short(base.documents), "documents"),
        (f"{results.judged:,}", "judged queries"),
        (", ".join(results.engines), "engines"),
        (text.measured(base.means[results.main]), f"{results.main} of {results.baseline}"),
    ]
    listed = "".join(f"<li><b>{escape(n)}</b><span>{escape(w)}</span></li>" for n, w in facts)
    said = "".join(f"<li>{escape(s)}</li>" for s in findings(results))
    return [f'<ul class="facts">{listed}</ul>', f"<ul>{said}</ul>" if said else ""]


def findings(results: Results) -> list[str]:
    """What to take home, one sentence an engine and k."""
    safe = [
        v
        for v in results.others()
        if results.main in v.tests
        and (v.tests[results.main].difference >= 0 or not v.tests[results.main].significant)
    ]
    found = []
    for engine in results.engines:
        for k in results.ks:
            base = results.base.fastest(engine, k)
            timed = [(t.mean, v.name, v, t) for v in safe if (t := v.fastest(engine, k))]
            if base is None or not timed:
                continue
            _, _, v, t = min(timed, key=lambda entry: entry[:2])
            if t.mean >= base.mean:
                continue
            test = v.tests[results.main]
            found.append(
                f"{engine}, k = {k}: the fastest variant without a shown loss is {v.name}, "
                f"{text.milliseconds(t.mean)} ms against {text.milliseconds(base.mean)} ms a query "
                f"({base.mean / t.mean:.1f} times faster, {t.algorithm}), with "
                f"{text.share(v.postings / results.base.postings)} of the postings and "
                f"{results.main} {text.measured(test.mean_second)} against "
                f"{text.measured(test.mean_first)}."
            )
    return found


def _warnings(results: Results) -> list[str]:
    said = []
    split = [v.name for v in results.variants if not v.engines_agree]
    if split:
        said.append(
            f"The engines did not return the same rankings for {', '.join(split)}: run "
            "splade-bridge verify on their indexes before believing any figure."
        )
    for number, s in enumerate(results.sessions):
        when = f"{s.started[:16]} UTC"
        if s.load > BUSY:
            said.append(
                f"Other programs were running when latencies were measured ({when}: "
                f"{s.load:.1f} running processes for each processor): compare them with care."
            )
        if s.noisy:
            said.append(
                f"{s.noisy} of {s.cases} latencies varied by more than {DRIFT:.0%} between repeats "
                f"({when}): the machine was too noisy to tell small differences."
            )
        if number and abs(s.anchor - 1) > DRIFT:
            said.append(
                f"Latencies were measured at different times, and the baseline took {s.anchor:.2f} "
                f"times as long on {when} as at first: measure all together with --rebench."
            )
    return [f'<p class="warn">{escape(s)}</p>' for s in said]


def _variants(results: Results) -> str:
    head = ["variant", *results.measures, "postings", "share", "terms a document"]
    head += ["terms a query", "QD-FLOPS", *(f"{e} size" for e in results.engines)]
    encoded = any(v.encoding_ms is not None for v in results.variants)
    head += ["ms to encode a query"] * encoded + ["made by"]
    rows = []
    for v in results.variants:
        rows.append(
            [
                v.name, *(text.measured(v.means[m]) for m in results.measures), f"{v.postings:,}",
                text.share(v.postings / results.base.postings),
                f"{v.postings / max(1, v.documents):.1f}", f"{v.query_terms:.1f}",
                "not told" if v.qd_flops is None else f"{v.qd_flops:.2f}",
                *(text.size(v.index(e).bytes) for e in results.engines),
                *([text.milliseconds(v.encoding_ms) if v.encoding_ms else ""] * encoded),
                _words("; ".join(v.steps) or "as it is"),
            ]
        )  # fmt: skip
    return _table("Quality and size of every variant", head, rows, results.baseline)


def _latencies(results: Results) -> str:
    head = ["variant", "engine", "algorithm", "k", "mean", "p50", "p95", "p99", "spread"]
    rows = [
        [
            v.name, _words(t.engine),
            _words(t.algorithm), str(t.k),
            *(text.milliseconds(ms) for ms in (t.mean, t.p50, t.p95, t.p99)),
            text.share(t.spread),
        ]
        for v in results.variants
        for t in v.latencies
    ]  # fmt: skip
    if not rows:
        return ""
    table = _table(
        "Milliseconds a query; spread: how far the medians of the repeats lie apart",
        head, rows, results.baseline,
    )  # fmt: skip
    return f"<details><summary>All {len(rows)} latencies</summary>{table}</details>"


def _significance(results: Results) -> list[str]:
    level = 1 - results.confidence
    compared = len(results.variants) - 1
    if not compared:
        return [_p("There is only one variant, so nothing to compare.")]
    said = Raw(
        "<p>Each variant is compared with "
        f"<b>{escape(results.baseline)}</b> on the same {results.judged:,} queries by Fisher's "
        f'randomisation test (<a href="{SMUCKER}">Smucker, Allan, Carterette 2007</a>), two-sided. '
        f"Because {compared} variants are compared, p is corrected by Holm's method for each "
        "measure. "
        f"A p below {level:g} means: if the variant were no better or worse than the baseline, "
        "a difference as large as this would be rare, even among so many comparisons. A larger p "
        "does not prove that two variants are equal; the interval says how large the true "
        "difference may still be.</p>"
    )
    tables = []
    for measure in results.measures:
        head = ["variant", measure, "difference", f"{results.confidence:.0%} interval", "p"]
        head.append("won / lost / equal")
        rows = []
        for v in results.others():
            t = v.tests[measure]
            style = ("up" if t.difference > 0 else "down") if t.significant else ""
            low_high = (
                f"{text.change(t.interval[0])} to {text.change(t.interval[1])}"
                if t.interval
                else ""
            )
            rows.append(
                [
                    v.name, text.measured(t.mean_second),
                    Raw(f'<td class="{style}">{text.change(t.difference)}</td>'), low_high,
                    text.p_value(t.corrected), f"{t.wins} / {t.losses} / {t.ties}",
                ]
            )  # fmt: skip
        table = _table(f"{measure} against {results.baseline}", head, rows, results.baseline)
        said_of = "".join(
            f"<li>{escape(v.tests[measure].sentence(measure))}</li>" for v in results.others()
        )
        table += f"<details><summary>The same in words</summary><ul>{said_of}</ul></details>"
        if measure != results.main:
            table = f"<details><summary>{escape(measure)}</summary>{table}</details>"
        tables.append(table)
    return [said, *tables]


def _agreement(results: Results) -> list[str]:
    ks = sorted({k for v in results.others() for k in v.overlap})
    if not ks:
        return [_p("There is only one variant, so nothing to compare.")]
    steps = [v for v in results.variants if v.kept_exact]
    kept = sorted({k for v in steps for k in v.kept_exact})
    head = ["variant", *(f"overlap@{k}" for k in ks), f"RBO ({results.persistence:g})"]
    head += [f"exact top {k} kept" for k in kept]
    rows = [
        [
            v.name, *(text.measured(v.overlap[k]) for k in ks), text.measured(v.rbo or 0.0),
            *(text.measured(v.kept_exact[k]) if k in v.kept_exact else "" for k in kept),
        ]
        for v in results.others()
    ]  # fmt: skip
    said = Raw(
        "<p>Overlap@k is the share of the baseline's top k that a variant also has; rank-biased "
        f'overlap (<a href="{WEBBER}">Webber, Moffat, Zobel 2010</a>) weighs the top of the '
        "ranking most. 1 is the same ranking. A variant may rank otherwise and be as good.</p>"
    )
    return [said, _table(f"Agreement with {results.baseline}", head, rows, results.baseline)]


def _published(results: Results) -> list[str]:
    rows = [
        [
            v.name, _words(f.measure),
            text.measured(v.means[f.measure]), text.measured(f.value),
            text.change(v.means[f.measure] - f.value),
            Raw(f'<td class="text"><a href="{escape(f.link)}">{escape(f.source)}</a></td>'),
        ]
        for v in results.variants
        for f in v.published
    ]  # fmt: skip
    if not rows:
        return []
    head = ["variant", "measure", "here", "published", "difference", "source"]
    caption = f"Published figures of the same model on {results.collection}"
    return ["<h2>Published figures</h2>", _table(caption, head, rows, results.baseline)]


def _costs(results: Results) -> str:
    head = ["variant", "engine", "steps in seconds", "seconds", "bytes"]
    rows = []
    for v in results.variants:
        shared = [("all", v.seconds, sum(v.bytes.values()))] if v.seconds or v.bytes else []
        for engine, spent, size in [*shared, *((i.engine, i.seconds, i.bytes) for i in v.indexes)]:
            told = ", ".join(f"{what} {text.seconds(s)}" for what, s in spent.items())
            rows.append(
                [
                    v.name, _words(engine),
                    _words(told),
                    text.seconds(sum(spent.values())), text.size(size),
                ]
            )  # fmt: skip
    caption = "Time and space of each variant; index: reading, quantizing, pruning and building"
    return _table(caption, head, rows, results.baseline)


def _method(results: Results) -> list[str]:
    timed = [t for v in results.variants for t in v.latencies]
    said = [
        f"Every engine searched the same {results.queries:,} judged queries for each variant, to "
        f"depth {results.depth}; measures are means over {results.judged:,} judged queries, and "
        "one without results counts as 0.",
        "All indexes were checked against their input when they were built (documents, postings, "
        "sum of impacts), and the runs of all engines compared byte for byte"
        + (": all are the same." if all(v.engines_agree for v in results.variants) else "."),
    ]
    if timed:
        said.append(
            f"Latencies are of the retrieval alone: queries were encoded before, one thread, warm "
            f"(an untimed pass first), {timed[0].queries:,} queries, {timed[0].repeat} repeats, "
            "interleaved over all variants, engines and algorithms, after all indexes were built."
        )
    listed = "".join(f"<li>{escape(s)}</li>" for s in said)
    machine = [[k, _words(v)] for k, v in results.machine.items()]
    versions = [[k, _words(v)] for k, v in results.versions.items()]
    sources = (
        f'<p>Static pruning follows <a href="{PRUNING_STUDY}">A Static Pruning Study on Sparse '
        "Neural Retrievers</a>.</p>"
    )
    return [
        f"<ul>{listed}</ul>",
        sources,
        _table("Machine", ["", ""], machine, ""),
        _table("Versions", ["", ""], versions, ""),
    ]


def _grid(charts: Iterable[Chart], style: str = "grid") -> str:
    figures = "\n".join(
        f"<figure>{c.drawing}<figcaption>{escape(c.caption)}</figcaption></figure>" for c in charts
    )
    return f'<div class="{style}">{figures}</div>' if figures else _p("Nothing was measured.")


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], marked: str) -> str:
    """A table in its own scrolling box; the row called ``marked`` stands out."""
    words = {i for row in rows for i, cell in enumerate(row) if cell.startswith(WORDS)}
    columns = "".join(
        f'<th scope="col"{LEFT if i in words else ""}>{escape(h)}</th>' for i, h in enumerate(head)
    )
    columns = f"<thead><tr>{columns}</tr></thead>" if any(head) else ""
    lines = []
    for first, *rest in rows:
        cells = "".join(c if isinstance(c, Raw) else f"<td>{escape(c)}</td>" for c in rest)
        style = ' class="base"' if first == marked else ""
        lines.append(f'<tr{style}><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>{columns}<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _words(said: str) -> Raw:
    return Raw(f"{WORDS}>{escape(said)}</td>")


def _p(said: str) -> str:
    return f"<p>{escape(said)}</p>"


def _note(said: str) -> str:
    return f'<p class="note">{escape(said)}</p>'
