"""What is not as it was written is refused before it is used, and a check is done once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import command_line
from bad_input import made
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines import pisa
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, MissingToolError
from splade_bridge.files import checks
from splade_bridge.files.outputs import MANIFEST, STORE_MANIFEST


def exported(name: str, compress: bool = False) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        export(lambda: made.source(), path, ExportOptions((name,), compress=compress))  # type: ignore[arg-type]

    return make


ARTEFACTS: dict[str, Callable[[Path], object]] = {
    "exact": made.exact,
    "lucene": made.lucene,
    "pisa": made.pisa,
    "vectors": made.vectors,
    "jsonvector": exported("jsonvector"),
    "jsonvector.gz": exported("jsonvector", compress=True),
    "ciff": exported("ciff"),
    "forward": exported("forward"),
    "topics": exported("topics"),
}
INDEXES = ("exact", "lucene", "pisa")


def zeroed(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "zeroed": zeroed,
    "flipped": flipped,
    "cut": lambda p: os.truncate(p, p.stat().st_size - 1),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"\0"),
    "removed": lambda p: p.unlink(),
}
SAME_SIZE = ("zeroed", "flipped")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A sound artefact of a kind; not to be touched."""
    root = tmp_path_factory.mktemp("good")

    def get(kind: str) -> Path:
        if kind in INDEXES:
            try:
                engine(kind).check_installed()
            except MissingToolError as error:
                pytest.skip(str(error))
        if not (root / kind).exists():
            ARTEFACTS[kind](root / kind)
            (root / "queries.tsv").write_text(made.TOPICS)
        return root / kind

    return get


def using(kind: str, path: Path, queries: Path, out: Path) -> list[str]:
    """A command that reads all of an artefact."""
    if kind in INDEXES:
        return ["search", str(path), "-q", str(queries), "-o", str(out)]
    if kind == "topics":
        topics = next(path.glob("topics*"), path / "topics.tsv")
        return ["prune", str(topics), "--method", "top-k", "--value", "2", "-o", str(out)]
    return ["index", str(path), "-e", "exact", "-o", str(out)]


def damaged(whole: Path, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Copies of an artefact with one fault each: the name of the fault, the file and the copy."""
    for file in sorted(
        p for p in whole.rglob("*") if p.is_file() and p.name not in (MANIFEST, STORE_MANIFEST)
    ):
        name = file.relative_to(whole).as_posix()
        for damage, do in DAMAGES.items():
            copy = folder / f"{name.replace('/', '-')}-{damage}"
            shutil.copytree(whole, copy)
            do(copy / name)
            there = copy / name
            if not there.exists() or there.read_bytes() != file.read_bytes():
                yield damage, name, copy


@pytest.mark.parametrize("kind", ARTEFACTS)
@pytest.mark.sample(3)
def test_a_file_that_is_not_as_it_was_written_is_named_before_it_is_used(
    kind: str, good: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = good(kind)
    queries = whole.parent / "queries.tsv"
    status, _, err = command_line.run(capfd, *using(kind, whole, queries, tmp_path / "sound"))
    assert status == 0, err
    faults = list(damaged(whole, tmp_path))
    assert {damage for damage, *_ in faults} == set(DAMAGES)
    for _, name, copy in faults:
        out = tmp_path / "out"
        status, _, err = command_line.run(capfd, *using(kind, copy, queries, out))
        assert (status, Path(name).name in err, out.exists()) == (4, True, False), (copy, err)


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", [*INDEXES, "vectors", "forward", "ciff"])
def test_without_the_check_it_ends_and_never_in_a_traceback(
    kind: str,
    good: Callable[[str], Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pisa, "PATIENCE", 3)
    whole = good(kind)
    for damage, name, copy in damaged(whole, tmp_path):
        if kind == "lucene" and damage != "flipped":  # each starts a JVM
            continue
        out = tmp_path / "out"
        command = [*using(kind, copy, whole.parent / "queries.tsv", out), "--no-check"]
        started = time.monotonic()
        status, _, err = command_line.run(capfd, *command)
        assert "Traceback" not in err and status in (0, 4, 5, 6), (copy, err)
        assert time.monotonic() - started < 30, copy
        assert damage in SAME_SIZE or (status == 4 and Path(name).name in err), (copy, err)
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["segments_9", "_7.cfs", "part-00003.parquet", "quantized.q0.x"])
def test_a_file_that_does_not_belong_there_and_would_be_read_is_named(
    name: str, good: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(good("exact"), tmp_path / "index")
    (tmp_path / "index" / "notes.txt").write_text("mine")
    Manifest.load(tmp_path / "index")
    (tmp_path / "index" / name).touch()
    with pytest.raises(BadInputError, match=f"{name} does not belong to it"):
        Manifest.load(tmp_path / "index")


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, and nothing known of any file yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "_known", set())
    monkeypatch.setattr(checks, "WORTH", 1)
    monkeypatch.setattr(checks, "SETTLED", 0)
    return tmp_path / "cache" / "splade-bridge" / "checked"


def test_what_was_found_whole_is_not_read_again_until_it_changes(
    remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, calls = tmp_path / "file", []

    def opened(expected: str = "a") -> int:
        calls.clear()
        monkeypatch.setattr(checks, "_known", set())  # another process
        checks.check_once([(file, expected)], lambda: calls.append(1))
        return len(calls)

    file.write_bytes(b"12")
    assert [opened(), opened(), opened("another hash"), opened()] == [1, 0, 1, 0]
    assert [note.stat().st_size for note in remembered.iterdir()] == [0, 0]
    times = file.stat()
    file.write_bytes(b"21")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy may keep it
    assert [opened(), opened()] == [1, 0]
    with checks.unchecked():
        assert opened("never seen") == 0
    with checks.unchecked(), checks.unchecked(False):
        assert opened("never seen") == 0
    shutil.rmtree(remembered)
    remembered.write_text("a file where the folder should be")
    assert [opened(), opened()] == [1, 1]
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/no")
    assert [opened(), opened()] == [1, 1]


def test_what_fails_or_is_small_or_fresh_is_not_remembered(
    remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"12")

    def fails() -> None:
        raise BadInputError("x")

    with pytest.raises(BadInputError):
        checks.check_once([(tmp_path / "file", "a")], fails)
    monkeypatch.setattr(checks, "WORTH", 3)
    checks.check_once([(tmp_path / "file", "a")], lambda: None)
    monkeypatch.setattr(checks, "WORTH", 1)
    monkeypatch.setattr(checks, "SETTLED", 3600 * 10**9)
    checks.check_once([(tmp_path / "file", "a")], lambda: None)
    assert not remembered.exists() and checks._known == set()


def test_the_memory_is_bounded_and_keeps_the_newest(
    remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOST_REMEMBERED", 10)
    (tmp_path / "file").write_bytes(b"12")
    for n in range(40):
        checks.check_once([(tmp_path / "file", str(n))], lambda: None)
        assert len(list(remembered.iterdir())) <= 10
    monkeypatch.setattr(checks, "_known", set())
    checks.check_once([(tmp_path / "file", "39")], lambda: pytest.fail("it is the newest"))


def test_a_foreign_lucene_index_is_checked_by_lucenes_own_sums(
    good: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(good("lucene"), whole)
    for ours in (MANIFEST, "vocabulary.json"):
        (whole / ours).unlink()
    queries = good("lucene").parent / "queries.tsv"
    status, _, err = command_line.run(capfd, "search", whole, "-q", queries, "-o", tmp_path / "run")
    assert status == 0, err
    largest = max((p for p in whole.iterdir() if p.suffix == ".cfs" or p.suffix == ".doc"),
                  key=lambda p: p.stat().st_size)  # fmt: skip
    flipped(largest)
    status, _, err = command_line.run(capfd, "search", whole, "-q", queries, "-o", tmp_path / "r")
    assert (status, largest.name in err, (tmp_path / "r").exists()) == (4, True, False), err


def test_large_files_are_hashed_by_threads_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made.exact(tmp_path / "index")
    monkeypatch.setattr(checks, "WORTH", 1)
    monkeypatch.setattr(checks, "TOLD_AFTER", 0.0)
    with caplog.at_level("INFO"):
        Manifest.load(tmp_path / "index", anew=True)
    assert "comparing its files with its manifest" in caplog.text
    flipped(tmp_path / "index" / "docs.bin")
    with pytest.raises(BadInputError, match=r"docs\.bin was changed or damaged"):
        Manifest.load(tmp_path / "index", anew=True)
