"""What this machine has of what the tool can use."""

from __future__ import annotations

import platform

from splade_bridge.engines.findings import Finding, version_of
from splade_bridge.engines.registry import NAMES, engine
from splade_bridge.errors import install


def examine() -> list[Finding]:
    """Look for everything; runs ``java -version`` and imports torch. Asks no network."""
    own = [finding for name in NAMES for finding in engine(name).findings()]
    encode = f"optional: {install('encode')}"
    return [
        Finding("Python", "everything", platform.python_version(), ""),
        *own,
        Finding("torch", "encode", version_of("torch"), encode),
        Finding("GPU", "fast encoding", _gpu(), "optional: an NVIDIA GPU and torch's CUDA build"),
        Finding("transformers", "encode", version_of("transformers"), encode),
        Finding("pytrec_eval", "evaluate", version_of("pytrec-eval-terrier"),
                "pip install pytrec-eval-terrier"),
        Finding("ir_measures", "evaluate", version_of("ir-measures"), "pip install ir-measures"),
        Finding("ir_datasets", "corpora by ir_datasets id", version_of("ir-datasets"),
                f"optional: {install('datasets')}"),
        Finding("sentence-transformers", "training, dense", version_of("sentence-transformers"),
                f"optional: {install('train')}"),
        Finding("faiss", "dense", version_of("faiss-cpu") or version_of("faiss-gpu"),
                f"optional: {install('dense')}"),
        Finding("starlette", "serve", version_of("starlette"), f"optional: {install('serve')}"),
        Finding("uvicorn", "serve", version_of("uvicorn"), f"optional: {install('serve')}"),
    ]  # fmt: skip


def fetch() -> list[str]:
    """Bring what engines would fetch when they need it; what is there now, a line each.

    Raises:
        MissingToolError: it cannot be fetched.
    """
    return [line for name in NAMES for line in engine(name).fetch()]


def _gpu() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
