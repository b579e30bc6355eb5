"""Where a checkpoint lies on this disk, and the hash that identifies its weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.writing import sha256_file

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
CONNECT_SECONDS = 5.0
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.codes", "*.spm", "*.tiktoken", "*.bpe")
SAFE_WEIGHTS, PICKLED_WEIGHTS = ("model*.safetensors",), ("pytorch_model*.bin",)
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
SPARSE_LINEAR = "sparse_linear.pt"
BESIDE = (ADAPTER_WEIGHTS[0], SPARSE_LINEAR, "*.py")
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


def find_snapshot(name: str) -> Snapshot:
    """The folder ``name``, or the hub repository ``name``, downloaded unless it is cached.

    Raises:
        BadInputError: neither a folder nor a hub model that is reachable or cached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Snapshot(name, folder)
    if folder.exists():
        raise BadInputError("a model is a folder or a hub name, and this is a file", name)
    nowhere = "neither a folder nor a reachable or cached model of the Hugging Face hub"
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise BadInputError(f"{nowhere}: check the path", name)
    try:
        found = _download(name)
    except (OSError, ValueError) as error:
        # huggingface_hub's errors are OSErrors: unknown name, no access, no network and not cached.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInputError(f"{nowhere} ({reason[0]}): check the name", name) from error
    return Snapshot(name, found, found.name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        wanted = list(patterns)
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=CONNECT_SECONDS))

    # Modules of sentence-transformers lie in folders of their own; "*" also matches "/".
    everywhere = [f"*/{pattern}" for pattern in (*SMALL_FILES, *SAFE_WEIGHTS)]
    found = fetch(*SMALL_FILES, *SAFE_WEIGHTS, *everywhere, *BESIDE)
    if (found / "adapter_config.json").is_file() and not (found / ADAPTER_WEIGHTS[0]).is_file():
        fetch(ADAPTER_WEIGHTS[1])
    modules = sorted({file.parent for file in found.rglob("config.json")})
    lacking = [m.relative_to(found) for m in modules if not any(m.glob("*.safetensors"))]
    if lacking:  # pooling has no weights at all
        fetch(*((m / pattern).as_posix() for m in lacking for pattern in PICKLED_WEIGHTS))
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
