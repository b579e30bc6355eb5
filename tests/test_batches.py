"""How a window is cut into batches, and these into pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from splade_bridge.encoding.batches import (
    LEAST_TOKENS,
    PIECE_TOKENS,
    SMALLEST_TOKENS,
    Batches,
)
from splade_bridge.encoding.budget import TokenBudget
from strategies import quick

LENGTHS = st.lists(st.integers(1, 300), max_size=80).map(lambda n: sorted(n, reverse=True))


def step(length: int) -> int:
    return max(1, 20_000 // length**2)


def steps_of(lengths: list[int], batch: slice) -> list[int]:
    """Ends of what is computed in one step where the whole batch is handed over."""
    ends, at = [], batch.start
    while at < batch.stop:
        same = next((i for i in range(at, batch.stop) if lengths[i] != lengths[at]), batch.stop)
        at = min(at + step(lengths[at]), same)
        ends.append(at)
    return ends


@quick
@given(LENGTHS, st.integers(1, 3000), st.integers(1, 60))
def test_batches_are_as_large_as_they_may_be(lengths: list[int], tokens: int, most: int) -> None:
    batches = Batches(np.array(lengths, dtype=np.int64), TokenBudget(tokens), most)
    count = batches.count()
    found = list(batches)
    assert len(found) == count
    assert [i for b in found for i in range(b.start, b.stop)] == list(range(len(lengths)))
    for batch in found:
        size, alone = sum(lengths[batch]), batch.stop - batch.start == 1
        assert alone or (size <= tokens and batch.stop - batch.start <= most)
        if batch.stop < len(lengths) and batch.stop - batch.start < most:
            assert size + lengths[batch.stop] > tokens


@quick
@given(LENGTHS, st.integers(1, 30000), st.integers(1, 4), st.sampled_from([1, 100, 384, 768, 1024]))
def test_pieces_do_not_tear_apart_what_is_computed_in_one_step(
    lengths: list[int], tokens: int, cores: int, width: int
) -> None:
    given_lengths = np.array(lengths, dtype=np.int64)
    whole = list(Batches(given_lengths, TokenBudget(tokens), 1000))
    pieces = list(Batches(given_lengths, TokenBudget(tokens), 1000, step, cores, width))
    assert [i for b in pieces for i in range(b.start, b.stop)] == list(range(len(lengths)))
    torn_at = {b.stop for b in pieces}
    assert torn_at <= {end for batch in whole for end in steps_of(lengths, batch)}
    assert {b.stop for b in whole} <= torn_at
    for batch in whole:
        inside = [p for p in pieces if batch.start <= p.start < batch.stop]
        if len(inside) > 1:
            assert sum(lengths[inside[-1]]) >= SMALLEST_TOKENS


@pytest.mark.parametrize(("width", "times"), [(768, 1), (1024, 1), (384, 2), (128, 6), (32, 6)])
def test_pieces_are_smaller_towards_the_end(width: int, times: int) -> None:
    """And of more tokens where a token is less work."""
    lengths = np.full(1000 * times, 20)
    batches = Batches(lengths, TokenBudget(2048 * times), 10000, lambda length: 2, width=width)
    sizes = [20 * (b.stop - b.start) for b in batches]
    assert sizes[0] == times * PIECE_TOKENS // 40 * 40
    assert max(sizes) <= times * (PIECE_TOKENS + SMALLEST_TOKENS)
    assert sizes[-1] <= times * (LEAST_TOKENS + SMALLEST_TOKENS)
    assert len(sizes) > 1000 * 20 / PIECE_TOKENS


def test_what_comes_back_is_cut_by_the_budget_of_then() -> None:
    budget = TokenBudget(100)
    batches = Batches(np.full(9, 20), budget, 1000)
    first = next(batches)
    assert first == slice(0, 5)
    budget.halve(100, 5)
    batches.again(first)
    assert list(batches) == [slice(0, 2), slice(2, 4), slice(4, 5), slice(5, 7), slice(7, 9)]
