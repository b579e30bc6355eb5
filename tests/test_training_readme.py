"""training/README.md: its data are read, its recipe runs, and `train --help` says the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from splade_bridge.training.columns import column_groups
from splade_bridge.training.examples import DataCounts
from splade_bridge.training.recipe import leaves, read_recipe, shipped_recipes
from splade_bridge.training.records import LAYOUTS, Record, json_groups

README = Path(__file__).parents[1] / "training" / "README.md"


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """What is said after the kind, and the content, of the page's blocks of a kind."""
    found = re.findall(rf"^```{kind} ?(.*)\n((?:.*\n)*?)```$", README.read_text(), re.MULTILINE)
    yield from found


@pytest.mark.parametrize(("name", "content"), list(blocks("jsonl")))
def test_lines_of_json_are_read_as_the_page_says(tmp_path: Path, name: str, content: str) -> None:
    import orjson

    path = tmp_path / "x.jsonl"
    path.write_text(content)
    lines = [orjson.loads(line) for line in content.splitlines()]
    assert len(lines) == 2
    found = [next(k.name for k in LAYOUTS if k.marks(Record(r, "", ids=False))) for r in lines]
    assert found == [name, name]
    groups = list(json_groups(path, DataCounts(), ids="qid" in content))
    assert all(group.positives and group.negatives for group in groups)
    assert all(bool(group.scores) for group in groups) or "scores" not in content


def test_every_layout_is_on_the_page() -> None:
    assert {name for name, _ in blocks("jsonl")} == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize(("name", "content"), list(blocks("tsv")))
def test_lines_of_columns_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(content)
    counts = DataCounts()
    groups = list(column_groups(path, "text" if name == "triples" else "id", counts))
    assert len(groups) == 2 and not counts.unread
    width = content.splitlines()[0].count("\t") + 1
    assert all(bool(group.scores) is (width == 5) for group in groups)


def test_the_recipe_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten lines and the page's own lines of data; only the base and the steps are others."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")
    from checkpoints import save_checkpoint
    from splade_bridge.training.train import train_recipe

    ((_, recipe),) = blocks("toml")
    assert len(recipe.splitlines()) == 10
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(recipe)
    Path("pairs.jsonl").write_text(next(c for n, c in blocks("jsonl") if n.startswith("queries")))
    base = save_checkpoint(tmp_path / "base")
    settings = [f"model.base={base}", "train.steps=2", "train.batch_size=64"]
    out = train_recipe("recipe.toml", tmp_path / "checkpoint", settings)
    assert (out / "modules.json").is_file()


def test_keys_that_the_page_names_are_keys() -> None:
    keys = {part for key, _ in leaves(read_recipe("fine-tune")) for part in key}
    keys |= {field.name for field in fields(read_recipe("tiny"))}
    rows = re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", README.read_text(), re.MULTILINE)
    assert len(rows) == 6
    choices = {"shared", "separate", "bow", "idf", "random", "first", "hardest", "each", "one"}
    choices |= {"flops", "l1", "none", "max_active_dims"}
    named = {name for _, told in rows for name in re.findall(r"`(\w+)`", told)}
    assert named - keys - choices == set()


def test_every_recipe_is_on_the_page() -> None:
    page = README.read_text()
    assert [name for name in shipped_recipes() if f"({name}.toml)" not in page] == []


def test_every_recipe_can_do_without_validation() -> None:
    for name in shipped_recipes():
        assert read_recipe(name, ["validation=none"]).validation is None


def test_help_shows_how_recipes_are_listed_shown_and_changed() -> None:
    from typer.testing import CliRunner

    from splade_bridge.cli.app import app

    said = CliRunner().invoke(app, ["train", "--help"]).output
    for example in ("train --list", "train tiny --show", "--set train.steps=500"):
        assert example in said
