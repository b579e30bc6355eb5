"""Seismic: exact scores for what it finds, and everything where it is let."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix, shuffled_ids, terms_of
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.engines.remote.choices import Approximation, Asking
from splade_bridge.engines.seismic_options import SeismicOptions
from splade_bridge.errors import (
    BadInputError,
    MissingToolError,
    UsageError,
)

ROOT = Path(__file__).parents[1]
ALL = SeismicOptions(n_postings=10_000, query_cut=1000, heap_factor=0.0)
"""Nothing is pruned, cut or passed over."""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    try:
        engine("seismic").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))


def built(
    out: Path,
    documents: np.ndarray,
    doc_ids: Sequence[str],
    terms: Sequence[str],
    own: SeismicOptions = ALL,
    **options: int,
) -> Path:
    source = MemorySource(documents, doc_ids, terms)
    engine("seismic", own).build(source, out, BuildOptions(**options))
    return out


@pytest.mark.parametrize("largest", [3, 300], ids=["many ties", "few ties"])
def test_where_nothing_is_left_out_it_equals_the_dense_product(
    tmp_path: Path, largest: int
) -> None:
    documents = random_matrix(1, 400, 60, 0.2, largest)
    doc_ids, terms = shuffled_ids(400, 1), terms_of(60)
    weights = random_matrix(101, 15, 60, 0.2, largest)
    path = built(tmp_path / "index", documents, doc_ids, terms, threads=2, memory=10_000)
    queries = queries_of(weights, terms)
    with open_index(path) as searcher:
        assert searcher.approximate
        batch = queries.aligned(searcher.vocabulary, path)
        exact = searcher.exact()
        assert not exact.approximate
        for k in (1, 20, 1000):
            expected = [brute_force(documents, doc_ids, query, k) for query in weights]
            for threads in (1, 2):
                found = searcher.search(batch, k, threads=threads)
                assert [as_pairs(h) for h in found] == expected
            assert [as_pairs(h) for h in exact.search(batch, k)] == expected
        row = documents[doc_ids.index("d0")] if "d0" in doc_ids else documents[0]
        name = "d0" if "d0" in doc_ids else doc_ids[0]
        asked = list(range(len(terms)))[::-1]
        assert searcher.impacts(name, asked) == row[asked].tolist()
        assert searcher.impacts("no such document", [0]) is None
        frequencies = searcher.document_frequencies()
        assert frequencies is not None
        assert frequencies.tolist() == (documents > 0).sum(axis=0).tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index"], "temporary files are left"


def test_what_it_finds_has_exact_scores_whatever_is_left_out(tmp_path: Path) -> None:
    documents = random_matrix(3, 600, 80, 0.2, 50)
    doc_ids, terms = shuffled_ids(600, 3), terms_of(80)
    weights = random_matrix(4, 20, 80, 0.2, 50)
    rough = SeismicOptions(n_postings=5, max_fraction=1, query_cut=2, heap_factor=1.0)
    path = built(tmp_path / "index", documents, doc_ids, terms, rough)
    missing = 0
    with open_index(path) as searcher:
        batch = queries_of(weights, terms).aligned(searcher.vocabulary, path)
        for hits, query in zip(searcher.search(batch, 10), weights, strict=True):
            wanted = brute_force(documents, doc_ids, query, len(doc_ids))
            found = as_pairs(hits)
            assert found == [pair for pair in wanted if pair in found], "exact, and in order"
            missing += len(set(wanted[:10]) - set(found))
    assert missing, "a test of approximate answers needs some"


def test_a_search_may_ask_for_more_or_less(tmp_path: Path) -> None:
    documents = random_matrix(5, 300, 40, 0.3, 50)
    doc_ids, terms = shuffled_ids(300, 5), terms_of(40)
    weights = random_matrix(6, 20, 40, 0.4, 50)
    path = built(
        tmp_path / "i", documents, doc_ids, terms, SeismicOptions(query_cut=1, heap_factor=1.0)
    )
    batch = queries_of(weights, terms).batch
    expected = [brute_force(documents, doc_ids, query, 10) for query in weights]
    more = Asking(approximation=Approximation(seismic_query_cut=40, seismic_heap_factor=0.0))
    with open_index(path) as rough, open_index(path, more) as thorough:
        assert rough.algorithms == ("query_cut=1 heap_factor=1",)
        assert thorough.algorithms == ("query_cut=40 heap_factor=0",)
        assert [as_pairs(h) for h in thorough.search(batch, 10)] == expected
        assert [as_pairs(h) for h in rough.search(batch, 10)] != expected
        view = rough.approximated({"query_cut": 40, "heap_factor": 0.0})
        assert [as_pairs(h) for h in view.search(batch, 10)] == expected
        assert next(rough.search(batch, 10, algorithm="auto")).doc_ids, "auto has no other choice"
    for wrong, message in [
        (Approximation(), "approximately by itself"),
        (Approximation(milvus_drop_ratio=0.2), "is for an address milvus://"),
        (Approximation(impact_index_alpha=0.5), "is for an index of engine impact-index"),
    ]:
        with pytest.raises(UsageError, match=message):
            open_index(path, Asking(approximation=wrong))


@pytest.mark.parametrize("largest", [2048, 5000, 70_000, 2**24 - 1, 2**31 - 1])
def test_impacts_that_float16_cannot_hold_are_told_and_scored_exactly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, largest: int
) -> None:
    documents = random_matrix(7, 60, 12, 0.4, 100)
    documents[0, 0], documents[1, 0], documents[2, 0] = largest, largest - 1, 1
    doc_ids, terms = [f"d{i}" for i in range(60)], terms_of(12)
    path = built(tmp_path / "i", documents, doc_ids, terms)
    assert ("float16" in caplog.text) == (largest > 2048)
    weights = random_matrix(8, 4, 12, 0.5, 9)
    weights[0] = 0
    weights[0, 0] = 1
    with open_index(path) as searcher:
        found = list(searcher.search(queries_of(weights, terms).batch, 60))
    for hits, query in zip(found, weights, strict=True):
        assert as_pairs(hits) == brute_force(documents, doc_ids, query, 60)


def test_more_terms_than_16_bits_number(tmp_path: Path) -> None:
    width = 70_000
    documents = np.zeros((20, width), dtype=np.int64)
    rng = np.random.default_rng(9)
    for row in documents:
        row[rng.integers(0, width, 30)] = rng.integers(1, 99, 30)
    documents[:, width - 1] = range(1, 21)
    terms, doc_ids = [f"t{i}" for i in range(width)], [f"d{i}" for i in range(20)]
    path = built(tmp_path / "i", documents, doc_ids, terms)
    queries = np.zeros((2, width), dtype=np.int64)
    queries[0, width - 1] = 3
    queries[1, documents[0] > 0] = 2
    with open_index(path) as searcher:
        found = list(searcher.search(queries_of(queries, terms).batch, 30))
    assert [as_pairs(h) for h in found] == [
        brute_force(documents, doc_ids, query, 30) for query in queries
    ]


def test_it_is_a_source_again_and_empty_documents_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = np.array([[1, 0], [0, 0], [2, 3], [0, 0]])
    source = MemorySource(documents, ["a", "hollow", "c", "last"], ["x", "y"])
    manifest = engine("seismic").build(source, tmp_path / "i")
    assert (manifest.counts.documents, manifest.counts.empty) == (4, 2)
    assert "hollow, last" in caplog.text
    again = open_source(tmp_path / "i")
    assert [batch.ids for batch in again.batches()] == [["a", "hollow", "c", "last"]]
    assert str(again.content) == manifest.content
    with open_index(tmp_path / "i") as searcher:
        (hits,) = searcher.search(queries_of(np.array([[1, 1]]), ["x", "y"]).batch, 9)
        assert as_pairs(hits) == [("c", 5), ("a", 1)]
        assert searcher.impacts("hollow", [0, 1]) == [0, 0]
    for nothing in (np.zeros((2, 2), int), np.zeros((0, 2), int)):
        with pytest.raises(BadInputError):
            source = MemorySource(nothing, ["a", "b"][: len(nothing)], ["x", "y"])
            engine("seismic").build(source, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"n_postings": 0}, {"centroid_fraction": 0.0}, {"summary_energy": 1.5}, {"query_cut": 0},
     {"heap_factor": 1.1}, {"heap_factor": float("nan")}, {"max_fraction": 0.5},
     {"min_cluster_size": 0}],
)  # fmt: skip
def test_options_that_it_cannot_work_with(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SeismicOptions(**wrong)  # type: ignore[arg-type]


DOCUMENTS = random_matrix(11, 80, 20, 0.4, 9)
DOC_IDS, TERMS = shuffled_ids(80, 11), [f"t{i}" for i in range(20)]
WEIGHTS = random_matrix(12, 10, 20, 0.4, 9)
BATCH = queries_of(WEIGHTS, TERMS).batch
EXPECTED = [brute_force(DOCUMENTS, DOC_IDS, query, 10) for query in WEIGHTS]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("seismic") / "index", DOCUMENTS, DOC_IDS, TERMS)


def test_calls_of_many_threads_and_searches_that_are_left_do_not_mix(index: Path) -> None:
    with open_index(index) as searcher:

        def ask(_: int) -> bool:
            for n in range(len(WEIGHTS)):
                (hits,) = searcher.search(BATCH.rows(n, n + 1), 10)
                assert as_pairs(hits) == EXPECTED[n]
            half_read = searcher.search(BATCH, 10, threads=2)
            return as_pairs(next(half_read)) == EXPECTED[0]

        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(ask, range(4)))


def test_a_damaged_index_is_an_error_of_ours(index: Path, tmp_path: Path) -> None:
    documents = random_matrix(11, 40, 20, 0.4, 9)
    path = built(tmp_path / "i", documents, shuffled_ids(40, 11), TERMS)
    file = path / "lists.index.seismic"
    content = file.read_bytes()
    with pytest.raises(BadInputError):
        file.write_bytes(content[:-9])
        open_index(path)
    manifest = Manifest.load(index)
    assert {"lists.index.seismic", "forward/terms.npy"} <= {f.path for f in manifest.files}


def test_nothing_of_it_is_imported_here(index: Path) -> None:
    with open_index(index) as searcher:
        list(searcher.search(BATCH, 10))
    assert "seismic" not in sys.modules
