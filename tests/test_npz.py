"""CSR matrices with names beside them: scipy reads what we write, and we what scipy writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given

from small import random_matrix
from splade_bridge.data.vector_set import VectorsInMemory
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import BatchSource, ImpactSource, StoreWeights, WeightSource
from splade_bridge.formats.npz import open_npz, write_npz
from strategies import Collection, as_dictionaries, collections, quick, weights


@quick
@given(collections())
def test_impacts_come_back(tmp_path_factory: pytest.TempPathFactory, made: Collection) -> None:
    folder = tmp_path_factory.mktemp("npz") / "n"
    source = BatchSource(Path("memory"), made.impact_batches(), made.vocabulary)
    counts = write_npz(folder, source)
    read = open_npz(folder / "vectors.npz")
    assert isinstance(read, ImpactSource)
    found = as_dictionaries(list(read.batches()), read.vocabulary)
    assert found == list(zip(made.ids, made.rows, strict=True))
    assert (read.counts, str(read.content)) == (counts, str(source.content))
    matrix = scipy.sparse.load_npz(folder / "vectors.npz").toarray()
    assert matrix.shape == (len(made.ids), len(made.vocabulary))
    for row, expected in zip(matrix, made.rows, strict=True):
        there = {made.vocabulary[i]: int(row[i]) for i in np.flatnonzero(row)}
        assert there == expected


@quick
@given(collections(weights))
def test_weights_come_back(tmp_path_factory: pytest.TempPathFactory, made: Collection) -> None:
    folder = tmp_path_factory.mktemp("npz") / "n"
    source = StoreWeights(VectorsInMemory(made.sparse_batches(), made.vocabulary))
    write_npz(folder, source)
    read = open_npz(folder / "vectors.npz")
    assert isinstance(read, WeightSource)
    assert sum(len(batch) for batch in read.batches()) == len(made.ids)
    assert str(read.content) == str(source.content)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """As scipy writes it, compressed, with columns in any order and a stored zero."""
    dense = random_matrix(2, 20, 9, 0.4, 300)
    matrix = scipy.sparse.csr_matrix(dense)
    for row in range(20):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[part] = matrix.indices[part][::-1]
        matrix.data[part] = matrix.data[part][::-1]
    matrix.has_sorted_indices = False
    scipy.sparse.save_npz(tmp_path / "m.npz", matrix)
    (tmp_path / "m.ids.txt").write_text("".join(f"d{i}\n" for i in range(20)))
    (tmp_path / "terms.json").write_text(json.dumps([f"t{i}" for i in range(9)]))
    np.save(tmp_path / "dense.npy", dense)
    return tmp_path / "m.npz"


def test_what_scipy_writes_is_read(foreign: Path) -> None:
    read = open_npz(foreign)
    assert isinstance(read, ImpactSource)
    found = np.zeros((20, 9), np.int64)
    for batch in read.batches():
        for n in range(len(batch)):
            columns, values = batch.row(n)
            found[n, columns] = values
    assert found.tolist() == np.load(foreign.with_name("dense.npy")).tolist()


def saved(path: Path, **changed: object) -> None:
    arrays = dict(np.load(path)) | changed
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "not an .npz file"),
        (lambda p: saved(p, indptr=None), "holds no indptr"),
        (lambda p: saved(p, format=np.array(b"csc")), "not a CSR matrix"),
        (lambda p: saved(p, shape=np.array([20, 9, 1])), "not of two numbers"),
        (lambda p: saved(p, shape=np.array([19, 9])), "is not of 20 integers"),
        (lambda p: saved(p, shape=np.array([20, 8])), "8 columns, but 9 terms"),
        (lambda p: saved(p, indices=np.full(len(np.load(p)["indices"]), 9)), "beyond its shape"),
        (lambda p: saved(p, data=np.load(p)["data"][:-1]), "not of one length"),
        (lambda p: saved(p, data=-np.load(p)["data"]), "from 1 to 2"),
        (lambda p: saved(p, data=np.load(p)["data"] * np.nan), "finite and above 0"),
        (lambda p: saved(p, data=np.load(p)["data"].astype(str)), "neither integers nor floats"),
        (lambda p: p.with_name("m.ids.txt").unlink(), "no ids beside it"),
        (lambda p: p.with_name("m.ids.txt").write_text("d0\n"), "20 rows, but fewer ids"),
        (lambda p: p.with_name("m.ids.txt").write_text("d\n" * 20), "'d' was there before"),
        (lambda p: p.with_name("m.ids.txt").write_text("x y\n" * 20), "white space"),
        (lambda p: p.with_name("terms.json").unlink(), "no terms beside it"),
        (lambda p: p.with_name("terms.json").write_text('["a", 1]'), "terms.json"),
    ],
)
def test_damage_is_named(foreign: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(foreign)
    with pytest.raises(BadInputError, match=message):
        list(open_npz(foreign).batches())


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", format=np.array(b"csr"), shape=np.array([1, 1]),
             indptr=np.array([0, 1]), indices=np.array([0]),
             data=np.array([{}], dtype=object))  # fmt: skip
    with pytest.raises(BadInputError, match="of Python objects"):
        open_npz(tmp_path / "m.npz")
