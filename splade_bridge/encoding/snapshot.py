"""Where a checkpoint lies on this disk, and the hash that identifies its weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.writing import sha256_file

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
NOWHERE = "neither a folder nor a reachable or cached model of the Hugging Face hub"
CONNECT_SECONDS = 5.0
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.codes", "*.spm", "*.tiktoken", "*.bpe")
SAFE_WEIGHTS, PICKLED_WEIGHTS = ("model*.safetensors",), ("pytorch_model*.bin",)
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
SPARSE_LINEAR = "sparse_linear.pt"
GRAPH = "model.onnx*"
"""A graph of ONNX with what is stored beside it; fetched where there are no other weights."""
NAVERS = "config.yaml"
"""Where naver's trainings say how logits are pooled."""
BESIDE = (ADAPTER_WEIGHTS[0], SPARSE_LINEAR, NAVERS, "*.py")
"""What is fetched as well: code is kept, and runs where it is allowed to."""


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint folder.

    Attributes:
        name: what the user called it, a folder or ``owner/name`` of the model hub.
        folder: where its files are.
        revision: commit of the hub repository; None for a folder of the user's own.
    """

    name: str
    folder: Path
    revision: str | None = None


def find_snapshot(name: str, revision: str | None = None) -> Snapshot:
    """The folder ``name``, or the hub repository ``name``, downloaded unless it is cached.

    Args:
        revision: branch, tag or commit of a hub repository; None for its main branch.

    Raises:
        BadInputError: neither a folder nor a hub model that is reachable or cached; the message
            tells a wrong name from a missing network.
        UsageError: a revision of a folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(
                f"--revision {revision}: {name} is a folder, and revisions are of models that have "
                "a hub name: leave it out"
            )
        return Snapshot(name, folder)
    if folder.exists():
        raise BadInputError("a model is a folder or a hub name, and this is a file", name)
    if folder.suffix == ".onnx":
        raise BadInputError("no such file", name)
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise BadInputError(f"{NOWHERE}: check the path", name)
    try:
        found = _download(name, revision)
    except (OSError, ValueError) as error:
        raise BadInputError(_why(error, revision), name) from error
    return Snapshot(name, found, found.name)


def model_place(name: str, revision: str | None = None) -> Path:
    """The folder of model ``name``, or the file if it is a graph of ONNX.

    Raises:
        BadInputError, UsageError: see :func:`find_snapshot`.
    """
    file = Path(name).expanduser()
    return file if is_graph(file) else find_snapshot(name, revision).folder


def is_graph(file: Path) -> bool:
    """Whether a model is named by its graph of ONNX."""
    return file.suffix == ".onnx" and file.is_file()


def model_files(place: Path) -> list[Path]:
    """All files that may decide what a model says: of its folder, or of those of a graph.

    Args:
        place: see :func:`model_place`.
    """
    if place.is_dir():
        return [file for file in place.rglob("*") if file.is_file()]
    folders = [place.parent, *([place.parent.parent] if place.parent.name == "onnx" else [])]
    return [file for folder in folders for file in folder.iterdir() if file.is_file()]


def _why(error: OSError | ValueError, revision: str | None) -> str:
    """Why a model of the hub is not here, and what to do; ``error`` is huggingface_hub's."""
    from huggingface_hub import constants, errors

    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    wanted = "" if revision is None else f" at revision {revision}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the Hugging Face hub has it, but not at revision {revision}: check --revision"
    if isinstance(error, errors.GatedRepoError):
        return (
            "the Hugging Face hub gives it only to who has asked for access: ask on its page, then "
            "set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "neither a folder nor a model of the Hugging Face hub that may be read without logging "
            "in: check the name, or set HF_TOKEN if it is private"
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            return (
                f"no folder, and not{wanted} in the cache of the Hugging Face hub, which is not "
                "asked because HF_HUB_OFFLINE is set: unset it, or check the name"
            )
        return (
            f"no folder, and not{wanted} in the cache of the Hugging Face hub, which cannot be "
            f"reached ({_cause(error)}): check the network and HF_ENDPOINT"
        )
    return f"{NOWHERE} ({told}): check the name"


def _cause(error: BaseException) -> str:
    """What huggingface_hub says that it was told."""
    inner = error.__cause__ or error
    return (str(inner).strip().splitlines() or [type(inner).__name__])[0]


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        wanted = list(patterns)
        found = snapshot_download(
            name, revision=revision, allow_patterns=wanted, etag_timeout=CONNECT_SECONDS
        )
        return Path(found)

    # Modules of sentence-transformers lie in folders of their own; "*" also matches "/".
    everywhere = [f"*/{pattern}" for pattern in (*SMALL_FILES, *SAFE_WEIGHTS)]
    found = fetch(*SMALL_FILES, *SAFE_WEIGHTS, *everywhere, *BESIDE)
    if (found / "adapter_config.json").is_file() and not (found / ADAPTER_WEIGHTS[0]).is_file():
        fetch(ADAPTER_WEIGHTS[1])
    modules = sorted({file.parent for file in found.rglob("config.json")})
    lacking = [m.relative_to(found) for m in modules if not any(m.glob("*.safetensors"))]
    if lacking:  # pooling has no weights at all
        fetch(*((m / pattern).as_posix() for m in lacking for pattern in PICKLED_WEIGHTS))
    weights = (*SAFE_WEIGHTS, *PICKLED_WEIGHTS, *ADAPTER_WEIGHTS)
    if not any(any(found.rglob(pattern)) for pattern in weights):
        fetch(GRAPH, f"*/{GRAPH}")
    return found


def weight_files(folder: Path) -> list[Path]:
    """The weight files of one folder: safetensors where there are any, else PyTorch's own.

    Raises:
        BadInputError: there are none.
    """
    for patterns in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
        if found := _matching(folder, patterns):
            return found
    raise BadInputError(
        f"no weights in it ({SAFE_WEIGHTS[0]} or {PICKLED_WEIGHTS[0]}): not a checkpoint",
        str(folder),
    )


def settings_files(folder: Path) -> list[Path]:
    """Configuration and tokenizer files of one folder, which decide vectors as the weights do."""
    return _matching(folder, SMALL_FILES)


def files_sha256(files: Iterable[Path], root: Path) -> str:
    """One hash over the names (relative to ``root``) and contents of ``files``.

    What lies elsewhere, as the base of an adapter, counts by its name alone, wherever that is.
    """

    def named(path: Path) -> Path:
        return path.relative_to(root) if path.is_relative_to(root) else Path("..", path.name)

    digest = hashlib.sha256()
    for name, path in sorted((named(path), path) for path in files):
        digest.update(f"{name.as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
