"""Indexes that others made by an engine's plain client: ``--vocabulary`` says what dimensions are.

None of our code has touched them; what is searched equals ``exact``, and what is read back is what
went in, with the terms of the vocabulary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splade_bridge as sb
from command_line import run
from loaded import at, json_lines, needs_milvus_lite
from servers.server import Server
from small import random_matrix
from splade_bridge.conversion.detect import SourceOptions, open_source, open_vectors
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import open_index
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.formats.base import WeightSource

ROWS = 120
WORDS = [
    *(f"w{i}" for i in range(30)), "##x", "a.b", "%2E", "é漢", "it's",
    '"', "\\", "-1", "7", "\u200b",
]  # fmt: skip
"""The terms of the model; the last of them stand in no document."""
USED = 36
Made = Callable[[np.ndarray], str]
"""Makes an index of a matrix of weights by the plain client; its address."""


def ids_of(rows: int) -> list[str]:
    """Numbers, which all three engines take; as strings 10 comes before 2."""
    return [str(i + 1) for i in range(rows)]


def cells(row: np.ndarray) -> dict[int, float]:
    return {int(t): float(row[t]) for t in np.flatnonzero(row)}


@pytest.fixture
def milvus(tmp_path: Path) -> Made:
    pymilvus = pytest.importorskip("pymilvus", exc_type=ImportError)
    needs_milvus_lite()
    from milvus_lite.server_manager import server_manager_instance

    def made(matrix: np.ndarray) -> str:
        path = tmp_path / "others.db"
        client = pymilvus.MilvusClient(str(path))
        schema = client.create_schema(auto_id=False)
        schema.add_field("pk", pymilvus.DataType.VARCHAR, is_primary=True, max_length=99)
        schema.add_field("lex", pymilvus.DataType.SPARSE_FLOAT_VECTOR)
        index = client.prepare_index_params()
        index.add_index("lex", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        client.create_collection("theirs", schema=schema, index_params=index)
        ids = ids_of(len(matrix))
        client.insert(
            "theirs", [{"pk": i, "lex": cells(row)} for i, row in zip(ids, matrix, strict=True)]
        )
        client.close()
        server_manager_instance.release_server(str(path))
        return f"milvus:{path}"

    return made


@pytest.fixture
def qdrant(tmp_path: Path) -> Made:
    edge = pytest.importorskip("qdrant_edge")

    def made(matrix: np.ndarray) -> str:
        folder = tmp_path / "others"
        folder.mkdir()
        config = edge.EdgeConfig(sparse_vectors={"lex": edge.EdgeSparseVectorParams()})
        shard = edge.EdgeShard.create(str(folder), config)
        points = [
            edge.Point(i + 1, {"lex": edge.SparseVector(list(c), list(c.values()))}, {})
            for i, c in enumerate(map(cells, matrix))
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.close()
        return f"qdrant:{folder}"

    return made


TABLES = iter(range(1000))


def sparsevec_table(server: Server, dimensions: str) -> Made:
    psycopg = pytest.importorskip("psycopg")

    def made(matrix: np.ndarray) -> str:
        name = f"others_{os.getpid()}_{next(TABLES)}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(1)")  # another worker makes it now
            connection.execute("create extension if not exists vector")
            connection.execute(
                f"create table {name} (key text primary key, lex sparsevec{dimensions})"
            )
            for doc_id, row in zip(ids_of(len(matrix)), matrix, strict=True):
                pairs = ",".join(f"{t + 1}:{w}" for t, w in cells(row).items())
                literal = f"{{{pairs}}}/{len(WORDS)}"
                connection.execute(f"insert into {name} values (%s, %s)", [doc_id, literal])
        return f"postgresql://postgres@{server.host}:{server.port}/postgres/{name}"

    return made


@pytest.fixture
def postgresql(postgres: Server) -> Made:
    return sparsevec_table(postgres, f"({len(WORDS)})")


@pytest.fixture
def postgresql_undeclared(postgres: Server) -> Made:
    return sparsevec_table(postgres, "")


ENGINES = [
    "milvus",
    "qdrant",
    pytest.param("postgresql", marks=pytest.mark.server),
    pytest.param("postgresql_undeclared", marks=pytest.mark.server),
]


def world(largest: int = 300) -> np.ndarray:
    """Documents of whole weights with ties; every one has a term, which Qdrant's client needs."""
    matrix = random_matrix(5, ROWS, len(WORDS), 0.3, largest)
    matrix[:, USED:] = 0
    matrix[:, 0] += matrix.sum(axis=1) == 0
    return matrix


def asked(path: Path) -> Path:
    """Queries, also of terms that no document holds, and one of a term that nobody knows."""
    with path.open("w") as out:
        for number, row in enumerate(random_matrix(6, 25, len(WORDS), 0.2, 9)):
            vector = {WORDS[t]: int(row[t]) for t in np.flatnonzero(row)} | {"nowhere": 3}
            out.write(json.dumps({"id": f"q{number}", "vector": vector}) + "\n")
    return path


def vocabulary_file(path: Path, words: Sequence[str] = WORDS) -> Path:
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_an_index_of_others_is_searched_and_read_with_a_vocabulary(
    engine: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    matrix = world()
    address = request.getfixturevalue(engine)(matrix)
    docs = json_lines(tmp_path / "docs.jsonl", matrix, ids_of(ROWS), WORDS)
    queries, words = asked(tmp_path / "q.jsonl"), vocabulary_file(tmp_path / "vocab.txt")
    exact = tmp_path / "exact"
    assert run(capfd, "index", docs, "-o", exact, "-e", "exact")[0] == 0
    status, _, err = run(capfd, "search", exact, "-q", queries, "-k", 20, "-o", tmp_path / "a")
    assert status == 0, err
    named = ("--vocabulary", words)

    for command in (
        ("search", address, "-q", queries, "-o", tmp_path / "none"),
        ("verify", exact, address, "-q", queries),
        ("convert", address, tmp_path / "none", "--to", "ciff"),
        ("index", address, "-o", tmp_path / "none", "-e", "exact"),
    ):
        status, _, err = run(capfd, *command)
        assert status == 4 and "give --vocabulary" in err and not (tmp_path / "none").exists(), err

    status, _, err = run(
        capfd, "search", address, "-q", queries, "-k", 20, "-o", tmp_path / "b", *named
    )
    assert status == 0, err
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    status, _, err = run(capfd, "verify", exact, address, "-q", queries, "-k", 99, *named)
    assert status == 0 and "agree" in err, err
    status, out, err = run(capfd, "explain", address, "q0", "5", "-q", queries, "--json", *named)
    assert status == 0, err
    mine = run(capfd, "explain", exact, "q0", "5", "-q", queries, "--json")[1]
    terms = [[one | {"index": ""} for one in json.loads(told)["terms"]] for told in (out, mine)]
    assert terms[0] == terms[1] and json.loads(out)["score"] == json.loads(mine)["score"] > 0
    status, _, err = run(capfd, "convert", address, tmp_path / "c", "--to", "ciff", *named)
    assert status == 0, err
    back, source = open_source(tmp_path / "c"), open_source(docs)
    back.read_all()
    source.read_all()
    assert str(back.content) == str(source.content)


def test_the_same_from_python(qdrant: Made, tmp_path: Path) -> None:
    """Wherever an address goes, its field and vocabulary go."""
    matrix = world()
    address, words = qdrant(matrix), vocabulary_file(tmp_path / "vocab.txt")
    docs = json_lines(tmp_path / "docs.jsonl", matrix, ids_of(ROWS), WORDS)
    exact = tmp_path / "exact"
    sb.index(docs, exact, engine="exact")
    queries = {"q1": {WORDS[0]: 2, WORDS[3]: 1}, "q2": {WORDS[5]: 7}}
    how: dict[str, Any] = {"vocabulary": words, "field": "lex"}
    wanted = sb.search(exact, queries, k=20)
    assert sb.search(address, queries, k=20, **how) == wanted
    with sb.open_index(address, **how) as index:
        assert index.search(queries, k=20) == wanted
        assert sb.verify([index, exact], queries).equal
    assert sb.verify([exact, address], queries, **how).equal
    ours = sb.explain(address, queries["q1"], "5", **how)
    theirs = sb.explain(exact, queries["q1"], "5")
    assert [(c.term, c.score) for c in ours] == [(c.term, c.score) for c in theirs]
    content = sb.convert(address, tmp_path / "c", to="ciff", **how).content
    assert content == sb.inspect(exact).content.computed  # type: ignore[union-attr]
    again = sb.index(address, tmp_path / "again", engine="exact", **how)
    assert sb.export(address, tmp_path / "x", **how).counts == again.counts
    assert sb.verify([exact, tmp_path / "again"], queries).equal
    pruned = sb.prune(address, method="top-k", value=1, **how)
    assert dict(pruned) == dict(sb.prune(docs, method="top-k", value=1))
    for call in (sb.search, lambda *given: sb.prune(given[0], method="top-k", value=1)):
        with pytest.raises(BadInputError, match="give --vocabulary"):
            call(address, queries)


@pytest.mark.parametrize("engine", ENGINES[:3])
def test_float_weights_of_others_are_searched_as_they_are(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Scores are sums of float32 products, and the order is theirs, not that of rounded scores."""
    rng = np.random.default_rng(3)
    matrix = (world() > 0) * rng.uniform(0.01, 0.2, (ROWS, len(WORDS))).astype(np.float32)
    address = at(request.getfixturevalue(engine)(matrix))
    words = Vocabulary(WORDS)
    read = open_vectors(address, SourceOptions(vocabulary=words), weights=True)
    assert isinstance(read, WeightSource)
    there = {doc_id: batch.row(n) for batch in read.batches() for n, doc_id in enumerate(batch.ids)}
    for doc_id, row in zip(ids_of(ROWS), matrix, strict=True):
        assert there[doc_id][0].tolist() == np.flatnonzero(row).tolist()
        assert there[doc_id][1].tolist() == row[row > 0].tolist()
    queries = random_matrix(8, 10, len(WORDS), 0.3, 3)
    with open_index(address, Asking(vocabulary=words)) as searcher:
        from small import queries_of

        found = list(searcher.search(searcher.aligned(queries_of(queries, WORDS)), 15))
        some = searcher.impacts("7", range(USED))
        assert some is not None and list(map(float, some)) == matrix[6][:USED].tolist()
    for query, hits in zip(queries, found, strict=True):
        sums = matrix.astype(np.float64) @ query
        order = np.argsort(-sums, kind="stable")[:15]
        wanted = sums[order][sums[order] > 0]
        assert np.allclose(hits.scores, wanted, rtol=1e-5) and len(hits.doc_ids) == len(wanted)
        assert np.allclose([sums[int(i) - 1] for i in hits.doc_ids], wanted, rtol=1e-5)


def test_a_vocabulary_that_does_not_fit(
    qdrant: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = qdrant(world())
    few = Vocabulary(WORDS[:5])
    with pytest.raises(BadInputError, match="the vocabulary beside it has 5 terms"):
        open_source(at(address), SourceOptions(vocabulary=few)).read_all()
    status, _, err = run(
        capfd, "search", address, "-q", asked(tmp_path / "q.jsonl"), "-o", tmp_path / "r",
        "--vocabulary", tmp_path / "nothing.txt",
    )  # fmt: skip
    assert status == 4 and "no such file or folder" in err
    ours = at(f"qdrant:{tmp_path / 'ours'}")
    docs = json_lines(tmp_path / "docs.jsonl", world(), ids_of(ROWS), WORDS)
    assert run(capfd, "index", docs, "-o", ours)[0] == 0
    with pytest.raises(MismatchError, match="its own vocabulary is kept beside it"):
        open_index(ours, Asking(vocabulary=few))
    exact = tmp_path / "exact"
    assert run(capfd, "index", docs, "-o", exact, "-e", "exact")[0] == 0
    with pytest.raises(UsageError, match="is no address"):
        open_index(exact, Asking(vocabulary=few))


@pytest.mark.server
def test_a_vocabulary_of_more_terms_than_dimensions(postgresql: Made) -> None:
    address = at(postgresql(world()))
    with pytest.raises(MismatchError, match=r"40 dimensions, and --vocabulary has 41 terms"):
        open_index(address, Asking(vocabulary=Vocabulary([*WORDS, "more"])))
