"""Every engine against a dense integer product, and what they do with what is not usual."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ranked import as_pairs, brute_force
from small import MemorySource, batch_of, queries_of, random_matrix, shuffled_ids, terms_of
from soaking import SEED, often
from splade_bridge.data.hits import Hits
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MissingToolError,
    SpladeBridgeError,
    UsageError,
)
from splade_bridge.evaluation.verify import first_difference, verify
from splade_bridge.formats.base import ImpactSource

ANSERINI = LuceneOptions(route="anserini")


def build(
    source: ImpactSource, out: Path, name: str, own: object = None, **options: object
) -> Path:
    engine(name, own).build(source, out, BuildOptions(**options))  # type: ignore[arg-type]
    return out


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEED, SEED + often(1, 20)))
@pytest.mark.parametrize(
    "largest",
    [pytest.param(3, id="many ties"), pytest.param(300, id="few ties", marks=pytest.mark.long)],
)
def test_every_algorithm_equals_the_dense_product(
    tmp_path: Path, engine_name: str, seed: int, largest: int
) -> None:
    documents = random_matrix(seed, 400, 60, 0.2, largest)
    doc_ids, terms = shuffled_ids(400, seed), terms_of(60)
    weights = random_matrix(seed + 100, 15, 60, 0.2, largest)
    path = build(MemorySource(documents, doc_ids, terms), tmp_path / "index", engine_name)
    queries = queries_of(weights, terms)
    with open_index(path) as searcher:
        batch = queries.aligned(searcher.vocabulary, path)
        for algorithm in searcher.algorithms:
            for k in (1, 20, 1000):
                found = list(searcher.search(batch, k, algorithm=algorithm))
                assert [h.query_id for h in found] == queries.batch.ids
                for hits, query in zip(found, weights, strict=True):
                    assert as_pairs(hits) == brute_force(documents, doc_ids, query, k)
        for doc_id in doc_ids[:2]:
            row = documents[doc_ids.index(doc_id)]
            asked = list(range(len(terms)))[::-1]
            assert searcher.impacts(doc_id, asked) == row[asked].tolist()
        assert searcher.impacts("no such document", [0]) is None


def test_scores_are_exact_up_to_2_to_the_24(tmp_path: Path, engine_name: str) -> None:
    documents = np.array([[2**24 - 2, 0], [2**24 - 3, 1], [0, 2**24 - 1]])
    path = build(
        MemorySource(documents, ["a", "b", "c"], ["x", "y"]), tmp_path / "index", engine_name
    )
    with open_index(path) as searcher:
        (hits,) = searcher.search(batch_of(np.array([[1, 1]]), ["q"]), 10)
    assert as_pairs(hits) == [("c", 2**24 - 1), ("a", 2**24 - 2), ("b", 2**24 - 2)]


@pytest.mark.sample(1, of="pisa")
def test_threads_change_nothing(tmp_path: Path, engine_name: str) -> None:
    documents = random_matrix(5, 300, 40, 0.3, 9)
    doc_ids, terms = shuffled_ids(300, 5), terms_of(40)
    weights = random_matrix(6, 40, 40, 0.2, 9)
    path = build(
        MemorySource(documents, doc_ids, terms), tmp_path / "index", engine_name, threads=2
    )
    with open_index(path) as searcher:
        batch = queries_of(weights, terms).aligned(searcher.vocabulary, path)
        for hits, query in zip(searcher.search(batch, 20, threads=2), weights, strict=True):
            assert as_pairs(hits) == brute_force(documents, doc_ids, query, 20)


@pytest.mark.sample(1, of="pisa")
def test_spilling_to_disk_changes_nothing(tmp_path: Path, engine_name: str) -> None:
    documents = random_matrix(8, 200, 50, 0.3, 9)
    doc_ids, terms = shuffled_ids(200, 8), terms_of(50)
    source = MemorySource(documents, doc_ids, terms)
    path = build(source, tmp_path / "index", engine_name, memory=10_000)
    with open_index(path) as searcher:
        query = np.ones((1, 50), dtype=np.int64)
        (hits,) = searcher.search(queries_of(query, terms).batch, 200)
    assert as_pairs(hits) == brute_force(documents, doc_ids, query[0], 200)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index"], "temporary files are left"


def test_searches_of_one_index_may_run_at_once_and_be_left(
    tmp_path: Path, engine_name: str
) -> None:
    documents = random_matrix(9, 80, 20, 0.4, 9)
    doc_ids, terms = shuffled_ids(80, 9), terms_of(20)
    weights = random_matrix(10, 6, 20, 0.4, 9)
    path = build(MemorySource(documents, doc_ids, terms), tmp_path / "index", engine_name)
    expected = [brute_force(documents, doc_ids, query, 10) for query in weights]
    with open_index(path) as searcher:
        batch = queries_of(weights, terms).batch
        one, other = searcher.search(batch, 10), searcher.search(batch, 10)
        for wanted in expected[:3]:
            assert as_pairs(next(one)) == as_pairs(next(other)) == wanted
            assert searcher.impacts(doc_ids[0], [3]) == [documents[0, 3]]
        one.close()  # type: ignore[attr-defined]
        assert [as_pairs(h) for h in other] == expected[3:]
        assert [as_pairs(h) for h in searcher.search(batch, 10)] == expected


def test_queries_without_terms_are_answered_in_their_place(
    tmp_path: Path, engine_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    documents = np.array([[1, 0], [0, 2]])
    path = build(MemorySource(documents, ["a", "b"], ["x", "y"]), tmp_path / "i", engine_name)
    queries = queries_of(np.array([[0, 0, 0], [3, 0, 0], [0, 0, 5], [0, 1, 0]]), ["x", "y", "z"])
    with open_index(path) as searcher:
        found = list(searcher.search(queries.aligned(searcher.vocabulary, path), 5))
    assert [as_pairs(h) for h in found] == [[], [("a", 3)], [], [("b", 2)]]
    assert "q0" in caplog.text and "q2" in caplog.text


def test_an_empty_document_is_counted_and_named(
    tmp_path: Path, engine_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    documents = np.array([[1], [0], [2], [0]])
    source = MemorySource(documents, ["a", "hollow", "c", "last"], ["x"])
    manifest = engine(engine_name).build(source, tmp_path / "i")
    assert (manifest.counts.documents, manifest.counts.empty) == (4, 2)
    assert "hollow" in caplog.text and "last" in caplog.text
    with open_index(tmp_path / "i") as searcher:
        (hits,) = searcher.search(batch_of(np.array([[1]]), ["q"]), 10)
    assert as_pairs(hits) == [("c", 2), ("a", 1)]


@pytest.mark.parametrize("shape", [(0, 3), (3, 3)], ids=["no documents", "only empty ones"])
def test_nothing_to_index_is_an_error(
    tmp_path: Path, engine_name: str, shape: tuple[int, int]
) -> None:
    source = MemorySource(np.zeros(shape), [f"d{i}" for i in range(shape[0])], ["x", "y", "z"])
    with pytest.raises(BadInputError):
        build(source, tmp_path / "i", engine_name)
    assert list(tmp_path.iterdir()) == []


class LyingSource(MemorySource):
    """Loses a document after it was counted, as a faulty reader would."""

    def batches(self):  # type: ignore[no-untyped-def]
        for batch in super().batches():
            yield batch.rows(0, len(batch) - 1)


def test_an_index_that_lacks_a_document_is_thrown_away(tmp_path: Path, engine_name: str) -> None:
    source = LyingSource(np.ones((10, 2)), [f"d{i}" for i in range(10)], ["x", "y"])
    with pytest.raises(ExternalProgramError, match="thrown away"):
        build(source, tmp_path / "i", engine_name)
    assert list(tmp_path.iterdir()) == []


class BreakingSource(MemorySource):
    """Ends in the middle with an error of its own."""

    def batches(self):  # type: ignore[no-untyped-def]
        yield next(super().batches())
        raise BadInputError("a broken line", "file:12")


def test_an_error_of_the_source_is_the_error_of_the_build(tmp_path: Path, engine_name: str) -> None:
    source = BreakingSource(np.ones((10, 2)), [f"d{i}" for i in range(10)], ["x", "y"])
    with pytest.raises(BadInputError, match="file:12: a broken line"):
        build(source, tmp_path / "i", engine_name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_an_index_is_refused(tmp_path: Path, engine_name: str) -> None:
    source = MemorySource(np.ones((20, 3)), [f"d{i}" for i in range(20)], ["x", "y", "z"])
    good = build(source, tmp_path / "good", engine_name)
    with pytest.raises(BadInputError, match="no such folder"):
        open_index(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match=r"no manifest\.json"):
        open_index(tmp_path / "empty")
    files = [p.relative_to(good).as_posix() for p in good.rglob("*") if p.is_file()]
    for victim in [name for name in files if name != "manifest.json"]:
        for number, damage in enumerate(
            (lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1]))
        ):
            copy = tmp_path / f"{victim}-{number}".replace("/", "-")
            shutil.copytree(good, copy)
            if not (copy / victim).stat().st_size:
                continue
            damage(copy / victim)
            with pytest.raises(BadInputError, match="make it again"):
                open_index(copy)
    with pytest.raises(UsageError, match="exists already"):
        build(source, good, engine_name)


def test_an_unknown_algorithm_names_those_that_exist(tmp_path: Path, engine_name: str) -> None:
    source = MemorySource(np.ones((2, 1)), ["a", "b"], ["x"])
    with open_index(build(source, tmp_path / "i", engine_name)) as searcher:
        with pytest.raises(UsageError, match=searcher.algorithms[0]):
            searcher.search(batch_of(np.array([[1]]), ["q"]), 5, algorithm="ranked_or_taat")
        with pytest.raises(UsageError, match="k must be"):
            searcher.search(batch_of(np.array([[1]]), ["q"]), 0)


def test_an_unknown_pisa_encoding_is_refused_before_pisa_aborts(tmp_path: Path) -> None:
    with pytest.raises((UsageError, MissingToolError)):
        build(MemorySource(np.ones((2, 1)), ["a", "b"], ["x"]), tmp_path / "i", "pisa",
              PisaOptions(encoding="zip"))  # type: ignore[arg-type] # fmt: skip


def test_a_term_of_70_000_characters_is_held_or_named(tmp_path: Path, engine_name: str) -> None:
    term = "x" * 70_000
    source = MemorySource(np.array([[1, 0], [2, 7]]), ["a", "b"], ["t", term])
    if engine_name == "lucene":  # a term of Lucene has 32,766 bytes at most
        with pytest.raises(BadInputError, match=r"'xxx.*70,000 bytes.*Lucene"):
            build(source, tmp_path / "i", engine_name)
        assert list(tmp_path.iterdir()) == []
        return
    with open_index(build(source, tmp_path / "i", engine_name)) as searcher:
        (found,) = searcher.search(batch_of(np.array([[0, 3]]), ["q"]), 5)
        assert (found.doc_ids, found.scores.tolist()) == (["b"], [21])


def test_the_death_of_pisa_is_an_error_with_its_signal(tmp_path: Path) -> None:
    pisa = engine("pisa")
    try:
        pisa.check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    path = build(MemorySource(np.ones((5, 2)), list("abcde"), ["x", "y"]), tmp_path / "i", "pisa")
    with open_index(path) as searcher:
        batch = batch_of(np.ones((9, 2)), [f"q{i}" for i in range(9)])
        results = searcher.search(batch, 5)
        assert len(next(results).doc_ids) == 5
        worker = searcher._pool._all[0]  # type: ignore[attr-defined]
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        with pytest.raises(ExternalProgramError, match="SIGKILL"):
            list(results)
        assert len(list(searcher.search(batch, 5))) == 9, "a new worker takes over"


@pytest.mark.sample(1, of="exact")
def test_a_killed_build_leaves_no_index_and_the_next_one_succeeds(
    tmp_path: Path, engine_name: str
) -> None:
    lines = [f'{{"id":"d{i}","vector":{{"t{i % 50}":3,"u{i % 7}":1}}}}\n' for i in range(20_000)]
    (tmp_path / "docs.jsonl").write_text("".join(lines))
    command = [
        sys.executable, "-m", "splade_bridge", "index", str(tmp_path / "docs.jsonl"),
        "--engine", engine_name, "-o", str(tmp_path / "index"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / ".index.partial").exists():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not (tmp_path / "index").exists():
        with pytest.raises(BadInputError):
            open_index(tmp_path / "index")
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with open_index(tmp_path / "index") as searcher:
        assert searcher.manifest is not None
        assert searcher.manifest.counts.documents == 20_000
    assert {p.name for p in tmp_path.iterdir()} <= {"docs.jsonl", "index"}


def hits(*pairs: tuple[str, int]) -> Hits:
    return Hits("q", [d for d, _ in pairs], np.array([s for _, s in pairs], dtype=np.int64), 0)


@pytest.mark.parametrize(
    ("found", "k", "rank"),
    [
        (hits(("a", 9), ("b", 5), ("c", 2)), 3, None),
        (hits(("a", 9), ("b", 5), ("z", 2)), 3, None),  # ties with the last at k: either may stand
        (hits(("a", 9), ("b", 5), ("z", 2)), 4, 2),  # the list is complete: none may be missing
        (hits(("a", 9), ("z", 5), ("c", 2)), 3, 1),
        (hits(("a", 9), ("b", 6), ("c", 2)), 3, 1),
        (hits(("a", 9), ("b", 5)), 3, 2),
        (hits(("a", 9), ("b", 5), ("c", 2), ("d", 1)), 4, 3),
    ],
)
def test_the_first_difference_is_found(found: Hits, k: int, rank: int | None) -> None:
    assert first_difference(hits(("a", 9), ("b", 5), ("c", 2)), found, k) == rank


@pytest.mark.sample(1, of="pisa")
def test_verify_names_query_rank_document_and_terms(tmp_path: Path, engine_name: str) -> None:
    documents = random_matrix(1, 50, 10, 0.5, 9) + np.eye(50, 10, dtype=np.int64)
    doc_ids, terms = [f"d{i}" for i in range(50)], terms_of(10)
    other = documents.copy()
    other[7, 3] += 50
    first = build(MemorySource(documents, doc_ids, terms), tmp_path / "first", "exact")
    same = build(MemorySource(documents, doc_ids, terms), tmp_path / "same", engine_name)
    second = build(MemorySource(other, doc_ids, terms), tmp_path / "second", engine_name)
    queries = queries_of(np.eye(10, dtype=np.int64), terms)
    with open_index(first) as a, open_index(same) as b, open_index(second) as c:
        result = verify([a, b, c], queries, 10)
    assert result.differing == {str(same): 0, str(second): 1}
    (difference,) = result.differences
    assert (difference.query_id, difference.rank) == ("q3", 1)
    assert difference.found is not None and difference.found[0] == "d7"
    told = {(t.index, t.doc_id, t.term, t.impact) for t in difference.terms}
    assert (str(first), "d7", terms[3], int(documents[7, 3])) in told
    assert (str(second), "d7", terms[3], int(other[7, 3])) in told


def test_missing_java_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lucene: None
) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_JAVA", "/nowhere/java")
    with pytest.raises(MissingToolError, match="pip install"):
        build(MemorySource(np.ones((2, 1)), ["a", "b"], ["x"]), tmp_path / "i", "lucene")
    assert issubclass(MissingToolError, SpladeBridgeError) and MissingToolError.exit_code == 3


@pytest.mark.long
def test_anserinis_own_route_is_believed_only_with_its_counts(
    tmp_path: Path, lucene: None, anserini: Path
) -> None:
    documents = random_matrix(3, 100, 20, 0.4, 9)
    doc_ids = [f"d{i}" for i in range(100)]
    documents[:, 0] = np.maximum(documents[:, 0], 1)  # Anserini drops empty documents
    plain, odd = [f"t{i}" for i in range(20)], ["two words", *(f"t{i}" for i in range(19))]
    path = build(MemorySource(documents, doc_ids, plain), tmp_path / "i", "lucene", ANSERINI)
    oracle = build(MemorySource(documents, doc_ids, plain), tmp_path / "x", "exact")
    with open_index(path) as ours, open_index(oracle) as theirs:
        assert verify([theirs, ours], queries_of(documents[:5], plain), 50).equal
    with pytest.raises(BadInputError, match="'two words' holds white space"):
        build(MemorySource(documents, doc_ids, odd), tmp_path / "o", "lucene", ANSERINI)
    documents[7] = 0
    with pytest.raises(ExternalProgramError, match="thrown away"):
        build(MemorySource(documents, doc_ids, plain), tmp_path / "o", "lucene", ANSERINI)
