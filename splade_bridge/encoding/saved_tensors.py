"""Tensors of a file that ``torch.save`` wrote, as arrays; no code in it is run.

A pickle is a program. ``torch.load(weights_only=True)`` takes of it what makes tensors, lists,
dictionaries and plain values, and refuses all else; numbers are mapped, and not loaded.
"""

from __future__ import annotations

import importlib.util
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splade_bridge.data.bfloat16 import BFLOAT16
from splade_bridge.errors import BadInputError, MissingToolError, install

if TYPE_CHECKING:
    import torch

Arrays = dict[str, np.ndarray[Any, Any]]

MOST_PICKLED = 64 << 20
"""Bytes that say what is in a file, beside the numbers."""
NOT_ALLOWED = re.compile(r"GLOBAL (\S+)")


def saved_tensors(path: Path) -> Arrays:
    """The matrix in ``path``, in parts with the names that they have in torch.

    Returns:
        ``crow_indices``, ``col_indices``, ``values`` and ``shape`` of a CSR tensor; ``indices``,
        ``values`` and ``shape`` of a COO tensor, whose rows may come in any order; or one dense
        array, as ``values``. A list of vectors gives the parts of a COO or dense tensor, a
        dictionary of tensors gives these by their names. bfloat16 is :data:`.BFLOAT16`.

    Raises:
        MissingToolError: torch is not installed.
        BadInputError: not a file of torch's, one that holds more than tensors, or no matrix.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingToolError(f"{path} is a file of torch's and needs torch: {install('encode')}")
    found = _loaded(path)
    try:
        return _parts(found, path)
    except (RuntimeError, TypeError) as error:  # quantized, on no device, lazily negated
        raise BadInputError(f"a tensor in it cannot be read ({error})", str(path)) from error


def _loaded(path: Path) -> Any:
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [i.file_size for i in archive.infolist() if i.filename.endswith("data.pkl")]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"not a file of torch.save, or one of a torch before 1.6 ({error})", str(path)
        ) from error
    if max(sizes, default=0) > MOST_PICKLED:
        raise BadInputError(
            f"{max(sizes):,} bytes that say what is in it, of {MOST_PICKLED:,} at most: save one "
            "sparse tensor, and not a list of many",
            str(path),
        )
    try:
        checks = torch.sparse.check_sparse_tensor_invariants(enable=False)  # type: ignore[no-untyped-call]
        with checks:  # else torch warns; all is checked where it is read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch names no class for a damaged file
        if type(error).__name__ == "UnpicklingError":
            what = NOT_ALLOWED.search(str(error))
            raise BadInputError(
                f"holds more than tensors{f' ({what[1]})' if what else ''}, and nothing else that "
                "is pickled is read: save the tensor alone with torch.save",
                str(path),
            ) from error
        said = str(error).split(". ")[0].split("\n")[0]
        raise BadInputError(f"torch cannot read it ({said})", str(path)) from error


def _parts(found: Any, path: Path) -> Arrays:
    import torch

    if isinstance(found, dict) and found:
        if all(isinstance(t, torch.Tensor) and t.layout == torch.strided for t in found.values()):
            return {str(name): _array(tensor, path) for name, tensor in found.items()}
    elif isinstance(found, list | tuple) and found:
        if all(isinstance(t, torch.Tensor) and t.dim() == 1 for t in found):
            return _rows(list(found), path)
    elif isinstance(found, torch.Tensor):
        return _matrix(found, path)
    raise BadInputError(
        f"holds {_told(found)}, and no matrix: save one tensor of documents x terms, sparse or "
        "dense, or a list of vectors",
        str(path),
    )


def _told(found: Any) -> str:
    kind = type(found).__name__
    return f"a {kind} of {len(found):,}" if hasattr(found, "__len__") else f"a {kind}"


def _matrix(tensor: torch.Tensor, path: Path) -> Arrays:
    import torch

    if tensor.dim() != 2:
        raise BadInputError(
            f"a tensor of {tensor.dim()} dimensions, and not of documents x terms", str(path)
        )
    shape = np.array(tensor.shape, np.int64)
    if tensor.layout == torch.strided:
        return {"values": _array(tensor, path)}
    if tensor.layout == torch.sparse_csr and tensor.dense_dim() == 0:
        return {
            "crow_indices": _array(tensor.crow_indices(), path),
            "col_indices": _array(tensor.col_indices(), path),
            "values": _array(tensor.values(), path),
            "shape": shape,
        }
    if tensor.layout == torch.sparse_coo and tensor.dense_dim() == 0:
        return {
            "indices": _array(tensor._indices(), path),
            "values": _array(tensor._values(), path),
            "shape": shape,
        }
    raise BadInputError(
        f"a tensor of layout {str(tensor.layout).removeprefix('torch.')}: save it with "
        "to_sparse_csr() or to_sparse_coo()",
        str(path),
    )


def _rows(vectors: list[torch.Tensor], path: Path) -> Arrays:
    """A list of vectors, all sparse or all dense, and of one length."""
    import torch

    width = len(vectors[0])
    if any(len(vector) != width for vector in vectors):
        raise BadInputError("its vectors are not of one length", str(path))
    if all(vector.layout == torch.strided for vector in vectors):
        return {"values": np.stack([_array(vector, path) for vector in vectors])}
    if any(vector.layout != torch.sparse_coo or vector.dense_dim() for vector in vectors):
        raise BadInputError("its vectors are neither all dense nor all sparse (COO)", str(path))
    columns = [_array(vector._indices()[0], path) for vector in vectors]
    rows = np.repeat(np.arange(len(vectors), dtype=np.int64), [len(c) for c in columns])
    return {
        "indices": np.stack([rows, np.concatenate(columns)]),
        "values": np.concatenate([_array(vector._values(), path) for vector in vectors]),
        "shape": np.array([len(vectors), width], np.int64),
    }


def _array(tensor: torch.Tensor, path: Path) -> np.ndarray[Any, Any]:
    import torch

    kinds = (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool,
    )  # fmt: skip
    if tensor.dtype not in kinds:
        raise BadInputError(
            f"numbers of {str(tensor.dtype).removeprefix('torch.')}, which are not read: save "
            "them as float32",
            str(path),
        )
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        bits: np.ndarray[Any, Any] = plain.view(torch.int16).numpy().view(BFLOAT16)
        return bits
    array: np.ndarray[Any, Any] = plain.numpy()
    return array
