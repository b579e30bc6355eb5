"""``index --keep-weights``: float weights where an engine keeps float32, refused where it cuts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from command_line import run
from loaded import at
from servers.server import Server
from small import queries_of, random_matrix
from splade_bridge.conversion.detect import open_source, open_vectors
from splade_bridge.engines.registry import connect, open_index
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.errors import BadInputError
from splade_bridge.files.address import Place
from splade_bridge.formats.base import WeightSource

ROWS, TERMS = 150, [f"t{i}" for i in range(30)]
CLIENTS = {"milvus": "milvus_lite", "qdrant": "qdrant_edge", "postgresql": "psycopg"}


@pytest.fixture(params=["milvus", "qdrant", pytest.param("postgresql", marks=pytest.mark.server)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    pytest.importorskip(CLIENTS[request.param], exc_type=ImportError)
    if request.param != "postgresql":
        return f"{request.param}:{tmp_path / 'index.db'}"
    server: Server = request.getfixturevalue("postgres")
    name = f"weights_{os.getpid()}_{tmp_path.name[-6:]}"
    return f"postgresql://postgres@{server.host}:{server.port}/postgres/{name}"


def weights(largest: float = 3.0) -> np.ndarray:
    """float32, of all sizes, some of them whole; document 0 is empty, 1 has whole weights alone."""
    rng = np.random.default_rng(4)
    drawn = rng.uniform(1e-6, largest, (ROWS, len(TERMS))).astype(np.float32)
    drawn[:, ::7] = np.ceil(drawn[:, ::7])
    matrix = drawn * (random_matrix(5, ROWS, len(TERMS), 0.4, 1) > 0)
    matrix[0] = 0
    matrix[1] = np.ceil(matrix[1])
    return matrix


def store(folder: Path, matrix: np.ndarray, capfd: pytest.CaptureFixture[str]) -> Path:
    """A vector store of them."""
    lines = folder / "weights.jsonl"
    with lines.open("w") as out:
        for i, row in enumerate(matrix):
            vector = {TERMS[t]: float(row[t]) for t in np.flatnonzero(row)}
            out.write(json.dumps({"id": f"d{i:03}", "contents": "", "vector": vector}) + "\n")
    status, _, err = run(capfd, "convert", lines, folder / "vectors", "--to", "vectors")
    assert status == 0, err
    return folder / "vectors"


def content_of(place: Place) -> str:
    """Of all float weights, read now; in a manifest that is there stands the same."""
    found = open_vectors(place, weights=True)
    assert isinstance(found, WeightSource)
    found.read_all()
    assert found.manifest is not None and found.manifest.content == str(found.content)
    return str(found.content)


def test_float_weights_go_in_and_out(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    matrix = weights()
    vectors = store(tmp_path, matrix, capfd)
    words = ("index", vectors, "-o", address, "--keep-weights")
    status, _, err = run(capfd, *words, "--scale", "100")
    assert status == 2 and "--keep-weights and --scale" in err
    for _ in range(2):  # the second time it is there already
        status, _, err = run(capfd, *words)
        assert status == 0 and f"{ROWS} documents" in err and "float weights" in err, err
    with pytest.raises(BadInputError, match="give --scale"):
        open_source(at(address))
    assert content_of(at(address)) == content_of(vectors)
    status, _, err = run(
        capfd, "convert", address, tmp_path / "ciff", "--to", "ciff", "--scale", "100"
    )
    assert status == 0, err
    quantized = open_source(tmp_path / "ciff")
    ours = open_source(vectors)  # at x 100, as ever
    quantized.read_all()
    ours.read_all()
    assert str(quantized.content) == str(ours.content)
    asked = random_matrix(6, 9, len(TERMS), 0.3, 200)
    with open_index(at(address)) as searcher:
        found = list(searcher.search(searcher.aligned(queries_of(asked, TERMS)), ROWS))
    for query, hits in zip(asked, found, strict=True):
        sums = matrix.astype(np.float64) @ query
        assert np.allclose(hits.scores, [sums[int(d[1:])] for d in hits.doc_ids], rtol=1e-5)
        assert set(hits.doc_ids) == {f"d{i:03}" for i in np.flatnonzero(sums)}
        assert (np.diff(hits.scores) <= 0).all()
    with connect(at(address)) as index:
        # What is drawn from a stream is compared number by number.
        load(index, lambda: open_vectors(vectors, weights=True), LoadOptions(
            check="sample", overwrite=True), plan={"another": 1})  # fmt: skip
        index.drop()


def test_impacts_are_no_float_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("qdrant_edge")
    docs = tmp_path / "docs.jsonl"
    docs.write_text('{"id": "d", "contents": "", "vector": {"a": 3}}\n')
    status, _, err = run(capfd, "index", docs, "-o", f"qdrant:{tmp_path / 'q'}", "--keep-weights")
    assert status == 2 and "holds impacts, and --keep-weights is for float weights" in err
    assert not (tmp_path / "q").exists()


@pytest.mark.server
def test_an_engine_that_cuts_weights_says_how_many(
    elasticsearch8: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("elasticsearch")
    matrix = np.zeros((3, len(TERMS)), np.float32)
    matrix[:, 0], matrix[1, 1] = (0.5, 1.25, 3.0), 0.1  # nine bits are enough but for the last
    vectors = store(tmp_path, matrix, capfd)
    name = f"weights-{os.getpid()}"
    address = f"elasticsearch://{elasticsearch8.host}:{elasticsearch8.port}/{name}"
    words = ("index", vectors, "-o", address, "--keep-weights")
    status, _, err = run(capfd, *words)
    assert status == 4 and "would change 1 of 4 weights" in err and "--allow-loss" in err, err
    status, _, err = run(capfd, *words, "--allow-loss")
    assert status == 0, err
    with connect(at(address)) as index:
        index.look()
        (row,) = index.get(["d001"])
        assert dict(zip(row.names, map(float, row.weights), strict=True)) == {
            "t0": 1.25, "t1": pytest.approx(0.1)}  # fmt: skip
        index.drop()
