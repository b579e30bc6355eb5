"""``splade-bridge train`` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import one_thread  # noqa: F401
from documented import faults
from splade_bridge.cli.app import app
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.errors import BadInputError, SpladeBridgeError
from splade_bridge.training.recipe import read_recipe, shipped_recipes
from tiny_training import World

run = CliRunner().invoke


def test_a_recipe_is_the_default_command(world: World, tmp_path: Path) -> None:
    recipe, out = world.recipe(), tmp_path / "out"
    told = run(app, ["train", str(recipe), "-o", str(out), "--set", "train.steps=1", "--json"])
    assert told.exit_code == 0, told.output
    printed = json.loads(told.stdout)
    assert list(faults(printed, RESULTS["train recipe"])) == []
    assert (printed["steps"], printed["output"]) == (1, str(out))
    assert "contrastive" in told.stderr and (out / "modules.json").is_file()


def test_recipes_are_listed_and_shown(tmp_path: Path) -> None:
    listed = json.loads(run(app, ["train", "--list", "--json"]).stdout)
    assert set(listed["recipes"]) == set(shipped_recipes())
    shown = tmp_path / "shown.toml"
    shown.write_text(run(app, ["train", "tiny", "--show", "--set", "train.steps=7"]).stdout)
    assert read_recipe(shown) == read_recipe("tiny", ["train.steps=7"])


def test_the_stages_are_commands_whose_flags_are_their_options(tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.tsv", tmp_path / "qrels.tsv"
    queries.write_text("q1\tone\nq2\ttwo\n")
    qrels.write_text("q1 0 d1 1\nq2 0 d2 1\n")
    ranked = tmp_path / "run.txt"
    ranked.write_text("".join(f"q{q} Q0 d{d} {d} {9 - d}.0 t\n" for q in (1, 2) for d in (1, 2, 3)))
    out = tmp_path / "mined.jsonl"
    arguments = ["train", "mine", "--queries", str(queries), "--qrels", str(qrels)]
    arguments += ["--run", str(ranked), "-o", str(out), "--negatives", "2", "--json"]
    told = run(app, arguments)
    assert told.exit_code == 0, told.output
    printed = json.loads(told.stdout)
    assert list(faults(printed, RESULTS["train mine"])) == []
    assert printed["negatives"] == 4 and printed["output"] == str(out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [sorted(line["negatives"]) for line in lines] == [["d2", "d3"], ["d1", "d3"]]
    wrong = run(app, [*arguments[:-3], "--choice", "worst", "--negatives", "2"])
    assert wrong.exit_code == 2 and "--choice" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["no-such-recipe", "-o", "x"], 4, "splade-max"),
        (["tiny"], 2, "--output"),
        (["tiny", "-o", "x", "--set", "train.stepz=1"], 4, "did you mean steps?"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str], status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = run(app, ["train", *arguments]).exception
    assert isinstance(error, SpladeBridgeError) and error.exit_code == status
    assert told in str(error)
    assert not list(tmp_path.iterdir())


HUB = "no-such-owner/no-such-model"
SCRATCH = ["model.base=", "model.config={model_type='bert'}"]
MINED = ["mine.queries=q", "mine.qrels=q", "mine.corpus=c", "mine.out=mined.jsonl"]


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ([], "model.base"),
        (["model.query=separate"], "model.query_base"),
        (SCRATCH, "model.tokenizer"),
        (["mlm.out=mlm", "mlm.docstrings=true", "model.base=mlm"], "mlm.base"),
        (["mlm.out=mlm", "mlm.docstrings=true", "model.base=mlm"], "mlm.tokenizer"),
        (MINED, "mine.model"),
        (["score.pairs=p", "score.out=scored.jsonl"], "score.model"),
        ("mlm --docstrings", "--base"),
        ("mlm --docstrings", "--tokenizer"),
        ("mine --queries q --qrels q --corpus c", "--model"),
        ("score --pairs p --teacher cross-encoder", "--model"),
        ("score --pairs p --teacher dense", "--model"),
        ("score --pairs p --teacher sparse", "--model"),
    ],
)
def test_a_model_that_cannot_be_had_is_named_before_anything_is_done(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str] | str,
    key: str,
) -> None:
    """``command`` is one of a stage, or the settings of a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    if isinstance(command, str):
        arguments = [*command.split(), key, HUB]
    else:
        arguments = [str(world.recipe())]
        for setting in (*command, f"{key}={HUB}"):
            arguments += ["--set", setting]
    error = run(app, ["train", *arguments, "-o", "out"]).exception
    assert isinstance(error, BadInputError), error
    assert str(error).startswith(f"{key}: {HUB}: no folder, and not in the cache")
    assert "hf download" in str(error)
    assert not list(tmp_path.iterdir())


def test_no_network_is_no_reason_to_wait(tmp_path: Path) -> None:
    """transformers, given a name, would ask again for the better part of a minute."""
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    command = ["train", "mlm", "--docstrings", "--base", HUB, "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "splade_bridge", *command],
        capture_output=True, text=True, check=False, timeout=30, env={**os.environ, **closed},
    )  # fmt: skip
    assert done.returncode == BadInputError.exit_code
    assert done.stderr.startswith(f"error: --base: {HUB}") and "Traceback" not in done.stderr
