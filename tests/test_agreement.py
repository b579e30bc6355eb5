from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ranked import overlap, rank_biased_overlap
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.agreement import agreement, rankings

documents = st.lists(st.integers(0, 12).map(str), max_size=12, unique=True)
persistence = st.floats(0.05, 0.99)


def agreement_at(first: list[str], second: list[str], depth: int) -> float:
    """A_d of the paper."""
    return len(set(first[:depth]) & set(second[:depth])) / depth


def extrapolated(first: list[str], second: list[str], p: float, depth: int = 6000) -> float:
    """RBO summed to a great depth, from what RBO_ext assumes rather than from its equation:

    the unseen rest of the shorter list agrees with the longer at the rate of its end, and below
    both ends agreement stays what it has become.
    """
    short, long = sorted((first, second), key=len)
    at_end = agreement_at(short, long, len(short))
    total = 0.0
    for d in range(1, depth + 1):
        if d <= len(short):
            agreed = agreement_at(short, long, d)
        elif d <= len(long):  # seen overlap, plus at_end for each unseen rank of the short list
            agreed = (len(set(short) & set(long[:d])) + at_end * (d - len(short))) / d
        total += (1 - p) * p ** (d - 1) * agreed
    return total


@settings(deadline=None, max_examples=60)
@given(documents, documents, persistence)
def test_rbo_is_the_sum_over_depths(first: list[str], second: list[str], p: float) -> None:
    assume(first and second)
    found = rank_biased_overlap(first, second, p)
    assert found == pytest.approx(extrapolated(first, second, p), abs=1e-9)
    assert found == rank_biased_overlap(second, first, p)
    assert 0 <= found <= 1


@settings(deadline=None, max_examples=60)
@given(documents, documents, st.integers(1, 15))
def test_overlap_is_the_share_in_common(first: list[str], second: list[str], k: int) -> None:
    common = set(first[:k]) & set(second[:k])
    longest = max(len(first[:k]), len(second[:k]))
    assert overlap(first, second, k) == (len(common) / longest if longest else 1)


def test_the_example_of_the_paper() -> None:
    """Webber et al. 2010, figure 3: agreement at depths 1 to 7 of these two lists."""
    first, second = "abcdefg", "zcavwxy"
    agreed = [0, 0, 2 / 3, 2 / 4, 2 / 5, 2 / 6, 2 / 7]
    assert [agreement_at(list(first), list(second), d) for d in range(1, 8)] == agreed
    expected = sum(0.1 * 0.9**i * a for i, a in enumerate(agreed)) + agreed[-1] * 0.9**7
    assert rank_biased_overlap(first, second, 0.9) == pytest.approx(expected)


@given(documents, persistence)
@settings(deadline=None, max_examples=30)
def test_identical_and_disjoint(found: list[str], p: float) -> None:
    other = [f"x{doc_id}" for doc_id in found]
    assert rank_biased_overlap(found, found, p) == pytest.approx(1)
    assert overlap(found, found, 10) == 1
    if found:
        assert rank_biased_overlap(found, other, p) == 0
        assert overlap(found, other, 10) == 0
        assert rank_biased_overlap(found, [], p) == overlap(found, [], 10) == 0


def test_the_top_weighs_most() -> None:
    base = [str(i) for i in range(100)]
    top, bottom = [base[1], base[0], *base[2:]], [*base[:98], base[99], base[98]]
    assert rank_biased_overlap(base, top) < rank_biased_overlap(base, bottom) < 1


def test_means_over_queries_and_queries_of_one_side() -> None:
    first = {"1": ["a", "b"], "2": ["c"], "3": []}
    second = {"1": ["a", "x"], "3": [], "4": ["d"]}
    found = agreement(first, second, depths=(1, 2), persistence=0.5)
    assert found.only_first == ["2"] and found.only_second == ["4"]
    assert [v["overlap@2"] for v in found.per_query.values()] == [0.5, 0, 1, 0]
    assert found.means["overlap@1"] == 0.5
    assert found.means["RBO"] == pytest.approx((0.5 * (1 + 0.5 * 0.5) + 0.5 * 0.25 + 0 + 1 + 0) / 4)


def test_rankings_follow_scores_and_keep_ties_in_order() -> None:
    run = {"q": {"b": 1.0, "z": 3.0, "a": 1.0, "c": 2.0}}
    assert rankings(run) == {"q": ["z", "c", "b", "a"]}


def test_bad_input_is_refused() -> None:
    with pytest.raises(BadInputError, match="none in common"):
        agreement({"1": ["a"]}, {"2": ["a"]})
    with pytest.raises(BadInputError, match="query 7: a document stands twice"):
        agreement({"7": ["a", "b"]}, {"7": ["a", "a"]})
    with pytest.raises(UsageError, match="between 0 and 1"):
        rank_biased_overlap(["a"], ["a"], 1.0)
    with pytest.raises(UsageError, match="1 or more"):
        agreement({"1": ["a"]}, {"1": ["a"]}, depths=(0,))


def test_it_is_fast_enough() -> None:
    rng = np.random.default_rng(0)
    ids = [f"document-{i}" for i in range(2000)]
    sides = [
        {str(q): [ids[i] for i in rng.permutation(2000)[:1000]] for q in range(200)}
        for _ in range(2)
    ]
    start = time.process_time()
    agreement(*sides)
    assert time.process_time() - start < 2  # 0.1 s here; 7,000 queries take 35 times as long
