"""Tensors as sources: what torch and safetensors save is read, and no code in a file is run."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import command_line
from checkpoints import save_checkpoint
from small import random_matrix
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import SourceOptions, open_vectors
from splade_bridge.data.bfloat16 import BFLOAT16, numbers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, MissingToolError
from splade_bridge.formats import matrix as matrices
from splade_bridge.formats import tensors
from splade_bridge.formats.base import ImpactSource, WeightSource

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

ROWS, COLUMNS = 40, 19
TERMS = [f"t{i}" for i in range(COLUMNS)]
IDS = [f"d{i}" for i in range(ROWS)]
DENSE = torch.from_numpy(random_matrix(3, ROWS, COLUMNS, 0.3, 400))
FLOATS = (DENSE / 7).to(torch.float32)

Save = Callable[[Any, Path], None]


@contextmanager
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three rows a block."""
    with monkeypatch.context() as patched:
        patched.setattr(tensors, "BATCH_ROWS", 3)
        yield


def names_beside(folder: Path, ids: list[str] | None = None) -> None:
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in (IDS if ids is None else ids)))
    (folder / "terms.json").write_text(json.dumps(TERMS))


def shuffled(dense: Any) -> Any:
    """A COO tensor with its entries in any order."""
    sparse = dense.to_sparse()
    order = torch.from_numpy(np.random.default_rng(1).permutation(sparse._nnz()))
    return torch.sparse_coo_tensor(
        sparse.indices()[:, order], sparse.values()[order], sparse.shape, check_invariants=True
    )


def csr_parts(dense: Any) -> dict[str, Any]:
    csr = dense.to_sparse_csr()
    return {
        "crow_indices": csr.crow_indices(), "col_indices": csr.col_indices(),
        "values": csr.values(), "shape": torch.tensor(csr.shape),
    }  # fmt: skip


def coo_parts(dense: Any) -> dict[str, Any]:
    coo = shuffled(dense)
    return {"indices": coo._indices(), "values": coo._values(), "shape": torch.tensor(coo.shape)}


def scipy_parts(dense: Any) -> dict[str, Any]:
    parts = csr_parts(dense)
    return {
        "indptr": parts["crow_indices"].int(), "indices": parts["col_indices"].int(),
        "data": parts["values"], "shape": parts["shape"],
    }  # fmt: skip


SAVED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "coo": ("pt", lambda dense: dense.to_sparse()),
    "coo in any order": ("pt", shuffled),
    "csr": ("pt", lambda dense: dense.to_sparse_csr()),
    "dense": ("pt", lambda dense: dense),
    "parts": ("pth", csr_parts),
    "a list of vectors": ("pt", lambda dense: [row.to_sparse() for row in dense]),
    "stacked vectors": ("pt", lambda dense: torch.stack([row.to_sparse() for row in dense])),
    "a list of dense vectors": ("pt", list),
    "a parameter": ("pt", lambda dense: torch.nn.Parameter(dense, requires_grad=False)),
    "safe csr": ("safetensors", csr_parts),
    "safe coo": ("safetensors", coo_parts),
    "safe csr of scipy": ("safetensors", scipy_parts),
    "safe dense": ("safetensors", lambda dense: {"embeddings": dense.contiguous()}),
}


def saved(name: str, dense: Any, folder: Path) -> Path:
    suffix, made = SAVED[name]
    path = folder / f"vectors.{suffix}"
    with torch.sparse.check_sparse_tensor_invariants(enable=True):
        (save_file if suffix == "safetensors" else torch.save)(made(dense), path)
    names_beside(folder)
    return path


def rows_of(source: ImpactSource | WeightSource) -> np.ndarray:
    """All of a source as a dense matrix; the ids must be those that are beside it."""
    found, ids = np.zeros((ROWS, COLUMNS)), []
    for batch in source.batches():
        for n in range(len(batch)):
            columns, values = batch.row(n)
            found[len(ids), columns] = values
            ids.append(batch.ids[n])
    assert ids == IDS
    return found


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("dense", [DENSE, DENSE.short(), FLOATS, FLOATS.half(), FLOATS.bfloat16(),
                                   FLOATS.double()], ids=lambda d: str(d.dtype))  # fmt: skip
def test_what_is_saved_is_read(
    name: str, dense: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(name, dense, tmp_path)
    with many_blocks(monkeypatch):
        source = open_vectors(tmp_path if path.suffix != ".pth" else path)
        assert isinstance(source, WeightSource if dense.is_floating_point() else ImpactSource)
        assert (rows_of(source) == dense.float().numpy()).all()
    converted = convert(path, tmp_path / "npz", "npz")
    assert converted.manifest.content == str(source.content)


def test_a_bfloat16_is_the_upper_half_of_a_float32() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).float().numpy()
    found = numbers(every.view(BFLOAT16))
    assert np.array_equal(found, expected, equal_nan=True)


def test_a_head_that_is_wider_than_its_tokenizer_is_read_while_that_is_empty(
    tmp_path: Path,
) -> None:
    wide = torch.cat([DENSE, torch.zeros(ROWS, 5, dtype=DENSE.dtype)], dim=1)
    path = saved("csr", wide, tmp_path)
    assert (rows_of(open_vectors(path)) == DENSE.numpy()).all()
    wide[7, COLUMNS + 2] = 1
    saved("csr", wide, tmp_path)
    with pytest.raises(BadInputError, match=rf"a number in column {COLUMNS + 2}, and there are"):
        rows_of(open_vectors(path))
    names_beside(tmp_path)
    few = SourceOptions(vocabulary=Vocabulary([*TERMS, *map(str, range(9))]))
    with pytest.raises(BadInputError, match="24 columns, but 28 terms"):
        open_vectors(path, few)


def test_what_sentence_transformers_encodes_is_what_we_encode(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own output, saved as it comes, with the checkpoint as ``--vocabulary``."""
    from splade_bridge.data.store import VectorStore

    SparseEncoder = pytest.importorskip("sentence_transformers").SparseEncoder
    model = save_checkpoint(tmp_path / "model")
    texts = ["what is a query", "a document of three words", "words of a collection", "the last"]
    (tmp_path / "c.tsv").write_text("".join(f"d{i}\t{t}\n" for i, t in enumerate(texts)))
    command = ("encode", tmp_path / "c.tsv", "-m", model, "-o", tmp_path / "v")
    assert command_line.run(capfd, *command)[0] == 0
    theirs = SparseEncoder(str(model), device="cpu").encode(texts, batch_size=2)
    torch.save(theirs, tmp_path / "theirs.pt")
    (tmp_path / "theirs.ids.txt").write_text("d0\nd1\nd2\nd3\n")
    status, _, err = command_line.run(
        capfd, "convert", tmp_path / "theirs.pt", tmp_path / "out", "--to", "vectors",
        "--vocabulary", model,
    )  # fmt: skip
    assert status == 0, err
    ours, read = VectorStore(tmp_path / "v"), VectorStore(tmp_path / "out")
    assert [i for i, _ in read] == [i for i, _ in ours]
    for (_, one), (_, other) in zip(ours, read, strict=True):
        every = one.keys() | other.keys()
        assert [other.get(t, 0) for t in every] == pytest.approx(
            [one.get(t, 0) for t in every], abs=1e-5
        )


# ---------------------------------------------------------------- what is refused


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["alone", "in a list", "in a dictionary"])
def test_code_in_a_file_is_not_run(where: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path / "attacked")
    held = {"alone": attack, "in a list": [DENSE, attack], "in a dictionary": {"values": attack}}
    torch.save(held[where], tmp_path / "vectors.pt")
    names_beside(tmp_path)
    with pytest.raises(BadInputError, match=r"holds more than tensors \(posix.mkdir\)"):
        open_vectors(tmp_path / "vectors.pt")
    assert not (tmp_path / "attacked").exists()


def test_an_old_file_of_torch_is_refused(tmp_path: Path) -> None:
    torch.save(DENSE, tmp_path / "vectors.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInputError, match=r"not a file of torch\.save, or one of a torch before"):
        open_vectors(tmp_path / "vectors.pt")


def two(**changed: Any) -> dict[str, Any]:
    """A matrix of two rows and two columns in its parts, some of them other."""
    parts = {
        "crow_indices": torch.tensor([0, 1, 2]), "col_indices": torch.tensor([0, 1]),
        "values": torch.tensor([3, 4]), "shape": torch.tensor([2, 2]),
    }  # fmt: skip
    return {k: v for k, v in {**parts, **changed}.items() if v is not None}


def coo(indices: list[list[int]], values: list[float], shape: list[int]) -> dict[str, Any]:
    return {
        "indices": torch.tensor(indices), "values": torch.tensor(values),
        "shape": torch.tensor(shape),
    }  # fmt: skip


WRONG: dict[str, tuple[Any, str]] = {
    "a number": (3, "holds a int, and no matrix"),
    "nothing": ({}, "holds a dict of 0, and no matrix"),
    "a vector": (torch.ones(3), "a tensor of 1 dimensions, and not of documents x terms"),
    "columns": (torch.eye(2).to_sparse_csc(), r"layout sparse_csc: save it with to_sparse_csr\(\)"),
    "complex numbers": (torch.eye(2, dtype=torch.complex64), "numbers of complex64, which are not"),
    "vectors of two lengths": ([torch.ones(2), torch.ones(3)], "are not of one length"),
    "two kinds of vectors": ([torch.ones(2), torch.ones(2).to_sparse()], "neither all dense nor"),
    "a model": ({"head.weight": torch.ones(2, 2), "head.bias": torch.ones(2)},
                r"holds head.bias \[2\], head.weight \[2, 2\]: neither the parts of"),
    "no shape": (two(shape=None), "no shape of two numbers"),
    "pointers": (two(crow_indices=torch.tensor([0, 2, 1])), "does not rise from 0"),
    "few pointers": (two(crow_indices=torch.tensor([0, 2])), "is not of 3 integers"),
    "few values": (two(values=torch.tensor([1])), "not of one length"),
    "columns that are floats": (two(col_indices=torch.tensor([0.0, 1.0])), "are no integers"),
    "a column beyond": (two(col_indices=torch.tensor([0, 2])), "a column number beyond its shape"),
    "a column below": (two(col_indices=torch.tensor([0, -1])), "a column number beyond its shape"),
    "a row beyond": (coo([[0, 2], [0, 1]], [1, 2], [2, 2]), "a row number beyond its shape"),
    "a column twice": (coo([[0, 0], [1, 1]], [1, 2], [2, 2]), "a column twice in a row"),
    "a negative weight": (coo([[0, 1], [1, 1]], [1.5, -2], [2, 2]), "finite and above 0"),
    "an infinite weight": (torch.tensor([[1, float("inf")], [0, 1]]), "finite and above 0"),
    "a negative impact": (two(values=torch.tensor([3, -4])), "an impact must be from 1"),
    "fewer columns than terms": (torch.ones(2, 1), "1 columns, but 2 terms"),
    "more rows than ids": (torch.ones(3, 2), "3 rows, but fewer ids"),
    "fewer rows than ids": (torch.ones(1, 2), "more ids than its 1 rows"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_matrix_is_refused_in_words(name: str, suffix: str, tmp_path: Path) -> None:
    held, words = WRONG[name]
    path = tmp_path / f"vectors.{suffix}"
    if suffix == "pt":
        torch.save(held, path)
    elif isinstance(held, dict) and held:
        save_file(held, path)
    else:
        pytest.skip("safetensors has no such thing")  # it saves dictionaries of tensors alone
    (tmp_path / "ids.txt").write_text("a\nb\n")
    (tmp_path / "terms.json").write_text('["x", "y"]')
    with pytest.raises(BadInputError, match=words):
        list(open_vectors(path).batches())


def header(entry: Any, *, size: int | None = None, numbers: bytes = bytes(16)) -> bytes:
    told = json.dumps(entry).encode()
    return (len(told) if size is None else size).to_bytes(8, "little") + told + numbers


def one(**changed: Any) -> dict[str, Any]:
    return {"m": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changed}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a header of 0 bytes in a file of 0"),
        (b"\xff" * 100, "in a file of 100"),
        (header(one(), size=1 << 50), "a header of"),
        (header([1]), "vectors.safetensors"),
        (header({"m": 3}), "m: must be a table"),
        (header(one(dtype="F8_E4M3")), "numbers of F8_E4M3, which are not read"),
        (header(one(dtype=["F32"])), "which are not read"),
        (header(one(shape=[2, 3])), r"16 bytes for the shape \[2, 3\]"),
        (header(one(shape=[-2, -2])), "for the shape"),
        (header(one(shape=[1 << 40, 1 << 40])), "16 bytes for the shape"),
        (header(one(data_offsets=[0])), "are not two numbers"),
        (header(one(data_offsets=[16, 32])), "its numbers are not in the file: cut off"),
        (header(one(data_offsets=[-16, 0])), "its numbers are not in the file: cut off"),
        (header({"__metadata__": {"a": "b"}}), "holds nothing: neither the parts"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    path.write_bytes(content)
    (tmp_path / "ids.txt").write_text("a\nb\n")
    (tmp_path / "terms.json").write_text('["x", "y"]')
    with pytest.raises(BadInputError, match=words):
        list(open_vectors(path).batches())


@pytest.mark.parametrize("kept", range(0, 60, 3))
def test_a_file_that_is_cut_is_never_read_as_a_whole_one(kept: int, tmp_path: Path) -> None:
    for name in ("csr", "safe csr"):
        path = saved(name, DENSE, tmp_path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * kept // 60])
        with pytest.raises(BadInputError):
            list(open_vectors(path).batches())
        path.unlink()


@pytest.mark.parametrize("name", ["csr", "coo", "a list of vectors", "safe csr", "safe coo"])
def test_flipped_bits_are_an_error_or_other_numbers(name: str, tmp_path: Path) -> None:
    path = saved(name, FLOATS, tmp_path)
    content = path.read_bytes()
    rng = np.random.default_rng(11)
    refused = 0
    for at in rng.integers(0, min(len(content), 1000), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            list(open_vectors(path).batches())
        except BadInputError:
            refused += 1
    assert refused


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved("csr", DENSE, tmp_path)
    safe = saved("safe csr", DENSE, tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"needs torch: pip install .*\[encode\]"):
        open_vectors(path)
    assert (rows_of(open_vectors(safe)) == DENSE.numpy()).all()


def test_a_folder_is_one_file_with_ids_and_a_checkpoint_is_none(tmp_path: Path) -> None:
    path = saved("dense", DENSE, tmp_path)
    assert tensors.tensors_at(tmp_path) == path
    saved("safe dense", DENSE, tmp_path)
    assert tensors.tensors_at(tmp_path) is None
    with pytest.raises(BadInputError, match="not one file of tensors with ids beside it"):
        open_vectors(tmp_path, SourceOptions("tensors"))
    save_checkpoint(tmp_path / "model")
    assert tensors.tensors_at(tmp_path / "model") is None
    assert matrices.beside(path, ("terms.json",)) == tmp_path / "terms.json"
