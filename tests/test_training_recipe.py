"""Recipes as files: what is read, what is refused, what comes with splade-bridge."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splade_bridge.errors import BadInputError, SpladeBridgeError, UsageError
from splade_bridge.training.recipe import (
    Recipe,
    differing_keys,
    in_work_folder,
    input_files,
    read_recipe,
    shipped_recipes,
    to_toml,
)

GOOD = """
title = "t"
[model]
base = "somewhere"
[data]
format = "jsonl"
[loss]
contrastive = 1
[train]
steps = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_recipes_that_come_along_say_where_they_are_from(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    assert all((recipe.title, recipe.source, recipe.cost, recipe.expected))
    saved = tmp_path / "saved.toml"
    saved.write_text(to_toml(recipe))
    assert read_recipe(saved) == recipe


def test_published_settings() -> None:
    """The table of facts/splade.md, which is that of the papers."""
    settings = {
        "splade-max": ("flops", 3e-4, 1e-4, 150_000, 50_000, "contrastive"),
        "splade-mse": ("flops", 0.5, 0.4, 150_000, 50_000, "margin_mse"),
        "splade-selfdistil": ("flops", 0.5, 0.4, 150_000, 50_000, "margin_mse"),
        "splade-ensembledistil": ("flops", 0.5, 0.4, 150_000, 50_000, "margin_mse"),
        "efficient-v-large": ("l1", 5e-4, 5e-4, 250_000, 50_000, "kl"),
        "efficient-vi-large": ("l1", 5e-4, 5e-4, 250_000, 50_000, "kl"),
        "efficient-v-medium": ("l1", 5e-3, 5e-4, 250_000, 50_000, "kl"),
        "efficient-vi-small": ("l1", 5e-3, 5e-3, 250_000, 50_000, "kl"),
        "document-only": ("none", None, 5e-4, 50_000, 10_000, "kl"),
    }
    for name, (penalty, query, document, steps, ramp, loss) in settings.items():
        recipe = read_recipe(name)
        regularizer, train = recipe.regularizer, recipe.train
        assert regularizer.query.penalty == penalty
        assert query is None or regularizer.query.weight == query
        assert (regularizer.document.penalty, regularizer.document.weight) == ("flops", document)
        assert (train.steps, regularizer.ramp_steps) == (steps, ramp)
        assert (train.learning_rate, train.weight_decay, train.warmup_steps) == (2e-5, 0.01, 6000)
        assert (train.batch_size, recipe.model.document_length) == (128, 256)
        used = {k: v for k, v in vars(recipe.loss).items() if v and k not in ("gather",)}
        assert used == {loss: 1.0, "contrastive_temperature": 1.0, "kl_temperature": 1.0}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[train]\nstep = 5", "train: unknown key 'step'; did you mean steps?"),
        ("[train]\nsteps = 'many'", "train.steps: must be a whole number, not 'many'"),
        ("[train]\nsteps = true", "train.steps: must be a whole number, not True"),
        ("[train]\nsteps = 5\nepochs = 1", "train.steps or train.epochs"),
        (
            "[train]\nsteps = 5\nlearning_rate = nan",
            "train.learning_rate: must be a finite number",
        ),
        ("[model]\nquery = 'both'", "model.query: is 'both'; it can be shared, separate, bow, idf"),
        ("[loss]\nkl = 1\n[data]\nnegatives = 0", "data.negatives"),
        ("[loss]\ncontrastive = 0", "loss: a weight"),
        ("[model]\nquery = 'bow'\n[regularizer.query]\npenalty = 'l1'", "are not trained"),
        ("[regularizer.document]\ntarget_terms = 9", "needs a penalty"),
        ("[model]\nbase = ''", "model.base or model.config"),
        ("[validation]\ncorpus = 'c'", "validation.queries: is missing"),
        ("train = 5", "train: must be a table, not 5"),
        ("this is not TOML", "not TOML"),
        ("extends = 'child'", "extends itself"),
    ],
)
def test_what_is_wrong_is_named(file: Path, line: str, told: str) -> None:
    child = file.with_name("child.toml")
    extends = "" if line.startswith("extends") else 'extends = "recipe"\n'
    child.write_text(extends + line)
    with pytest.raises(BadInputError) as error:
        read_recipe(child)
    assert told in str(error.value) and str(child) in str(error.value)


def test_overrides_are_typed(file: Path) -> None:
    recipe = read_recipe(
        file,
        [
            "train.learning_rate=1",
            "model.base=123",
            "data.path = a b.jsonl",
            "data.packages=['x', 'y']",
            "model.config.hidden_size=64",
            "model.base=",
            "model.tokenizer='there'",
            "regularizer.document.penalty=flops",
            "regularizer.document.target_terms=120",
            "train.no_duplicates=false",
            "title=3",
        ],
    )
    assert (recipe.train.learning_rate, recipe.title) == (1.0, "3")
    assert recipe.data.path == Path("a b.jsonl") and recipe.data.packages == ("x", "y")
    assert recipe.model.config == {"hidden_size": 64} and recipe.model.tokenizer == "there"
    assert recipe.regularizer.document.target_terms == 120.0
    assert recipe.train.no_duplicates is False
    none = read_recipe(file, ["regularizer.document.target_terms=none"])
    assert none.regularizer.document.target_terms is None
    assert differing_keys(recipe, recipe) == []
    assert "train.learning_rate" in differing_keys(recipe, none)
    for wrong in ("train.steps", "=5", "title.x=5"):
        with pytest.raises(UsageError):
            read_recipe(file, [wrong])
    with pytest.raises(BadInputError, match=r"train\.steps"):
        read_recipe(file, ["train.steps=1.5"])


@settings(deadline=None, max_examples=30)
@given(title=st.text(), weight=st.floats(0, 1e9), key=st.text(min_size=1))
def test_a_saved_recipe_reads_back_equal(
    title: str, weight: float, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("r")
    (folder / "a.toml").write_text(GOOD)
    recipe: Recipe = read_recipe(folder / "a.toml")
    title = title.encode("utf-8", "ignore").decode()
    key = key.encode("utf-8", "ignore").decode() or "k"
    recipe = replace(
        recipe,
        title=title,
        loss=replace(recipe.loss, contrastive=weight + 1),
        model=replace(recipe.model, base="", tokenizer="t", config={key: [1, "x", True]}),
    )
    (folder / "b.toml").write_text(to_toml(recipe), "utf-8")
    assert read_recipe(folder / "b.toml") == recipe


def test_work_stands_for_the_folder_of_the_training(file: Path) -> None:
    recipe = read_recipe(file, ["data.path={work}/x.jsonl", "model.base={work}/mlm"])
    placed = in_work_folder(recipe, Path("/w"))
    assert placed.data.path == Path("/w/x.jsonl") and placed.model.base == "/w/mlm"


def test_a_name_that_is_nothing_lists_what_there_is() -> None:
    with pytest.raises(SpladeBridgeError, match="splade-max"):
        read_recipe("splade-maximum")


@pytest.mark.parametrize(
    "override",
    [
        "regularizer.ramp_steps=-1", "model.query_length=0", "model.document_length=2",
        "train.mini_batch=-1", "train.workers=-1", "train.warmup_steps=-1", "model.calibrate=-3",
        "train.learning_rate=-0.1", "loss.kl_temperature=0.0",
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_meant(override: str) -> None:
    with pytest.raises(BadInputError, match=override.partition("=")[0].replace(".", r"\.")):
        read_recipe("tiny", [override])


def test_extends_in_a_circle_or_from_what_is_no_section(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    (tmp_path / "b.toml").write_text(f'extends = "../{tmp_path.name}/a"\n')
    with pytest.raises(BadInputError, match="extends itself"):
        read_recipe(tmp_path / "a.toml")
    (tmp_path / "c.toml").write_text('extends = "tiny"\ndata = 3\n')
    with pytest.raises(BadInputError, match="data: must be a table"):
        read_recipe(tmp_path / "c.toml")


def test_input_files_are_what_is_read(tmp_path: Path) -> None:
    data, base = tmp_path / "beir", tmp_path / "base"
    (data / "cache").mkdir(parents=True)
    base.mkdir()
    for file in (data / "corpus.jsonl", data / "cache" / "rows", base / "config.json"):
        file.touch()
    overrides = ["validation=none", f"model.base={base}", f"data.path={data}"]
    assert input_files(read_recipe("tiny", overrides)) == [data, base]
    overrides.append(f"data.cache={data / 'cache'}")
    assert input_files(read_recipe("tiny", overrides)) == [data / "corpus.jsonl", base]
    overrides[1] = "model.base=someone/model"
    assert input_files(read_recipe("tiny", overrides)) == [data / "corpus.jsonl"]
