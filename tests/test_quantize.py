"""impact = rint(weight x scale), half to even, against a scalar computation; and its account."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splade_bridge.data.manifest import QuantizationInfo
from splade_bridge.data.quantize import (
    EXACT_SCORES_BELOW,
    MAX_IMPACT,
    Clipper,
    QuantizeOptions,
    Quantizer,
    warn_if_inexact,
)
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.errors import BadInputError
from strategies import Collection, collections, quick, weights

scales = st.sampled_from([100.0, 1.0, 64.0, 0.5, 1000.0, 255 / 5, 1e-3])


def one(values: list[float]) -> SparseBatch:
    count = len(values)
    return SparseBatch(
        ["d"],
        np.array([0, count]),
        np.arange(count, dtype=np.int32),
        np.array(values, np.float32),
    )


def exact(weight: float, scale: float, rounding: str) -> int:
    """The impact in rational arithmetic: no float rounding at all."""
    product = Fraction(weight) * Fraction(scale)
    return round(product) if rounding == "nearest" else math.floor(product)


@quick
@given(collections(weights), scales, st.sampled_from(["nearest", "down"]), st.integers(1, 3))
def test_every_impact_is_the_rounded_product_and_the_account_is_complete(
    collection: Collection, scale: float, rounding, size: int
) -> None:
    quantizer = Quantizer(QuantizeOptions(scale, rounding))
    batches = [quantizer(batch) for batch in collection.sparse_batches(size)]
    vocabulary = collection.vocabulary
    expected = [
        {t: i for t, w in row.items() if (i := exact(w, scale, rounding)) > 0}
        for row in collection.rows
    ]
    got = [
        {vocabulary[int(t)]: int(v) for t, v in zip(*batch.row(n), strict=True)}
        for batch in batches
        for n in range(len(batch))
    ]
    assert got == expected
    assert [i for batch in batches for i in batch.ids] == collection.ids
    lost = sum(map(len, collection.rows)) - sum(map(len, expected))
    assert quantizer.info.dropped_to_zero == lost
    assert quantizer.info.clipped == 0


@given(st.floats(2**-20, 2**20, width=32), scales)
@example(0.285, 100.0)  # 28.5 in decimals; as float32 it lies below
@example(1.005, 100.0)
def test_float64_arithmetic_rounds_as_exact_arithmetic_does(weight: float, scale: float) -> None:
    weight = float(np.float32(weight))
    batch = Quantizer(QuantizeOptions(scale))(one([weight]))
    assert int(batch.impacts.sum()) == exact(weight, scale, "nearest")


def test_true_halves_go_to_the_even_neighbour() -> None:
    halves = [0.5, 1.5, 2.5, 3.5, 4.5]
    quantizer = Quantizer(QuantizeOptions(1.0))
    batch = quantizer(one(halves))
    assert batch.indices.tolist() == [1, 2, 3, 4]
    assert batch.impacts.tolist() == [2, 2, 4, 4]
    assert quantizer.info.dropped_to_zero == 1


def test_floats_beside_a_half_go_to_their_own_side() -> None:
    below, above = (float(np.nextafter(np.float32(2.5), np.float32(to))) for to in (0, 9))
    batch = Quantizer(QuantizeOptions(1.0))(one([below, 2.5, above]))
    assert batch.impacts.tolist() == [2, 2, 3]


def test_a_row_whose_weights_all_vanish_stays_a_row() -> None:
    batch = Quantizer(QuantizeOptions())(
        SparseBatch(
            ["a", "b", "c"],
            np.array([0, 1, 2, 2]),
            np.array([3, 3], np.int32),
            np.array([0.001, 1.0], np.float32),
        )
    )
    assert batch.ids == ["a", "b", "c"]
    assert batch.indptr.tolist() == [0, 0, 1, 1]


@quick
@given(collections(weights), st.integers(1, 300))
def test_clipping_caps_and_counts(collection: Collection, clip: int) -> None:
    (batch,) = collection.sparse_batches(100)
    free = Quantizer(QuantizeOptions())(batch)
    quantizer = Quantizer(QuantizeOptions(clip=clip))
    capped = quantizer(batch)
    assert capped.impacts.tolist() == np.minimum(free.impacts, clip).tolist()
    assert quantizer.info.clipped == int((free.impacts > clip).sum())


def test_the_largest_impact_fits_and_the_next_is_refused_with_its_id() -> None:
    scale = float(MAX_IMPACT)
    assert Quantizer(QuantizeOptions(scale))(one([1.0])).impacts.tolist() == [MAX_IMPACT]
    weights = np.array([1, 1, 1 + 2**-20], np.float32)
    batch = SparseBatch(
        ["a", "b", "c"], np.array([0, 1, 1, 3]), np.array([0, 0, 1], np.int32), weights
    )
    with pytest.raises(BadInputError, match="'c'"):
        Quantizer(QuantizeOptions(scale))(batch)


def test_clipping_rescues_what_would_not_fit() -> None:
    batch = Quantizer(QuantizeOptions(1e200, clip=MAX_IMPACT))(one([3e38, 1e-30]))
    assert batch.impacts.tolist() == [MAX_IMPACT, MAX_IMPACT]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_means_nothing_is_refused(scale: float) -> None:
    with pytest.raises(BadInputError, match="scale"):
        Quantizer(QuantizeOptions(scale))


@given(collection=collections(st.integers(1, MAX_IMPACT)), clip=st.integers(1, MAX_IMPACT))
@quick
def test_clipping_impacts_changes_nothing_else(collection: Collection, clip: int) -> None:
    whole = ImpactBatch.concat(collection.impact_batches())
    clipper = Clipper(clip)
    parts = [clipper(batch) for batch in collection.impact_batches()]
    cut = ImpactBatch.concat(parts)
    assert (cut.ids, cut.indptr.tolist(), cut.indices.tolist()) == (
        whole.ids, whole.indptr.tolist(), whole.indices.tolist(),
    )  # fmt: skip
    assert cut.impacts.tolist() == [min(i, clip) for i in whole.impacts.tolist()]
    assert clipper.clipped == sum(i > clip for i in whole.impacts.tolist())


def test_what_was_clipped_twice_was_clipped_to_the_lower_and_counts_both() -> None:
    clipper = Clipper(7)
    clipper.clipped = 3
    assert clipper.info(None) == QuantizationInfo(None, None, 7, 0, 3)
    known = QuantizationInfo(100.0, "down", 5, 4, 2)
    assert clipper.info(known) == QuantizationInfo(100.0, "down", 5, 4, 5)
    assert clipper.info(replace(known, clip=None)).clip == 7


@pytest.mark.parametrize("clip", [0, -5, 2**31, 2**40])
def test_a_clip_outside_int32_is_refused(clip: int) -> None:
    with pytest.raises(BadInputError, match="clip"):
        Quantizer(QuantizeOptions(clip=clip))


@quick
@given(collections(), st.integers(1, 2**31 - 1))
def test_the_bound_on_scores_is_the_largest_sum_times_the_largest_impact(
    collection: Collection, largest: int
) -> None:
    (batch,) = collection.impact_batches(100)
    assert warn_if_inexact(batch, largest, "run") == largest * max(
        sum(row.values()) for row in collection.rows
    )


@pytest.mark.parametrize(("largest", "warned"), [(2**24 - 1, False), (2**24, True)])
def test_scores_that_float32_rounds_are_warned_about_with_the_query(
    caplog: pytest.LogCaptureFixture, largest: int, warned: bool
) -> None:
    queries = ImpactBatch(
        ["q0", "q1"], row_pointers([0, 1]), np.array([5], np.int32), np.array([1], np.int32)
    )
    with caplog.at_level(logging.WARNING):
        warn_if_inexact(queries, largest, "run")
    assert bool(caplog.records) == warned
    if warned:
        assert "q1" in caplog.text and str(EXACT_SCORES_BELOW) in caplog.text


def test_no_queries_have_no_bound() -> None:
    empty = np.empty(0, np.int32)
    assert warn_if_inexact(ImpactBatch([], row_pointers([]), empty, empty), 9, "run") == 0
