"""``splade-bridge train`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import one_thread  # noqa: F401
from splade_bridge.cli.app import app
from splade_bridge.errors import SpladeBridgeError, UsageError
from splade_bridge.training.recipe import read_recipe, shipped_recipes
from tiny_training import World

run = CliRunner().invoke


def test_a_recipe_is_the_default_command(tmp_path: Path) -> None:
    world = World(tmp_path)
    recipe, out = world.recipe(), tmp_path / "out"
    told = run(app, ["train", str(recipe), "-o", str(out), "--set", "train.steps=1", "--json"])
    assert told.exit_code == 0, told.output
    printed = json.loads(told.stdout)
    assert (printed["steps"], printed["out"]) == (1, str(out))
    assert "contrastive" in told.stderr and (out / "modules.json").is_file()


def test_recipes_are_listed_and_shown(tmp_path: Path) -> None:
    listed = json.loads(run(app, ["train", "--list", "--json"]).stdout)
    assert set(listed) == set(shipped_recipes())
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
    assert json.loads(told.stdout)["negatives"] == 4
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [sorted(line["negatives"]) for line in lines] == [["d2", "d3"], ["d1", "d3"]]
    wrong = run(app, [*arguments[:-3], "--choice", "worst", "--negatives", "2"])
    assert isinstance(wrong.exception, UsageError) and "--choice" in str(wrong.exception)


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
