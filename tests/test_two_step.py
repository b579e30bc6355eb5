"""Two-step search: its scores are exact, and with all documents as candidates so is its ranking."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import run
from ranked import as_pairs, brute_force
from small import MemorySource, batch_of, queries_of, random_matrix
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.search import Beside, SearchOptions, search_to_run
from splade_bridge.retrieval.two_step import KeptShare, TwoStepOptions, TwoStepSearcher

N, WIDTH = 300, 40
TERMS = [f"t{i:02d}" for i in range(WIDTH)]
IDS = [f"d{i * 7919 % 3001}{'é' if i % 11 == 0 else ''}" for i in range(N)]
DOCUMENTS = random_matrix(1, N, WIDTH, 0.4, 30)
WEIGHTS = random_matrix(2, 12, WIDTH, 0.4, 9)


def pruned(documents: np.ndarray, keep: int) -> np.ndarray:
    """The ``keep`` heaviest of each row, of equal ones those that come first."""
    left = np.zeros_like(documents)
    for row, values in enumerate(documents):
        best = sorted(np.flatnonzero(values), key=lambda j: (-values[j], j))[:keep]
        left[row, best] = values[best]
    return left


def observed(source: MemorySource) -> MemorySource:
    """The same, with terms as they come from files: each numbers them its own way."""
    source.vocabulary.observed = True
    return source


def make_forward(out: Path, documents: np.ndarray = DOCUMENTS, ids: list[str] = IDS) -> Path:
    export(lambda: MemorySource(documents, ids, TERMS), out, ExportOptions(("forward",)))
    return out


def make_index(out: Path, name: str, documents: np.ndarray, terms: list[str] = TERMS) -> Path:
    engine(name).build(MemorySource(documents, IDS, terms), out)
    return out


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_forward(tmp_path_factory.mktemp("forward") / "out")


@pytest.fixture(scope="module")
def exact_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("pruned") / "exact", "exact", pruned(DOCUMENTS, 8))


@pytest.mark.sample(1, of="pisa")
def test_all_documents_as_candidates_give_the_exact_ranking(
    tmp_path: Path, engine_name: str, forward: Path
) -> None:
    path = make_index(tmp_path / "index", engine_name, DOCUMENTS)
    with TwoStepSearcher(
        open_index(path), ForwardStore(forward), TwoStepOptions(candidates=N)
    ) as searcher:
        batch = queries_of(WEIGHTS, TERMS).batch
        for k, algorithm in ((1, None), (25, searcher.algorithms[-1]), (N + 5, None)):
            found = list(searcher.search(batch, k, algorithm=algorithm))
            assert [h.query_id for h in found] == batch.ids
            for hits, query in zip(found, WEIGHTS, strict=True):
                assert as_pairs(hits) == brute_force(DOCUMENTS, IDS, query, k)
                assert hits.nanoseconds > 0 or not hits.doc_ids


def test_it_is_the_rescored_list_of_a_pruned_index_and_pruned_queries(
    tmp_path: Path, engine_name: str, forward: Path
) -> None:
    small = pruned(DOCUMENTS, 8)
    path = make_index(tmp_path / "index", engine_name, small)
    options = TwoStepOptions(candidates=40, first_query_terms=3)
    with TwoStepSearcher(open_index(path), ForwardStore(forward), options) as searcher:
        for threads in (1, 2):
            found = list(searcher.search(queries_of(WEIGHTS, TERMS).batch, 20, threads=threads))
            for hits, query in zip(found, WEIGHTS, strict=True):
                # TERMS are in the order of their strings, so pruned() cuts ties as it should.
                first = brute_force(small, IDS, pruned(query[None], 3)[0], 40)
                full = {d: int(DOCUMENTS[IDS.index(d)] @ query) for d, _ in first}
                expected = sorted(full.items(), key=lambda item: (-item[1], item[0]))[:20]
                assert as_pairs(hits) == expected
        row = DOCUMENTS[7].tolist()
        assert searcher.impacts(IDS[7], range(WIDTH)) == row, "those of the full vectors"
        assert searcher.impacts("no such document", [0]) is None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    keep=st.integers(1, 5),
    terms=st.one_of(st.none(), st.integers(1, 6)),
    candidates=st.integers(1, 40),
    k=st.integers(1, 40),
)
def test_whatever_is_pruned_scores_are_exact_and_ordered(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int, keep: int, terms: int | None, candidates: int, k: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("any")
    documents = random_matrix(seed, 40, 10, 0.5, 4)
    if not documents.any():
        return
    names, vocabulary = IDS[:40], TERMS[:10]
    source = MemorySource(documents, names, vocabulary)
    export(lambda: source, folder / "forward", ExportOptions(("forward",)))
    # The index numbers its terms the other way round.
    small = observed(MemorySource(pruned(documents, keep)[:, ::-1], names, vocabulary[::-1]))
    engine("exact").build(small, folder / "index")
    weights = random_matrix(seed + 1, 5, 10, 0.5, 4)
    with TwoStepSearcher(
        open_index(folder / "index"),
        ForwardStore(folder / "forward"),
        TwoStepOptions(candidates, terms),
    ) as searcher:
        batch = queries_of(weights, vocabulary).batch
        for hits, query in zip(searcher.search(batch, k), weights, strict=True):
            pairs = as_pairs(hits)
            assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
            assert len(pairs) <= k
            for doc_id, score in pairs:
                assert score == int(documents[names.index(doc_id)] @ query) > 0


def test_scores_beyond_float32_are_exact(tmp_path: Path) -> None:
    documents = np.array([[2**30, 1], [2**30, 2], [2**30, 3]])
    export(
        lambda: MemorySource(documents, ["a", "b", "c"], ["x", "y"]),
        tmp_path / "forward",
        ExportOptions(("forward",)),
    )
    small = MemorySource(np.array([[1, 0]] * 3), ["a", "b", "c"], ["x", "y"])
    engine("exact").build(small, tmp_path / "index")
    with TwoStepSearcher(
        open_index(tmp_path / "index"), ForwardStore(tmp_path / "forward")
    ) as searcher:
        (hits,) = searcher.search(batch_of(np.array([[2**30, 1]]), ["q"]), 3)
    assert as_pairs(hits) == [("c", 2**60 + 3), ("b", 2**60 + 2), ("a", 2**60 + 1)]


def test_first_queries_are_the_heaviest_terms_ties_by_string(
    tmp_path: Path, exact_index: Path
) -> None:
    names = ["b", "é", "a", "Z"]
    path = tmp_path / "forward"
    source = MemorySource(np.ones((1, 4), np.int64), [IDS[0]], names)
    export(lambda: source, path, ExportOptions(("forward",)))
    index = tmp_path / "index"
    small = observed(MemorySource(np.ones((1, 3), np.int64), [IDS[0]], ["a", "b", "Z"]))
    engine("exact").build(small, index)
    with TwoStepSearcher(
        open_index(index), ForwardStore(path), TwoStepOptions(first_query_terms=2)
    ) as searcher:
        asked = searcher.first_queries(
            batch_of(np.array([[5, 5, 5, 5], [1, 9, 1, 0], [0, 0, 0, 0]]), ["q1", "q2", "q3"])
        )
    told = [
        {searcher.first.vocabulary[i]: w for i, w in zip(*asked.row(n), strict=True)}
        for n in range(3)
    ]
    assert told == [{"Z": 5, "a": 5}, {"a": 1}, {}]  # é is heaviest, but not in the index


def test_a_document_that_the_store_lacks_is_an_error_naming_it(
    tmp_path: Path, exact_index: Path
) -> None:
    other = make_forward(tmp_path / "other", DOCUMENTS[:-1], ["other", *IDS[1:-1]])
    with (
        TwoStepSearcher(open_index(exact_index), ForwardStore(other)) as searcher,
        pytest.raises(MismatchError, match=rf"document '({IDS[0]}|{IDS[-1]})'.* not in it"),
    ):
        list(searcher.search(queries_of(WEIGHTS, TERMS).batch, 10))


def test_other_vocabularies_are_refused(tmp_path: Path, exact_index: Path) -> None:
    source = MemorySource(DOCUMENTS, IDS, [f"other{i}" for i in range(WIDTH)])
    export(lambda: source, tmp_path / "strange", ExportOptions(("forward",)))
    source = MemorySource(DOCUMENTS[:, :-1], IDS, TERMS[:-1])
    export(lambda: source, tmp_path / "shorter", ExportOptions(("forward",)))
    for name in ("strange", "shorter"):
        with pytest.raises(MismatchError, match="different vocabularies"):
            TwoStepSearcher(open_index(exact_index), ForwardStore(tmp_path / name))


@pytest.mark.parametrize("how", ["run", "index"])
def test_the_share_of_the_exact_top_that_is_kept_is_told(
    tmp_path: Path, exact_index: Path, forward: Path, how: str
) -> None:
    queries = queries_of(WEIGHTS, TERMS)
    full = make_index(tmp_path / "full", "exact", DOCUMENTS)
    search_to_run(full, queries, tmp_path / "exact.run", SearchOptions(k=50))
    options = SearchOptions(k=50, two_step=forward, first_query_terms=3, candidates=60)
    summary = search_to_run(
        exact_index, queries, tmp_path / "two.run", options,
        Beside(exact_run=tmp_path / "exact.run") if how == "run" else Beside(check_against=full),
    )  # fmt: skip
    small = pruned(DOCUMENTS, 8)
    shares: dict[int, list[float]] = {10: [], 50: []}
    for query in WEIGHTS:
        first = brute_force(small, IDS, pruned(query[None], 3)[0], 60)
        found = sorted(
            (d for d, _ in first), key=lambda d: (-int(DOCUMENTS[IDS.index(d)] @ query), d)
        )
        exact = [d for d, _ in brute_force(DOCUMENTS, IDS, query, 50)]
        for cut in shares if exact else ():
            top = exact[:cut]
            shares[cut].append(len(set(found[:cut]) & set(top)) / len(top))
    assert summary.kept is not None
    assert summary.kept.queries == len(shares[10])
    assert summary.kept.share == pytest.approx({c: np.mean(s) for c, s in shares.items()})
    assert 0.2 < summary.kept.share[50] < 1, "a test in which all or nothing is kept shows little"
    assert summary.algorithm == "exhaustive"


def test_share_of_shorter_lists() -> None:
    share = KeptShare({2, 5})
    share.add(["a", "b", "c"], ["a", "c", "x"])
    share.add([], ["a"])
    share.add(["a"], [])
    assert share.result().queries == 2
    assert share.result().share == {2: 0.25, 5: pytest.approx(1 / 3)}
    assert KeptShare({3}).result().share == {}


def test_own_document_and_depth(tmp_path: Path, exact_index: Path, forward: Path) -> None:
    batch = queries_of(WEIGHTS, TERMS).batch
    best = [brute_force(DOCUMENTS, IDS, w, 1) for w in WEIGHTS]
    ids = [b[0][0] if b else f"q{i}" for i, b in enumerate(best)]
    named = type(batch)(
        [f"{d}" if ids.index(d) == i else f"{d}-{i}" for i, d in enumerate(ids)],
        batch.indptr, batch.indices, batch.impacts,
    )  # fmt: skip
    queries = Queries(tmp_path, named, queries_of(WEIGHTS, TERMS).vocabulary)
    options = SearchOptions(k=30, two_step=forward, candidates=30, remove_query=True)
    search_to_run(exact_index, queries, tmp_path / "run", options)
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    assert all(query != document for query, _, document, *_ in lines)
    assert max(int(line[3]) for line in lines) == 30


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    path = tmp_path / "topics.tsv"
    path.write_text("q1\tt01 t01 t02 t03 t03 t03\nq2\tt05 t05 t06\n")
    return path


def test_the_command_line(
    tmp_path: Path, exact_index: Path, forward: Path, topics: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    full = make_index(tmp_path / "full", "exact", DOCUMENTS)
    arguments = (
        "search", exact_index, "--two-step", forward, "--first-query-terms", 1, "--candidates",
        200, "-k", 5, "-q", topics, "-o", tmp_path / "run", "--check-against", full,
    )  # fmt: skip
    status, out, err = run(capfd, *arguments, "--json")
    assert status == 0, err
    told = orjson.loads(out)
    assert told["results"] == 10
    assert set(told["kept"]["share"]) == {"5"}
    status, _, err = run(capfd, *arguments, "--overwrite")
    assert f"{told['kept']['share']['5']:.2%} of the top 5" in err
    (tmp_path / "strange.run").write_text("other Q0 d1 1 5 tag\n")
    for more, expected, message in [
        (["--candidates", 10, "-k", 20, "--two-step", forward], 2, "at least -k"),
        (["--candidates", 10], 2, "no effect without --two-step"),
        (["--first-query-terms", 2], 2, "no effect without --two-step"),
        (["--first-query-terms", 0, "--two-step", forward], 2, "first-query-terms"),
        (["--two-step", exact_index], 4, "forward store"),
        (["--two-step", tmp_path / "missing"], 4, "forward store"),
        (["--exact-run", topics, "--check-against", full], 2, "one of them"),
        (["--exact-run", tmp_path / "none"], 4, "cannot be read"),
        (["--exact-run", tmp_path / "strange.run"], 5, "none of the queries"),
    ]:
        new = tmp_path / "new"
        status, _, err = run(capfd, "search", exact_index, "-q", topics, "-o", new, *more)
        assert (status, message in err) == (expected, True), (more, err)
        assert not new.exists()


def test_wrong_options_are_refused(forward: Path) -> None:
    with pytest.raises(UsageError):
        TwoStepOptions(candidates=0)
    with pytest.raises(UsageError):
        TwoStepOptions(first_query_terms=0)
    with pytest.raises(UsageError, match="at least -k"):
        SearchOptions(k=2000, two_step=forward, candidates=1000)


def test_a_failing_second_step_leaves_no_run(
    tmp_path: Path, exact_index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_forward(tmp_path / "other", DOCUMENTS[:-1], ["other", *IDS[1:-1]])
    with caplog.at_level(logging.ERROR), pytest.raises(MismatchError):
        search_to_run(
            exact_index, queries_of(WEIGHTS, TERMS), tmp_path / "run",
            SearchOptions(k=300, two_step=other),
        )  # fmt: skip
    with pytest.raises(BadInputError):
        search_to_run(
            tmp_path, queries_of(WEIGHTS, TERMS), tmp_path / "run", SearchOptions(two_step=other)
        )
    assert not (tmp_path / "run").exists()
