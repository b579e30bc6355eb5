"""Recipes of a training that cannot be meant."""

from __future__ import annotations

from bad_input import Content, Row

RECIPE = """\
title = "small"
[model]
base = "nowhere"
[data]
format = "jsonl"
path = "train.jsonl"
negatives = 1
[loss]
contrastive = 1
[train]
steps = 10
batch_size = 4
"""


def train(title: str, content: Content, *words: str) -> Row:
    """A recipe that is refused."""
    return Row(title, "train recipe.toml -o out", 4, words, {"recipe.toml": content})


def changed(old: str, new: str) -> str:
    """The recipe with something else in it."""
    assert old in RECIPE
    return RECIPE.replace(old, new)


ROWS = [
    train("an empty file", "", "recipe.toml"),
    train("no TOML", "title = ", "recipe.toml"),
    train("JSON", '{"title": "x"}', "recipe.toml"),
    train("bytes that are no text", b"\xff\xfe\x00", "recipe.toml"),
    train("UTF-16", RECIPE.encode("utf-16"), "recipe.toml"),
    train("a key twice", RECIPE + "batch_size = 5\n", "recipe.toml"),
    train("an unknown section", RECIPE + "[optimiser]\nx = 1\n", "recipe.toml", "optimiser"),
    train("an unknown key", RECIPE + "step = 10\n", "recipe.toml", "train", "step"),
    train("a number that is text", changed("steps = 10", 'steps = "many"'), "recipe.toml", "steps"),
    train("a number with a fraction", changed("steps = 10", "steps = 1.5"), "recipe.toml", "steps"),
    train("a number that is true", changed("steps = 10", "steps = true"), "recipe.toml", "steps"),
    train("no steps", changed("steps = 10", "steps = 0"), "recipe.toml", "train.steps"),
    train("negative steps", changed("steps = 10", "steps = -1"), "recipe.toml", "train.steps"),
    train("steps and epochs", RECIPE + "epochs = 1\n", "recipe.toml", "train.epochs"),
    train(
        "an empty batch",
        changed("batch_size = 4", "batch_size = 0"),
        "recipe.toml",
        "train.batch_size",
    ),
    train(
        "a rate of learning that is NaN",
        RECIPE + "learning_rate = nan\n",
        "recipe.toml",
        "learning_rate",
    ),
    train(
        "a rate of learning that is negative",
        RECIPE + "learning_rate = -1.0\n",
        "recipe.toml",
        "learning_rate",
    ),
    train(
        "a recipe that lets a teacher's code run",
        RECIPE + '[score]\npairs = "p"\nout = "s"\ntrust_remote_code = true\n',
        "score.trust_remote_code: no recipe lets a checkpoint's code run",
        "give --trust-remote-code to train",
    ),
    train(
        "a revision of a query encoder that is not named",
        changed('base = "nowhere"', 'base = "nowhere"\nquery_revision = "v2"'),
        "model.query_revision is of model.query_base",
    ),
    train("no loss", changed("contrastive = 1", "contrastive = 0"), "recipe.toml", "loss"),
    train(
        "a loss that is negative",
        changed("contrastive = 1", "contrastive = -1"),
        "recipe.toml",
        "loss",
    ),
    train(
        "a loss that needs negatives",
        changed("negatives = 1", "negatives = 0").replace("contrastive = 1", "margin_mse = 1"),
        "recipe.toml",
        "data.negatives",
    ),
    train(
        "negative negatives", changed("negatives = 1", "negatives = -1"), "recipe.toml", "negatives"
    ),
    train(
        "nothing to train",
        changed('base = "nowhere"', ""),
        "recipe.toml",
        "model.base or model.config",
    ),
    train(
        "a pooling that is unknown",
        changed('base = "nowhere"', 'base = "x"\npooling = "mean"'),
        "recipe.toml",
        "pooling",
        "max",
    ),
    train(
        "a format that is unknown",
        changed('format = "jsonl"', 'format = "csv"'),
        "recipe.toml",
        "format",
    ),
    train(
        "a recipe that is based on none",
        'extends = "gone.toml"\n' + RECIPE,
        "gone.toml",
        "comes with",
    ),
    Row("no such recipe", "train gone -o out", 4, ("gone", "one-gpu")),
    Row(
        "a recipe whose name no file system takes",
        f"train {'x' * 300} -o out",
        4,
        ("File name too long",),
    ),
    Row("no such recipe file", "train gone.toml -o out", 4, ("gone.toml",)),
    Row(
        "a folder for a recipe",
        "train recipe.toml -o out",
        4,
        ("recipe.toml",),
        {"recipe.toml/x": ""},
    ),
    Row(
        "a change without a value",
        "train recipe.toml -o out --set train.steps",
        2,
        ("train.steps",),
        {"recipe.toml": RECIPE},
    ),
    Row(
        "a change of an unknown key",
        "train recipe.toml -o out --set train.stepz=3",
        4,
        ("stepz",),
        {"recipe.toml": RECIPE},
    ),
    Row(
        "a change to another type",
        "train recipe.toml -o out --set train.steps=many",
        4,
        ("train.steps",),
        {"recipe.toml": RECIPE},
    ),
]
