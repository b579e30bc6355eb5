"""The one order of rankings, against sorted()."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import best, by_score, contenders, string_ranks
from strategies import ids, quick, terms

scores = st.lists(st.integers(-3, 6), max_size=40)  # few values: most of them tie
kinds = st.sampled_from([np.int64, np.int32, np.float64])


@quick
@given(scores, st.integers(1, 12), kinds, st.data())
def test_the_best_are_those_of_sorted(
    values: list[int], k: int, kind: type, data: st.DataObject
) -> None:
    names = data.draw(st.lists(ids, min_size=len(values), max_size=len(values), unique=True))
    expected = sorted(range(len(values)), key=lambda i: (-values[i], names[i]))[:k]
    given_scores = np.array(values, dtype=kind)
    for array in (np.array(names, dtype=str), string_ranks(names)):
        assert best(given_scores, k, array.__getitem__).tolist() == expected


@quick
@given(scores, st.integers(1, 12))
def test_contenders_are_the_best_and_what_ties_with_the_last(values: list[int], k: int) -> None:
    least = sorted(values, reverse=True)[:k]
    expected = [i for i, v in enumerate(values) if v >= least[-1]]
    assert contenders(np.array(values, dtype=np.int64), k).tolist() == expected


def test_names_are_asked_for_ties_only() -> None:
    asked: list[int] = []

    def names(places: np.ndarray) -> np.ndarray:
        asked.extend(places.tolist())
        return -places

    assert best(np.array([5, 7, 5, 9, 1]), 4, names).tolist() == [3, 1, 2, 0]
    assert sorted(asked) == [0, 2]


@quick
@given(st.dictionaries(ids, st.integers(0, 3)))
def test_a_run_is_in_the_same_order(run: dict[str, int]) -> None:
    assert by_score(run) == [d for _, d in sorted((-s, d) for d, s in run.items())]


@quick
@given(st.lists(terms, unique=True))
def test_string_ranks_compare_as_utf8_bytes_do(words: list[str]) -> None:
    ranks = string_ranks(words).tolist()
    order = sorted(range(len(words)), key=lambda i: words[i].encode())
    assert [ranks[i] for i in order] == list(range(len(words)))


def written(folder: Path, names: list[str]) -> DocIds:
    writer = DocIdWriter(folder)
    writer.add(names)
    writer.close()
    return DocIds(folder)


@quick
@given(st.lists(ids, min_size=1, max_size=30, unique=True), st.lists(ids), st.integers(1, 9))
def test_a_document_number_is_found_by_its_id(
    tmp_path_factory: pytest.TempPathFactory, doc_ids: list[str], others: list[str], at_once: int
) -> None:
    """Ids that begin and end alike, or lie across two others, are none of them."""
    known = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    pairs = [a + b for a, b in itertools.pairwise(doc_ids)]
    cut = [part for doc_id in doc_ids for part in (doc_id[1:], doc_id[:-1], doc_id[::-1])]
    held = written(tmp_path_factory.mktemp("ids"), doc_ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splade_bridge.data.doc_ids.SCANNED_AT_ONCE", at_once)
        for asked in (*doc_ids, *others, *pairs, *cut):
            assert held.find(asked) == known.get(asked), asked


@quick
@given(st.lists(ids, min_size=1, max_size=30, unique=True), st.integers(1, 12), st.data())
def test_document_numbers_are_ranked_by_their_ids(
    tmp_path_factory: pytest.TempPathFactory, doc_ids: list[str], k: int, data: st.DataObject
) -> None:
    held = written(tmp_path_factory.mktemp("ids"), doc_ids)
    numbers = data.draw(st.lists(st.integers(0, len(doc_ids) - 1), unique=True))
    values = data.draw(st.lists(st.integers(1, 4), min_size=len(numbers), max_size=len(numbers)))
    found, kept = held.rank(np.array(numbers, np.int64), np.array(values, np.int64), k)
    pairs = zip(numbers, values, strict=True)
    expected = sorted((-value, doc_ids[number]) for number, value in pairs)[:k]
    assert list(zip((-kept).tolist(), found, strict=True)) == expected
