"""Weights by cross-validation: the figure that is told is that of queries with no part in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

import command_line
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import Qrels
from splade_bridge.evaluation.significance import compare_pair, holm
from splade_bridge.evaluation.tune_fusion import Tuned, TuneOptions, settings_of, tune
from splade_bridge.retrieval.fusion import FusionOptions, RunLists, fuse
from splade_bridge.retrieval.runs import Run, read_run

NAMES = ["good", "bad"]


def collection(seed: int, queries: int = 30) -> tuple[list[Run], Qrels]:
    """Two runs, the first of which knows more, with ties, gaps and queries that one lacks."""
    rng = np.random.default_rng(seed)
    good: Run = {}
    bad: Run = {}
    qrels: Qrels = {}
    for q in range(queries):
        grades = {f"d{i}": int(rng.integers(0, 3)) for i in range(12)}
        qrels[f"q{q}"] = grades
        for run, noise in ((good, 1.5), (bad, 5.0)):
            docs = rng.permutation(25)[:15]
            run[f"q{q}"] = {
                f"d{i}": float(np.round(grades.get(f"d{i}", 0) + noise * rng.random(), 1))
                for i in docs
            }
    del bad["q1"], good["q2"]
    good["unjudged"] = bad["unjudged"] = {"d1": 1.0, "d2": 0.5}
    qrels["nothing found"] = {"d1": 1}
    return [good, bad], qrels


def tuned(
    runs: list[Run], qrels: Qrels, options: FusionOptions, tuning: TuneOptions, k: int = 1000
) -> Tuned:
    return tune(RunLists(runs), qrels, options, tuning, k, NAMES[: len(runs)])


def folds_of(ids: list[str], folds: int, seed: int) -> list[set[str]]:
    """The documented folds: ids in order, shuffled by numpy's generator, dealt out in turn."""
    shuffled = np.random.default_rng(seed).permutation(len(ids)).tolist()
    return [{ids[p] for p in shuffled[fold::folds]} for fold in range(folds)]


def as_run(found: Tuned, runs: list[Run], k: int = 1000) -> Run:
    rankings = found.rankings(RunLists(runs), k)
    return {r.query_id: dict(zip(r.doc_ids, r.scores.tolist(), strict=True)) for r in rankings}


@pytest.mark.parametrize("measure", ["nDCG@3", "AP", "P@5", "RR"])
@pytest.mark.parametrize("fusion", ["rrf", "combsum", "combmnz"])
def test_the_figure_is_that_of_the_run_that_is_written(measure: str, fusion: str) -> None:
    runs, qrels = collection(1)
    options = FusionOptions(fusion)  # type: ignore[arg-type]
    constants = (60, 1, 10) if fusion == "rrf" else (60,)
    found = tuned(runs, qrels, options, TuneOptions(measure, rank_constants=constants))
    result = found.result
    assert result.held_out == pytest.approx(
        evaluate(qrels, as_run(found, runs), [measure]).means[measure], abs=1e-12
    )
    even = fuse(RunLists(runs), options, 1000)
    plain = {r.query_id: dict(zip(r.doc_ids, r.scores.tolist(), strict=True)) for r in even}
    assert result.untuned == pytest.approx(evaluate(qrels, plain, [measure]).means[measure])
    assert result.alone == [
        pytest.approx(evaluate(qrels, run, [measure]).means[measure]) for run in runs
    ]
    assert result.queries == len(qrels) == sum(fold.queries for fold in result.folds)
    assert set(found.of_query) == set(qrels) and "unjudged" not in qrels


def test_each_fold_has_what_is_best_on_the_others() -> None:
    """Against brute force: every setting fused as a whole and measured by evaluate."""
    runs, qrels = collection(2)
    options, tuning = FusionOptions("combsum"), TuneOptions("nDCG@5", folds=4, weight_steps=5)
    found = tuned(runs, qrels, options, tuning)
    values = {}
    for a in range(6):
        setting = replace(options, weights=(a / 5, (5 - a) / 5))
        fused = {
            r.query_id: dict(zip(r.doc_ids, r.scores.tolist(), strict=True))
            for r in fuse(RunLists(runs), setting, 1000)
        }
        per_query = evaluate(qrels, fused, ["nDCG@5"]).per_query
        values[setting.weights] = {q: v["nDCG@5"] for q, v in per_query.items()}
    ids = sorted(qrels)
    held_out = []
    for fold, mine in enumerate(folds_of(ids, 4, 0)):
        (used,) = {found.of_query[q].weights for q in mine}
        others = [q for q in ids if q not in mine]
        means = {w: np.mean([v[q] for q in others]) for w, v in values.items()}
        best = [v[q] for w, v in values.items() if w == used for q in mine]
        if used in means:  # not the equal weights, which are no fifths
            assert means[used] == pytest.approx(max(means.values()))
            assert found.result.folds[fold].value == pytest.approx(np.mean(best))
            held_out.append(fold)
    assert held_out


@pytest.mark.parametrize("seed", range(4))
def test_a_query_has_no_part_in_its_own_weights(seed: int) -> None:
    """However the judgements of one fold change, it is fused as before."""
    runs, qrels = collection(seed)
    tuning = TuneOptions("nDCG@5", folds=3, seed=seed)
    before = tuned(runs, qrels, FusionOptions("combsum"), tuning)
    rng = np.random.default_rng(seed)
    for fold, mine in enumerate(folds_of(sorted(qrels), 3, seed)):
        changed = {
            q: {d: int(rng.integers(0, 3)) for d in judged} if q in mine else judged
            for q, judged in qrels.items()
        }
        after = tuned(runs, changed, FusionOptions("combsum"), tuning)
        assert all(after.of_query[q] == before.of_query[q] for q in mine)
        assert after.result.folds[fold].weights == before.result.folds[fold].weights


def test_noise_is_given_no_figure_of_its_own_choosing() -> None:
    """Runs that know nothing: the best setting of many looks good on its own queries only."""
    rng = np.random.default_rng(5)
    better = 0
    for seed in range(8):
        ids = [f"d{i}" for i in range(30)]
        qrels = {f"q{q}": {d: int(rng.random() < 0.2) for d in ids} for q in range(20)}
        runs: list[Run] = [
            {q: dict(zip(ids, rng.random(30).tolist(), strict=True)) for q in qrels}
            for _ in range(2)
        ]
        options, tuning = FusionOptions("combsum"), TuneOptions("P@5", seed=seed, weight_steps=20)
        found = tuned(runs, qrels, options, tuning)
        best = max(
            evaluate(
                qrels,
                {
                    r.query_id: dict(zip(r.doc_ids, r.scores.tolist(), strict=True))
                    for r in fuse(RunLists(runs), s, 1000)
                },
                ["P@5"],
            ).means["P@5"]
            for s in settings_of(options, tuning, 2)[::4]
        )
        better += best > found.result.held_out
    assert better >= 6


def test_seeds_and_ties() -> None:
    runs, qrels = collection(3)
    options = FusionOptions("combsum")

    def folds(seed: int, judged: Qrels = qrels) -> object:
        return tuned(runs, judged, options, TuneOptions("P@5", seed=seed)).result.folds

    assert folds(0) == folds(0) == folds(0, dict(reversed(qrels.items())))
    assert folds(0) != folds(1)
    same = [runs[0], runs[0]]  # all weights are equally good: the even ones are taken
    found = tuned(same, qrels, FusionOptions(), TuneOptions("P@5", rank_constants=(9, 60)))
    assert (found.result.weights, found.result.rank_constant) == ((0.5, 0.5), 9)
    assert {s.weights for s in found.of_query.values()} == {(0.5, 0.5)}
    assert found.result.held_out == found.result.untuned


def test_tests_are_those_of_the_held_out_values() -> None:
    runs, qrels = collection(4)
    found = tuned(runs, qrels, FusionOptions("combsum"), TuneOptions("nDCG@5"))
    values = evaluate(qrels, as_run(found, runs), ["nDCG@5"]).per_query
    held_out = {q: v["nDCG@5"] for q, v in values.items()}
    first = evaluate(qrels, runs[0], ["nDCG@5"]).per_query
    test = compare_pair({q: v["nDCG@5"] for q, v in first.items()}, held_out)
    told = found.result.tests
    assert [(t.first, t.second) for t in told] == [
        ("good", "tuned, held out"), ("bad", "tuned, held out"), ("untuned", "tuned, held out")
    ]  # fmt: skip
    assert (told[0].randomisation, told[0].wins) == (test.randomisation, test.wins)
    assert told[0].mean_second == pytest.approx(found.result.held_out)
    assert [t.corrected for t in told] == holm([t.randomisation for t in told])


def test_what_is_tried() -> None:
    two = settings_of(FusionOptions("combsum"), TuneOptions("P@5", weight_steps=4), 2)
    assert [s.weights for s in two] == [
        (0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (1.0, 0.0)
    ]  # fmt: skip
    three = settings_of(FusionOptions(), TuneOptions("P@5", rank_constants=(60, 1, 60)), 3)
    assert len(three) == 2 * (66 + 1)  # and the equal weights, which are no tenths
    assert {s.rank_constant for s in three} == {1, 60}
    assert all(sum(s.weights) == pytest.approx(1) for s in three)
    fixed = FusionOptions(weights=(1.0, 3.0))
    kept = settings_of(fixed, TuneOptions("P@5", rank_constants=(60, 5)), 2)
    assert [(s.weights, s.rank_constant) for s in kept] == [((1.0, 3.0), 60), ((1.0, 3.0), 5)]


def test_what_cannot_be_tuned() -> None:
    runs, qrels = collection(6)
    refused = [
        (FusionOptions(), TuneOptions("P@5 P@10"), "one measure"),
        (FusionOptions(), TuneOptions("P@5", folds=40), "31 judged queries only"),
        (FusionOptions(weights=(1, 1)), TuneOptions("P@5"), "nothing to choose from"),
        (FusionOptions(), TuneOptions("P@5", weight_steps=10**6), "smaller --weight-steps"),
        (FusionOptions("combsum"), TuneOptions("P@5", rank_constants=(1, 2)), "--fusion rrf"),
        (FusionOptions(weights=(1, 1, 1)), TuneOptions("P@5"), "3 weights for 2 runs"),
    ]
    for options, tuning, words in refused:
        with pytest.raises(UsageError, match=words):
            tuned(runs, qrels, options, tuning)
    for wrong in ({"folds": 1}, {"seed": -1}, {"weight_steps": 0}, {"rank_constants": ()}):
        with pytest.raises(UsageError):
            TuneOptions("P@5", **wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="bad: has results for none of 31 judged queries"):
        tuned([runs[0], {"other": {"d": 1.0}}], qrels, FusionOptions(), TuneOptions("P@5"))


def test_the_command_tells_the_held_out_figure_and_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs, qrels = collection(7)
    for name, run in zip(NAMES, runs, strict=True):
        Path(name).write_bytes(orjson.dumps(run))
    Path("qrels").write_text(
        "".join(
            f"{q.replace(' ', '_')} 0 {d} {g}\n" for q, j in qrels.items() for d, g in j.items()
        )
    )
    judged = {q.replace(" ", "_"): j for q, j in qrels.items()}
    args = ["fuse", *NAMES, "--fusion", "combsum", "--tune", "nDCG@5", "--qrels", "qrels"]
    status, out, err = command_line.run(capfd, *args, "-o", "run")
    assert (status, out) == (0, "")
    figure = evaluate(judged, read_run(Path("run")), ["nDCG@5"]).means["nDCG@5"]
    assert f"nDCG@5 {figure:.4f}, held out: 31 judged queries in 5 folds (seed 0)" in err
    assert "without a figure): --weight" in err and "good alone" in err
    status, out, _ = command_line.run(capfd, *args, "-o", "run2", "--json", "--folds", "3")
    told = orjson.loads(out)["tuning"]
    figure = evaluate(judged, read_run(Path("run2")), ["nDCG@5"]).means["nDCG@5"]
    assert told["held_out"] == pytest.approx(figure, abs=1e-12) and len(told["folds"]) == 3
