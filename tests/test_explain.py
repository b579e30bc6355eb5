"""``explain`` to be read: bars, origins, several indexes, and a page that stands alone."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

import splade_bridge as sb
from checkpoints import one_thread  # noqa: F401
from command_line import run
from documented import faults
from served import HOSTILE, make_indexes
from splade_bridge.cli.bars import EIGHTHS, bar
from splade_bridge.cli.schemas import RESULTS

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full and a pruned index."""
    return make_indexes(tmp_path_factory.mktemp("explain"), 30, 4, kept=6)


def explained(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> str:
    monkeypatch.chdir(folder)
    status, out, err = run(capfd, "explain", *words.split())
    assert status == 0, err
    return out


def test_a_bar_is_as_long_as_it_says() -> None:
    for eighths in range(97):
        drawn = bar(eighths / 96)
        assert len(drawn) == 12
        assert sum(EIGHTHS.index(letter) for letter in drawn) == eighths
    assert bar(0.001).strip() == EIGHTHS[1]
    assert bar(7).strip() == EIGHTHS[8] * 12


def test_terms_are_shown_with_bars_and_where_they_come_from(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = explained(folder, capfd, monkeypatch,
                    "full q1 d3 -q queries.jsonl -m model --corpus corpus.jsonl")  # fmt: skip
    query = json.loads((folder / "queries.jsonl").read_text().splitlines()[1])["text"]
    wanted = sb.explain("full", query, "d3", model="model")
    typed = {t.term for t in sb.terms("model", query, side="query") if t.original}
    held = {t.term for t in sb.terms("model", f"{HOSTILE} the cat {HOSTILE} sat") if t.original}
    *lines, total = out.splitlines()
    assert len(lines) == sum(c.score > 0 for c in wanted)
    for line, c in zip(lines, wanted, strict=False):
        score, drawn, term, weight, times, impact, origin, *rest = line.split()
        assert (score, term) == (f"{c.score:,}", c.term)
        assert (int(weight), times, int(impact)) == (c.weight, "x", c.impact)
        assert set(drawn) <= set(EIGHTHS)
        assert origin.rstrip(",") == ("text" if c.term in typed else "expansion")
        assert c.term not in held or rest == []
    assert any(line.endswith("not in the text") for line in lines)
    assert total.split() == [f"{sum(c.score for c in wanted):,}", "in", "sum"]


def test_what_pruning_took_is_shown(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "full q1 d3 -q queries.jsonl -m model --against pruned"
    out = explained(folder, capfd, monkeypatch, command)
    query = json.loads((folder / "queries.jsonl").read_text().splitlines()[1])["text"]
    first, second = (
        {c.term: c.score for c in sb.explain(index, query, "d3", model="model")}
        for index in ("full", "pruned")
    )
    head, *lines, total = out.splitlines()
    assert head.split() == ["full", "pruned", "difference"]
    shown = {line.split()[4]: [int(n.replace(",", "")) for n in line.split()[:3]] for line in lines}
    assert shown == {t: [s, second[t], second[t] - s] for t, s in first.items() if s or second[t]}
    sums = [sum(first.values()), sum(second.values())]
    assert total.split()[:3] == [f"{sums[0]:,}", f"{sums[1]:,}", f"{sums[1] - sums[0]:+,}"]
    told = json.loads(explained(folder, capfd, monkeypatch, f"{command} --json"))
    assert list(faults(told, RESULTS["explain"])) == []
    assert [a["score"] for a in told["against"]] == [sums[1]]


def test_a_page_stands_alone_and_holds_nothing_that_acts(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "full q1 d3 -q queries.jsonl -m model --corpus corpus.jsonl --against pruned"
    explained(folder, capfd, monkeypatch, f"{command} --html why.html")
    page = (folder / "why.html").read_text()
    text = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|src=[\"']?\w|<link|<img", re.sub(r"\\u003c.*?\\u003e", "", text))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    for script in scripts:  # what may run is what is there
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    data: Any = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert "<" not in re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0]
    assert data["labels"] == {"0": "full", "1": "pruned"}
    title = "".join(run["text"] for run in data["explanation"]["shown"]["title"])
    assert title == HOSTILE.strip()
    status, _, err = run(capfd, "explain", *command.split(), "--html", "why.html")
    assert status == 2 and "why.html" in err


def test_vectors_have_no_origin(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "topics.tsv").write_text("t1\tthe the cat\n")
    out = explained(folder, capfd, monkeypatch, "full t1 d3 -q topics.tsv --html vector.html")
    assert out.splitlines()[-1].endswith("in sum")
    assert all(line.split()[-2] == "x" for line in out.splitlines()[:-1])
    assert "added by the model" in (folder / "vector.html").read_text()  # of the script
    status, _, err = run(capfd, "explain", "full", "t9", "d3", "-q", "topics.tsv")
    assert status == 4 and "no query 't9'" in err
