"""Measures against the outputs of trec_eval itself, against brute force, and on ties."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.evaluation.evaluate import DEFAULT_MEASURES, evaluate
from splade_bridge.evaluation.qrels import Qrels, read_qrels
from splade_bridge.retrieval.runs import Run, read_run
from strategies import quick

UNKNOWN = {
    *("runid", "gm_map", "gm_bpref", "utility", "11pt_avg", "binG", "G", "ndcg_rel", "Rndcg"),
    *("num_nonrel_judged_ret", "rbp", "rbp_resid", "unj_5", "unj_10", "unj_20"),
}
"""What trec_eval prints and ir_measures has not (besides Rprec_mult_* and relative_P_*)."""


def known(name: str) -> bool:
    return name not in UNKNOWN and not name.startswith(("Rprec_mult_", "relative_P_", "relstring"))


def expected(path: Path) -> dict[str, dict[str, float]]:
    """Query (or ``all``) -> measure -> value of an output of trec_eval."""
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        name, query, value = line.split()
        if known(name):
            found.setdefault(query, {})[name] = float(value)
    return found


@pytest.fixture(scope="module")
def trec_eval(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """trec_eval's own test data; tags with blanks, which we refuse, are cut to one word."""
    folder = tmp_path_factory.mktemp("trec_eval")
    for path in (shared / "fixtures" / "trec_eval-test").iterdir():
        content = path.read_bytes()
        if path.name == "results.trunc":
            content = b"".join(b" ".join(x.split()[:6]) + b"\n" for x in content.splitlines())
        (folder / path.name).write_bytes(content)
    return folder


@pytest.mark.shared
@pytest.mark.parametrize(
    ("output", "run_name"),
    [
        ("out.test", "results.test"),  # trec_eval without flags
        ("out.test.a", "results.test"),  # -m all_trec
        ("out.test.aq", "results.test"),  # -m all_trec -q
        ("out.test.aqc", "results.trunc"),  # -m all_trec -q -c, and a query is missing
    ],
)
def test_all_measures_have_the_values_that_trec_eval_prints(
    trec_eval: Path, output: str, run_name: str
) -> None:
    wanted = expected(trec_eval / output)
    measures = list(wanted["all"])
    qrels, run = read_qrels(trec_eval / "qrels.test"), read_run(trec_eval / run_name)
    found = evaluate(qrels, run, measures)
    assert len(measures) >= 28
    assert output in ("out.test", "out.test.a") or set(found.per_query) < set(wanted)
    for query, values in {**found.per_query, "all": found.means}.items():
        for m in set(measures) & set(wanted.get(query, {})):
            # That trec_eval rounds the documents of a recall level (47.4 to 47), pytrec_eval's
            # goes to the next one (48), as recall >= 0.1 is defined.
            tolerance = 0.011 if m.startswith("iprec") else 0.00005001
            assert values[m] == pytest.approx(wanted[query][m], abs=tolerance), (query, m)


@pytest.mark.shared
def test_a_level_of_relevance_is_that_of_l2(trec_eval: Path) -> None:
    """out.test.aql is trec_eval -l 2."""
    wanted = expected(trec_eval / "out.test.aql")
    pairs = {"AP(rel=2)": "map", "P(rel=2)@10": "P_10", "RR(rel=2)": "recip_rank"}
    pairs |= {"R(rel=2)@100": "recall_100", "Rprec(rel=2)": "Rprec", "Bpref(rel=2)": "bpref"}
    qrels, run = read_qrels(trec_eval / "qrels.rel_level"), read_run(trec_eval / "results.test")
    found = evaluate(qrels, run, list(pairs))
    for query, values in {**found.per_query, "all": found.means}.items():
        for ours, theirs in pairs.items():
            assert round(values[ours], 4) == wanted[query][theirs], (query, ours)


@pytest.mark.shared
def test_rr_at_k_is_recip_rank_of_a_run_that_is_cut(trec_eval: Path) -> None:
    """out.test.aqcM is trec_eval -c -M 100."""
    wanted = expected(trec_eval / "out.test.aqcM")
    qrels, run = read_qrels(trec_eval / "qrels.test"), read_run(trec_eval / "results.trunc")
    found = evaluate(qrels, run, ["RR@100", "AP@100"])
    for query, values in {**found.per_query, "all": found.means}.items():
        assert round(values["RR@100"], 4) == wanted[query]["recip_rank"]
        assert round(values["AP@100"], 4) == wanted[query]["map"]


# ---------------------------------------------------------------- brute force

documents = [f"d{i}" for i in range(12)]
qrels_of = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(documents), st.integers(0, 3), min_size=1),
    min_size=1,
)
scores = st.sampled_from([1.0, 2.0, 2.5, 3.0, 2.0**24, 2.0**24 + 1])
runs_of = st.dictionaries(
    st.sampled_from(["q1", "q2", "q4"]),
    st.dictionaries(st.sampled_from(documents), scores, min_size=1),
    min_size=1,
)


def ranking(found: dict[str, float]) -> list[str]:
    """trec_eval's order: score as float32 descending, then document id descending."""
    by_id = sorted(found, reverse=True)
    return sorted(by_id, key=lambda d: -np.float32(found[d]))


def by_hand(name: str, judged: dict[str, int], found: dict[str, float], k: int) -> float:
    ranked = ranking(found)[:k]
    relevant = {d for d, grade in judged.items() if grade >= 1}
    if name == "RR":
        return next((1 / r for r, d in enumerate(ranked, 1) if d in relevant), 0.0)
    if name == "P":
        return sum(d in relevant for d in ranked) / k
    if name == "R":
        return sum(d in relevant for d in ranked) / len(relevant) if relevant else 0.0
    if name == "AP":
        hits = [r for r, d in enumerate(ranked, 1) if d in relevant]
        return sum(n / r for n, r in enumerate(hits, 1)) / len(relevant) if relevant else 0.0
    if name == "Judged":
        return sum(d in judged for d in ranked) / len(ranked)
    assert name == "nDCG"
    ideal = sorted(judged.values(), reverse=True)[:k]
    gains = [judged.get(d, 0) for d in ranked]
    best = sum(g / math.log2(r + 1) for r, g in enumerate(ideal, 1))
    return sum(g / math.log2(r + 1) for r, g in enumerate(gains, 1)) / best if best else 0.0


@quick
@given(qrels_of, runs_of, st.integers(1, 12))
@pytest.mark.parametrize("name", ["RR", "P", "R", "AP", "nDCG", "Judged"])
def test_measures_are_those_computed_by_hand_also_on_ties(
    name: str, qrels: Qrels, run: Run, k: int
) -> None:
    if not set(qrels) & set(run):
        with pytest.raises(BadInputError, match="none of the"):
            evaluate(qrels, run, [f"{name}@{k}"])
        return
    measure = f"{name}@{k}"
    found = evaluate(qrels, run, [measure])
    values = {q: by_hand(name, qrels[q], run[q], k) if q in run else 0.0 for q in qrels}
    assert {q: v[measure] for q, v in found.per_query.items()} == pytest.approx(values)
    assert found.means[measure] == pytest.approx(sum(values.values()) / len(values))
    assert found.missing == [q for q in qrels if q not in run]
    assert found.unjudged == [q for q in run if q not in qrels]


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("RR@1", 0.0),
        ("RR@2", 1 / 2),
        ("RR@3", 1 / 2),
        ("RR", 1 / 2),
        ("P@1", 0.0),
        ("nDCG@3", 1 / math.log2(3)),
        ("AP", 1 / 2),
        ("Success@1", 0.0),
        ("Judged@1", 0.0),
        ("Judged@2", 1 / 2),
    ],
)
def test_of_two_tied_documents_the_larger_id_comes_first(measure: str, value: float) -> None:
    run = {"q": {"a": 5.0, "b": 5.0, "c": 1.0}}
    assert evaluate({"q": {"a": 1}}, run, [measure]).means[measure] == pytest.approx(value)


def test_scores_that_float32_cannot_tell_apart_are_tied() -> None:
    run = {"q": {"a": 2.0**24 + 1, "b": 2.0**24}}
    assert evaluate({"q": {"a": 1}}, run, ["RR@10", "RR"]).means == {"RR@10": 0.5, "RR": 0.5}


def test_a_missing_query_counts_as_0_or_is_left_out() -> None:
    qrels: Qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    run = {"q1": {"a": 1.0}, "q9": {"a": 1.0}}
    zero, skip = evaluate(qrels, run), evaluate(qrels, run, missing="skip")
    assert zero.means == dict.fromkeys(DEFAULT_MEASURES, 0.5)
    assert zero.per_query["q2"] == dict.fromkeys(DEFAULT_MEASURES, 0.0)
    assert skip.means == dict.fromkeys(DEFAULT_MEASURES, 1.0)
    assert list(skip.per_query) == ["q1"]
    assert zero.missing == skip.missing == ["q2"]
    assert zero.unjudged == skip.unjudged == ["q9"]


def test_a_query_without_results_is_not_a_missing_one_but_counts_as_0() -> None:
    found = evaluate({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1.0}, "q2": {}}, ["RR@10"])
    assert found.means == {"RR@10": 0.5}


def test_names_of_trec_eval_and_of_ir_measures_mean_the_same() -> None:
    qrels: Qrels = {"q": {"a": 2, "c": 1, "x": 0}}
    run = {"q": {"a": 1.0, "b": 2.0, "c": 3.0, "x": 0.5}}
    pairs = {"ndcg_cut_10": "nDCG@10", "recip_rank": "RR", "map": "AP", "recall_1000": "R@1000"}
    found = evaluate(qrels, run, [*pairs, *pairs.values(), "P_1", "P@1"]).means
    assert {found[a] == found[b] for a, b in pairs.items()} == {True}
    assert found["P_1"] == found["P@1"] == 1.0


@pytest.mark.parametrize(
    "name", ["", "nope", "nDCG@", "P_", "P_10x", "P_1e3", "1+1", "gm_map", "__import__"]
)
def test_an_unknown_measure_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="no measure"):
        evaluate({"q": {"a": 1}}, {"q": {"a": 1.0}}, [name])


@pytest.mark.parametrize("name", ["alpha_nDCG@10", "NERR8(max_rel=3)@10"])
def test_a_measure_whose_program_is_not_installed_names_it(name: str) -> None:
    needed = {"alpha_nDCG@10": "pyndeval", "NERR8(max_rel=3)@10": "cwl"}[name]
    if importlib.util.find_spec(needed):
        pytest.skip("installed here")
    for measures in ([name], ["nDCG@10", name, "AP"]):
        with pytest.raises(MissingToolError, match=f"{re.escape(name)}.*{needed}"):
            evaluate({"q": {"a": 1}}, {"q": {"a": 1.0}}, measures)


@pytest.mark.shared
def test_all_measures_together_have_the_values_of_each_alone(trec_eval: Path) -> None:
    qrels, run = read_qrels(trec_eval / "qrels.test"), read_run(trec_eval / "results.test")
    names = ["nDCG@10", "ndcg_cut_10", "RR@10", "R(rel=2)@100", "num_ret", "Judged@10", "SetP"]
    together = evaluate(qrels, run, names)
    for name in names:
        alone = evaluate(qrels, run, [name])
        assert alone.means[name] == together.means[name]
        for query, values in alone.per_query.items():
            assert values[name] == together.per_query[query][name]


def test_run_and_judgements_without_a_common_query_are_refused() -> None:
    with pytest.raises(BadInputError, match="none of the 1 queries of the run"):
        evaluate({"q1": {"a": 1}}, {"q2": {"a": 1.0}})
    with pytest.raises(BadInputError, match="the run is empty"):
        evaluate({"q1": {"a": 1}}, {})
