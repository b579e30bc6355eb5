"""What streams, kills and poor file systems do to outputs: nothing is lost, and nothing stays."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bad_input import made
from killed import killed
from splade_bridge.data.store import VectorStore, write_store
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import SpladeBridgeError, UsageError
from splade_bridge.files import filesystem, outputs
from splade_bridge.files.locks import SCRATCH, folder_lock, scratch_folder
from splade_bridge.files.writing import atomic_writer, filled_folder, staged_folder
from splade_bridge.files.written import WrittenFiles


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def program(*arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "splade_bridge", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, **options)


def test_a_fifo_is_written_into_and_stays(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    (tmp_path / "q.tsv").write_text(made.TOPICS)
    os.mkfifo(tmp_path / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    done = program("search", "i", "-q", "q.tsv", "-o", "fifo", "--latencies", "ms", cwd=tmp_path)
    assert (done.wait(60), done.communicate()[1][:5]) == (0, b"fifo:")
    reader.join(10)
    assert got[0].startswith(b"q1 Q0 d3 1 480 ") and (tmp_path / "fifo").is_fifo()
    assert names(tmp_path) == ["fifo", "i", "ms", "q.tsv"]


def test_what_stdout_was_appended_to_is_kept(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    (tmp_path / "q.tsv").write_text(made.TOPICS)
    (tmp_path / "log").write_text("before\n")
    with open(tmp_path / "log", "ab") as log:
        done = program("search", "i", "-q", "q.tsv", "-o", "/dev/stdout", cwd=tmp_path, stdout=log)
        assert done.wait(60) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines[0], len(lines)) == ("before", 5)


def test_a_device_is_no_file_to_be_replaced() -> None:
    before = Path("/dev/null").stat()
    with atomic_writer(Path("/dev/null")) as out:
        out.write(b"x" * 1000)
    assert Path("/dev/null").stat().st_ino == before.st_ino


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / f"t{suffix}", tmp_path / f"l{suffix}"
    link.symlink_to(target)
    for content in (b"old", b"new"):
        with atomic_writer(link) as out:
            out.write(content)
    with atomic_writer(tmp_path / f"plain{suffix}") as out:
        out.write(b"new")
    assert link.is_symlink() and target.read_bytes() == (tmp_path / f"plain{suffix}").read_bytes()
    assert names(tmp_path / "elsewhere") == [f"t{suffix}"]


def test_a_folder_behind_a_link_is_replaced_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("far/away")
    for content in ("old", "new"):
        with staged_folder(tmp_path / "link", overwrite=True) as folder:
            (folder / "x").write_text(content)
    assert (tmp_path / "far" / "away" / "x").read_text() == "new"
    assert (names(tmp_path), names(tmp_path / "far")) == (["far", "link"], ["away"])


# --- kills -----------------------------------------------------------------------------------


def file(out: Path) -> None:
    with atomic_writer(out) as stream:
        stream.write(b"new")


def folder(out: Path) -> None:
    with staged_folder(out, overwrite=True) as staging, scratch_folder(out.parent) as scratch:
        (scratch / "sorted").write_text("x")
        for name in "abc":
            (staging / name).write_text("new")


def filled(out: Path) -> None:
    with filled_folder(out, overwrite=True):
        for name in "abc":
            (out / name).write_text("new")


def store(out: Path) -> None:
    with write_store(out, Vocabulary(["a"]), {"text": "new"}, overwrite=True) as writer:
        writer.finish()


def comparison(out: Path) -> None:
    files = WrittenFiles(out / "results", out / "written.json")
    files.check(["a", "b"], ["charts"])
    files.write({"a": b"new", "b": b"new", "charts/y": b"new"})


def old_comparison(out: Path) -> None:
    files = WrittenFiles(out / "results", out / "written.json")
    files.write({"a": b"old", "b": b"old", "charts/x": b"old"})


def old_folder(out: Path) -> None:
    with staged_folder(out, overwrite=True) as staging:
        for name in "abcd":
            (staging / name).write_text("old")


def old_store(out: Path) -> None:
    with write_store(out, Vocabulary(["b"]), {"text": "old"}) as writer:
        writer.finish()


def tree(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


@pytest.mark.sample(1)
@pytest.mark.parametrize("steps", [range(0, 12), range(12, 24), range(24, 40)], ids=str)
@pytest.mark.parametrize(
    ("write", "old"),
    [
        (file, lambda out: out.write_bytes(b"old")),
        (folder, old_folder),
        (filled, old_folder),
        (store, old_store),
        (comparison, old_comparison),
    ],
    ids=["file", "folder", "filled", "store", "comparison"],
)
def test_after_a_kill_the_same_call_leaves_the_output_and_nothing_else(
    tmp_path: Path, write: Callable[[Path], None], old: Callable[[Path], Any], steps: range
) -> None:
    write(tmp_path / "whole")
    wanted = tree(tmp_path / "whole")
    for step in steps:
        here = tmp_path / str(step)
        here.mkdir()
        for out in (here / "fresh", here / "out"):
            if out.name == "out":
                old(out)
            before = tree(out)
            killed(lambda out=out: write(out), step, (os, "unlink"), (os, "rmdir"), (os, "open"))
            seen = tree(out)
            if write in (folder, store, file) and out.name == "out":
                assert seen in ({}, before, wanted), "half of one under the output's name"
            write(out)
            assert tree(out) == wanted
        assert names(here) == ["fresh", "out"]


def test_an_overwriting_store_that_was_killed_goes_on_with_its_parts(tmp_path: Path) -> None:
    out, vectors = tmp_path / "s", tmp_path / "v"
    made.vectors(vectors)
    batch = next(VectorStore(vectors).batches())
    vocabulary = VectorStore(vectors).vocabulary

    def write(plan: str, after: Callable[[], object] = lambda: None) -> list[int]:
        with write_store(out, vocabulary, {"p": plan}, overwrite=True, part_rows=1) as writer:
            there = sorted(writer.notes)
            writer.add(batch.rows(0, 2))
            after()
            writer.add(batch.rows(2, 3))
            writer.finish()
        return there

    def fail() -> None:
        raise ZeroDivisionError

    assert write("old") == []
    before = tree(out)
    with pytest.raises(ZeroDivisionError):
        write("new", fail)
    assert tree(out) == before
    killed(lambda: write("new", lambda: os.kill(os.getpid(), signal.SIGKILL)), 10**6)
    assert tree(out) == before
    assert write("new") == [0, 1], "what was whole is not made again"
    assert names(tmp_path) == ["s", "v"]
    with pytest.raises(ZeroDivisionError):
        write("other", fail)
    assert write("newest") == [], "parts of another plan are of no use"
    assert names(tmp_path) == ["s", "v"]


def test_what_is_put_into_the_old_one_meanwhile_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "s"
    old_store(out)
    with write_store(out, Vocabulary(["a"]), {"text": "new"}, overwrite=True) as writer:
        (out / "notes.txt").write_text("long work")
        writer.finish()
    assert (outputs.aside(out) / "notes.txt").read_text() == "long work"
    assert "holds notes.txt" in caplog.text
    with pytest.raises(UsageError, match="move it away"):
        store(out)


def test_a_refusal_cleans_up_after_a_kill(tmp_path: Path) -> None:
    """The output is whole, so no run will ever write it again."""
    made.exact(tmp_path / "i")
    (tmp_path / ".i.lock").touch()
    (tmp_path / ".i.partial").mkdir()
    outputs.mark(tmp_path / ".i.partial")
    (tmp_path / ".i.partial-1-abc").touch()
    with pytest.raises(UsageError, match="exists already"):
        outputs.check_output(tmp_path / "i", overwrite=False)
    assert names(tmp_path) == ["i"]


def test_what_is_in_use_is_not_cleaned_up(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    with (
        folder_lock(tmp_path / ".i.lock", tmp_path / "i"),
        scratch_folder(tmp_path) as scratch,
        atomic_writer(tmp_path / "f") as stream,
    ):
        stream.write(b"first")
        (tmp_path / ".i.partial").mkdir()
        before = names(tmp_path)
        with pytest.raises(UsageError, match="exists already"):
            outputs.check_output(tmp_path / "i", overwrite=False)
        file(tmp_path / "f")
        with scratch_folder(tmp_path):
            pass
        assert names(tmp_path) == sorted([*before, "f"]) and scratch.is_dir()
    assert (tmp_path / "f").read_bytes() == b"first"


def test_a_search_that_is_killed_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    (tmp_path / "q.tsv").write_text(made.TOPICS)
    os.mkfifo(tmp_path / "ms")  # it waits for a reader, with the run half written
    search = ("search", "i", "-q", "q.tsv", "-o", "run")
    process = program(*search, "--latencies", "ms", cwd=tmp_path)
    while not list(tmp_path.glob(".run.partial-*")):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert list(tmp_path.glob(".run.partial-*"))
    assert program(*search, cwd=tmp_path).wait(60) == 0
    assert names(tmp_path) == ["i", "ms", "q.tsv", "run"]


# --- what file systems lack ------------------------------------------------------------------


@pytest.fixture(params=[errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK])
def poor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A file system without locks, links and fsync of folders; the number it answers with."""
    real = os.fsync

    def lacking(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    def fsync(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            lacking()
        real(handle)

    monkeypatch.setattr(fcntl, "flock", lacking)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", lacking)
    filesystem._warn.cache_clear()
    yield request.param
    filesystem._warn.cache_clear()


def test_a_poor_file_system_is_worked_on_with_one_warning_each(
    tmp_path: Path, poor: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        for write in (file, folder, filled, store):
            write(tmp_path / write.__name__)
        made.exact(tmp_path / f"index{_}")
    filesystem.link_or_copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"
    assert not (tmp_path / "copy").samefile(tmp_path / "file")
    warned = [r.message for r in caplog.records]
    assert [w.partition(":")[0] for w in warned] == [
        "this file system has no locks",
        "this file system has no fsync of folders",
    ]
    assert names(tmp_path) == ["copy", "file", "filled", "folder", "index0", "index1", "store"]


def test_without_locks_nothing_is_taken_for_a_killed_ones(tmp_path: Path, poor: int) -> None:
    with scratch_folder(tmp_path) as scratch, atomic_writer(tmp_path / "f") as stream:
        stream.write(b"first")
        with scratch_folder(tmp_path):
            file(tmp_path / "f")
        assert scratch.is_dir()
    assert (tmp_path / "f").read_bytes() == b"first"
    assert not [n for n in names(tmp_path) if n.startswith(SCRATCH)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_fault_is_no_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(SpladeBridgeError, match="cannot be written"):
        file(tmp_path / "f")
    assert names(tmp_path) == []


def test_a_folder_that_may_be_written_and_not_listed(tmp_path: Path) -> None:
    with contextlib.suppress(PermissionError):
        (tmp_path / "drop").mkdir(mode=0o300)
        folder(tmp_path / "drop" / "out")
        assert (tmp_path / "drop" / "out" / "a").read_text() == "new"
