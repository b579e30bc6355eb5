"""Java that tests compile, with the newest javac of the machine: Lucene 10 is Java 21."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from splade_bridge.engines.jars import Lucene
from splade_bridge.engines.java import java_version

QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a JVM that is over before its code is worth compiling well."""


def compiled(source: Path, lucene: Lucene, folder: Path, *jars: Path) -> str:
    """The class path of ``source``, compiled into ``folder``, with what it was compiled against.

    The test is skipped where no javac is new enough.
    """
    release = 21 if int(str(lucene.version).partition(".")[0]) >= 10 else 17
    found = [Path("/usr/lib/jvm"), *map(Path, filter(None, [shutil.which("javac")]))]
    programs = [*found[0].glob("*/bin/javac"), *found[1:]]
    versions = {p: java_version(p.resolve().with_name("java")) or 0 for p in programs}
    newest = max(versions, key=versions.__getitem__, default=None)
    if newest is None or versions[newest] < release:
        pytest.skip(f"there is no javac of Java {release} to make {source.name} with")
    class_path = os.pathsep.join(map(str, [*lucene.class_path, *jars]))
    subprocess.run(
        [newest, *(f"-J{flag}" for flag in QUICK), "--release", str(release),
         "-cp", class_path, "-d", folder, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return f"{class_path}{os.pathsep}{folder}"
