"""Compressed files, decompressed by a thread: the same bytes, the same faults, and its end."""

from __future__ import annotations

import gzip
import io
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.errors import BadInputError
from splade_bridge.files.decompressed import GZIP_BLOCK, gunzipped
from splade_bridge.files.lines import numbered_lines, open_reader
from splade_bridge.formats.jsonvector import read_vectors
from splade_bridge.text.corpora import read_texts
from strategies import quick

LINES = [b'{"id":"%d","text":"%s"}\n' % (i, os.urandom(20).hex().encode()) for i in range(60_000)]
CONTENT = b"".join(LINES)
COMPRESS = {".gz": lambda content: gzip.compress(content, 1), ".zst": zstandard.compress}


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "read-ahead"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while threads():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module", params=[".gz", ".zst"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / f"corpus.jsonl{request.param}"
    path.write_bytes(COMPRESS[request.param](CONTENT))
    return path


def test_a_thread_makes_the_same_bytes(large: Path) -> None:
    seen = []
    with open_reader(large) as stream:
        found = [stream.read(1 << 16)]
        while block := stream.read(1 << 16):
            seen += threads()
            found.append(block)
    assert b"".join(found) == CONTENT
    assert "read-ahead" in seen
    assert [line for _, line in numbered_lines(large)] == LINES


def test_who_looks_at_the_beginning_starts_no_thread(large: Path) -> None:
    with open_reader(large) as stream:
        assert stream.readline() == LINES[0]
        assert threads() == []


def test_a_reader_that_stops_ends_the_thread(large: Path) -> None:
    lines = numbered_lines(large)
    for _ in range(30_000):
        next(lines)
    assert threads() == ["read-ahead"]
    lines.close()  # type: ignore[attr-defined]


def test_an_error_of_the_reader_ends_the_thread(large: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        for number, _ in numbered_lines(large):
            if number == 30_000:
                raise KeyboardInterrupt


def test_lines_before_a_cut_come_first(large: Path) -> None:
    cut = large.with_name(f"cut.jsonl{large.suffix}")
    whole = large.read_bytes()
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    read = []
    with pytest.raises(BadInputError, match="the compressed file is cut off or damaged") as caught:
        for _, line in numbered_lines(cut):
            read.append(line)
    assert str(caught.value).startswith(f"{cut}: ")
    assert read == LINES[: len(read)]
    assert len(read) > 30_000


def test_garbage_behind_the_end_is_met_after_the_last_line(large: Path) -> None:
    other = large.with_name(f"garbage.jsonl{large.suffix}")
    other.write_bytes(large.read_bytes() + b"something else")
    read = []
    with pytest.raises(BadInputError, match="cut off or damaged"):
        for _, line in numbered_lines(other):
            read.append(line)
    assert read == LINES


def test_places_are_named(large: Path) -> None:
    broken = large.with_name(f"broken.jsonl{large.suffix}")
    lines = [*LINES[:49_999], b"{\n", *LINES[50_000:]]
    broken.write_bytes(COMPRESS[large.suffix](b"".join(lines)))
    for read in (lambda: read_texts(str(broken)), lambda: read_vectors(broken, ("id",))):
        with pytest.raises(BadInputError) as caught:
            for _ in read():  # type: ignore[attr-defined]
                pass
        assert f"{broken}:" in str(caught.value)
    with pytest.raises(BadInputError, match=rf"{broken.name}:50000: not a line of JSON"):
        for _ in read_texts(str(broken)):
            pass


def test_a_file_that_changes_is_noticed_though_all_of_it_was_read_ahead(large: Path) -> None:
    changing = large.with_name(f"changing.jsonl{large.suffix}")
    changing.write_bytes(large.read_bytes())
    with pytest.raises(BadInputError, match="changed while it was read"):
        for number, _ in numbered_lines(changing):
            if number == 40_000:
                with changing.open("ab") as out:
                    out.write(b"\0")


def test_what_expands_a_thousandfold_comes_in_blocks() -> None:
    stream = io.BytesIO(gzip.compress(bytes(64 << 20)))
    sizes = [len(block) for block in gunzipped(stream)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= GZIP_BLOCK


MEMBERS = st.lists(
    st.one_of(
        st.binary(max_size=200).map(gzip.compress),
        st.integers(1, 3000).map(lambda n: gzip.compress(bytes(n * 100))),
        st.integers(1, 40).map(bytes),
        st.binary(max_size=5),
        st.sampled_from([b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08\x00"]),
    ),
    max_size=4,
)


@quick
@given(members=MEMBERS, cut=st.integers(0, 12))
def test_gzip_is_read_as_pythons_own_module_reads_it(members: list[bytes], cut: int) -> None:
    """Members, zeros, anything else, and all of it cut: the same bytes, or an error of both."""
    given_bytes = b"".join(members)
    given_bytes = given_bytes[: len(given_bytes) - cut]
    try:
        wanted = gzip.GzipFile(fileobj=io.BytesIO(given_bytes)).read()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        with pytest.raises((EOFError, gzip.BadGzipFile, zlib.error)):
            list(gunzipped(io.BytesIO(given_bytes)))
    else:
        assert b"".join(gunzipped(io.BytesIO(given_bytes))) == wanted
