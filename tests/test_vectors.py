"""Batches refuse what breaks their invariants; ids are what every format can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import MAX_TERM_BYTES, DuplicateGuard, checked_id, quoted
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from strategies import Collection, collections, ids, quick, terms, weights


def sparse(ids=("a", "b"), indptr=(0, 2, 3), indices=(0, 4, 1), values=(1.0, 2.0, 3.0)):
    return SparseBatch(
        list(ids),
        np.array(indptr, np.int64),
        np.array(indices, np.int32),
        np.array(values, np.float32),
    )


def test_a_row_may_be_empty_and_indices_may_fall_from_row_to_row() -> None:
    batch = sparse(("a", "b", "c", "d"), (0, 0, 2, 2, 3), (3, 4, 0))
    assert len(batch) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"indptr": (0, 3)},
        {"indptr": (0, 2, 4)},
        {"indptr": (1, 2, 3)},
        {"indptr": (0, 4, 3)},
        {"indices": (4, 0, 1)},
        {"indices": (4, 4, 1)},
        {"indices": (-1, 4, 1)},
        {"indices": (0, 4)},
        {"values": (1.0, 2.0)},
        {"values": (1.0, 0.0, 1.0)},
        {"values": (1.0, -1.0, 1.0)},
        {"values": (1.0, float("nan"), 1.0)},
        {"values": (1.0, float("inf"), 1.0)},
    ],
    ids=str,
)
def test_a_broken_invariant_is_a_value_error(change: dict) -> None:
    with pytest.raises(ValueError):
        sparse(**change)


@pytest.mark.parametrize("impacts", [(1, 0), (1, -1)])
def test_an_impact_below_1_is_refused(impacts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ImpactBatch(
            ["a"], np.array([0, 2]), np.array([0, 1], np.int32), np.array(impacts, np.int32)
        )


def test_floats_are_no_impacts_and_integers_no_weights() -> None:
    good = sparse()
    with pytest.raises(ValueError, match="int32"):
        ImpactBatch(good.ids, good.indptr, good.indices, good.weights)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32"):
        SparseBatch(good.ids, good.indptr, good.indices, good.indices)  # type: ignore[arg-type]


@quick
@given(collections(), st.integers(1, 4))
def test_counts_do_not_depend_on_the_batches(collection: Collection, size: int) -> None:
    counts = Counts()
    for batch in collection.impact_batches(size):
        counts.add(batch)
    values = [v for row in collection.rows for v in row.values()]
    empty = [i for i, row in zip(collection.ids, collection.rows, strict=True) if not row]
    assert counts == Counts(
        len(collection.ids), len(empty), len(values), sum(values), max(values, default=0), empty
    )


def test_sums_beyond_int32_are_counted() -> None:
    counts = Counts()
    largest = np.full(3, 2**31 - 1, np.int32)
    counts.add(ImpactBatch(["a"], np.array([0, 3]), np.arange(3, dtype=np.int32), largest))
    assert counts.impact_sum == 3 * (2**31 - 1)


def test_only_the_first_empty_ids_are_kept() -> None:
    counts = Counts()
    for start in range(0, 100, 7):
        names = [f"d{i}" for i in range(start, start + 7)]
        counts.add(sparse(names, [0] * 8, (), ()))
    assert counts.empty_ids == [f"d{i}" for i in range(20)]


@given(st.lists(st.integers(0, 9)))
def test_row_pointers_are_running_sums(lengths: list[int]) -> None:
    assert row_pointers(lengths).tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]


@given(ids)
def test_a_printable_id_stays_as_it_is(text: str) -> None:
    assert checked_id(text, "f:1") == text


def test_an_integer_becomes_its_digits() -> None:
    assert checked_id(7, "f:1") == "7"
    assert checked_id(0, "f:1") == "0"
    assert checked_id(2**64 - 1, "f:1") == "18446744073709551615"
    assert checked_id(-(2**63), "f:1") == "-9223372036854775808"


@pytest.mark.parametrize(
    "value",
    [
        *["", " ", "a b", " a", "a\n", "a\tb", "a\r", "a\u00a0b", "a\u2028", "a\0b", "\ud800"],
        *["x" * (MAX_TERM_BYTES + 1), "é" * (MAX_TERM_BYTES // 2 + 1)],
        *[None, True, 1.0, 1.5, [], {}, b"a"],
        *[2**64, -(2**63) - 1, 10**5000],
    ],
    ids=lambda v: quoted(v)[:20],
)
def test_an_id_that_a_run_file_cannot_hold_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(BadInputError, match=r"^f:1: .*\bid\b"):
        checked_id(value, "f:1")


def test_the_longest_id_of_lucene_is_held() -> None:
    assert len(checked_id("x" * MAX_TERM_BYTES, "f:1")) == MAX_TERM_BYTES


@quick
@given(
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=20),
    st.integers(1, 5),
    st.sampled_from([1, 16]),
)
def test_a_duplicate_is_found_before_and_after_merging(
    texts: list[str], merge_at: int, bits: int
) -> None:
    guard = DuplicateGuard()
    guard.MERGE_AT, guard.BITS_AN_ID = merge_at, bits
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            with pytest.raises(BadInputError, match=r"place: id .* was there before"):
                guard.check(text, "place")
        else:
            guard.check(text, "place")
            seen.add(text)


@quick
@given(
    st.lists(st.lists(st.text("ab", min_size=1, max_size=3), max_size=4), max_size=9),
    st.integers(1, 5),
)
def test_ids_together_are_all_taken_or_none(blocks: list[list[str]], merge_at: int) -> None:
    guard = DuplicateGuard()
    guard.MERGE_AT, guard.BITS_AN_ID = merge_at, 1
    seen: set[str] = set()
    for block in blocks:
        if len(set(block)) < len(block) or not seen.isdisjoint(block):
            with pytest.raises(BadInputError, match="was there before"):
                guard.check_all(block)
        else:
            guard.check_all(block)
            seen |= set(block)


def test_half_a_million_ids_are_all_known_and_no_others() -> None:
    guard = DuplicateGuard()
    for number in range(500_000):
        guard.check(str(number), "place")
    assert len(guard._sorted) >= 3 * guard.MERGE_AT
    for number in range(0, 500_000, 997):
        with pytest.raises(BadInputError):
            guard.check(str(number), "place")
        guard.check(f"x{number}", "place")


@quick
@given(st.lists(terms, unique=True), st.lists(terms, unique=True))
def test_vocabularies_map_by_term(ours: list[str], theirs: list[str]) -> None:
    mapping = Vocabulary(ours).mapping(Vocabulary(theirs))
    expected = [theirs.index(term) if term in theirs else -1 for term in ours]
    assert mapping.tolist() == expected


@quick
@given(st.lists(terms, unique=True))
def test_bytewise_order_is_that_of_utf8(words: list[str]) -> None:
    order = Vocabulary(words).bytewise_order().tolist()
    assert [words[i] for i in order] == sorted(words, key=str.encode)


@quick
@given(words=st.lists(terms, unique=True), observed=st.booleans())
def test_a_vocabulary_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], observed: bool
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "v.json"
    vocabulary = Vocabulary(words, observed=observed)
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert (list(loaded.terms), loaded.observed) == (words, observed)
    assert loaded.sha256() == vocabulary.sha256()


@pytest.mark.parametrize("words", [["a", "b", "a"], ["a", ""], ["\ud800"]])
def test_a_vocabulary_refuses_terms_that_no_index_holds(words: list[str]) -> None:
    with pytest.raises(BadInputError, match="term"):
        Vocabulary(words)


@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"[]", b"{}", b'{"terms": ["a"]}', b'{"terms": [1], "observed": false}', b"\xff"],
        *[b'{"terms": ["a", "a"], "observed": false}', b'{"terms": [[]], "observed": false}'],
        *[b'{"terms": 3, "observed": false}', b'{"terms": ["a"], "observ'],
    ],
)
def test_a_damaged_vocabulary_file_is_named(tmp_path, content: bytes) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"v\.json: not a vocabulary file"):
        Vocabulary.load(path)


def test_the_two_kinds_of_batch_share_no_base_class() -> None:
    assert set(SparseBatch.__mro__) & set(ImpactBatch.__mro__) == {object}


@given(weights)
def test_the_weights_of_these_tests_are_float32(weight: float) -> None:
    assert np.float32(weight) == weight > 0
