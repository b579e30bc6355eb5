"""Results in notebooks: plain values all the same, everything escaped, read on light and dark."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

import splade_bridge as sb
from splade_bridge.evaluation.evaluate import Evaluation
from splade_bridge.library.comparing import compare
from splade_bridge.library.search_run import RankedRun
from splade_bridge.library.shown import (
    ContributionList,
    HitList,
    ShownEvaluation,
    ShownVerification,
    TermList,
)
from splade_bridge.report import notebook, style
from splade_bridge.report.beir_table import beir_table
from splade_bridge.retrieval.explain import Contribution
from splade_bridge.retrieval.terms import Term
from test_report import Page, parsed, results

BAD = "<script>alert('x')</script>\"><img src=x onerror=y>&amp;"
TERMS = TermList([
    Term("file", "file", 2.0, True, False), Term(BAD, BAD, 1.0, False, False),
    Term("##s", "##s", 0.5, False, True),
])  # fmt: skip
EXPLAINED = ContributionList([
    Contribution("i", BAD, "file", 3, 40), Contribution("i", BAD, BAD, 2, 30),
    Contribution("i", BAD, "none", 9, 0),
], {"file"})  # fmt: skip
HITS = HitList([(BAD, 180), ("d2", 90), ("d3", 1)])
RUN = RankedRun({BAD: {BAD: 4.0, "d2": 1.0}, "q2": {}})
PAIRS = [("d1", {"cat": 3, "##s": 2}), ("d2", {"cat": 1, "dog": 5}), ("d3", {"dog": 5})]


def text_of(html: str) -> str:
    return parsed(html).text


def bars(html: str) -> list[tuple[str, float]]:
    """Kind and width of each bar."""
    found = re.findall(r'<span class="bar ?(\w*)" style="width:([\d.]+)%"></span>', html)
    return [(kind, float(width)) for kind, width in found]


# They stay what they are


@pytest.mark.parametrize(
    ("shown", "plain"),
    [
        (HITS, [(BAD, 180), ("d2", 90), ("d3", 1)]),
        (RUN, {BAD: {BAD: 4.0, "d2": 1.0}, "q2": {}}),
    ],
)
def test_what_is_shown_is_the_plain_value(shown: Any, plain: Any) -> None:
    assert shown == plain and plain == shown and repr(shown) == repr(plain)
    assert json.dumps(shown) == json.dumps(plain)
    assert orjson.dumps(shown) == orjson.dumps(plain)
    assert pickle.loads(pickle.dumps(shown)) == plain and copy.deepcopy(shown) == plain
    assert isinstance(shown, type(plain)) and bool(type(shown)()) is False


def test_rows_are_sliced_to_what_shows_itself() -> None:
    assert list(TERMS[:2]) == list(TERMS)[:2] and TERMS[0] is next(iter(TERMS))
    assert isinstance(TERMS[:2], TermList)
    assert isinstance(EXPLAINED[:1], ContributionList) and EXPLAINED[:1].held == {"file"}
    told = HITS.with_texts({"d2": "a text"})
    assert told == HITS and "a text" in told[1:]._repr_html_() and told[:0] == []  # type: ignore[attr-defined]
    assert sorted(TERMS, key=lambda t: t.term) and [*HITS, *HITS] == HITS + HITS


def test_calls_give_what_shows_itself(tmp_path: Path) -> None:
    sb.index(PAIRS, tmp_path / "i", engine="exact")
    sb.index(sb.prune(PAIRS, method="top-k", value=1), tmp_path / "p", engine="exact")
    with sb.open_index(tmp_path / "i") as index:
        hits = index.search_one({"cat": 2, "dog": 1})
        assert hits == [("d2", 7), ("d1", 6), ("d3", 5)]
        found = index.explain({"cat": 2, "dog": 1, "owl": 1}, "d2")
        run = index.search({"q": {"dog": 1}})
        assert [kind for kind, _ in bars(found._repr_html_())] == ["", ""]  # origins are not known
        assert "7 in sum; 1 more terms of the query add nothing" in found._repr_html_()
    assert "1 queries, 2 results" in run._repr_html_()
    means = sb.evaluate({"q": {"d2": 1}}, run, measure=["RR@10", "num_ret"])
    assert "1 judged queries count" in means._repr_html_()
    assert "Equal" in sb.verify([tmp_path / "i"] * 2, {"q": {"dog": 1}})._repr_html_()
    told = text_of(sb.verify([tmp_path / "i", tmp_path / "p"], {"q": {"cat": 1}})._repr_html_())
    assert "Not equal" in told and "d2 (1)" in told and "nothing" in told


def test_a_text_query_is_explained_with_what_the_model_has_added(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from splade_bridge.demo.collection import model_path

    texts = {"d1": "Open a file for reading.", "d2": "Return a sorted list of the items."}
    sb.index(sb.encode(texts, model=model_path()), tmp_path / "i", engine="exact")
    with sb.open_index(tmp_path / "i", model=model_path()) as index:
        found = index.explain("read a file", "d1")
    bag = sb.terms(model_path(), "read a file", side="query")
    held = {term.term for term in bag if term.original}
    assert held and {c.term for c in found if c.term in (found.held or ())} == held
    kinds = {kind for kind, _ in bars(found._repr_html_())}
    assert kinds == {"typed", "expansion"} == {kind for kind, _ in bars(bag._repr_html_())}


# What they show


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    assert bars(TERMS._repr_html_()) == [("typed", 100), ("expansion", 50), ("expansion", 25)]
    assert bars(EXPLAINED._repr_html_()) == [("typed", 100), ("expansion", 50)]
    assert bars(HITS._repr_html_()) == [("", 100), ("", 50), ("", 0.6)]
    below = notebook.ranking([("a", -0.5), ("b", -1.0)])
    assert bars(below) == [("", 0), ("", 0)] and "-0.5000" in below
    means = notebook.measures(Evaluation({"nDCG@10": 0.25, "num_ret": 300.0}, {}))
    assert bars(means) == [("", 25), ("", 0)]


def test_originals_and_expansions_are_told_apart_in_words_too() -> None:
    assert "3 terms: 1 in the text, 2 added" in text_of(TERMS._repr_html_())
    assert text_of(EXPLAINED._repr_html_()).count("added") == 1
    vectors = TermList([Term("a", "a", 3, None, False)])  # where only the vector is known
    assert "added" not in vectors._repr_html_() and "1 terms" in vectors._repr_html_()


def test_what_is_long_is_cut_and_says_so() -> None:
    many = HitList([(f"d{i}", 100 - i) for i in range(40)])
    told = text_of(many.with_texts({"d0": "word " * 1000})._repr_html_())
    assert "40 documents" in told and "15 more are not shown" in told
    assert told.count("word") < 60 and "…" in told and "d25" not in told
    run = RankedRun({f"q{i}": {f"d{j}": 1.0 for j in range(9)} for i in range(9)})
    told = text_of(run._repr_html_())
    assert "9 queries, 81 results; the best 5 of the first 4 are shown" in told
    assert "q3" in told and "q4" not in told and "d5" not in told


@pytest.mark.parametrize(
    "empty",
    [TermList(), ContributionList(), HitList(), RankedRun(), ShownVerification(),
     ShownEvaluation({}, {})],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_empty_is_shown_too(empty: Any) -> None:
    assert parsed(empty._repr_html_()).text.strip()


def pieces() -> dict[str, str]:
    """A piece of each kind, with hostile ids, terms and texts."""
    found = ShownVerification(3, 30, {BAD: 1}, [])
    different = notebook.verification(found)
    evaluation = Evaluation({BAD: 0.5}, {BAD: {BAD: 0.5}}, [BAD], [BAD], 10, [BAD])
    return {
        "terms": TERMS._repr_html_(),
        "contributions": EXPLAINED._repr_html_(),
        "hits": HITS.with_texts({"d2": BAD})._repr_html_(),
        "run": RUN._repr_html_(),
        "measures": notebook.measures(evaluation),
        "verification": different,
        "beir": notebook.beir([beir_table("nDCG@10", [BAD], {BAD: {BAD: 0.5}})]),
    }


@pytest.mark.parametrize("kind", pieces())
def test_everything_is_escaped(kind: str) -> None:
    found: Page = parsed(pieces()[kind])
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "img"}
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert BAD in found.text


def test_a_comparison_shows_its_front_and_all_variants() -> None:
    html = notebook.comparison(results())
    found = parsed(html)
    assert "A <title> & more" in found.text and "A <title>" not in html
    assert html.count("<svg") == 4 and "Quality and size of every variant" in found.text
    assert len(found.ids) == len(set(found.ids))


# Where they stand


def test_the_style_of_a_piece_reaches_no_further_than_the_piece() -> None:
    css = re.sub(r"@media[^{]*\{(.*?\})\}", r"\1", style.NOTEBOOK)
    selectors = [s for block in re.findall(r"([^{}]+)\{", css) for s in block.strip().split(",")]
    assert len(selectors) > 40
    assert [s for s in selectors if not re.search(r"(^|[ ])\.splade-bridge\b", s.strip())] == []


def test_ground_and_ink_come_from_one_scheme_whatever_the_page_says() -> None:
    """Each block of colours sets all of them; that these can be read is tested in test_report."""
    blocks = re.findall(r"\{(color-scheme:[^{}]*|--surface[^{}]*)\}", style.NOTEBOOK)
    assert len(blocks) == 4  # the system's two, and a page's light and dark
    for block in blocks:
        colours = dict(re.findall(r"--(\w+):(#\w+)", block))
        scheme = style.SURFACE.index(colours["surface"])
        assert colours["ink"] == style.INK[scheme] and colours["s3"] == style.SERIES[3][scheme]
        assert colours["muted"] == style.MUTED[scheme]
    (theirs,) = re.findall(r"\[data-jp-theme-light=\"false\"\][^{]*\{([^{}]*)\}", style.NOTEBOOK)
    assert f"--surface:{style.SURFACE[1]}" in theirs
    assert ".splade-bridge{background:var(--surface);color:var(--ink);" in style.NOTEBOOK


# A comparison from Python


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"id": i, "vector": v}) for i, v in PAIRS]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.tsv").write_text("q1\tcat dog\nq2\tdog dog\n")
    (tmp_path / "qrels").write_text("q1 0 d2 1\nq2 0 d3 1\n")
    return tmp_path


SPEC = """
title = "small"
[data]
documents = "docs.jsonl"
queries = "queries.tsv"
qrels = "qrels"
measures = ["RR@10"]
depth = 10
[engines]
exact = []
[bench]
ks = [10]
repeat = 1
[[variant]]
name = "full"
[[sweep]]
method = "top-k"
values = [1]
"""


def test_a_mapping_and_a_file_are_compared_alike(work: Path) -> None:
    (work / "spec.toml").write_text(SPEC)
    (work / "elsewhere").mkdir()
    given = {
        "title": "small",
        "data": {
            "documents": work / "docs.jsonl", "queries": Path("queries.tsv"), "qrels": "qrels",
            "measures": ("RR@10",), "depth": 10,
        },
        "engines": {"exact": []},
        "bench": {"ks": [10], "repeat": 1},
        "variant": [{"name": "full"}],
        "sweep": [{"method": "top-k", "values": [1]}],
    }  # fmt: skip
    first = sb.compare("spec.toml", "a")
    again = sb.compare(given, work / "a")  # the same steps, by content
    assert not again.done and first.done["index"] == again.kept["index"] == 2
    assert again.results == first.results
    assert [v.name for v in first.results.variants] == ["full", "top-k 1"]
    assert [v.means["RR@10"] for v in first.results.variants] == [1.0, 0.75]
    assert (work / "a" / "report.html").is_file()
    html = first._repr_html_()
    assert html == notebook.comparison(first.results) and "<svg" in html
    elsewhere = sb.compare({**given, "data": {**given["data"], "documents": "docs.jsonl"}}, "b",
                           data=work, drop_indexes=True)  # fmt: skip
    assert elsewhere.freed > 0 and elsewhere.results.title == "small"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "comparison: [data] qrels: is missing"),
        ({"data": {"qrels": "qrels", 7: 1}}, "comparison: [data]: unknown key '7'"),
        ({"data": 3}, "comparison: [data]: must be a table, not 3"),
        ("nothing.toml", "nothing.toml: "),
        ([1], "comparison: "),
    ],
)
def test_a_wrong_specification_is_named_and_leaves_nothing(
    work: Path, spec: Any, says: str
) -> None:
    before = sorted(work.iterdir())
    with pytest.raises(sb.SpladeBridgeError) as caught:
        compare(spec, "out")
    assert str(caught.value).startswith(says)
    assert sorted(work.iterdir()) == before
