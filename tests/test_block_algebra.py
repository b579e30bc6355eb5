"""What one does with batches, against plain dictionaries a row."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from strategies import Collection, collections, impacts, quick, weights

Batch = SparseBatch | ImpactBatch
Plain = list[tuple[str, dict[int, float]]]


def plain(batch: Batch) -> Plain:
    """(id, {term id: value}) of every row, term ids rising; checks types on the way."""
    found = []
    for i, row_id in enumerate(batch.ids):
        indices, values = batch.row(i)
        assert values.dtype == (np.float32 if isinstance(batch, SparseBatch) else np.int32)
        found.append((row_id, dict(zip(indices.tolist(), values.tolist(), strict=True))))
    return found


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Batch, Plain]:
    """A batch of either kind and its rows as the collection says."""
    as_impacts = draw(st.booleans())
    collection: Collection = draw(collections(impacts if as_impacts else weights))
    batches = collection.impact_batches if as_impacts else collection.sparse_batches
    rows = [{collection.vocabulary.get(t): v for t, v in r.items()} for r in collection.rows]
    return batches(size=100)[0], list(zip(collection.ids, rows, strict=True))  # type: ignore[arg-type]


@quick
@given(drawn())
def test_lengths_and_rows_are_those_of_the_collection(pair: tuple[Batch, Plain]) -> None:
    batch, rows = pair
    assert plain(batch) == rows
    assert batch.lengths.tolist() == [len(row) for _, row in rows]
    assert [i.tolist() for i, _ in map(batch.row, range(len(batch)))] == [
        sorted(row) for _, row in rows
    ]


@quick
@given(drawn(), st.data())
def test_rows_are_a_run_of_rows_and_views(pair: tuple[Batch, Plain], data: st.DataObject) -> None:
    batch, rows = pair
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = batch.rows(start, stop)
    assert plain(part) == rows[start:stop]
    assert not len(part.indices) or np.shares_memory(part.indices, batch.indices)


@quick
@given(drawn(), st.data())
def test_take_has_the_rows_in_the_order_asked_for(
    pair: tuple[Batch, Plain], data: st.DataObject
) -> None:
    batch, rows = pair
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    expected = [rows[n] for n in numbers]
    assert plain(batch.take(numbers)) == expected
    assert plain(batch.take(np.array(numbers, dtype=np.int64))) == expected


@quick
@given(drawn(), st.data())
def test_where_leaves_out_postings_and_no_row(
    pair: tuple[Batch, Plain], data: st.DataObject
) -> None:
    batch, rows = pair
    n = len(batch.indices)
    mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    keep = iter(mask)
    expected = [(i, {t: v for t, v in sorted(row.items()) if next(keep)}) for i, row in rows]
    assert plain(batch.where(np.array(mask, dtype=bool))) == expected


@quick
@given(drawn(), st.data())
def test_remap_gives_new_term_ids_and_sorts_rows(
    pair: tuple[Batch, Plain], data: st.DataObject
) -> None:
    batch, rows = pair
    targets = data.draw(st.permutations(range(20)))[:10]
    lost = data.draw(st.sets(st.integers(0, 9)))
    mapping = np.array([-1 if i in lost else t for i, t in enumerate(targets)], np.int32)
    expected = [(i, {targets[t]: v for t, v in row.items() if t not in lost}) for i, row in rows]
    assert plain(batch.remap(mapping)) == expected  # of the batch that checks its order itself


def test_remap_refuses_two_terms_that_become_one() -> None:
    batch = ImpactBatch(["a"], np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2, np.int32))
    with pytest.raises(ValueError, match="strictly increasing"):
        batch.remap(np.zeros(2, np.int32))


@quick
@given(drawn(), st.data())
def test_concat_puts_cut_batches_together(pair: tuple[Batch, Plain], data: st.DataObject) -> None:
    batch, rows = pair
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    bounds = [0, *cuts, len(rows)]
    parts: Any = [batch.rows(a, b) for a, b in itertools.pairwise(bounds)]
    assert plain(type(batch).concat(iter(parts))) == rows


@quick
@given(drawn())
def test_of_rows_makes_the_batch_again(pair: tuple[Batch, Plain]) -> None:
    batch, rows = pair
    parts: Any = [batch.row(i) for i in range(len(batch))]
    assert plain(type(batch).of_rows(batch.ids, parts)) == rows


@pytest.mark.parametrize("kind", [SparseBatch, ImpactBatch])
def test_nothing_put_together_is_an_empty_batch(kind: type[Batch]) -> None:
    for batch in (kind.concat([]), kind.of_rows([], [])):
        assert (type(batch), len(batch), plain(batch)) == (kind, 0, [])
        assert batch.row_sums().tolist() == []


@quick
@given(drawn())
def test_row_sums_are_exact_beyond_int32(pair: tuple[Batch, Plain]) -> None:
    batch, rows = pair
    sums = batch.row_sums()
    expected = [sum(row.values()) for _, row in rows]
    if isinstance(batch, ImpactBatch):
        assert (sums.dtype, sums.tolist()) == (np.int64, expected)
    else:
        assert sums.dtype == np.float64
        assert sums.tolist() == pytest.approx(expected, rel=1e-12)
