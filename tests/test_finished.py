"""A long command that is given again when all is done says so, and touches nothing."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import command_line
from checkpoints import save_checkpoint, write_corpus
from splade_bridge.files.finished import (
    differences,
    fingerprints,
    kept_result,
    plain,
    write_record,
)
from splade_bridge.files.locks import SCRATCH, scratch_folder
from tiny_training import World

Change = tuple[str, ...]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of everything below a folder."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


class Case:
    """A command, its output, an argument that makes another plan, and an input that may change."""

    def __init__(self, command: list[str], out: str, other: Change, changes: str) -> None:
        self.command = command
        self.out = out
        self.other = other
        self.changes = changes


ENCODE = ["encode", "corpus.jsonl", "-m", "model", "--part-rows", "16", "--max-length", "16"]
MINE = ["train", "mine", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--run", "run.trec"]
SCORE = ["train", "score", "--pairs", "pairs.jsonl", "--teacher", "run", "--run", "run.trec"]
MLM = [
    "train", "mlm", "--texts", "text.txt", "--vocab-size", "80", "--layers", "1", "--hidden", "16",
    "--heads", "2", "--intermediate", "24", "--block", "24", "--steps", "2", "--batch-size", "4",
]  # fmt: skip
TRAIN = ["train", "tiny.toml", "--set", "train.steps=1", "--set", "train.save_every=1"]
CASES = {
    "encode": Case([*ENCODE, "-o", "out"], "out", ("--max-length", "17"), "corpus.jsonl"),
    "encode a shard": Case(
        [*ENCODE, "--shard", "0/2", "-o", "out"], "out", ("--shard", "1/2"), "corpus.jsonl"
    ),
    "merge": Case(["merge", "s0", "s1", "-o", "out"], "out", (), ""),
    "train mine": Case([*MINE, "-o", "out.jsonl"], "out.jsonl", ("--negatives", "2"), "qrels.tsv"),
    "train score": Case(
        [*SCORE, "-o", "out.jsonl"], "out.jsonl", ("--part-queries", "3"), "pairs.jsonl"
    ),
    "train mlm": Case([*MLM, "-o", "out"], "out", ("--seed", "3"), "text.txt"),
    "train": Case(
        [*TRAIN, "-o", "out"],
        "out", ("--set", "train.seed=7"), "train.jsonl",
    ),
}  # fmt: skip


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command line, in a folder with inputs for all of them."""
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.recipe()
    save_checkpoint(tmp_path / "model")
    write_corpus(tmp_path / "corpus.jsonl", 60)
    lines = (f"the cat sat on {'a ' * (i % 9)}mat\n" for i in range(200))
    (tmp_path / "text.txt").write_text("".join(lines))
    with open(tmp_path / "run.trec", "w") as trec, open(tmp_path / "pairs.jsonl", "w") as pairs:
        for i in range(20):
            for rank in range(10):
                trec.write(f"q{i} Q0 d{(i + rank) % 60} {rank + 1} {100 - rank} t\n")
            line = {"query_id": f"q{i}", "positives": {f"d{i}": 1}, "negatives": [f"d{i + 1}"]}
            pairs.write(json.dumps(line) + "\n")

    def run(*arguments: object) -> tuple[int, str, str]:
        status, out, err = command_line.run(capfd, *arguments)
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.mark.parametrize("name", CASES)
@pytest.mark.sample(1)
def test_done_already_is_well(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    if name == "merge":
        for i in range(2):
            assert run(*ENCODE, "--shard", f"{i}/2", "-o", f"s{i}")[0] == 0
    status, first, err = run(*case.command, "--json")
    assert status == 0, err
    before = files(tmp_path)

    status, again, err = run(*case.command, "--json")
    assert status == 0, err
    assert "already there" in err
    told: list[Any] = [json.loads(text) for text in (first, again)]
    assert told[0].keys() == told[1].keys()
    varies = ("seconds", "per_second", "padding")
    for key in told[0]:
        if not any(word in key for word in varies):
            assert told[0][key] == told[1][key], key
    assert files(tmp_path) == before

    if case.other:
        status, _, err = run(*case.command, *case.other)
        assert status == 2 and "exists already" in err and "--overwrite" in err
        assert files(tmp_path) == before
    whole = Path(case.out)
    if whole.is_dir():
        inside = (p for p in whole.iterdir() if p.suffix in (".parquet", ".safetensors"))
        whole = max(inside, key=lambda p: p.stat().st_size)
    content = whole.read_bytes()
    whole.unlink()  # a part that was merged is linked to its shard's
    whole.write_bytes(content[:-1])
    status, _, err = run(*case.command)
    assert status == 2 and "exists already" in err, err
    whole.write_bytes(content)
    assert run(*case.command)[0] == 0

    if case.changes:
        changed = Path(case.changes)
        lines = changed.read_text().splitlines(keepends=True)
        lines[3] = lines[5]  # a line in the middle
        changed.write_text("".join(lines))
        status, _, err = run(*case.command)
        assert status in (2, 4), err
        assert "already there" not in err
        assert run(*case.command, "--overwrite")[0] in (0, 4)


def test_texts_from_stdin_are_looked_at(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["encode", "-", *ENCODE[2:], "-o", "out"]

    def given(text: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return run(*command)

    texts = Path("corpus.jsonl").read_text().splitlines(keepends=True)[:40]
    assert given("".join(texts))[0] == 0
    status, _, err = given("".join(texts))
    assert status == 0 and "already there" in err
    for other in (texts[:-1], [*texts, texts[0].replace("d0", "new")], texts[1:]):
        status, _, err = given("".join(other))
        assert status == 2 and "made from other texts" in err and "already there" not in err


def test_plans_are_compared_as_they_come_back_from_a_file(tmp_path: Path) -> None:
    plan = {"a": (1, Path("x")), "b": None, "c": 0.5}
    assert differences(json.loads(json.dumps(plain(plan))), plan) == ""
    assert differences(plan, {**plan, "b": 1, "d": "new"}) == 'b: null -> 1, d: null -> "new"'
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    before = fingerprints([tmp_path, tmp_path / "missing"])
    assert list(before) == [str(tmp_path / "big")]
    for offset, value in ((0, b"x"), ((3 << 20) - 1, b"y")):
        with open(tmp_path / "big", "r+b") as stream:
            stream.seek(offset)
            stream.write(value)
        after = fingerprints([tmp_path / "big"])
        assert after != before
        before = after


def test_what_a_kill_left_beside_a_finished_output_goes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "f").write_text("x")
    write_record(out, {"a": 1}, {"told": 2})
    scratch = tmp_path / f"{SCRATCH}0123456789ab"
    scratch.mkdir()
    (scratch / "sorted").write_text("x")
    scratch.with_name(f"{scratch.name}.lock").touch()
    with scratch_folder(tmp_path) as used:
        (used / "kept").touch()
        assert kept_result(out, {"a": 1}, overwrite=False) == {"told": 2}
        assert (used / "kept").exists() and not scratch.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
