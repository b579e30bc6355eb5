"""Vector stores whose files had no ``_`` before their names stay what they were.

:func:`as_once` gives a store of today the names of then; what is in the files is the same.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import command_line
from bad_input import made
from killed import killed
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.store import VectorStore
from splade_bridge.encoding.merge import merge_shards
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError
from splade_bridge.files.outputs import aside
from splade_bridge.formats.queries import read_queries
from test_store import bytes_of, rows_of, write

OLD = ("manifest.json", "plan.json", "vocabulary.json")
NEW = tuple(f"_{name}" for name in OLD)


def as_once(store: Path) -> Path:
    """Give the files of a store the names that they once had."""
    for old, new in zip(OLD, NEW, strict=True):
        if (store / new).exists():
            (store / new).rename(store / old)
    if (manifest := store / "manifest.json").exists():
        told = json.loads(manifest.read_bytes())
        for file in told["files"]:
            file["path"] = file["path"].removeprefix("_")
        told["files"].sort(key=lambda file: file["path"])
        manifest.write_text(json.dumps(told, indent=2))
    return store


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.suffix == ".json"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write(tmp_path / "whole")
    assert names(tmp_path / "whole") == set(NEW)
    return tmp_path / "whole"


@pytest.fixture
def old(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "old")
    as_once(tmp_path / "old")
    assert names(tmp_path / "old") == set(OLD)
    return tmp_path / "old"


def test_it_is_read_as_it_is(old: Path, whole: Path, tmp_path: Path) -> None:
    before = bytes_of(old)
    assert rows_of(VectorStore(old).batches()) == rows_of(VectorStore(whole).batches())
    assert Manifest.load(old).content == Manifest.load(whole).content
    assert [b.ids for b in open_source(old).batches()] == [
        b.ids for b in open_source(whole).batches()
    ]
    assert read_queries(old).batch.ids == read_queries(whole).batch.ids
    out = {s: tmp_path / f"index of {s.name}" for s in (old, whole)}
    built = [engine("exact").build(open_source(s), out[s]) for s in (old, whole)]
    assert built[0].counts == built[1].counts
    assert bytes_of(old) == before


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (("prune", "--method", "top-k", "--value", "1"), "_manifest.json"),
        (("index", "-e", "exact"), "manifest.json"),
        (("export", "-f", "ciff"), "manifest.json"),
    ],
    ids=["prune", "index", "export"],
)
def test_commands_take_it_and_write_the_names_of_today(
    old: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    result: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command, *more = words
    out = tmp_path / "out"
    status, _, err = command_line.run(capfd, command, old, "-o", out, *more)
    assert (status, (out / result).is_file()) == (0, True), err
    status, told, err = command_line.run(capfd, "inspect", old, "--json")
    assert (status, json.loads(told)["counts"]["documents"]) == (0, 53), err


@pytest.mark.parametrize("lost", ["manifest.json", "vocabulary.json", "part-00001.parquet"])
def test_a_file_that_it_lacks_is_named(old: Path, lost: str) -> None:
    (old / lost).unlink()
    with pytest.raises(BadInputError, match=lost.replace(".", r"\.")):
        VectorStore(old)


def test_a_manifest_beside_another_is_refused(whole: Path) -> None:
    (whole / "manifest.json").write_bytes((whole / "_manifest.json").read_bytes())
    with pytest.raises(BadInputError, match=r"manifest\.json does not belong to it"):
        VectorStore(whole)


def test_somebodys_file_with_a_name_that_readers_pass_over_harms_nothing(whole: Path) -> None:
    (whole / "_terms.parquet").write_bytes(b"somebody's")
    assert VectorStore(whole).manifest.counts.documents == 53


def unfinished(store: Path) -> None:
    """As a kill leaves it before the manifest, with a part less."""
    (store / "manifest.json").unlink()
    (store / "part-00004.parquet").unlink()


def test_one_that_was_not_finished_is_gone_on_with(old: Path, whole: Path) -> None:
    unfinished(old)
    kept = (old / "part-00003.parquet").stat().st_ino
    write(old)
    assert bytes_of(old) == bytes_of(whole)
    assert (old / "part-00003.parquet").stat().st_ino == kept


@pytest.mark.parametrize("step", range(14))
@pytest.mark.sample(5)
def test_a_kill_while_it_is_gone_on_with_costs_nothing(old: Path, whole: Path, step: int) -> None:
    unfinished(old)
    killed(lambda: write(old), step, (os, "fsync"))
    assert len(list(old.glob("part-*"))) >= 6
    if not (old / "_manifest.json").exists():
        write(old)
    assert bytes_of(old) == bytes_of(whole)


@pytest.mark.parametrize("step", range(14))
@pytest.mark.sample(5)
def test_a_kill_while_it_is_replaced_loses_neither(old: Path, step: int) -> None:
    before = bytes_of(old)
    killed(lambda: write(old, {"model": "new"}, overwrite=True), step, (os, "rmdir"))
    there = [bytes_of(place) for place in (old, aside(old)) if place.exists()]
    assert before in there or any("_manifest.json" in found for found in there)
    write(old, {"model": "new"}, overwrite=True)
    assert names(old) == set(NEW)
    assert {p.name for p in old.parent.iterdir()} == {"old", "whole"}


def mixed(shards: Path) -> list[Path]:
    return [as_once(shards / "0"), shards / "1"]


def old_ones(shards: Path) -> list[Path]:
    return [as_once(shards / "0"), as_once(shards / "1")]


@pytest.mark.parametrize("given", [mixed, old_ones])
def test_shards_of_then_merge_to_the_store_of_today(
    tmp_path: Path, given: Callable[[Path], list[Path]]
) -> None:
    made.shards(tmp_path / "shards")
    merge_shards([tmp_path / "shards" / n for n in "01"], tmp_path / "wanted")
    shards = given(tmp_path / "shards")
    merge_shards(shards, tmp_path / "found")
    assert bytes_of(tmp_path / "found") == bytes_of(tmp_path / "wanted")
    as_once(tmp_path / "found")
    before = bytes_of(tmp_path / "found")
    merge_shards(shards, tmp_path / "found")  # is there already, and stays as it is
    assert bytes_of(tmp_path / "found") == before
