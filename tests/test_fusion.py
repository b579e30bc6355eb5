"""Fusing: every convention at its edge, against fractions, a slow reference and ranx."""

from __future__ import annotations

import gzip
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import command_line
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.evaluation.tune_fusion import TuneOptions, tune
from splade_bridge.retrieval.choices import Fusion
from splade_bridge.retrieval.fusion import FusionOptions, Ranking, RunLists, fuse, write_fused
from splade_bridge.retrieval.runs import Run, read_packed, read_run
from strategies import quick

SPARSE = {"d1": 30.0, "d2": 20.0, "d3": 10.0}
BM25 = {"d2": 4.0, "d4": 3.0, "d1": 2.0}


def fused(
    runs: Sequence[Run | Path], options: FusionOptions = FusionOptions(), k: int = 1000
) -> dict[str, list[tuple[str, float]]]:
    """Query -> documents and scores, best first."""
    rankings: list[Ranking] = list(fuse(RunLists(runs), options, k))
    return {r.query_id: list(zip(r.doc_ids, r.scores.tolist(), strict=True)) for r in rankings}


def one(*lists: Mapping[str, float], k: int = 1000, **options: object) -> list[tuple[str, float]]:
    """The fused list of one query."""
    runs = [{"other": {"x": 1.0}, "q": dict(found)} for found in lists]
    return fused(runs, FusionOptions(**options), k)["q"]  # type: ignore[arg-type]


# By hand


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    """Cormack et al. 2009: ranks from 1, constant 60, nothing from a list without the document."""
    expected = {
        "d2": Fraction(1, 62) + Fraction(1, 61),
        "d1": Fraction(1, 61) + Fraction(1, 63),
        "d4": Fraction(1, 62),
        "d3": Fraction(1, 63),
    }
    found = one(SPARSE, BM25)
    assert [d for d, _ in found] == list(expected)
    assert [s for _, s in found] == pytest.approx([float(s) for s in expected.values()], rel=1e-12)
    assert one(SPARSE, BM25, rank_constant=0)[0] == ("d2", 1.5)
    assert one(SPARSE, BM25, weights=(3, 1), rank_constant=0) == [
        ("d1", pytest.approx(3 + 1 / 3)), ("d2", 2.5), ("d3", 1.0), ("d4", 0.5)
    ]  # fmt: skip


def test_sums_of_normalized_scores() -> None:
    summed = [("d2", 1.5), ("d1", 1.0), ("d4", 0.5), ("d3", 0.0)]
    assert one(SPARSE, BM25, fusion="combsum") == summed
    assert one(SPARSE, BM25, fusion="combsum", weights=(0.8, 0.2)) == [
        ("d1", 0.8), ("d2", 0.6), ("d4", 0.1), ("d3", 0.0)
    ]  # fmt: skip
    assert one(SPARSE, BM25, fusion="combmnz") == [
        ("d2", 3.0), ("d1", 2.0), ("d4", 0.5), ("d3", 0.0)
    ]  # fmt: skip
    z = math.sqrt(1.5)  # of the first of three scores in equal steps
    found = one(SPARSE, BM25, fusion="combsum", normalization="z-score")
    # d3 and d4 have the lowest z-score, -z, in the list that lacks them.
    assert found == [("d2", pytest.approx(z)), ("d1", 0.0), ("d4", pytest.approx(-z)),
                     ("d3", pytest.approx(-2 * z))]  # fmt: skip


# Edges


def test_one_hit_and_equal_scores() -> None:
    lone, equal = {"b": -7.0}, {"b": 5.0, "a": 5.0}
    for few in (lone, equal):
        assert one(few, {"x": 2, "y": 1}, fusion="combsum")[-1] == ("y", 0.0)
        assert {s for d, s in one(few, {"x": 2, "y": 1}, fusion="combsum") if d in few} == {1.0}
    found = one(lone, {"x": 2, "y": 1}, fusion="combsum", normalization="z-score")
    assert found == [("x", 1.0), ("b", -1.0), ("y", -1.0)]  # the lone list tells nothing
    assert one(lone, lone) == [("b", pytest.approx(2 / 61))]


def test_ties_go_by_id_in_lists_and_in_the_result() -> None:
    """By code point: upper case before lower, numbers as text, and the private use area last."""
    ids = ["a", "B", "10", "9", "é", "\ue000", "\U0001f600"]
    ordered = sorted(ids)
    tied = dict.fromkeys(ids, 1.0)
    assert [d for d, _ in one(tied, tied)] == ordered
    assert [s for _, s in one(tied, tied)] == pytest.approx(
        [2 / (60 + r) for r in range(1, len(ids) + 1)]
    )
    assert one({"b": 2, "a": 1}, {"a": 2, "b": 1}) == [
        ("a", s := pytest.approx(1 / 61 + 1 / 62)), ("b", s)
    ]  # fmt: skip


def test_what_is_equal_but_for_the_order_of_additions_ties() -> None:
    """0.6 + 0.3 + 0.2 in three orders, whose doubles differ."""
    ends = {"z": 0.0, "y": 10.0}
    lists = [{"a": 6, "b": 3, "c": 2}, {"a": 3, "b": 2, "c": 6}, {"a": 2, "b": 6, "c": 3}]
    assert len({0.6 + 0.3 + 0.2, 0.3 + 0.2 + 0.6, 0.2 + 0.6 + 0.3}) > 1
    found = one(*(ends | scores for scores in lists), fusion="combsum")
    assert found[1:4] == [("a", 1.1), ("b", 1.1), ("c", 1.1)]


def test_rational_ties_of_reciprocal_ranks_are_ties() -> None:
    """1/3 + 1/6 = 1/4 + 1/4, whose doubles may differ."""
    first = {"b": 9, "a": 8, "p": 7, "q": 6}
    second = {"p": 9, "a": 8, "q": 7, "b": 6}
    found = one(first, second, rank_constant=2)
    assert [d for d, _ in found] == ["p", "a", "b", "q"]
    assert found[1][1] == found[2][1] == 0.5


def test_depth_of_the_lists_is_not_the_size_of_the_output() -> None:
    deep = {f"d{i}": float(10 - i) for i in range(10)}
    other = {f"d{9 - i}": float(10 - i) for i in range(10)}
    assert len(one(deep, other, k=3)) == 3
    shallow = one(deep, other, depth=2, k=1000)
    assert sorted(d for d, _ in shallow) == ["d0", "d1", "d8", "d9"]
    assert one(deep, other, depth=2, k=1)[0] == shallow[0]
    # Below the depth nothing counts: the lowest of what is left is 0.
    assert dict(one(deep, other, depth=3, fusion="combsum"))["d2"] == 0.0
    # The cut goes through documents of equal scores by their ids.
    assert [d for d, _ in one({"b": 1, "a": 1}, {"c": 1}, depth=1)] == ["a", "c"]


def test_a_query_that_one_run_lacks_is_fused_from_the_others() -> None:
    first: Run = {"q2": {"b": 2.0, "a": 1.0}, "q1": {"a": 1.0}}
    second: Run = {"q3": {"c": 1.0}, "q1": {"b": 1.0}, "q0": {}}
    found = fused([first, second])
    assert list(found) == ["q2", "q1", "q3", "q0"]
    assert found["q2"] == [("b", pytest.approx(1 / 61)), ("a", pytest.approx(1 / 62))]
    assert found["q0"] == []
    assert fused([first, second], FusionOptions("combsum"))["q2"] == [("b", 1.0), ("a", 0.0)]


def test_a_run_of_weight_0_is_left_out() -> None:
    assert one(SPARSE, BM25, weights=(1, 0)) == one(SPARSE, {}, weights=(1, 1))
    assert one(SPARSE, BM25, fusion="combmnz", weights=(0, 2)) == [
        ("d2", 2.0), ("d4", 1.0), ("d1", 0.0)
    ]  # fmt: skip
    assert fused([{"q": {"a": 1}}, {"r": {"b": 1}}], FusionOptions(weights=(0, 1)))["q"] == []


def test_large_integers_and_the_ends_of_float64() -> None:
    """2^24 + 1 is no 2^24, as in engines that score in float32; nothing overflows."""
    near = {"b": 2.0**24 + 1, "a": 2.0**24}
    assert [d for d, _ in one(near, near)] == ["b", "a"]
    assert one({"b": 2.0**53, "a": 2.0**53 - 1}, {"b": 1}, fusion="combsum")[-1] == ("a", 0.0)
    for normalization in ("min-max", "z-score"):
        for wide in ({"a": 1.7e308, "b": 0.0, "c": -1.7e308}, {"a": 5e-324, "b": 0, "c": 0}):
            found = one(wide, wide, fusion="combsum", normalization=normalization)
            assert all(math.isfinite(s) for _, s in found)
            assert found[0][0] == "a" and found[0][1] > found[-1][1]
    wide = {"a": 1.7e308, "b": 0.0, "c": -1.7e308}
    assert one(wide, wide, fusion="combsum") == [("a", 2.0), ("b", 1.0), ("c", 0.0)]


@pytest.mark.parametrize(
    "options",
    [{"weights": (1.0,)}, {"weights": (0.0, 0.0)}, {"weights": (-1.0, 1.0)},
     {"weights": (math.nan, 1.0)}, {"weights": (math.inf, 1.0)}, {"weights": (1e-300, 1.0)},
     {"rank_constant": -1}, {"rank_constant": 10**9}, {"depth": 0}, {"fusion": "borda"},
     {"fusion": "combsum", "normalization": "max"},
     {"fusion": "combmnz", "normalization": "z-score"}],
)  # fmt: skip
def test_options_that_cannot_be_meant(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        one(SPARSE, BM25, **options)


def test_one_run_and_empty_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="two runs"):
        RunLists([{"q": {"d": 1.0}}])
    with pytest.raises(BadInputError, match="run 2: the run is empty"):
        RunLists([{"q": {"d": 1.0}}, {"q": {}}])


# A slow reference


def reference(lists: Sequence[Mapping[str, float]], options: FusionOptions) -> dict[str, Fraction]:
    """The formulas, in fractions but for the root in a z-score."""
    scores: dict[str, Fraction] = {}
    weights = options.weights_of(len(lists))
    cut = [
        dict(sorted(found.items(), key=lambda e: (-e[1], e[0]))[: options.depth]) for found in lists
    ]
    for doc in {d for found, w in zip(cut, weights, strict=True) if w for d in found}:
        total, holding = Fraction(0), 0
        for found, weight in zip(cut, weights, strict=True):
            if not weight or not found:
                continue
            holding += doc in found
            ranks = {d: i for i, d in enumerate(found, start=1)}
            if options.fusion == "rrf":
                part = Fraction(1, options.rank_constant + ranks[doc]) if doc in found else 0
            else:
                part = normal(found, options)[doc] if doc in found else lowest(found, options)
            total += Fraction(weight) * part
        scores[doc] = total * holding if options.fusion == "combmnz" else total
    return scores


def normal(found: Mapping[str, float], options: FusionOptions) -> dict[str, Fraction]:
    values = [Fraction(s) for s in found.values()]
    low, high, mean = min(values), max(values), sum(values) / len(values)
    if low == high:
        return dict.fromkeys(found, Fraction(options.normalization == "min-max"))
    if options.normalization == "min-max":
        return {d: (Fraction(s) - low) / (high - low) for d, s in found.items()}
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return {d: (Fraction(s) - mean) / Fraction(math.sqrt(variance)) for d, s in found.items()}


def lowest(found: Mapping[str, float], options: FusionOptions) -> Fraction:
    return (
        Fraction(0) if options.normalization == "min-max" else min(normal(found, options).values())
    )


documents = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "A", "10", "9"])
numbers = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
)
some_lists = st.lists(st.dictionaries(documents, numbers, max_size=9), min_size=2, max_size=4)
kinds = st.sampled_from(
    [("rrf", "min-max"), ("combsum", "min-max"), ("combsum", "z-score"), ("combmnz", "min-max")]
)


@quick
@given(some_lists, kinds, st.integers(0, 70), st.integers(1, 10), st.data())
def test_any_lists_are_fused_as_the_formulas_say(
    lists: list[dict[str, float]],
    kind: tuple[str, str],
    constant: int,
    depth: int,
    data: st.DataObject,
) -> None:
    weights = data.draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=len(lists), max_size=len(lists))
    )
    weights = weights if any(weights) else []
    options = FusionOptions(*kind, tuple(weights), constant, depth)  # type: ignore[arg-type]
    found = one(*lists, **vars(options))
    expected = reference(lists, options)
    assert found == sorted(found, key=lambda e: (-e[1], e[0]))
    assert {d for d, _ in found} == set(expected)
    for doc, score in found:
        assert score == pytest.approx(float(expected[doc]), rel=1e-9, abs=1e-9)
    for (one_doc, one_score), (next_doc, next_score) in pairwise(found):
        if expected[one_doc] == expected[next_doc]:  # a tie in fractions is one in doubles
            assert one_score == next_score and one_doc < next_doc


@quick
@given(some_lists.filter(all), st.randoms())
def test_neither_the_order_of_lines_nor_that_of_runs_changes_a_ranking(
    lists: list[dict[str, float]], random: object
) -> None:
    def mixed(values: list[object]) -> list[object]:
        random.shuffle(values)  # type: ignore[attr-defined]
        return values

    for fusion in ("rrf", "combsum", "combmnz"):
        other = mixed([dict(mixed(list(found.items()))) for found in lists])
        assert one(*lists, fusion=fusion) == one(*other, fusion=fusion)


# ranx


@pytest.mark.long  # numba compiles it at first use
def test_ranx_says_the_same_where_its_conventions_are_ours() -> None:
    """Every list has every query, several documents and no ties; for z-scores every document."""
    ranx = pytest.importorskip("ranx")
    from ranx.fusion import comb_mnz, comb_sum, rrf, wsum
    from ranx.normalization import min_max_norm, zmuv_norm

    rng = np.random.default_rng(0)
    shared = [f"d{i}" for i in range(40)]

    def run(size: int) -> Run:
        return {
            f"q{q}": {
                shared[i]: float(s)
                for i, s in zip(rng.permutation(40)[:size], rng.permutation(1000), strict=False)
            }
            for q in range(6)
        }

    def ranx_run(found: Run) -> object:
        return ranx.Run({q: dict(d) for q, d in found.items()})

    def same(theirs: object, options: FusionOptions, runs: list[Run]) -> None:
        expected = theirs.to_dict()  # type: ignore[attr-defined]
        ours = fused(runs, options)
        assert ours.keys() == expected.keys()
        for query_id, ranked in ours.items():
            assert dict(ranked) == pytest.approx(expected[query_id], rel=1e-9, abs=1e-12)

    some, all_of_them = [run(25), run(30), run(20)], [run(40), run(40)]
    held = [ranx_run(r) for r in some]
    same(rrf(held, k=60), FusionOptions(), some)
    same(rrf(held, k=7), FusionOptions(rank_constant=7), some)
    scaled = [min_max_norm(r) for r in held]
    same(comb_sum(scaled), FusionOptions("combsum"), some)
    same(comb_mnz(scaled), FusionOptions("combmnz"), some)
    weights = (0.2, 0.5, 0.3)
    same(wsum(scaled, list(weights)), FusionOptions("combsum", weights=weights), some)
    z = [zmuv_norm(ranx_run(r)) for r in all_of_them]
    same(comb_sum(z), FusionOptions("combsum", "z-score"), all_of_them)


# Reading


LINES = {
    "trec": "q1 Q0 d2 1 2 t\nq1 Q0 d1 2 3e0 t\nq2 Q0 d3 1 -1.5 t\n",
    "interleaved": "q1 Q0 a 1 9 t\nq2 Q0 a 1 9 t\nq3 Q0 z 1 1 t\nq1 Q0 b 2 8 t\nq3 Q0 a 2 0 t\n"
    "q2 Q0 b 2 8 t\nq1 Q0 c 3 7 t\nq4 Q0 c 3 7 t\nq2 Q0 c 3 7 t\n",
    "msmarco": "q1\td1\t1\nq1\td2\t2\nq2\td9\t1\n",
    "scores": "q1 d1 0.5\nq1 d2 0.7\n",
    "json": '{"q1": {"d1": 2, "d2": 1.5}, "q3": {}, "q2": {"d1": 1}}',
}


def unpacked(path: Path, numbers: dict[str, int]) -> Run:
    packed = read_packed(path, numbers)
    names = list(numbers)
    return {
        q: dict(zip([names[i] for i in docs.tolist()], scores.tolist(), strict=True))
        for q, (docs, scores) in packed.items()
    }


@pytest.mark.parametrize("kind", LINES)
def test_a_run_in_arrays_is_the_run(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.gz"
    path.write_bytes(gzip.compress(LINES[kind].encode()))
    found, expected = unpacked(path, {"d2": 0, "other": 1}), read_run(path)
    assert list(found.items()) == list(expected.items())
    assert [list(d.items()) for d in found.values()] == [list(d.items()) for d in expected.values()]


@pytest.mark.parametrize(
    "text",
    [LINES["trec"] + "q1 Q0 d2 3 1 t\n", LINES["interleaved"] + "q4 Q0 c 9 1 t\n",
     LINES["interleaved"] + "q1 Q0 a 9 1 t\n", "q1 Q0 a 1 nan t\n", "q1 a 2\nq1 b 3\n",
     "q1 a 1\nq1 b 1\n", "q1 a 1\nq1 b x\n", "q1 a\n", "q1 Q0 a 1 1_0 t\n"],
)  # fmt: skip
def test_faults_of_a_run_are_the_same_in_both_readings(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text(text)
    with pytest.raises(BadInputError) as first:
        read_run(path)
    with pytest.raises(BadInputError) as second:
        read_packed(path, {})
    assert str(first.value) == str(second.value)


@quick
@given(
    st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcdef")), unique=True, min_size=1)
)
def test_lines_in_any_order_are_read_into_arrays(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "run"
    path.write_text("".join(f"{q} Q0 {d} 1 {i} t\n" for i, (q, d) in enumerate(pairs)))
    assert list(unpacked(path, {}).items()) == list(read_run(path).items())


# The command


def test_the_command_reads_what_evaluate_reads_and_writes_as_search_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"q Q0 {d} 7 {s:g} t\n" for d, s in SPARSE.items())
    Path("sparse.gz").write_bytes(gzip.compress(lines.encode()))
    Path("bm25.json").write_text('{"q": {"d2": 4, "d4": 3, "d1": 2}}')
    args = ["fuse", "sparse.gz", "bm25.json", "--fusion", "combsum", "--weight", "0.8"]
    args += ["--weight", "0.2"]
    expected = "q Q0 d1 1 0.8 us\nq Q0 d2 2 0.6 us\nq Q0 d4 3 0.1 us\nq Q0 d3 4 0.0 us\n"
    for name in ("out.run", "out.run.gz", "out.run.zst"):
        assert command_line.run(capfd, *args, "-o", name, "--tag", "us")[0] == 0
        assert [*read_run(Path(name))["q"].items()] == one(
            SPARSE, BM25, fusion="combsum", weights=(0.8, 0.2)
        )
    assert Path("out.run").read_text() == expected
    assert command_line.run(capfd, *args, "-o", "-", "--tag", "us")[1] == expected
    status, _, err = command_line.run(capfd, *args, "-o", "out.run")
    assert status == 2 and "--overwrite" in err and Path("out.run").read_text() == expected
    assert command_line.run(capfd, *args, "-o", "out.run", "--overwrite", "-k", "1")[0] == 0
    assert Path("out.run").read_text() == "q Q0 d1 1 0.8 splade-bridge\n"


def test_one_run_may_be_stdin(tmp_path: Path) -> None:
    lines = "".join(f"q Q0 {d} 1 {s} t\n" for d, s in SPARSE.items())
    (tmp_path / "b").write_text('{"q": {"d2": 4, "d4": 3, "d1": 2}}')

    def called(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "splade_bridge", "fuse", *arguments],
            input=lines, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip

    done = called("-", "b", "-o", "-", "--fusion", "combmnz")
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["d2", "d1", "d4", "d3"]
    twice = called("-", "-", "-o", "out")
    assert twice.returncode == 4 and "was read already" in twice.stderr
    assert not (tmp_path / "out").exists()


# The page

PAGE = (Path(__file__).parents[1] / "docs" / "fusion.md").read_text()


def test_the_worked_example_of_the_page_is_what_the_command_gives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs, command by command; the figures by hand are in the tests above."""
    monkeypatch.chdir(tmp_path)
    files = re.findall(r"`(\w+\.run)`:\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in files] == ["sparse.run", "bm25.run"]
    for name, content in files:
        Path(name).write_text(content)
    assert [read_run(Path(name))["q1"] for name, _ in files] == [SPARSE, BM25]
    pattern = r"```sh\nsplade-bridge (fuse sparse.*?)```\n\n```text\n(.*?)```"
    calls = re.findall(pattern, PAGE, re.DOTALL)
    assert len(calls) == 5
    for command, printed in calls:
        status, out, err = command_line.run(capfd, *shlex.split(command))
        assert status == 0, err
        assert out == printed


# Real runs


@pytest.mark.long
@pytest.mark.shared
def test_splade_and_unicoil_on_nfcorpus(shared: Path, tmp_path: Path) -> None:
    """Anserini's runs of SPLADE-v3 and uniCOIL: ranges, and what is told is what is measured."""
    data = shared / "splade-v3-nfcorpus"
    runs = [data / "expected" / f"run.{n}.txt.gz" for n in ("splade-v3", "unicoil-noexp")]
    qrels = read_qrels(data / "qrels.nfcorpus.test.trec")
    lists = RunLists(runs)

    def measured(rankings: Iterable[Ranking]) -> float:
        write_fused(rankings, tmp_path / "run.zst")
        return evaluate(qrels, read_run(tmp_path / "run.zst"), ["nDCG@10"]).means["nDCG@10"]

    # In the run's own order; trec_eval orders ties of float32 otherwise, and has .3624.
    alone = measured(fuse(lists, FusionOptions(weights=(1, 0)), 1000))
    assert alone == pytest.approx(0.3632, abs=5e-5)
    figures = {kind: measured(fuse(lists, FusionOptions(kind), 1000)) for kind in get_args(Fusion)}
    assert figures == pytest.approx(REAL, abs=5e-5)
    options = FusionOptions("combsum")
    tuned = tune(lists, qrels, options, TuneOptions("nDCG@10"), 1000, ["SPLADE-v3", "uniCOIL"])
    assert tuned.result.held_out == pytest.approx(measured(tuned.rankings(lists, 1000)))
    assert tuned.result.alone == [pytest.approx(0.3624, abs=5e-5), pytest.approx(0.344, abs=5e-5)]


REAL = {"rrf": 0.3579, "combsum": 0.3606, "combmnz": 0.3606}
"""nDCG@10 of both runs by SPLADE-v3's vectors, which fuse on these 323 queries to no more than
the better one."""
