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
from splade_bridge.engines import pisa
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError
from splade_bridge.files.outputs import MANIFEST
from splade_bridge.formats.export import ExportOptions, export


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
    for file in sorted(p for p in whole.rglob("*") if p.is_file() and p.name != MANIFEST):
        name = file.relative_to(whole).as_posix()
        for damage, do in DAMAGES.items():
            copy = folder / f"{name.replace('/', '-')}-{damage}"
            shutil.copytree(whole, copy)
            do(copy / name)
            there = copy / name
            if not there.exists() or there.read_bytes() != file.read_bytes():
                yield damage, name, copy


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_file_that_is_not_as_it_was_written_is_named_before_it_is_used(
    kind: str, good: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = good(kind)
    queries = whole.parent / "queries.tsv"
    status, _, err = command_line.run(capfd, *using(kind, whole, queries, tmp_path / "sound"))
    assert status == 0, err
    faults = list(damaged(whole, tmp_path))
    assert {damage for damage, *_ in faults} == set(DAMAGES)
    for damage, name, copy in faults:
        out = tmp_path / "out"
        status, _, err = command_line.run(capfd, *using(kind, copy, queries, out))
        assert (status, Path(name).name in err, out.exists()) == (4, True, False), (copy, err)


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
        out = tmp_path / "out"
        command = [*using(kind, copy, whole.parent / "queries.tsv", out), "--no-check"]
        started = time.monotonic()
        status, _, err = command_line.run(capfd, *command)
        assert "Traceback" not in err and status in (0, 4, 5, 6), (copy, err)
        assert time.monotonic() - started < 30, copy
        assert damage in SAME_SIZE or (status == 4 and Path(name).name in err), (copy, err)
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
