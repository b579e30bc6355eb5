"""Indexes of dense vectors against brute force, and their files against faiss's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import command_line
from dense_small import ENCODED, dense_index, ranking
from splade_bridge.data.manifest import Manifest
from splade_bridge.embeddings import index as index_module
from splade_bridge.embeddings.build import flat_header, flat_vectors
from splade_bridge.embeddings.graph import read_graph
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import DenseBatch, normalized, read_dense_part
from splade_bridge.errors import BadInputError, MismatchError, UsageError

faiss = pytest.importorskip("faiss")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return lambda *arguments: Done(*command_line.run(capfd, *arguments))


def queries_of(vectors: np.ndarray) -> DenseBatch:
    return DenseBatch([f"q{i}" for i in range(len(vectors))], vectors.astype(np.float32))


def random(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def found_in(index: DenseIndex, queries: DenseBatch, k: int, **more: int) -> list[list]:
    found = index.search(queries, k, **more)
    return [list(zip(h.doc_ids, h.scores.tolist(), strict=True)) for h in found]


@pytest.mark.parametrize("k", [1, 10, 99, 300, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_flat_index_is_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, threads: int
) -> None:
    """Many documents are the same: their scores are equal, and they come by id."""
    monkeypatch.setattr(index_module, "BLOCK_BYTES", 4 * 24 * 37)
    monkeypatch.setattr(index_module, "QUERIES_AT_ONCE", 4)
    vectors = random(300, 24)
    vectors[100:260] = vectors[np.random.default_rng(1).integers(0, 9, 160)]
    dense_index(tmp_path / "i", vectors)
    queries = queries_of(random(9, 24, 2))
    with DenseIndex(tmp_path / "i") as index:
        found = found_in(index, queries, k, threads=threads)
    assert found == [ranking(vectors, query, k) for query in queries.vectors]


def test_what_faiss_cannot_tell_apart_is_ranked_exactly(tmp_path: Path) -> None:
    """Documents whose scores differ in the last bit, which float32 sums put in any order."""
    rng = np.random.default_rng(5)
    base = rng.normal(size=512).astype(np.float32)
    vectors = np.repeat(base[None], 400, axis=0)
    for row in vectors:
        places = rng.integers(0, 512, 3)
        row[places] = np.nextafter(row[places], np.float32(np.inf) * rng.choice([-1, 1]))
    query = rng.normal(size=(1, 512)).astype(np.float32)
    dense_index(tmp_path / "i", vectors)
    with DenseIndex(tmp_path / "i") as index:
        for k in (1, 5, 50):
            assert found_in(index, queries_of(query), k) == [ranking(vectors, query[0], k)]
    sums, _ = faiss.knn(query, vectors, 5, metric=faiss.METRIC_INNER_PRODUCT)
    exact = [score for _, score in ranking(vectors, query[0], 5)]
    assert sums[0].tolist() != exact  # else this proves nothing


def test_cosine_takes_queries_of_any_length(tmp_path: Path) -> None:
    vectors = normalized(random(50, 8))
    dense_index(tmp_path / "i", vectors, similarity="cosine")
    query = random(1, 8, 3)
    with DenseIndex(tmp_path / "i") as index:
        (one,) = found_in(index, queries_of(query), 50)
        (ten,) = found_in(index, queries_of(8 * query), 50)
    assert one == ten == ranking(vectors, normalized(query)[0], 50)
    assert max(abs(score) for _, score in one) <= 1


def test_the_file_of_a_flat_index_is_faiss_s_own(tmp_path: Path) -> None:
    vectors = random(130, 6)
    dense_index(tmp_path / "i", vectors)
    file = tmp_path / "i" / "_index" / "index.faiss"
    theirs = faiss.IndexFlatIP(6)
    theirs.add(vectors)
    assert file.read_bytes() == bytes(faiss.serialize_index(theirs))
    read = faiss.read_index(str(file))
    assert (read.ntotal, read.metric_type) == (130, faiss.METRIC_INNER_PRODUCT)
    for number in (0, 7, 300):
        empty = np.zeros((number, 6), dtype=np.float32)
        theirs = faiss.IndexFlatIP(6)
        theirs.add(empty)
        assert flat_header(number, 6) == bytes(faiss.serialize_index(theirs))[:45]


def test_a_graph_is_built_as_it_was_asked_and_finds_most(tmp_path: Path) -> None:
    vectors = random(2000, 16)
    settings = {"kind": "hnsw", "m": 12, "ef_construction": 60}
    first = dense_index(tmp_path / "i", vectors, **settings)
    again = dense_index(tmp_path / "j", vectors, **settings)
    assert first.files == again.files
    read = faiss.read_index(str(tmp_path / "i" / "_index" / "index.faiss"))
    assert isinstance(read, faiss.IndexHNSWFlat)
    assert (read.hnsw.nb_neighbors(1), read.hnsw.efConstruction) == (12, 60)
    queries = queries_of(random(40, 16, 1))
    shares = []
    with DenseIndex(tmp_path / "i") as index:
        for ef_search in (10, 400):
            found = found_in(index, queries, 10, ef_search=ef_search)
            right = [ranking(vectors, q, 10) for q in queries.vectors]
            pairs = list(zip(found, right, strict=True))
            shares.append(sum(len({*f} & {*r}) for f, r in pairs) / 400)
            assert all({*f} <= {*ranking(vectors, q, 2000)} for f, q in
                       zip(found, queries.vectors, strict=True))  # fmt: skip
    assert shares[0] < shares[1] and shares[1] > 0.97


def test_a_graph_says_what_it_misses(tmp_path: Path, run: Callable[..., Done]) -> None:
    vectors = random(600, 8)
    dense_index(tmp_path / "flat", vectors)
    dense_index(tmp_path / "graph", vectors, kind="hnsw", m=4, ef_construction=8)
    dense_index(tmp_path / "q", random(20, 8, 4))
    words = ["search", tmp_path / "graph", "-q", tmp_path / "q", "-k", "20"]
    done = run(*words, "--check-against", tmp_path / "flat", "-o", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    summary = done.json()
    assert summary["algorithm"] == "hnsw" and 0.3 < summary["kept"]["share"]["20"] <= 1
    plain = run("search", tmp_path / "flat", "-q", tmp_path / "q", "-k", "20", "-o", tmp_path / "x")
    assert plain.returncode == 0
    against = run(*words, "--exact-run", tmp_path / "x", "-o", tmp_path / "run2", "--json")
    assert against.json()["kept"] == summary["kept"]


def test_a_run_reads_back_to_the_same_scores(tmp_path: Path, run: Callable[..., Done]) -> None:
    from splade_bridge.retrieval.runs import read_run

    vectors, asked = random(60, 5), random(4, 5, 9)
    dense_index(tmp_path / "i", vectors)
    dense_index(tmp_path / "q", asked, [f"q{i}" for i in range(4)])
    done = run("search", tmp_path / "i", "-q", tmp_path / "q", "-k", "60", "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    found = read_run(tmp_path / "run")
    for number, query in enumerate(asked):
        assert list(found[f"q{number}"].items()) == ranking(vectors, query, 60)


def test_remove_query_passages_and_latencies(tmp_path: Path, run: Callable[..., Done]) -> None:
    vectors = random(40, 4)
    ids = [f"d{i // 4}#{i % 4}" for i in range(40)]
    dense_index(tmp_path / "i", vectors, ids)
    dense_index(tmp_path / "q", random(3, 4, 2), ["d3", "d1", "x"])
    words = ["search", tmp_path / "i", "-q", tmp_path / "q", "--max-passage", "--remove-query"]
    more = ["-k", "5", "--latencies", tmp_path / "times", "-o", tmp_path / "run"]
    done = run(*words, *more)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    for query_id, query in zip(["d3", "d1", "x"], random(3, 4, 2), strict=True):
        best: dict[str, float] = {}
        for passage, score in ranking(vectors, query, 40, ids):
            best.setdefault(passage.partition("#")[0], score)
        wanted = [(d, s) for d, s in best.items() if d != query_id][:5]
        assert [(c[2], float(c[4])) for c in lines if c[0] == query_id] == wanted
    assert len((tmp_path / "times").read_text().splitlines()) == 3


@pytest.mark.parametrize("form", ["jsonl", "parquet", "folder"])
def test_queries_may_be_vectors_of_others(
    tmp_path: Path, run: Callable[..., Done], form: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors, asked = random(30, 3), random(2, 3, 1)
    dense_index(tmp_path / "i", vectors)
    rows = [{"id": f"q{i}", "vector": v.tolist()} for i, v in enumerate(asked)]
    source = tmp_path / f"q.{form}"
    if form == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        dense_index(source, asked, ["q0", "q1"])
    done = run("search", tmp_path / "i", "-q", source, "-k", "3", "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    wanted = [d for query in asked for d, _ in ranking(vectors, query, 3)]
    assert [columns[2] for columns in lines] == wanted


def test_parts_hold_any_vectors(tmp_path: Path) -> None:
    vectors = random(250, 7)
    dense_index(tmp_path / "i", vectors)
    parts = sorted((tmp_path / "i").glob("part-*.parquet"))
    read = [batch for part in parts for batch in read_dense_part(part, 33)]
    assert np.array_equal(np.concatenate([b.vectors for b in read]), vectors)
    assert [i for b in read for i in b.ids] == [f"d{i}" for i in range(250)]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "i")
    assert len(frame) == 250 and np.array_equal(np.stack(frame["vector"]), vectors)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    dense_index(tmp_path / "i", random(20, 4), encoding=ENCODED)
    with DenseIndex(tmp_path / "i") as index:
        with pytest.raises(MismatchError, match="4 numbers, and the queries have 5"):
            index.search(queries_of(random(1, 5)), 3)
        with pytest.raises(BadInputError, match="q0 is not finite"):
            index.search(queries_of(np.array([[1, np.nan, 0, 0]])), 3)
        for wrong in ({"k": 0}, {"k": 1, "threads": 0}, {"k": 1, "ef_search": 4}):
            with pytest.raises(UsageError):
                index.search(queries_of(random(1, 4)), **wrong)
    file = tmp_path / "i" / "_index" / "index.faiss"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadInputError):
        DenseIndex(tmp_path / "i")
    with pytest.raises(UsageError, match=r"takes 0\.\d+ GB of memory.*--memory allows"):
        dense_index(tmp_path / "j", random(20_000, 10), kind="hnsw", memory=1_000_000)


def test_other_commands_say_that_it_is_dense(
    tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dense_index(tmp_path / "i", random(20, 4), encoding=ENCODED)
    (tmp_path / "q.tsv").write_text("q\ta a b\n")
    for words in (
        ["verify", "i", "i", "-q", "q.tsv"],
        ["bench", "i", "-q", "q.tsv"],
        ["explain", "i", "q", "d1", "-q", "q.tsv"],
        ["index", "i", "-e", "exact", "-o", "x"],
        ["convert", "i", "x", "--to", "ciff"],
        ["export", "i", "-o", "x", "-f", "ciff"],
        ["prune", "i", "-o", "x", "--method", "top-k", "--value", "3"],
    ):
        done = run(*words)
        assert done.returncode == 4 and "dense vectors" in done.stderr, (words, done.stderr)
    given = (["--algorithm", "auto"], ["--memory", "2G"], ["--scale", "9"], ["--ef-search", "9"])
    for words in given:
        done = run("search", "i", "-q", "i", "-o", "r", "-k", "3", *words)
        assert done.returncode == 2 and words[0] in done.stderr, done.stderr
    told = run("inspect", "i", "--json").json()
    assert told["kind"] == "dense-index" and told["counts"]["documents"] == 20
    assert told["facts"]["dimension"] == 4 and told["facts"]["similarity"] == "dot"
    assert told["facts"]["index_kind"] == "flat"
    assert told["manifest"]["encoding"]["model"] == "made"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.long
def test_memory_is_bounded(tmp_path: Path) -> None:
    script = Path(__file__).with_name("dense_peak.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    taken, vectors = map(int, done.stdout.split())
    assert taken < vectors / 2, (taken, vectors)


def test_the_manifest_says_what_it_is(tmp_path: Path) -> None:
    dense_index(tmp_path / "i", random(20, 4), kind="hnsw", m=8)
    manifest = Manifest.load(tmp_path / "i")
    assert manifest.kind == "dense" and manifest.counts.documents == 20
    assert manifest.options["hnsw_m"] == 8
    assert {f.path for f in manifest.files} == {
        "part-00000.parquet", "_index/index.faiss", "_index/doc_ids.bin",
        "_index/doc_offsets.npy",
    }  # fmt: skip


def counts_at(graph: bytes) -> list[int]:
    """Where a file of a graph says how much its parts hold."""
    at, found = 37, []
    for each in (8, 4, 4, 8, 4):
        found.append(at)
        at += 8 + each * int.from_bytes(graph[at : at + 8], "little")
    assert graph[at + 20 : at + 24] == b"IxFI"
    return [*found, at + 20 + 37]


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("claim", [2**33, 2**64 - 1], ids=["64 GB", "all bits"])
def test_a_graph_that_claims_more_than_its_file_holds_takes_no_memory(
    tmp_path: Path, part: int, claim: int
) -> None:
    dense_index(tmp_path / "i", random(20, 4), kind="hnsw", m=8)
    file = tmp_path / "i" / "_index" / "index.faiss"
    sound = file.read_bytes()
    at = counts_at(sound)[part]
    file.write_bytes(sound[:at] + claim.to_bytes(8, "little") + sound[at + 8 :])
    with pytest.raises(ValueError, match=r"^a (part of [\d,]+ bytes|graph without its vectors)"):
        read_graph(file, 20, 4)
    file.write_bytes(sound + b"\0")
    with pytest.raises(ValueError, match="366 bytes for 20 vectors of 4 numbers"):
        read_graph(file, 20, 4)
    file.write_bytes(sound)
    assert read_graph(file, 20, 4)[1].shape == (20, 4)


def test_a_dimension_that_a_flat_file_does_not_have_takes_no_memory(tmp_path: Path) -> None:
    dense_index(tmp_path / "i", random(20, 4))
    with pytest.raises(ValueError, match="not a flat index of 20 vectors of 2147483647 numbers"):
        flat_vectors(tmp_path / "i" / "_index" / "index.faiss", 20, 2**31 - 1)
