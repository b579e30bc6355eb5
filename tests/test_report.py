from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.evaluation.significance import compare_all
from splade_bridge.report import style, svg, text
from splade_bridge.report.charts import difference_charts, latency_charts, size_charts
from splade_bridge.report.latex import compared
from splade_bridge.report.page import page
from splade_bridge.report.pareto import pareto_front
from splade_bridge.report.published import FIGURES, published
from splade_bridge.report.results import IndexResult, Results, Session, TimedSearch, VariantResult
from splade_bridge.report.sentences import findings
from strategies import quick

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def results(names: tuple[str, ...] = ("base", '<b>&"x"', "half 0.5")) -> Results:
    queries = [f"q{i}" for i in range(40)]
    per_query = {
        name: {q: (7 * i * (n + 1) % 11) / 11 for i, q in enumerate(queries)}
        for n, name in enumerate(names)
    }
    tests = {t.second: t for t in compare_all(per_query, names[0])} if len(names) > 1 else {}
    variants = [
        VariantResult(
            name=name,
            group="g" if n else name,
            label=f"{n}",
            steps=["documents top-k 3"] * bool(n),
            documents=100,
            empty=0,
            postings=1000 * (n + 1),
            max_impact=300,
            query_terms=5.0,
            qd_flops=1.5 if n else None,
            means={"nDCG@10": sum(per_query[name].values()) / 40},
            per_query={"nDCG@10": per_query[name]},
            engines_agree=True,
            indexes=[IndexResult("exact", 10_000 * (n + 1), {"index": 0.1, "search": 0.2})],
            latencies=[TimedSearch("exact", "exhaustive", k, 40, 3, k / (n + 5), 1, 2, 3, 0.01)
                       for k in (10, 1000)],
            overlap={10: 0.5, 1000: 0.25} if n else {},
            rbo=0.75 if n else None,
            tests={"nDCG@10": tests[name]} if n else {},
            published=published("naver/splade-v3", "nfcorpus", ["nDCG@10"]) if not n else [],
        )
        for n, name in enumerate(names)
    ]  # fmt: skip
    return Results(
        "A <title> & more", "nfcorpus", names[0], 41, 40, ["nDCG@10"], 1000,
        {"exact": ["exhaustive"]}, [10, 1000], 0.9, 0.95, variants,
        [Session("2026-01-01 00:00:00+00:00", 6, 0, 0.1)], {"processor": "P"}, {"Python": "3"},
    )  # fmt: skip


points = st.lists(
    st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=20
)


@quick
@given(points)
def test_the_front_is_what_nobody_beats(found: list[tuple[float, float]]) -> None:
    def beaten(i: int) -> bool:
        cost, gain = found[i]
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in found)

    front = pareto_front([c for c, _ in found], [g for _, g in found])
    assert sorted(front) == [i for i in range(len(found)) if not beaten(i)]
    assert all(found[a] <= found[b] for a, b in pairwise(front))


class Page(HTMLParser):
    """Checks that tags are closed in their order, and collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def parsed(html: str) -> Page:
    found = Page()
    found.feed(html)
    found.close()
    assert not found.open
    return found


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    html = page(results())
    found = parsed(html)
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert "<script" not in html and "@import" not in html and "url(" not in html
    for tag, name, value in found.attributes:
        if value.startswith(("http:", "https:", "//")):
            assert (tag, name) in {("a", "href"), ("svg", "xmlns")}, (tag, name, value)
        assert name != "src" and not name.startswith("on")
    assert len(found.ids) == len(set(found.ids))
    labels = [v for tag, name, v in found.attributes if (tag, name) == ("svg", "aria-labelledby")]
    assert labels and all(set(v.split()) <= set(found.ids) for v in labels)


def test_what_users_wrote_is_escaped() -> None:
    html = page(results())
    assert "A &lt;title&gt; &amp; more" in html and "<b>&" not in html
    assert '<b>&"x"' in parsed(html).text


def test_tables_scroll_in_their_own_box_and_have_names() -> None:
    html = page(results())
    tables = html.count("<table>")
    assert (
        tables
        and html.count('<div class="scroll" role="region" tabindex="0" aria-label=') == tables
    )
    assert html.count("<caption>") == tables
    assert html.count('name="viewport"') == 1 and '<html lang="en">' in html


def test_a_column_stands_left_or_right_from_its_head_down() -> None:
    html = page(results())
    left = {"engine", "algorithm", "made by", "measure", "source", "steps in seconds"}
    heads = re.findall(r'<th scope="col"( class="text")?>(.*?)</th>', html)
    assert {name for words, name in heads if words} == left
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        columns = re.findall(r'<th scope="col"( class="text")?>', table)
        for row in re.findall(r"<tr[^>]*><th scope=\"row\">.*", table):
            cells = re.findall(r'<td( class="text")?', row)
            assert not columns or cells == columns[1:]


def test_numbers_stand_in_the_page() -> None:
    shown = parsed(page(results())).text
    found = results()
    for v in found.variants:
        assert text.measured(v.means["nDCG@10"]) in shown
        for t in v.tests.values():
            assert t.sentence("nDCG@10") in shown
    assert "0.3629" in shown and "0.3624" in shown  # published figures of splade-v3


def test_charts_are_xml_with_a_mark_for_every_variant() -> None:
    found = results()
    charts = [*latency_charts(found), *size_charts(found)]
    assert [c.name for c in charts] == [
        "latency-exact-10", "latency-exact-1000", "postings", "size-exact",
    ]  # fmt: skip
    for chart in charts:
        for drawing in (chart.drawing, svg.standalone(chart.drawing)):
            root = ET.fromstring(drawing)
            assert root.tag == f"{SVG}svg"
            titled = [g.find(f"{SVG}title") for g in root.findall(f"{SVG}g")]
            names = [t.text or "" for t in titled if t is not None]
            assert len(names) == len(found.variants)
            assert all(any(v.name in n for n in names) for v in found.variants)
            assert root.find(f"{SVG}title") is not None and root.find(f"{SVG}desc") is not None
    front = sum('class="mark over"' in line for line in charts[0].drawing.split("<g"))
    names = [v.means["nDCG@10"] for v in found.variants]
    times = [t.mean for v in found.variants if (t := v.fastest("exact", 10))]
    legend = len(found.groups())
    assert front == len(pareto_front(times, names)) + legend


def test_bars_show_gains_and_losses() -> None:
    found = results()
    for v, chart in difference_charts(found):
        t = v.tests["nDCG@10"]
        ET.fromstring(svg.standalone(chart.drawing))
        assert f"{t.wins} better, {t.losses} worse, {t.ties} equal" in chart.drawing
        bars = re.search(r'class="gain" d="([^"]*)"', chart.drawing)
        assert (bars[1].count("h") if bars else 0) == t.wins
        change = {q: value - found.base.per_query["nDCG@10"][q]
                  for q, value in v.per_query["nDCG@10"].items()}  # fmt: skip
        assert max(change, key=lambda q: (change[q], q)) in chart.caption
        assert min(change, key=lambda q: (change[q], q)) in chart.caption


def test_one_variant_makes_a_page_too() -> None:
    parsed(page(results(("only",))))


def test_what_is_doubtful_is_said() -> None:
    found = results()
    assert 'class="warn"' not in page(found)
    busy = replace(found.sessions[0], load=2.0, noisy=3)
    assert page(replace(found, sessions=[busy])).count('class="warn"') == 2
    later = replace(found.sessions[0], started="2027", anchor=1.3)
    assert "1.30 times as long on 2027 UTC" in page(
        replace(found, sessions=[*found.sessions, later])
    )
    odd = replace(found.variants[1], engines_agree=False)
    assert "did not return the same" in page(replace(found, variants=[found.variants[0], odd]))


def test_findings_name_the_fastest_without_a_shown_loss() -> None:
    found = results()
    for sentence in findings(found):
        name = sentence.split(" is ")[1].split(", ")[0]
        chosen = next(v for v in found.variants if v.name == name)
        assert not (chosen.tests["nDCG@10"].significant and chosen.tests["nDCG@10"].difference < 0)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_marks_have_contrast(scheme: int) -> None:
    for colour in (style.INK, style.MUTED, style.LINK, style.GAIN, style.LOSS, *style.SERIES):
        for ground in (style.SURFACE, style.PANEL):
            light, dark = sorted((luminance(colour[scheme]), luminance(ground[scheme])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (colour[scheme], ground[scheme])


def test_labels_do_not_touch_each_other_or_other_marks() -> None:
    some = [
        svg.Point(1 + i % 7, 0.3 + (i % 5) / 1000, i % 6, f"label {i}", f"t{i}", i % 2 == 0)
        for i in range(30)
    ]
    drawing = svg.scatter(
        some, [f"s{i}" for i in range(6)], title="t", x_name="x", y_name="y", x_text=text.short,
        baseline=("baseline", 0.3),
    )  # fmt: skip
    boxes = []
    for node in ET.fromstring(drawing).iter(f"{SVG}text"):
        if "label" in (node.get("class") or ""):
            left, bottom = float(node.get("x") or 0), float(node.get("y") or 0) + 2
            wide = svg.text_width(node.text or "", 11)
            boxes.append(svg.Box(left, bottom - 11, left + wide, bottom))
            assert left >= 0 and left + wide <= svg.WIDTH + 0.1
    assert len(boxes) > 5
    assert not any(a.meets(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@quick
@given(
    st.floats(1e-6, 1e9), st.floats(1.0001, 1e6), st.booleans(), st.integers(2, 8)
)  # fmt: skip
def test_ticks_rise_inside_the_axis(low: float, factor: float, log: bool, wanted: int) -> None:
    high = low * factor
    if high - low < 1e-9 * high:
        return
    axis = svg.Axis(low, high, 0, 100, log)
    ticks = axis.ticks(wanted)
    assert len(ticks) <= 3 * wanted + 8
    for tick in ticks:
        assert low * (1 - 1e-6) - 1e-12 <= tick <= high * (1 + 1e-6)
        assert -1 <= axis(tick) <= 101
    assert ticks == sorted(set(ticks))


def test_published_figures_have_sources() -> None:
    assert all(0 < f.value < 1 and f.source and f.link.startswith("https://") for f in FIGURES)
    (mrr, _) = published("naver/splade-cocondenser-ensembledistil", "msmarco-dev", ["RR@10"])
    assert mrr.value == 0.383
    assert published("splade-v3", "scifact", ["AP"]) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [(998_259, "998k"), (1_234_567, "1.23M"), (12, "12"), (999_700, "1M"), (0.5, "0.5")],
)
def test_counts_are_short(value: float, said: str) -> None:
    assert text.short(value) == said


def test_differences_have_a_sign_unless_they_vanish() -> None:
    assert [text.change(d) for d in (0.01, -0.01, -1e-9)] == ["+0.0100", "−0.0100", "0.0000"]


def test_a_p_value_below_the_level_never_looks_like_it() -> None:
    assert [text.p_value(p) for p in (0.0004, 0.0499, 0.05, 1.0)] == ["<.001", ".0499", ".050", "1"]


# ---------------------------------------------------------------- LaTeX


def test_the_table_for_a_paper_has_a_cell_for_each_column_and_marks_what_is_shown() -> None:
    found = results(("base", "50%_of & all", "same"))
    lines = compared(found).splitlines()
    head = next(line for line in lines if line.startswith("variant & "))
    rows = [line for line in lines if line.endswith(" \\\\") and line != head]
    assert [line.count(" & ") for line in rows] == [head.count(" & ")] * 3
    assert lines[3] == f"\\begin{{tabular}}{{l{'r' * head.count(' & ')}}}"
    assert rows[1].startswith("50\\%\\_of \\& all & ")
    best = max(v.means["nDCG@10"] for v in found.variants)
    for variant, row in zip(found.variants, rows, strict=True):
        assert ("\\textbf" in row) == (variant.means["nDCG@10"] == best)
        shown = [t.significant for t in variant.tests.values()]
        assert ("\\dagger" in row) == any(shown)
        assert row.split(" & ")[-1] == f"{1000 / (found.variants.index(variant) + 5):.3g} \\\\"
    sure = replace(found.variants[1].tests["nDCG@10"], corrected=0.001)
    marked = replace(found.variants[1], tests={"nDCG@10": sure})
    again = compared(replace(found, variants=[found.variants[0], marked]))
    assert again.count("dagger}$") == sure.significant


# ---------------------------------------------------------------- in a browser


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_the_main_table_fits_1280_pixels(tmp_path: Path) -> None:
    """Three measures, two engines, names as long as those of prunings."""
    found = results(("all terms", "threshold 100 (queries)", "term-quantile 0.85"))
    measures = ["nDCG@10", "R@1000", "RR@10"]
    variants = [
        replace(
            v,
            means=dict.fromkeys(measures, 0.36),
            postings=123_456_789,
            encoding_ms=12.3,
            steps=["documents term-quantile 0.85 of the largest weights"],
            tests={m: t for t in v.tests.values() for m in measures},
            per_query=dict.fromkeys(measures, v.per_query["nDCG@10"]),
            indexes=[IndexResult(e, 123_000_000, {}) for e in ("lucene", "pisa")],
        )
        for v in found.variants
    ]
    wide = replace(
        found, measures=measures, variants=variants,
        algorithms={"lucene": ["wand"], "pisa": ["wand"]},
    )  # fmt: skip
    boxes = "[...document.querySelectorAll('.scroll')]"
    asked = f"document.title={boxes}.map(e=>e.scrollWidth-e.clientWidth)"
    html = page(wide).replace("</body>", f"<script>{asked}</script></body>")
    (tmp_path / "page.html").write_text(html)
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
         f"--user-data-dir={tmp_path}/profile", "--dump-dom", f"file://{tmp_path}/page.html"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    beyond = re.search(r"<title>([\d,]+)</title>", done.stdout)
    assert beyond and set(beyond[1].split(",")) == {"0"}, done.stdout[:300]
