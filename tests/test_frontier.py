"""bench --frontier and --two-step: what is swept, what is told of it, and what is drawn."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from command_line import run
from ranked import brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.engines.remote.choices import Approximation, Asking
from splade_bridge.engines.seismic_options import SeismicOptions
from splade_bridge.errors import MissingToolError, UsageError
from splade_bridge.evaluation.bench import BenchOptions, bench
from splade_bridge.evaluation.frontier import frontier
from splade_bridge.evaluation.verify import first_contradiction, verify
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.source import PrunedSource
from splade_bridge.report.frontier import frontier_chart, on_front
from splade_bridge.retrieval.search import Beside, SearchOptions, search_to_run

TERMS = [f"t{i}" for i in range(40)]
DOCUMENTS = random_matrix(1, 400, 40, 0.4, 60)
IDS = [f"d{i}" for i in range(400)]
WEIGHTS = random_matrix(2, 12, 40, 0.5, 60)
QUERIES = queries_of(WEIGHTS, TERMS)
K = 10


def source() -> MemorySource:
    return MemorySource(DOCUMENTS, IDS, TERMS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact index, a rough one of Seismic, a pruned one, full vectors and queries."""
    folder = tmp_path_factory.mktemp("frontier")
    try:
        rough = SeismicOptions(query_cut=2, heap_factor=1.0)
        engine("seismic", rough).build(source(), folder / "seismic")
    except MissingToolError as error:
        pytest.skip(str(error))
    engine("exact").build(source(), folder / "exact")
    engine("exact").build(PrunedSource(source, policy("top-k", 6)), folder / "pruned")
    export(source, folder / "full", ExportOptions(("forward",)))
    lines = [
        json.dumps({"id": f"q{i}", "vector": {TERMS[j]: int(row[j]) for j in np.flatnonzero(row)}})
        for i, row in enumerate(WEIGHTS)
    ]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def recall(index: Path, asking: Asking = Asking()) -> float:
    """Of the exact top K, by brute force."""
    shares = []
    with open_index(index, asking) as searcher:
        batch = QUERIES.aligned(searcher.vocabulary, index)
        for hits, query in zip(searcher.search(batch, K), WEIGHTS, strict=True):
            wanted = {doc_id for doc_id, _ in brute_force(DOCUMENTS, IDS, query, K)}
            if wanted:
                shares.append(len(wanted & set(hits.doc_ids)) / len(wanted))
    return float(np.mean(shares))


def test_every_option_is_swept_and_its_recall_is_that_of_brute_force(made: Path) -> None:
    options = BenchOptions((K,), repeat=1)
    with open_index(made / "exact") as exact, open_index(made / "seismic") as rough:
        points = frontier([exact, rough], QUERIES, options)
        wanted = rough.approximations()
    assert [p.setting for p in points] == [{}, *wanted]
    assert [p.exact for p in points] == [True] + [False] * len(wanted)
    assert points[0].recall == 1
    assert min(p.recall for p in points) < 1
    for point in points[1::7]:
        named = {f"seismic_{name}": value for name, value in point.setting.items()}
        asking = Asking(approximation=Approximation(**named))
        assert point.recall == pytest.approx(recall(made / "seismic", asking))
        assert point.row.algorithm == " ".join(f"{n}={v:g}" for n, v in point.setting.items())
    front = on_front(points)
    for a, is_front in zip(points, front, strict=True):
        beaten = any(
            b.milliseconds <= a.milliseconds
            and b.recall >= a.recall
            and (b.milliseconds, b.recall) != (a.milliseconds, a.recall)
            for b in points
        )
        assert is_front == (not beaten)
    drawn = ElementTree.fromstring(frontier_chart(points, K))
    text = "".join(drawn.itertext())
    assert "exact exhaustive" in text
    assert text.count("query_cut") >= len(wanted)
    row = points[0].row
    timing = replace(row.timing, latency=replace(row.timing.latency, mean=1000.0))
    slower = replace(points[0], row=replace(row, algorithm="slow", timing=timing))
    for several in ([slower, *points], [*points, slower]):
        drawn = ElementTree.fromstring(frontier_chart(several, K))
        assert "".join(drawn.itertext()) == text, "an exact index is one line"


@pytest.mark.long
def test_a_first_step_of_few_terms_and_pruned_indexes_are_points(made: Path) -> None:
    forward = ForwardStore(made / "full")
    with open_index(made / "exact") as exact, open_index(made / "pruned") as pruned:
        points = frontier([exact, pruned], QUERIES, BenchOptions((K,), repeat=1), forward=forward)
        alone = frontier([pruned], QUERIES, BenchOptions((K,), repeat=1), forward=forward)
    (whole,) = [p for p in points if p.exact and not p.setting]
    assert whole.of.endswith("exact")
    (less,) = [p for p in points if p.of.endswith("pruned")]
    assert less.recall == pytest.approx(recall(made / "pruned"))
    assert not less.exact
    steps = [p for p in points if p.of.endswith("pruned, a first step")]
    assert {p.row.forward for p in steps} == {str(made / "full" / "forward")}
    widest = {
        p.setting["candidates"]: p.recall for p in steps if p.setting["first_query_terms"] is None
    }
    assert sorted(widest) == list(widest), "in order"
    assert list(widest.values()) == sorted(widest.values()), "more candidates find no less"
    assert widest[320] > less.recall
    assert next(p for p in alone if not p.setting).recall == 1, "it is its own exact one"


def test_what_cannot_be_swept(made: Path) -> None:
    with open_index(made / "exact") as exact:
        with pytest.raises(UsageError, match="one -k"):
            frontier([exact], QUERIES, BenchOptions((1, 2)))
        with pytest.raises(UsageError, match="no options of approximation"):
            frontier([exact], QUERIES, BenchOptions((1,)))


def test_recall_is_told_wherever_an_approximate_index_is_measured(
    made: Path, tmp_path: Path
) -> None:
    wanted = recall(made / "seismic")
    assert wanted < 1
    summary = search_to_run(
        made / "seismic", QUERIES, tmp_path / "run", SearchOptions(k=K), Beside(recall=True)
    )
    assert summary.kept is not None
    assert summary.kept.share == {K: pytest.approx(wanted)}
    plain = search_to_run(made / "exact", QUERIES, tmp_path / "run2", SearchOptions(k=K))
    assert plain.kept is None
    with open_index(made / "exact") as exact, open_index(made / "seismic") as rough:
        rows = bench([exact, rough], QUERIES, BenchOptions((K,), repeat=1))
        assert [row.kept for row in rows] == [None, pytest.approx(wanted)]
        result = verify([exact, rough], QUERIES, K)
        assert result.equal
        assert result.recall == {str(made / "seismic"): {K: pytest.approx(wanted)}}
        with pytest.raises(UsageError, match="answers approximately"):
            verify([rough, exact], QUERIES, K)


def test_a_score_that_is_wrong_is_a_difference_of_an_approximate_index_too(made: Path) -> None:
    with open_index(made / "exact") as exact:
        (hits,) = exact.search(QUERIES.batch.rows(0, 1), K)
    fewer = hits._replace(doc_ids=hits.doc_ids[3:], scores=hits.scores[3:])
    assert first_contradiction(hits, fewer, K) is None
    wrong = hits.scores.copy()
    wrong[4] -= 1
    assert first_contradiction(hits, hits._replace(scores=wrong), K) == 4
    other = ["none", *hits.doc_ids[1:]]
    assert first_contradiction(hits, hits._replace(doc_ids=other), K) == 0
    other = [*hits.doc_ids[:-1], "none"]
    assert first_contradiction(hits, hits._replace(doc_ids=other), K) is None, "it may tie"
    assert first_contradiction(hits, hits._replace(doc_ids=other), K + 1) == K - 1


def test_the_command_line(made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["-q", made / "queries.jsonl", "--repeat", "1"]
    picture, table = tmp_path / "f.svg", tmp_path / "f.csv"
    both = [made / "exact", made / "seismic"]
    _, out, _ = run(capfd, "bench", *both, *asked, "--frontier", picture, "-o", table, "--json")
    told = json.loads(out)
    points = told["frontier"]["points"]
    assert told["frontier"]["output"] == str(picture)
    assert len(points) == len(told["rows"]) > 20
    assert any(p["on_front"] for p in points)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == len(points)
    assert rows[1]["setting"].startswith("query_cut 1, heap_factor")
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")
    steps = ["--two-step", made / "full", "--first-query-terms", "3", "--candidates", "20"]
    _, out, _ = run(capfd, "bench", made / "pruned", *asked, "-k", "10", *steps, "--json")
    (row,) = json.loads(out)["rows"]
    assert row["forward"].endswith("forward")
    assert 0 < row["kept"] < 1
    status, out, err = run(capfd, "bench", *both, *asked, *steps, "--frontier", tmp_path / "g.svg")
    assert (status, out) == (2, "")
    assert "leave --first-query-terms and --candidates out" in err
    status, _, err = run(capfd, "verify", *both, *asked[:2], "-k", "10")
    assert status == 0
    assert "approximate; of the exact results it finds" in err


def test_a_comparison_tells_recall_and_compares_the_runs_of_exact_engines_alone(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [
        json.dumps({"id": d, "vector": {TERMS[j]: int(row[j]) for j in np.flatnonzero(row)}})
        for d, row in zip(IDS, DOCUMENTS, strict=True)
    ]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines) + "\n")
    judged = [f"q{i} 0 {brute_force(DOCUMENTS, IDS, q, 1)[0][0]} 1" for i, q in
              enumerate(WEIGHTS) if q.any()]  # fmt: skip
    (tmp_path / "qrels").write_text("\n".join(judged) + "\n")
    (tmp_path / "spec.toml").write_text(f"""\
title = "small"
baseline = "full"
[data]
documents = "docs.jsonl"
queries = "{made / "queries.jsonl"}"
qrels = "qrels"
measures = ["RR@10"]
depth = {K}
[engines]
exact = []
seismic = []
[index]
seismic_query_cut = 2
seismic_heap_factor = 1.0
[bench]
ks = [{K}]
repeat = 1
queries = 3
[[variant]]
name = "full"
""")
    out = tmp_path / "out"
    status, _, err = run(capfd, "compare", tmp_path / "spec.toml", "-o", out)
    assert status == 0, err
    assert "seismic finds" in err
    (variant,) = json.loads((out / "results.json").read_text())["variants"]
    assert variant["engines_agree"]
    exact, rough = variant["indexes"]
    assert exact["recall"] == {}
    (index,) = [p for p in out.glob("work/index/*/index") if (p / "forward").is_dir()]
    assert rough["recall"][str(K)] == pytest.approx(recall(index))  # blocks are drawn at random
    page = (out / "report.html").read_text()
    assert "seismic answers approximately" in page
    assert "did not return the same rankings" not in page
