"""Files appear whole or not at all: full disks, kills, interrupts, two writers, cut-off streams."""

from __future__ import annotations

import errno
import fcntl
import gzip
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from small import hear_sigint
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files import writing as files
from splade_bridge.files.lines import numbered_lines, open_reader, plain_suffix
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import MARK
from splade_bridge.files.writing import atomic_writer, staged_folder
from strategies import quick

SUFFIXES = ("", ".gz", ".zst")
CONTENT = b"".join(b'{"id":"%d","vector":{"t%d":%d}}\n' % (i, i * 7919, i) for i in range(3000))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def compressed(content: bytes, suffix: str) -> bytes:
    return {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](content)


def read(path: Path) -> bytes:
    with open_reader(path) as stream:
        return stream.read()


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_decides_the_compression(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix.upper()}"
    path.write_bytes(compressed(CONTENT, suffix))
    assert read(path) == CONTENT
    assert b"".join(line for _, line in numbered_lines(path)) == CONTENT
    assert plain_suffix(path) == ".jsonl"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_streams_one_after_another_are_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        compressed(b"one\n", suffix) + compressed(b"", suffix) + compressed(b"2", suffix)
    )
    assert read(path) == b"one\n2"


@quick
@given(content=st.binary(max_size=300), suffix=st.sampled_from([".gz", ".zst"]), data=st.data())
def test_a_compressed_file_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"a{suffix}"
    whole = compressed(content, suffix)
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
    with pytest.raises(BadInputError, match=f"a{suffix}: the compressed file is cut off"):
        read(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_large_file_cut_in_midstream_is_refused_by_lines_too(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    whole = compressed(CONTENT * 20 + os.urandom(100_000), suffix)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInputError, match="cut off"):
        for _ in numbered_lines(path):
            pass


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["garbage", "appended", "plain"])
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"a{suffix}"
    whole = bytearray(compressed(CONTENT, suffix))
    if damage == "garbage":
        whole[len(whole) // 2 : len(whole) // 2 + 40] = b"\xff" * 40
    elif damage == "appended":
        whole += b"something else"
    else:
        whole = bytearray(CONTENT)
    path.write_bytes(whole)
    with pytest.raises(BadInputError, match="damaged"):
        read(path)


def test_a_byte_order_mark_is_dropped_only_at_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n\xef\xbb\xbftwo")
    assert list(numbered_lines(path)) == [(1, b"one\r\n"), (2, b"\n"), (3, b"\xef\xbb\xbftwo")]


def test_a_line_of_a_million_characters_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    line = b"x" * 5_000_000
    path.write_bytes(zstandard.compress(line + b"\nend"))
    assert list(numbered_lines(path)) == [(1, line + b"\n"), (2, b"end")]


@pytest.mark.parametrize("kind", ["missing", "folder", "below a file", "long name"])
def test_what_cannot_be_opened_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    path = {
        "missing": tmp_path / "missing",
        "folder": tmp_path,
        "below a file": tmp_path / "file" / "a",
        "long name": tmp_path / ("x" * 300),
    }[kind]
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot be read (")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch(mode=0)
    with pytest.raises(BadInputError, match="cannot be read"):
        read(path)


# ---------------------------------------------------------------- one file, written


@quick
@given(content=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES))
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "below" / f"a{suffix}"
    with atomic_writer(path) as out:
        out.write(content[:100])
        out.write(content[100:])
    assert read(path) == content
    assert names(folder / "below") == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_content_gives_the_same_bytes(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(n) / f"a{suffix}" for n in range(2)]
    for n, path in enumerate(paths):
        monkeypatch.setattr(time, "time", lambda n=n: 1e9 * n)
        with atomic_writer(path) as out:
            out.write(CONTENT)
    assert paths[0].read_bytes() == paths[1].read_bytes()


class FullDisk(io.FileIO):
    """A file on a disk that has room for ``room`` bytes."""

    room = 0

    def write(self, data: Any) -> int:
        size = len(memoryview(data).cast("B"))
        if self.tell() + size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every file that is opened for writing from now on hold only some bytes."""

    def begin(room: int) -> None:
        class Small(files.NamedFile, FullDisk):
            pass

        monkeypatch.setattr(FullDisk, "room", room)
        monkeypatch.setattr(files, "NamedFile", Small)
        monkeypatch.setattr(files, "BUFFER", 64)

    return begin


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [0, 1, 100, 5000])
def test_a_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, suffix: str, room: int, full_disk: Callable[[int], None]
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old one")
    full_disk(room)
    with (
        pytest.raises(ExternalProgramError, match=r"cannot be written \(No space.*free some space"),
        atomic_writer(path) as out,
    ):
        for start in range(0, len(CONTENT), 1000):
            out.write(CONTENT[start : start + 1000])
        out.write(os.urandom(10_000))
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, OSError])
def test_an_interrupted_writer_leaves_nothing(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    expected = ExternalProgramError if error is OSError else error
    with pytest.raises(expected), atomic_writer(tmp_path / f"a{suffix}") as out:
        out.write(CONTENT)
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["below a file", "a folder", "long name", "no name"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("stays")
    (tmp_path / "folder").mkdir()
    path = {
        "below a file": tmp_path / "file" / "a",
        "a folder": tmp_path / "folder",
        "long name": tmp_path / ("x" * 250),
        "no name": tmp_path / ("x" * 300) / "a",
    }[kind]
    with pytest.raises(ExternalProgramError, match="cannot be written"), atomic_writer(path) as out:
        out.write(b"1")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "stays"


WRITER = """
import os, select, sys
from pathlib import Path
from splade_bridge.files.writing import atomic_writer, staged_folder
def wait():
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        pass
what, path = sys.argv[1], Path(sys.argv[2])
if what == "file":
    with atomic_writer(path) as out:
        out.write(os.urandom(1 << 20)); out.flush()
        wait()
else:
    with staged_folder(path, overwrite=True) as folder:
        (folder / "part").write_bytes(b"1" * 1000)
        wait()
"""


def start_writer(what: str, path: Path) -> subprocess.Popen[bytes]:
    """A process that has begun to write ``path`` and goes on when its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, what, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=hear_sigint,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path, sign: signal.Signals) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"old")
    process = start_writer("file", path)
    process.send_signal(sign)
    process.wait()
    process.communicate()
    assert path.read_bytes() == b"old"
    if sign == signal.SIGINT:
        assert names(tmp_path) == ["a.gz"]


# ---------------------------------------------------------------- folders


def test_a_staged_folder_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "below" / "out"
    with staged_folder(out, overwrite=False) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert names(tmp_path / "below") == ["out"]
    assert names(out) == [MARK, "a"]


def test_an_empty_folder_may_be_filled_and_the_current_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "here"
    out.mkdir()
    monkeypatch.chdir(out)
    with staged_folder(Path(), overwrite=False) as folder:
        (folder / "a").write_text("1")
    assert names(out) == [MARK, "a"]
    assert names(tmp_path) == ["here"]


def old_artefact(place: Path) -> Path:
    """An artefact of ours, as an earlier build left it."""
    with staged_folder(place / "out", overwrite=False) as folder:
        (folder / "old").write_text("old")
    return place / "out"


def test_what_exists_is_refused_and_replaced_only_on_request(tmp_path: Path) -> None:
    out = old_artefact(tmp_path)
    with pytest.raises(UsageError, match="--overwrite"), staged_folder(out, overwrite=False):
        pytest.fail("the block must not run")
    with staged_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["out"]
    assert names(out) == [MARK, "new"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, OSError])
def test_a_failed_build_leaves_the_old_folder(tmp_path: Path, error: type[BaseException]) -> None:
    out = old_artefact(tmp_path)
    expected = ExternalProgramError if error is OSError else error
    with pytest.raises(expected), staged_folder(out, overwrite=True) as folder:
        (folder / "a").write_text("1")
        raise error
    assert names(tmp_path) == ["out"]
    assert names(out) == [MARK, "old"]


def test_a_full_disk_in_a_staged_folder_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    full_disk(1000)
    with (
        pytest.raises(ExternalProgramError, match="No space"),
        staged_folder(tmp_path / "out", overwrite=False) as folder,
        atomic_writer(folder / "a") as out,
    ):
        out.write(CONTENT)
    assert names(tmp_path) == []


def test_a_folder_below_a_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"file/out: .*file is a file and not a folder"),
        staged_folder(tmp_path / "file" / "out", overwrite=False),
    ):
        pytest.fail("the block must not run")


def test_a_killed_build_leaves_the_old_folder_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    out = old_artefact(tmp_path)
    process = start_writer("folder", out)
    process.kill()
    process.communicate()
    assert names(out) == [MARK, "old"]
    with staged_folder(out, overwrite=True) as folder:
        assert names(folder) == [MARK]
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["out"]
    assert names(out) == [MARK, "new"]


def test_a_second_process_is_refused_while_the_first_one_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start_writer("folder", out)
    try:
        with (
            pytest.raises(UsageError, match="another process is writing it now"),
            staged_folder(out, overwrite=True),
        ):
            pytest.fail("the block must not run")
    finally:
        process.communicate(b"\n")
    assert process.returncode == 0
    assert names(out) == [MARK, "part"]
    assert names(tmp_path) == ["out"]


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    processes = [start_writer("file", path) for _ in range(2)]
    for process in processes:
        process.communicate(b"\n")
        assert process.returncode == 0
    assert path.stat().st_size == 1 << 20
    assert names(tmp_path) == ["a"]


def test_a_lock_on_a_file_that_its_holder_just_removed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"

    real, calls = fcntl.flock, []

    def removed_meanwhile(handle: Any, operation: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            lock.unlink()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with folder_lock(lock, tmp_path / "out"):
        assert len(calls) == 2 and lock.exists(), "it is one that others see"
    assert not lock.exists()
