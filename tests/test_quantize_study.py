"""The study against brute force: dense products for the floats, the exact engine for impacts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import run
from ranked import overlap, rank_biased_overlap
from small import random_matrix
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import write_store
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.evaluation import quantize_study as module
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.quantize_study import Setting, StudyOptions, quantize_study, recommend
from splade_bridge.formats.base import StoreSource
from splade_bridge.formats.jsonvector import read_vectors
from splade_bridge.formats.queries import read_queries

DOCUMENTS, QUERIES, TERMS, K = 200, 12, 25, 20


def write(
    folder: Path, matrix: np.ndarray, ids: list[str], terms: list[str], *, observed: bool = False
) -> Path:
    """A dense float matrix as a vector store."""
    rows, columns = np.nonzero(matrix)
    batch = SparseBatch(
        ids,
        row_pointers(np.bincount(rows, minlength=len(matrix))),
        columns.astype(np.int32),
        matrix[rows, columns].astype(np.float32),
    )
    with write_store(folder, Vocabulary(terms, observed=observed), {}, part_rows=70) as store:
        store.add(batch)
        store.finish()
    return folder


def ranked(scores: np.ndarray, ids: list[str]) -> list[str]:
    best = sorted((-s, d) for s, d in zip(scores, ids, strict=True) if s > 0)
    return [d for _, d in best[:K]]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_figure_is_what_brute_force_says(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_SCORES", 1)  # 64 documents a block
    rng = np.random.default_rng(seed)
    # Quarters: sums are exact in any order, many tie, and x 2 many are halves.
    documents = random_matrix(seed, DOCUMENTS, TERMS, 0.3, 14) / 4
    queries = random_matrix(seed + 100, QUERIES, TERMS, 0.2, 8) / 4
    queries[3] = 0
    doc_ids = [f"d{i}" for i in rng.permutation(DOCUMENTS)]
    query_ids = [f"q{i}" for i in range(QUERIES)]
    terms = [f"t{i}" for i in range(TERMS)]
    shuffled = rng.permutation(TERMS)
    observed = {"observed": True}  # their terms meet by name
    store = write(tmp_path / "d", documents, doc_ids, terms, **observed)
    others = [terms[i] for i in shuffled]
    asked = write(tmp_path / "q", queries[:, shuffled], query_ids, others, **observed)
    qrels = {q: {str(d): 1 for d in rng.choice(doc_ids, 9)} for q in query_ids[:8]}
    options = StudyOptions((0.5, 2, 3), clips=(None, 3), k=K, persistence=0.8)
    study = quantize_study(store, asked, qrels, options)

    oracle = {
        q: found
        for q, row in zip(query_ids, queries, strict=True)
        if (found := ranked(documents @ row, doc_ids))
    }
    assert study.queries == len(oracle) < QUERIES
    assert study.without_results == [q for q in query_ids if q not in oracle]
    run = {q: {d: -float(r) for r, d in enumerate(found)} for q, found in oracle.items()}
    assert study.ndcg == evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"]
    assert len(study.settings) > 6
    for setting in study.settings:
        quantize = QuantizeOptions(setting.scale, setting.rounding, setting.clip)
        index = tmp_path / setting.name
        engine("exact").build(StoreSource(store, quantize), index)
        with open_index(index) as searcher:
            loaded = read_queries(asked, replace(quantize, clip=None))
            aligned = loaded.aligned(searcher.vocabulary, index)
            found = {h.query_id: h.doc_ids for h in searcher.search(aligned, K)}
        pairs = [(oracle[q], found[q]) for q in oracle]
        assert setting.overlap_10 == pytest.approx(np.mean([overlap(a, b, 10) for a, b in pairs]))
        assert setting.overlap_k == pytest.approx(np.mean([overlap(a, b, K) for a, b in pairs]))
        rbo = np.mean([rank_biased_overlap(a, b, 0.8) for a, b in pairs])
        assert setting.rbo == pytest.approx(rbo)
        run = {q: {d: -float(r) for r, d in enumerate(found[q])} for q in oracle}
        ndcg = evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"]
        assert setting.ndcg == ndcg and setting.ndcg_change == ndcg - study.ndcg

        rounded = np.rint if setting.rounding == "nearest" else np.floor
        impacts = rounded(documents * setting.scale)
        cut = np.minimum(impacts, setting.clip or np.inf)
        assert setting.postings == (cut > 0).sum()
        assert setting.dropped_postings == pytest.approx(1 - (cut > 0).sum() / study.postings)
        assert setting.clipped_postings == pytest.approx((cut < impacts).sum() / study.postings)
        lost = documents[impacts == 0].sum() + (impacts - cut).sum() / setting.scale
        assert setting.lost_mass == pytest.approx(lost / documents.sum())
        weights = rounded(queries * setting.scale)
        assert setting.query_lost_mass == pytest.approx(queries[weights == 0].sum() / queries.sum())
        assert setting.max_impact == cut.max()
        assert setting.largest_score == weights.sum(axis=1).max() * cut.max()
        assert setting.margin == 2**24 / setting.largest_score


def test_a_fine_scale_loses_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    terms = [f"t{i}" for i in range(TERMS)]
    matrix = rng.random((50, TERMS)) * (rng.random((50, TERMS)) < 0.4)
    store = write(tmp_path / "d", matrix, [f"d{i}" for i in range(50)], terms)
    asked = write(tmp_path / "q", matrix[:5], [f"q{i}" for i in range(5)], terms)
    study = quantize_study(store, asked, options=StudyOptions((1e6,), ("nearest",), (None, 10**7)))
    (setting,) = study.settings  # a cap that cuts nothing is not tried
    assert (setting.overlap_10, setting.overlap_k) == (1, 1)
    assert setting.rbo == pytest.approx(1)
    assert setting.ndcg is None is study.ndcg
    assert setting.margin < 1 and study.recommended is None
    assert "try smaller scales" in study.reason


def setting(scale: float, rbo: float, change: float = 0.0, **more: object) -> Setting:
    base = Setting(
        scale, "nearest", None, 10, 0.01, 0, 0.01, 0.01, 300, 9, 10_000, 2**24 / 10_000,
        0.9, 0.9, rbo, 0.5 + change, change,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def test_the_recommendation_is_the_smallest_that_keeps_the_ranking() -> None:
    options = StudyOptions()
    good = setting(100, 0.995)
    tried = [
        setting(10, 0.95),
        setting(20, 0.995, -0.002),
        setting(50, 0.999, largest_score=2**24),
        good,
        setting(100, 0.996, rounding="down"),
        setting(100, 0.994, clip=255),
        setting(200, 0.999, 0.01),
    ]
    for order in (tried, tried[::-1]):
        best, why = recommend(order, options)
        assert best == good
        assert why.startswith("Scale 100, rounding nearest is recommended: the smallest that keeps")
        assert "RBO 0.9950, nDCG@10 +0.0000" in why and "9 bits" in why
    small = setting(100, 0.994, clip=255, bits=8)
    assert recommend([good, small], options)[0] == small
    none, why = recommend(tried[:3], options)
    assert none is None and "the nearest is scale 20, rounding nearest" in why
    none, why = recommend(tried[2:3], options)
    assert none is None and "No setting is recommended" in why


def test_real_splade_vectors(shared: Path, tmp_path: Path) -> None:
    stores = []
    for name in ("documents", "queries"):
        source = shared / "fixtures" / "seismic-toy" / f"{name}.jsonl"
        records = list(read_vectors(source))
        terms = sorted({t for r in records for t in r.terms})
        matrix = np.zeros((len(records), len(terms)))
        for row, record in enumerate(records):
            matrix[row, [terms.index(t) for t in record.terms]] = list(record.values)
        ids = [r.id for r in records]
        stores.append(write(tmp_path / name, matrix, ids, terms, observed=True))
    study = quantize_study(*stores)
    assert study.queries == 5 and study.documents == 20
    by_scale = {s.scale: s for s in study.settings if s.rounding == "nearest" and not s.clip}
    assert by_scale[1000].rbo > 0.999 > by_scale[5].rbo
    lost = [by_scale[s].lost_mass for s in sorted(by_scale)]
    assert lost == sorted(lost, reverse=True) and lost[0] > 100 * lost[-1]
    assert study.recommended is not None and 20 <= study.recommended.scale <= 200


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    terms = ["a", "b", "c"]
    rows = np.array([[1.5, 0.2, 0], [0.9, 0, 2.2], [0, 0.004, 0]])
    documents = write(tmp_path / "d", rows, ["d1", "d2", "d3"], terms)
    return documents, write(tmp_path / "q", rows[:2], ["q1", "q2"], terms)


def test_the_command(
    stores: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    documents, queries = stores
    qrels = tmp_path / "qrels"
    qrels.write_text("q1 0 d1 1\nq2 0 d2 1\n")

    usual = ("quantize-study", documents, "-q", queries, "--qrels", qrels)
    table, printed = tmp_path / "study.csv", tmp_path / "s.json"
    status, out, err = run(capfd, *usual, "-o", table, "--scale", 10, "--scale", 200)
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 1 + 2 + 4 and lines[0].split()[:4] == ["scale", "rounding", "cap", "max"]
    assert [line.split()[0] for line in lines if line.endswith("<-")] == ["10"]
    assert "Scale 10, rounding nearest is recommended" in err
    with open(table) as stream:
        rows = list(csv.DictReader(stream))
    assert [r["recommended"] for r in rows] == ["True", *["False"] * 5]
    assert rows[0]["postings"] == "4" and float(rows[0]["ndcg"]) == 1
    assert run(capfd, *usual, "-o", table)[0] == 2
    assert run(capfd, *usual, "-o", tmp_path / "x.txt")[0] == 2
    assert run(capfd, *usual, "--rounding", "up")[0] == 2
    assert run(capfd, *usual, "--scale", 0)[0] == 4
    status, out, _ = run(capfd, *usual, "--rounding", "down", "--clip", 0, "--json", "-o", printed)
    assert status == 0
    told = json.loads(out)
    assert told.pop("output") == str(printed)
    assert told == json.loads(printed.read_text())
    assert [s["clip"] for s in told["settings"]] == [None] * 8


def test_what_does_not_fit_is_refused(stores: tuple[Path, Path], tmp_path: Path) -> None:
    documents, _ = stores
    other = write(tmp_path / "o", np.ones((1, 2)), ["q"], ["x", "y"])
    with pytest.raises(MismatchError, match="another vocabulary"):
        quantize_study(documents, other)
    silent = write(tmp_path / "s", np.zeros((1, 3)), ["q"], ["a", "b", "c"])
    with pytest.raises(BadInputError, match="no query has a term of any document"):
        quantize_study(documents, silent)
    with pytest.raises(UsageError, match="k must be"):
        quantize_study(documents, documents, options=StudyOptions(k=0))
