from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.evaluation.significance import (
    SignificanceOptions,
    compare_all,
    compare_pair,
    holm,
)

values = st.integers(0, 20).map(lambda n: n / 20)
pairs = st.lists(st.tuples(values, values), min_size=2, max_size=10)


def keyed(column: list[float] | np.ndarray) -> dict[str, float]:
    return {f"q{i}": float(v) for i, v in enumerate(column)}


def all_sign_flips(differences: np.ndarray) -> float:
    """The share of all 2^n sign flips whose mean is at least as far from 0."""
    signs = np.array(list(product((1, -1), repeat=len(differences))))
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) - 1e-9).mean())


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_randomisation_is_exact_on_few_queries(rows: list[tuple[float, float]]) -> None:
    first, second = np.array(rows).T
    found = compare_pair(keyed(first), keyed(second))
    assert found.randomisation == pytest.approx(all_sign_flips(second - first))


def test_randomisation_by_chance_is_near_all_flips() -> None:
    rng = np.random.default_rng(3)
    first = rng.random(14)
    second = first + rng.normal(0.05, 0.2, 14)
    options = SignificanceOptions(resamples=8_000)  # fewer than 2^14
    found = compare_pair(keyed(first), keyed(second), options=options)
    exact = all_sign_flips(second - first)
    assert 0.01 < exact < 0.5
    assert found.randomisation == pytest.approx(exact, abs=4 * np.sqrt(exact / 8000))
    assert found == compare_pair(keyed(first), keyed(second), options=options)


def test_t_test_and_interval_are_the_textbook() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.random(60), rng.random(60) + 0.1
    found = compare_pair(keyed(first), keyed(second))
    differences = second - first
    error = differences.std(ddof=1) / np.sqrt(60)
    t = differences.mean() / error
    assert found.t_test == pytest.approx(2 * stats.t.sf(abs(t), 59))
    assert found.t_test == pytest.approx(stats.ttest_rel(second, first).pvalue)
    margin = stats.t.ppf(0.975, 59) * error
    assert found.interval == pytest.approx(
        (differences.mean() - margin, differences.mean() + margin)
    )
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.wins == (differences > 0).sum() and found.losses == (differences < 0).sum()
    assert found.randomisation == pytest.approx(found.t_test, abs=0.02)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Four systems that do not differ, 100 times: Holm lets one be called different in 5 %."""
    rng = np.random.default_rng(11)
    alarms = uncorrected = 0
    for _ in range(100):
        systems = {str(i): keyed(rng.random(30)) for i in range(4)}
        found = compare_all(systems, options=SignificanceOptions(resamples=400))
        assert all(c.comparisons == 6 for c in found)
        alarms += any(c.significant for c in found)
        uncorrected += any(c.randomisation < 0.05 for c in found)
    assert alarms <= 12  # binomial(100, .05): more than 12 has a chance of .002
    assert uncorrected > 12


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_its_definition(p: list[float]) -> None:
    """Step down: test the smallest against alpha / m, the next against alpha / (m - 1), ..."""
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.3, 0.9):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, a in enumerate(adjusted) if a <= alpha} == rejected


def test_holm_published_example() -> None:
    """Holm-adjusted values of R's p.adjust(c(.01, .02, .03, .04, .05), 'holm')."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_against_a_baseline() -> None:
    rng = np.random.default_rng(2)
    base = rng.random(100)
    better = base + rng.normal(0.2, 0.1, 100)
    same = base + rng.normal(0, 0.1, 100)
    systems = {"new": keyed(better), "bm25": keyed(base), "old": keyed(same)}
    new, old = compare_all(systems, "bm25")
    assert (new.first, new.second, old.second) == ("bm25", "new", "old")
    assert new.significant and not old.significant
    assert new.corrected == pytest.approx(min(1, 2 * new.randomisation))
    said = new.sentence("nDCG@10")
    assert said.startswith("nDCG@10 of new is higher than that of bm25 by 0.")
    assert "p < .001, corrected for 2 comparisons" in said
    said = old.sentence("nDCG@10")
    assert said.startswith("No difference in nDCG@10 between old and bm25 is shown")
    assert "95% interval" in said


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_systems_and_single_queries(n: int) -> None:
    first = keyed(np.full(n, 0.3))
    equal = compare_pair(first, keyed(np.full(n, 0.1 + 0.2)))  # 0.30000000000000004
    assert (equal.t_test, equal.randomisation, equal.ties, equal.effect) == (1, 1, n, None)
    assert f"same nDCG@10 as the first on every one of {n} queries" in equal.sentence("nDCG@10")
    constant = compare_pair(first, keyed(np.full(n, 0.5)))
    assert constant.wins == n and constant.randomisation == 2 ** (1 - n)
    assert (constant.interval is None) == (n == 1)
    assert "No difference" in constant.sentence("nDCG@10")


def test_bad_input_is_refused() -> None:
    one = {"q1": 0.5}
    with pytest.raises(MismatchError, match="q2 is in one of them only"):
        compare_pair(one, {"q1": 0.5, "q2": 1.0}, ("a", "b"))
    with pytest.raises(BadInputError, match="no queries"):
        compare_pair({}, {})
    with pytest.raises(BadInputError, match="query q1"):
        compare_pair(one, {"q1": float("nan")})
    with pytest.raises(UsageError, match="no system 'x'"):
        compare_all({"a": one}, "x")
    with pytest.raises(UsageError, match="resample"):
        compare_pair(one, one, options=SignificanceOptions(resamples=0))
