"""Every measure of ir_measures with its parameters at their edges, and measures of awkward ids."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import command_line
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.measures import parse_measures
from splade_bridge.evaluation.qrels import MAX_GRADE, Qrels, read_qrels
from splade_bridge.retrieval.runs import Run, read_run
from strategies import quick

# ---------------------------------------------------------------- names and parameters at edges

EDGES = ("0", "-1", "1", "2", "1.0", "0.5", "0.123", "-0.0", str(2**31 - 1), str(2**31), str(2**63))
EDGES += (str(10**20), "1e999", "-1e999", "1e-300", "1e300", "nan", "inf", "None", "True", "''")
EDGES += ("'x'", "[1]", "{}", "{1: 2}", "{'a': 1}", "{1: 600000000}", "1+1", "()", "b'\\0'", "1j")
EDGES += ("0.001", "1000", "9" * 30, "'log2'", "'exp-log2'", "{-1: 0}", "{1: 1.5}", "{10**9: 1}")


def asked() -> list[str]:
    """Every measure with each of its parameters at each edge, and those it has not."""
    from ir_measures.measures import registry

    names = []
    for name, measure in registry.items():
        needed = {k: "3" for k, v in measure.SUPPORTED_PARAMS.items() if v.required}
        if "recall" in needed:
            needed["recall"] = "0.5"
        for parameter in [*measure.SUPPORTED_PARAMS, "nope"]:
            for edge in ("", *EDGES):
                given_ = ", ".join(f"{k}={v}" for k, v in (needed | {parameter: edge}).items())
                names.append(f"{name}({given_})")
        names += [name, f"{name}()", *(f"{name}@{edge}" for edge in EDGES)]
    return names


WALK = """
import json, sys
from splade_bridge.errors import SpladeBridgeError
from splade_bridge.evaluation.evaluate import evaluate
qrels = {"a-1": {"x": 1, "y": 0, "z": 3, "n": -1}, "b\\0": {"x": 2}, "c": {"y": 0}, "d": {"x": 1}}
run = {"a-1": {"y": 3.0, "u": 2.5, "x": 2.0, "z": 1.0}, "b\\0": {"x": 2.0, "y": 1.0}}
run["c"] = {"u": 1.0}
for line in sys.stdin:
    name = json.loads(line)
    print(json.dumps(["begun", name]), flush=True)
    try:
        found = evaluate(qrels, run, [name]).means
        print(json.dumps(["figure", name, list(found.values())]), flush=True)
    except SpladeBridgeError as error:
        print(json.dumps(["refused", name, error.exit_code, str(error)]), flush=True)
"""


def walked(names: list[str]) -> list[list[object]]:
    """What became of each name, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WALK],
        input="".join(json.dumps(name) + "\n" for name in names),
        capture_output=True,
        text=True,
        timeout=500,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"ended at {lines[-1]}: {done.stderr[-1000:]}"
    return [line for line in lines if line[0] != "begun"]


@pytest.mark.long
def test_every_measure_at_every_edge_is_a_figure_or_an_error_that_names_it() -> None:
    names = asked()
    found = walked(names)
    assert len(names) > 2000
    assert len(found) == len(names)
    for kind, name, *rest in found:
        if kind == "figure":
            values = rest[0]
            assert isinstance(values, list)
            assert all(math.isfinite(v) and v >= 0 for v in values), (name, values)
        else:
            code, message = rest
            assert code in (2, 3), (name, message)
            assert "object at 0x" not in str(message)
    assert sum(kind == "figure" for kind, *_ in found) > 150


TREC_EDGES = [
    f"{name}{joint}{edge}"
    for name in ("P", "ndcg_cut", "map_cut", "recall", "success", "set_F", "iprec_at_recall", "map")
    for joint in ("_", ".", "@")
    for edge in ("0", "1", "2,3", "0.5", "-1", str(2**63), str(10**20), "9" * 5000, "1e3", "x", "")
]


def test_names_of_trec_eval_at_their_edges_are_figures_or_errors() -> None:
    nicknames = ["official", "all_trec", "set", "prefs", "num_q,num_ret", "\0", "P@1\0", "(" * 5000]
    found = walked([*TREC_EDGES, *nicknames])
    assert len(found) == len(TREC_EDGES) + len(nicknames)
    assert {rest[0] for kind, _, *rest in found if kind == "refused"} <= {2, 3}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("INSQ", "needs max_rel"),
        ("P", "needs cutoff"),
        ("P@0", "from 1 to"),
        ("P@-1", "from 1 to"),
        ("nDCG@x", "plain value"),
        (f"P@{10**20}", "from 1 to"),
        ("P(cutoff=3)@5", "given twice"),
        ("P(rel=0)@5", "from 1 to"),
        ("P(relevant=1)@5", "no parameter relevant; it has cutoff, rel, judged_only"),
        ("IPrec@0.123", "two decimals"),
        ("IPrec@1.5", "from 0 to 1"),
        ("nDCG(dcg='ln')@5", "'log2' or 'exp-log2'"),
        ("nDCG(gains={1: 0.5})@5", "whole numbers"),
        ("nDCG(gains={1: 600000000})@5", "whole numbers"),
        ("SetF(beta=0)", "from 0.001"),
        ("Compat(p=1.0)", "below 1"),
        ("R(judged_only=1)@5", "True or False"),
        ("INST(min_rel=3, max_rel=3)", "more than min_rel"),
        ("NumRel(rel=2)", "nothing in ir_measures computes"),
        ("ERR", "nothing in ir_measures computes"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(name: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        evaluate({"q": {"a": 1}}, {"q": {"a": 1.0}}, [name])
    assert said in str(raised.value)
    assert name.split("@")[0].split("(")[0] in str(raised.value)


def test_a_string_may_hold_several_measures() -> None:
    assert list(parse_measures(["nDCG@10 R(rel=2, judged_only=True)@5", " AP "])) == [
        "nDCG@10", "R(rel=2,judged_only=True)@5", "AP",
    ]  # fmt: skip
    assert list(parse_measures(["P_5,10", "P@5"])) == ["P@5", "P@10"]


def test_what_a_nickname_holds_is_not_told_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    found = parse_measures(["official"])
    assert {"AP", "P@10", "Bpref", "IPrec@0.1"} <= found.keys()
    assert capfd.readouterr().out == ""


# ---------------------------------------------------------------- each by its definition

awkward = st.sampled_from(
    ["MED-1", "MED-2", "1", "01", "-1", "q\0x", "\u00e9", "\U0001f600", "\ud800", "x" * 3000,
     "a b", "PLAIN-3.x", "1e5", "Q0", "#", "\u2028", "0x10", "10", "9", "nan"]
)  # fmt: skip
judgements = st.dictionaries(
    awkward, st.dictionaries(awkward, st.integers(-2, 4), min_size=1, max_size=9), min_size=1,
    max_size=4,
)  # fmt: skip
scores = st.sampled_from([0.5, 1.0, 2.0, 2.5, 2.0**24, 2.0**24 + 1, -1.0, 1e300, 2e300])
runs = st.dictionaries(
    awkward, st.dictionaries(awkward, scores, min_size=1, max_size=9), min_size=1, max_size=4
)
DEFINED = ["P", "R", "nDCG", "nDCG(dcg='exp-log2')", "AP", "RR", "ERR", "Success"]
UNCUT = ["Bpref", "Rprec", "SetP", "SetR", "NumRet", "NumRel", "NumQ", "NumRelRet"]


def ranking(found: dict[str, float]) -> list[str]:
    """Score as float32 descending, then id descending by its bytes, as strcmp has it."""
    with np.errstate(over="ignore"):
        keys = {d: (np.float32(s), d.encode(errors="surrogatepass")) for d, s in found.items()}
    return sorted(found, key=keys.__getitem__, reverse=True)


def defined(name: str, judged: dict[str, int], found: dict[str, float], k: int) -> float:
    """A measure by its definition; of a query that found nothing, too."""
    whole = ranking(found)
    ranked = whole[:k]
    relevant = {d for d, grade in judged.items() if grade >= 1}
    hits = [r for r, d in enumerate(ranked, 1) if d in relevant]
    gains = [max(0, judged.get(d, 0)) for d in ranked]
    best = sorted((max(0, g) for g in judged.values()), reverse=True)[:k]
    if name.startswith("nDCG"):
        gain = (lambda g: 2.0**g - 1) if "exp" in name else float
        total = [sum(gain(g) / math.log2(r + 1) for r, g in enumerate(x, 1)) for x in (gains, best)]
        return total[0] / total[1] if total[1] else 0.0
    if name == "ERR":  # Chapelle et al., CIKM 2009, with grades up to 4
        value, decay = 0.0, 1.0
        for r, g in enumerate(gains, 1):
            value += decay * (2**g - 1) / 16 / r
            decay *= 1 - (2**g - 1) / 16
        return value
    if name == "Bpref":  # Buckley and Voorhees, SIGIR 2004, as trec_eval has it
        other = {d for d, grade in judged.items() if grade == 0}
        total_, above = 0.0, 0
        for d in whole:
            above += d in other
            if d in relevant:
                bound = min(len(relevant), len(other))
                total_ += 1 - min(above, len(relevant)) / bound if above else 1.0
        return total_ / len(relevant) if relevant else 0.0
    found_relevant = len(relevant & set(whole))
    return {
        "P": len(hits) / k,
        "R": len(hits) / len(relevant) if relevant else 0.0,
        "AP": sum(n / r for n, r in enumerate(hits, 1)) / len(relevant) if relevant else 0.0,
        "RR": 1 / hits[0] if hits else 0.0,
        "Success": float(bool(hits)),
        "Rprec": len(relevant & set(whole[: len(relevant)])) / len(relevant) if relevant else 0.0,
        "SetP": found_relevant / len(whole) if whole else 0.0,
        "SetR": found_relevant / len(relevant) if relevant else 0.0,
        "NumRet": float(len(whole)),
        "NumRel": float(len(relevant)),
        "NumRelRet": float(found_relevant),
        "NumQ": 1.0,
    }[name]


@quick
@given(judgements, runs, st.integers(1, 9))
def test_every_measure_is_what_its_definition_says_whatever_the_ids(
    qrels: Qrels, run: Run, k: int
) -> None:
    if not qrels.keys() & run.keys():
        with pytest.raises(BadInputError):
            evaluate(qrels, run, ["AP"])
        return
    names = {n: f"{n}@{k}" for n in DEFINED if shutil.which("perl") or "E" not in n.upper()[:1]}
    names |= {n: n for n in UNCUT}
    found = evaluate(qrels, run, list(names.values()))
    for name, measure in names.items():
        wanted = {q: defined(name, qrels[q], run.get(q, {}), k) for q in qrels}
        # gdeval prints five decimals.
        assert {q: v[measure] for q, v in found.per_query.items()} == pytest.approx(
            wanted, abs=1e-5 if name in ("ERR", "nDCG(dcg='exp-log2')") else 1e-9
        ), name
        total = sum(wanted.values())
        mean = total if name.startswith("Num") else total / len(qrels)
        assert found.means[measure] == pytest.approx(mean, abs=1e-5)


def test_measures_with_other_options_are_not_taken_for_each_other() -> None:
    """pytrec_eval's provider takes nDCG with and without gains for one, and loses one of them."""
    qrels: Qrels = {"q": {"a": 1, "b": 2}}
    run = {"q": {"a": 3.0, "x": 2.0, "b": 1.0}}
    names = ["nDCG@3", "nDCG(gains={1: 3, 2: 1})@3", "NumRet", "P(judged_only=True)@2", "P@2"]
    together = evaluate(qrels, run, names).means
    assert together == {
        name.replace(" ", ""): evaluate(qrels, run, [name]).means[name.replace(" ", "")]
        for name in names
    }
    assert together["nDCG@3"] != together["nDCG(gains={1:3,2:1})@3"]
    assert (together["NumRet"], together["P@2"], together["P(judged_only=True)@2"]) == (3, 0.5, 1)


def test_queries_without_an_answer_are_counted_as_trec_eval_c_does() -> None:
    qrels: Qrels = {"q1": {"a": 1, "b": 0}, "q2": {"a": 1, "b": 2, "c": -1}, "q3": {"a": 0}}
    run = {"q1": {"a": 1.0}, "q3": {}}
    names = ["num_q", "num_rel", "num_ret", "num_rel_ret"]
    assert list(evaluate(qrels, run, names).means.values()) == [3, 3, 1, 1]
    assert list(evaluate(qrels, run, names, missing="skip").means.values()) == [1, 1, 1, 1]


# ---------------------------------------------------------------- grades, depth, columns


@pytest.mark.parametrize("grade", [MAX_GRADE, -MAX_GRADE, 0, -1])
def test_grades_in_range_are_taken(tmp_path: Path, grade: int) -> None:
    (tmp_path / "q").write_text(f"q 0 d {grade}\nq 0 e 1\n")
    assert read_qrels(tmp_path / "q") == {"q": {"d": grade, "e": 1}}
    evaluate(read_qrels(tmp_path / "q"), {"q": {"d": 1.0}}, ["nDCG@10", "AP", "Bpref"])


@pytest.mark.parametrize(
    ("grade", "said"),
    [
        ("600000000", "out of range"), (str(MAX_GRADE + 1), "out of range"),
        ("-600000000", "out of range"), ("9" * 5000, "out of range"), ("1.0", "not an integer"),
        ("1_0", "not an integer"), ("\u0661", "not an integer"), ("x", "not an integer"),
        ("+-1", "not an integer"),
    ],
)  # fmt: skip
def test_other_grades_are_refused_with_their_line(tmp_path: Path, grade: str, said: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(f"q 0 d 1\nq 0 e {grade}\n")
    with pytest.raises(BadInputError, match=rf"qrels:2: grade .*{said}") as raised:
        read_qrels(path)
    assert len(str(raised.value)) < 500


def test_a_grade_beyond_the_definition_of_a_measure_is_named() -> None:
    with pytest.raises(BadInputError, match=r"ERR@3 is defined for grades up to 4, .*document b"):
        evaluate({"q": {"a": 4, "b": 5}}, {"q": {"a": 1.0}}, ["AP", "ERR@3"])


@pytest.mark.parametrize("score", ["1_0", "nan", "inf", "\u0661", "", "0x10", "1e999"])
def test_a_score_is_a_number_as_every_tool_reads_it(tmp_path: Path, score: str) -> None:
    path = tmp_path / "run"
    path.write_text(f"q Q0 d 1 {score} t\n")
    with pytest.raises(BadInputError, match="run:1: "):
        read_run(path)


def test_a_score_beyond_any_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text(f"q\td\t{'9' * 400}\n")
    with pytest.raises(BadInputError, match=r"run:1: a score must be finite"):
        read_run(path)


def files(folder: Path, depth: int = 3) -> tuple[str, str]:
    (folder / "qrels").write_text("MED-1 0 d1 2\nMED-2 0 d1 1\n")
    lines = [f"MED-1 Q0 d{i} {i} {9 - i} t\n" for i in range(depth)]
    (folder / "run").write_text("".join(lines))
    return str(folder / "qrels"), str(folder / "run")


def test_a_measure_deeper_than_the_run_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = command_line.run(capfd, "evaluate", *files(tmp_path), "-M", "R@1000 P@3 nDCG@10 AP")
    assert told[0] == 0
    assert "run holds at most 3 documents a query: R@1000, nDCG@10 cannot" in told[2]
    told = command_line.run(capfd, "evaluate", *files(tmp_path), "-M", "R@3", "-M", "AP")
    assert "at most" not in told[2]
    told = command_line.run(capfd, "evaluate", *files(tmp_path), "--json")
    found = json.loads(told[1])
    assert (found["depth"], found["beyond_depth"]) == (3, ["nDCG@10", "RR@10", "R@1000"])


def test_columns_are_apart_whatever_the_length_of_a_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = "R(rel=2,judged_only=True)@1000"
    for names, width in (("AP P@3", 16), (f"AP {long}", len(long) + 1), ("P@" + "1" * 8, 16)):
        status, out, _ = command_line.run(
            capfd, "evaluate", *files(tmp_path), "-M", names, "--per-query"
        )
        assert status == 0
        lines = [line.split("\t") for line in out.splitlines()]
        assert {len(line) for line in lines} == {2}
        assert {first[width:] for first, _ in lines} == {"MED-1", "MED-2", "all"}
        assert [first[:width].strip() for first, _ in lines] == names.split() * 3


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval is a Perl program")
def test_err_of_ids_with_hyphens_is_that_of_numbers() -> None:
    qrels: Qrels = {"MED-1": {"a": 2}, "MED-3": {"a": 1, "b": 4}}
    run = {"MED-1": {"x": 2.0, "a": 1.0}, "MED-3": {"b": 1.0}}
    found = evaluate(qrels, run, ["ERR@10"])
    assert found.means["ERR@10"] == pytest.approx((3 / 16 / 2 + 15 / 16) / 2, abs=1e-5)


def test_a_measure_that_fails_on_the_run_itself_is_a_usage_error() -> None:
    """Accuracy divides by the documents that are not relevant."""
    with pytest.raises(UsageError, match="cannot compute 'Accuracy' here"):
        evaluate({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["AP", "Accuracy"])
