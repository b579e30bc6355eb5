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

from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.java import JavaProcess, java_version
from splade_bridge.engines.list_stream import MAGIC
from splade_bridge.engines.lucene_index import Statistics

ROOT = Path(__file__).parents[1]


@pytest.mark.long
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


IDS = struct.pack("<iiiii", 1, 2, 2, 1, 1) + b"de"


def lists(terms: bytes, documents: list[int], impacts: list[int], *lengths: int) -> bytes:
    """A frame of the lists of terms of one letter."""
    numbers = [*lengths, *documents, *impacts]
    head = struct.pack("<iiii", 2, len(terms), len(documents), len(terms))
    return head + struct.pack(f"<{len(terms)}i", *[1] * len(terms)) + terms + packed(numbers)


def packed(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def end(documents: int, postings: int, impacts: int) -> bytes:
    return struct.pack("<iqqq", 3, documents, postings, impacts)


LISTS = lists(b"xy", [0, 1, 1], [3, 1, 3], 2, 1)
GOOD = MAGIC + IDS + LISTS + end(2, 3, 7)


def indexing(folder: Path) -> JavaProcess:
    class_path = lucene_for_writing().class_path
    return JavaProcess("index", folder, "16", class_path=class_path, heap=256 << 20, about="here")


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"", "no stream of posting lists"),
        (b"SBLISTS9", "no stream of posting lists"),
        (MAGIC, "ended early"),
        (MAGIC + IDS, "ended early"),
        (MAGIC + IDS + LISTS[:-1], "ended early"),
        (MAGIC + IDS + LISTS, "ended early"),
        (MAGIC + IDS + LISTS + end(1, 3, 7), "received 2 documents"),
        (MAGIC + IDS + LISTS + end(2, 3, 8), "sum 7"),
        (MAGIC + IDS + packed([9]), "frame 9"),
        (MAGIC + IDS + LISTS + IDS, "frame 1"),
        (MAGIC + IDS + lists(b"x", [2], [1], 1) + end(2, 1, 1), "document 2 after -1 of 2"),
        (MAGIC + IDS + lists(b"x", [-1], [1], 1) + end(2, 1, 1), "document -1 after -1 of 2"),
        (MAGIC + IDS + lists(b"x", [1, 1], [1, 1], 2) + end(2, 2, 2), "document 1 after 1"),
        (MAGIC + IDS + lists(b"x", [0], [0], 1) + end(2, 1, 0), "impact 0"),
        (MAGIC + IDS + lists(b"yx", [0, 0], [1, 1], 1, 1) + end(2, 2, 2), "x comes after y"),
        (MAGIC + IDS + lists(b"xx", [0, 1], [1, 1], 1, 1) + end(2, 2, 2), "x comes after x"),
    ],
)
@pytest.mark.sample(2)
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
        process.requests.write(GOOD)
        process.requests.flush()
        found = Statistics.unpack(process.answers.read())
        assert process.wait() == 0
    assert found == Statistics(documents=2, ids=2, postings=3, frequencies=7, terms=2)


def test_a_list_may_come_in_many_frames(tmp_path: Path, lucene: None) -> None:
    parts = lists(b"x", [0], [3], 1), lists(b"x", [1], [1], 1), lists(b"xy", [2, 0], [1, 2], 1, 1)
    ids = struct.pack("<iii", 1, 1, 1) + packed([1]) + b"f"
    with indexing(tmp_path / "index") as process:
        process.requests.write(MAGIC + IDS + ids + b"".join(parts) + end(3, 4, 7))
        process.requests.flush()
        found = Statistics.unpack(process.answers.read())
        assert process.wait() == 0
    assert found == Statistics(documents=3, ids=3, postings=4, frequencies=7, terms=2)


def test_a_build_ends_with_its_owner(tmp_path: Path, lucene: None) -> None:
    """Also when all is sent, and it is at its merging."""
    with indexing(tmp_path / "index") as process:
        process.requests.write(GOOD)
        process.requests.close()  # as the end of its owner does
        assert process.answers.read() == b""
        assert process.wait() == 1
