"""``--approximate``: refused where nothing is approximate; its recall against exact is told."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run
from loaded import at, json_lines
from servers.server import Server
from small import random_matrix
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.registry import check_approximate, connect
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.errors import UsageError
from splade_bridge.retrieval.runs import read_run

ROWS, TERMS = 300, [f"t{i}" for i in range(40)]
K = 10


class World:
    """Documents, queries and the exact run, as files."""

    def __init__(
        self, folder: Path, capfd: pytest.CaptureFixture[str], rows: int = ROWS, share: float = 0.4
    ) -> None:
        self.folder, self.capfd = folder, capfd
        self.matrix = random_matrix(1, rows, len(TERMS), share, 500)
        self.ids = [f"d{i}" for i in range(rows)]
        self.docs = json_lines(folder / "docs.jsonl", self.matrix, self.ids, TERMS)
        self.asked = random_matrix(2, 30, len(TERMS), 0.5, 90)
        self.queries = json_lines(
            folder / "q.jsonl", self.asked, [f"q{i}" for i in range(30)], TERMS
        )
        self.exact = folder / "exact"
        self.done("index", self.docs, "-o", self.exact, "-e", "exact")
        self.done("search", self.exact, "-q", self.queries, "-k", K, "-o", folder / "exact.run")

    def done(self, *words: object) -> tuple[str, str]:
        status, out, err = run(self.capfd, *words)
        assert status == 0, err
        return out, err

    def refused(self, *words: object) -> str:
        status, _, err = run(self.capfd, *words)
        assert status == 2, err
        return err

    def searched(self, address: object, *more: object) -> tuple[float, dict[str, dict[str, float]]]:
        """The share of the exact results that is told, and the run; the share is counted again."""
        out = self.folder / "found.run"
        words = ("search", address, "-q", self.queries, "-k", K, "-o", out, "--overwrite", "--json")
        told, _ = self.done(*words, "--check-against", self.exact, *more)
        share = json.loads(told)["kept"]["share"][str(K)]
        found, wanted = read_run(out), read_run(self.folder / "exact.run")
        counted = [
            len(found.get(q, {}).keys() & top.keys()) / len(top) for q, top in wanted.items()
        ]
        assert math.isclose(share, sum(counted) / len(counted))
        return share, found

    def score(self, query: str, doc_id: str, least: int = 0) -> int:
        """The exact score; of the terms of a query above a weight."""
        weights = self.asked[int(query[1:])]
        return int(self.matrix[int(doc_id[1:])] @ np.where(weights > least, weights, 0))


@pytest.fixture
def there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, capfd)


@pytest.mark.long
def test_milvus_leaves_out_the_smallest_weights_of_a_query(there: World) -> None:
    pytest.importorskip("pymilvus", exc_type=ImportError)
    address = f"milvus:{there.folder / 'm.db'}"
    there.done("index", there.docs, "-o", address)
    assert there.searched(address)[0] == 1
    share, found = there.searched(address, "--approximate", "--milvus-drop-ratio", "0.6")
    assert 0.2 < share < 1
    assert all(
        score <= there.score(query, doc_id)
        for query, documents in found.items()
        for doc_id, score in documents.items()
    )
    assert there.searched(address, "--approximate", "--milvus-drop-ratio", "0")[0] == 1
    err = there.refused("search", address, "-q", there.queries, "-o", "r", "--approximate")
    assert "needs --milvus-drop-ratio" in err
    words = ("search", address, "-q", there.queries, "-o", "r", "--approximate")
    err = there.refused(*words, "--postgresql-ef-search", "9", "--milvus-drop-ratio", "0.2")
    assert "--postgresql-ef-search is for an address postgresql://" in err
    out, _ = there.done(
        "bench", there.exact, address, "-q", there.queries, "-k", K, "--repeat", "1",
        "--approximate", "--milvus-drop-ratio", "0.6", "--check-against", there.exact, "--json",
    )  # fmt: skip
    rows = json.loads(out)["rows"]
    assert [row["kept"] for row in rows] == [1.0, pytest.approx(share)]
    assert rows[1]["algorithm"] == "drop_ratio=0.6"


@pytest.mark.parametrize("datatype", ["float16", "uint8"])
def test_qdrant_scores_from_quantized_storage(there: World, datatype: str) -> None:
    pytest.importorskip("qdrant_edge")
    address = f"qdrant:{there.folder / 'q'}"
    words = ("index", there.docs, "-o", address)
    assert "add --approximate" in there.refused(*words, "--qdrant-datatype", datatype)
    assert "needs one of --qdrant-datatype" in there.refused(*words, "--approximate")
    assert not (there.folder / "q").exists()
    there.done(*words, "--approximate", "--qdrant-datatype", datatype)
    share, found = there.searched(address, "--approximate")
    assert share == 1  # of so few documents Qdrant makes no index, and looks at all vectors
    _, err = there.done("search", address, "-q", there.queries, "-o", there.folder / "told.run")
    assert f"warning: {address}: Qdrant keeps its weights as {datatype}" in err
    assert errors_of(there, found) == 0
    back, source = open_source(at(address)), open_source(there.docs)
    back.read_all()
    source.read_all()
    assert str(back.content) == str(source.content)  # the vectors themselves are kept as they are
    other = f"qdrant:{there.folder / 'other'}"
    there.done("index", there.docs, "-o", other)
    err = there.refused("search", other, "-q", there.queries, "-o", "r", "--approximate")
    assert "Qdrant answers exactly" in err


@pytest.mark.long
def test_qdrant_scores_approximately_from_10_megabytes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    there = World(tmp_path, capfd, 50_000, 0.9)
    address = f"qdrant:{tmp_path / 'q'}"
    there.done("index", there.docs, "-o", address, "--approximate", "--qdrant-datatype", "uint8")
    share, found = there.searched(address, "--approximate")
    assert 0.5 < share < 1
    assert 0 < errors_of(there, found) < 0.03


def errors_of(there: World, found: dict[str, dict[str, float]]) -> float:
    """The largest relative error of a score."""
    return max(
        abs(score / there.score(query, doc_id) - 1)
        for query, documents in found.items()
        for doc_id, score in documents.items()
    )


@pytest.mark.server
def test_postgresql_answers_by_a_graph(there: World, postgres: Server) -> None:
    pytest.importorskip("psycopg")
    server = f"postgresql://postgres@{postgres.host}:{postgres.port}/postgres"
    address = f"{server}/graph_{os.getpid()}"
    words = ("index", there.docs, "-o", address)
    assert "add --approximate" in there.refused(*words, "--postgresql-hnsw")
    graph = ("--approximate", "--postgresql-hnsw", "--postgresql-hnsw-m", "4")
    err = there.refused(*words, *graph, "--postgresql-hnsw-ef-construction", "7")
    assert "twice the links, 8, to 1,000" in err
    out, _ = there.done(*words, *graph, "--dry-run")
    assert "using hnsw (vector sparsevec_ip_ops) with (m = 4)" in json.loads(out)["sql"][-1]
    there.done(*words, *graph, "--postgresql-hnsw-ef-construction", "8")
    with connect(at(address)) as index:
        index.look()
        assert "hnsw" in str(index.told()["indexes"])
    assert there.searched(address)[0] == 1
    few = there.searched(address, "--approximate", "--postgresql-ef-search", K)[0]
    many, found = there.searched(address, "--approximate", "--postgresql-ef-search", 300)
    assert few < many <= 1
    assert all(
        score == there.score(query, doc_id)
        for query, documents in found.items()
        for doc_id, score in documents.items()
    )
    status, _, err = run(
        there.capfd, "search", address, "-q", there.queries, "-o", "r", "-k", 101, "--approximate"
    )
    assert status == 4 and re.search(r"gives 100 hits at most.*--postgresql-ef-search", err)
    plain = f"{server}/plain_{os.getpid()}"
    there.done("index", there.docs, "-o", plain)
    err = there.refused("search", plain, "-q", there.queries, "-o", "r", "--approximate")
    assert "no index of type HNSW" in err
    for one in (address, plain):
        with connect(at(one)) as index:
            index.drop()


@pytest.mark.server
def test_elasticsearch_prunes_the_terms_of_a_query(there: World, elasticsearch8: Server) -> None:
    pytest.importorskip("elasticsearch")
    name = f"pruned-{os.getpid()}"
    address = f"elasticsearch://{elasticsearch8.host}:{elasticsearch8.port}/{name}"
    there.done("index", there.docs, "-o", address)
    assert there.searched(address)[0] == 1
    most = ("--elasticsearch-frequency-ratio", "1", "--elasticsearch-weight-ratio", "0.9")
    share, found = there.searched(address, "--approximate", *most)
    assert share < 1
    assert all(
        score <= there.score(query, doc_id)
        for query, documents in found.items()
        for doc_id, score in documents.items()
    )
    # Terms that are rarer than 100 times the average are kept, and so all.
    least = ("--elasticsearch-frequency-ratio", "100")
    assert there.searched(address, "--approximate", *least)[0] == 1
    with connect(at(address)) as index:
        index.drop()


@pytest.mark.server
def test_a_graph_takes_a_thousand_terms_of_a_document(
    tmp_path: Path, postgres: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    terms = [f"t{i}" for i in range(1001)]
    docs = json_lines(tmp_path / "docs.jsonl", np.ones((1, 1001), int), ["wide"], terms)
    address = f"postgresql://postgres@{postgres.host}:{postgres.port}/postgres/wide_{os.getpid()}"
    status, _, err = run(capfd, "index", docs, "-o", address, "--approximate", "--postgresql-hnsw")
    assert status == 4 and "1,001 terms, and pgvector takes 1,000 at most in an index of" in err
    with connect(at(address)) as index:
        index.drop()


@pytest.mark.parametrize(
    ("scheme", "own", "allowed", "words"),
    [
        ("opensearch", {"query": "rank_feature"}, True, "opensearch has none at loading"),
        ("milvus", {}, True, "milvus has none at loading"),
        ("postgresql", {"hnsw": False}, True, "needs one of --postgresql-hnsw"),
        ("postgresql", {"hnsw": True, "hnsw_m": 3}, False, "-hnsw, --postgresql-hnsw-m: makes"),
        ("qdrant", {"datatype": "float32"}, True, "needs one of --qdrant-datatype"),
        ("qdrant", {"datatype": "uint8"}, False, "--qdrant-datatype: makes results approximate"),
    ],
)  # fmt: skip
def test_what_is_approximate_is_asked_for(
    scheme: Any, own: dict[str, Any], allowed: bool, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_approximate(scheme, own, allowed=allowed)


@pytest.mark.parametrize("own", [{"hnsw_m": 4}, {"hnsw": True, "hnsw_m": 1},
                                 {"hnsw": True, "hnsw_ef_construction": 31}])  # fmt: skip
@pytest.mark.server
def test_what_no_graph_has_is_refused(own: dict[str, Any], postgres: Server) -> None:
    pytest.importorskip("psycopg")
    address = at(f"postgresql://postgres@{postgres.host}:{postgres.port}/postgres/never")
    with connect(address) as index, pytest.raises(UsageError, match="--postgresql-hnsw"):
        index.use(RemoteOptions(own=own))
