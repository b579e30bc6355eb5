"""The Java helper: the jar is its source, and it fails loudly."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from splade_bridge.engines.impact_stream import MAGIC
from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.java import JavaProcess, java_version
from splade_bridge.engines.lucene_index import Statistics

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    shutil.which("javac") is None or java_version(Path(shutil.which("java") or "")) != 17,
    reason="the jar was built with JDK 17, which is not here; others may write other bytes",
)
def test_the_jar_is_built_from_the_source_bit_for_bit(tmp_path: Path, anserini: Path) -> None:
    subprocess.run(
        [ROOT / "scripts" / "build-java", tmp_path / "again.jar"],
        check=True, capture_output=True, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    committed = (ROOT / "java_conf" / "splade-bridge-lucene.jar").read_bytes()
    assert (tmp_path / "again.jar").read_bytes() == committed


TERMS = struct.pack("<iiiii", 1, 2, 2, 1, 1) + b"xy"
ROW = struct.pack("<iiiii", 2, 1, 2, 1, 1) + b"d" + struct.pack("<iiiii", 2, 0, 1, 3, 4)


def indexing(folder: Path) -> JavaProcess:
    class_path = lucene_for_writing().class_path
    return JavaProcess(
        "index", folder, "1", "16", class_path=class_path, heap=256 << 20, about="here"
    )


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"", "not an impact stream"),
        (b"SBIMPCT9", "not an impact stream"),
        (MAGIC, "ended early"),
        (MAGIC + TERMS, "ended early"),
        (MAGIC + TERMS + ROW[:-1], "ended early"),
        (MAGIC + TERMS + ROW, "ended early"),
        (MAGIC + TERMS + ROW + struct.pack("<iqqq", 3, 2, 2, 7), "received 1 rows"),
        (MAGIC + TERMS + ROW + struct.pack("<iqqq", 3, 1, 2, 8), "sum 7"),
        (MAGIC + ROW, "term 0"),
        (MAGIC + TERMS + struct.pack("<i", 9), "unknown frame 9"),
        (MAGIC + TERMS + ROW.replace(struct.pack("<i", 4), struct.pack("<i", 0)), "impact 0"),
    ],
)
@pytest.mark.sample(4)
def test_a_broken_stream_ends_the_helper_with_a_message(
    tmp_path: Path, lucene: None, stream: bytes, what: str
) -> None:
    process = indexing(tmp_path / "index")
    with process:
        with contextlib.suppress(BrokenPipeError):
            process.requests.write(stream)
            process.requests.close()
        assert process.answers.read() == b""
        assert process.wait() == 1
        assert what in str(process.failure())
    assert not list((tmp_path / "index").glob("segments_*")), "what is broken is not committed"


def test_a_good_stream_is_indexed(tmp_path: Path, lucene: None) -> None:
    with indexing(tmp_path / "index") as process:
        process.requests.write(MAGIC + TERMS + ROW + struct.pack("<iqqq", 3, 1, 2, 7))
        process.requests.flush()
        found = Statistics.unpack(process.answers.read())
        assert process.wait() == 0
    assert found == Statistics(documents=1, ids=1, postings=2, frequencies=7, terms=2)


def test_a_build_ends_with_its_owner(tmp_path: Path, lucene: None) -> None:
    """Also when all is sent, and it is at its merging."""
    with indexing(tmp_path / "index") as process:
        process.requests.write(MAGIC + TERMS + ROW + struct.pack("<iqqq", 3, 1, 2, 7))
        process.requests.close()  # as the end of its owner does
        assert process.answers.read() == b""
        assert process.wait() == 1
