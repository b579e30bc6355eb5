"""What a JVM keeps of the searches of an earlier one: its classes, loaded and linked, and profiles.

From version 25 on Java writes such a cache at the end of a run (-XX:AOTCacheOutput) and starts
with it (-XX:AOTCache; JEP 483, 514 and 515), which makes its start and its first queries
faster. One is made once for a Java, the jars and the flags, by a process in the background of a
first search (:mod:`.java_training`). It lies in the user's cache folder, where it may be removed at
any time. Where Java is older, where there is no such folder, or where ``SPLADE_BRIDGE_JAVA_CACHE``
is ``off``, there is none.

The name of a cache says which bytes it must hold, so one that is damaged is not handed to Java,
which would believe it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import splade_bridge
from splade_bridge.engines.java import HELPER, OPTIONS, java, java_modules, java_version
from splade_bridge.engines.process import has_plain_name
from splade_bridge.files.checks import cache_folder
from splade_bridge.files.writing import asset

log = logging.getLogger(__name__)

SINCE = 25
SUFFIX, NONE = ".aot", ".none"
MOST = 4
"""Caches that are kept; each has some 25 MB."""
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import splade_bridge; del sys.path[0]\n"
    "from splade_bridge.engines.java_training import main; main(*sys.argv[2:])"
)
"""What the process in the background runs: nothing of the working directory is imported."""
PACKAGE_ROOT = Path(splade_bridge.__file__).parents[1]

_started: dict[str, subprocess.Popen[bytes]] = {}
"""By the key of what each makes."""


@dataclass(frozen=True)
class JavaCache:
    """The cache of one Java, with these jars and flags, whether it is there or not.

    Attributes:
        folder: that it lies in.
        key: a hash over all that it depends on.
    """

    folder: Path
    key: str

    def flags(self) -> list[str]:
        """What a JVM is told; nothing where there is no cache, or a damaged one."""
        found = self.find()
        return [] if found is None else [f"-XX:AOTCache={found}"]

    def find(self) -> Path | None:
        """The cache; one that is damaged is removed."""
        with contextlib.suppress(OSError):
            for file in self.folder.glob(f"{self.key}-*{SUFFIX}"):
                if file.name == self._name(file.read_bytes()):
                    return file
                log.debug("%s: damaged, so it is made again", file)
                file.unlink()
        return None

    def keep(self, made: Path) -> None:
        """Take what a JVM has written; the oldest caches are removed.

        Raises:
            OSError: it cannot be kept.
        """
        made.replace(self.folder / self._name(made.read_bytes()))
        there = sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime_ns)
        for old in there[:-MOST]:
            old.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Note that none can be made, so that nobody tries again."""
        with contextlib.suppress(OSError):
            for file in self.folder.glob(f"{self.key}-*{SUFFIX}"):
                file.unlink()
            (self.folder / f"{self.key}{NONE}").touch()

    def make_in_background(self, index: Path, heap: int) -> None:
        """Let a process search ``index`` and keep the cache, unless there is one."""
        if self.key in _started or (self.folder / f"{self.key}{NONE}").exists():
            return
        if self.find() is not None:
            return
        with contextlib.suppress(OSError):  # then there is none
            self.folder.mkdir(parents=True, exist_ok=True)
            arguments = (str(PACKAGE_ROOT), str(index.absolute()), str(heap), self.key)
            _started[self.key] = subprocess.Popen(
                [sys.executable, "-P", "-c", START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # it goes on after us
                cwd=self.folder,
            )

    def _name(self, content: bytes) -> str:
        return f"{self.key}-{len(content)}-{zlib.crc32(content):08x}{SUFFIX}"


def java_cache(class_path: Sequence[Path], heap: int) -> JavaCache | None:
    """The cache of JVMs with these jars; None where there can be none.

    Args:
        class_path: jars of a Lucene.
        heap: most bytes of the JVM's heap.

    Raises:
        MissingToolError: there is no Java.
    """
    caches = cache_folder()
    if caches is None or os.environ.get("SPLADE_BRIDGE_JAVA_CACHE") == "off":
        return None
    program, folder = java(), caches / "java"
    files = [program, asset(OPTIONS), asset(HELPER), *class_path]
    if (java_version(program) or 0) < SINCE or not all(map(has_plain_name, [folder, *files])):
        return None
    told = [f"{heap} {sorted(java_modules(program))}"]
    for file in files:
        try:
            found = file.stat()
        except OSError:  # Java says what is wrong with it
            return None
        told.append(f"{file.absolute()} {found.st_size} {found.st_mtime_ns}")
    return JavaCache(folder, hashlib.sha256("\n".join(told).encode()).hexdigest()[:32])
