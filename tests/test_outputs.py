"""--overwrite replaces artefacts of ours, and nothing else, whenever it is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from command_line import run as run_captured
from killed import killed
from splade_bridge.data.store import VectorStore, write_store
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import UsageError
from splade_bridge.files.outputs import MANIFEST, STORE_MANIFEST, aside, check_output, discard
from splade_bridge.files.writing import staged_folder

DOCS = b'{"id": "a", "vector": {"x": 3}}\n{"id": "b", "vector": {"y": 2}}\n'


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Exit status and stderr of one command line."""

    def run(*arguments: str) -> tuple[int, str]:
        status, _, err = run_captured(capfd, *arguments)
        return status, err

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs.jsonl").write_bytes(DOCS)
    return tmp_path


def index(cli: Cli, out: str, *more: str) -> None:
    status, err = cli("index", "docs.jsonl", "-e", "exact", "-o", out, *more)
    assert status == 0, err


def thesis(here: Path, cli: Cli) -> None:
    (here / "out").mkdir()
    (here / "out" / "chapter1.txt").write_text("long work")


def manifest_of_another_tool(here: Path, cli: Cli) -> None:
    thesis(here, cli)
    (here / "out" / MANIFEST).write_text('{"name": "extension", "version": 3, "files": []}')


def notes_in_an_index(here: Path, cli: Cli) -> None:
    index(cli, "out")
    (here / "out" / "notes.txt").write_text("long work")


def notes_below_an_index(here: Path, cli: Cli) -> None:
    index(cli, "out")
    (here / "out" / "more").mkdir()
    (here / "out" / "more" / "doc_ids.bin").write_text("long work")


def link_in_an_index(here: Path, cli: Cli) -> None:
    index(cli, "out")
    (here / "elsewhere").mkdir()
    (here / "out" / "link").symlink_to(here / "elsewhere")


def a_file(here: Path, cli: Cli) -> None:
    (here / "out").write_text("long work")


def plan_of_another_tool(here: Path, cli: Cli) -> None:
    thesis(here, cli)
    (here / "out" / "plan.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (thesis, "was not made by splade-bridge"),
        (manifest_of_another_tool, "was not made by splade-bridge"),
        (plan_of_another_tool, "holds chapter1.txt, which splade-bridge did not put there"),
        (notes_in_an_index, "holds notes.txt, which splade-bridge did not put there"),
        (notes_below_an_index, "holds more/doc_ids.bin, which splade-bridge did not put there"),
        (link_in_an_index, "holds link, which splade-bridge did not put there"),
        (a_file, "only a folder is replaced by a folder"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["index", "docs.jsonl", "-e", "exact"],
        ["export", "docs.jsonl"],
        ["prune", "docs.jsonl", "--method", "top-k", "--value", "1"],
        ["demo"],
        ["bm25", "docs.jsonl"],
    ],
    ids=lambda c: c[0],
)
def test_what_is_not_ours_stays(
    here: Path, cli: Cli, make: Callable[[Path, Cli], None], says: str, command: list[str]
) -> None:
    make(here, cli)
    before = tree(here)
    status, err = cli(*command, "-o", "out", "--overwrite")
    assert (status, says in err) == (2, True), err
    assert tree(here) == before


@pytest.mark.parametrize(
    ("out", "source"),
    [("proj", "proj/docs.jsonl"), (".", "docs.jsonl"), ("docs.jsonl", "docs.jsonl"),
     ("link", "proj/docs.jsonl")],
)  # fmt: skip
def test_an_output_that_contains_an_input_is_refused(
    here: Path, cli: Cli, out: str, source: str
) -> None:
    index(cli, "proj")
    shutil.copy(here / "docs.jsonl", here / "proj" / "docs.jsonl")
    (here / "link").symlink_to("proj")
    before = tree(here)
    for command in (["index", source, "-e", "exact"], ["export", source]):
        status, err = cli(*command, "-o", out, "--overwrite")
        assert status == 2
        assert "which is read" in err or "is read, too" in err
    assert tree(here) == before


def test_a_comparison_may_stand_beside_its_specification(here: Path, cli: Cli) -> None:
    """Its folder is added to, so what is read may lie in it; here the specification is faulty."""
    (here / "spec.toml").write_text("[data]\n")
    status, err = cli("compare", "spec.toml", "-o", ".")
    assert status == 4 and "spec.toml" in err and "which is read" not in err


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (["-o", "q.tsv"], "q.tsv: is read, too"),
        (["-o", "i"], "i: is read, too"),
        (["-o", "r", "--latencies", "q.tsv"], "q.tsv: is read, too"),
        (["-o", "folder"], "only a file is replaced by a file"),
        (["-o", "r", "--latencies", "folder"], "only a file is replaced by a file"),
    ],
)
def test_a_run_replaces_neither_input_nor_folder(
    here: Path, cli: Cli, outputs: list[str], says: str
) -> None:
    index(cli, "i")
    (here / "q.tsv").write_text("1\tx\n")
    (here / "folder").mkdir()
    before = tree(here)
    status, err = cli("search", "i", "-q", "q.tsv", *outputs, "--overwrite")
    assert (status, says in err) == (2, True), err
    assert tree(here) == before


def test_our_own_are_replaced(here: Path, cli: Cli) -> None:
    index(cli, "out")
    (here / "out" / "algorithms.json").write_text("{}")  # what search remembers
    index(cli, "out", "--overwrite")
    assert not (here / "out" / "algorithms.json").exists()
    (here / "out" / "plan.json").write_text("{}")
    (here / "out" / MANIFEST).unlink()
    with pytest.raises(UsageError, match="did not put there"):
        discard(here / "out")
    (here / "empty").mkdir()
    check_output(here / "empty", overwrite=False)
    assert sorted(p.name for p in here.iterdir()) == ["docs.jsonl", "empty", "out"]


def new_folder(out: Path, *, overwrite: bool = True) -> None:
    with staged_folder(out, overwrite=overwrite) as folder:
        (folder / "x").write_text("new")


def new_store(out: Path, *, overwrite: bool = True) -> None:
    with write_store(out, Vocabulary(["a"]), {"text": "new"}, overwrite=overwrite) as writer:
        writer.finish()


@pytest.mark.parametrize("step", range(14))
@pytest.mark.parametrize("new", [new_folder, new_store])
@pytest.mark.sample(9)
def test_a_kill_loses_neither_the_old_nor_the_new(
    tmp_path: Path, new: Callable[..., None], step: int
) -> None:
    out = tmp_path / "out"
    if new is new_folder:
        new(out)
        (out / "x").write_text("old")
    else:
        with write_store(out, Vocabulary(["a"]), {"text": "old"}) as writer:
            writer.finish()
    old = tree(out)
    died = killed(lambda: new(out), step, (os, "unlink"), (os, "rmdir"))
    places = [p for p in (out, aside(out)) if p.exists()]
    whole = [tree(p) for p in places]
    if died:
        fresh = [t for t in whole if t.get("x") == b"new" or (STORE_MANIFEST in t and t != old)]
        assert old in whole or fresh, "both are gone"
    new(out)
    assert tree(out) != old
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_store_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    new_store(out)
    before = tree(out)
    with (
        pytest.raises(ZeroDivisionError),
        write_store(out, Vocabulary(["b"]), {"text": "newer"}, overwrite=True),
    ):
        raise ZeroDivisionError
    assert tree(out) == before
    assert len(VectorStore(out).vocabulary) == 1
    assert orjson.loads((out / "_plan.json").read_bytes())["text"] == "new"
