"""A calibrated network has each term active in as many texts as was wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checkpoints import WORDS, save_checkpoint
from splade_bridge.errors import UsageError
from splade_bridge.training.calibrate import LEAST, MOST, calibrate
from splade_bridge.training.max_first import take_maximum_first
from splade_bridge.training.model import build_model
from splade_bridge.training.options import ModelOptions
from splade_bridge.training.recipe import read_recipe
from splade_bridge.training.train import train
from tiny_training import World

TEXTS = 400


def texts(seed: int) -> list[str]:
    """Some words in most texts, some in few."""
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(1, len(WORDS) + 1)
    drawn = [rng.choice(WORDS, 10, p=chances / chances.sum()) for _ in range(TEXTS)]
    return [" ".join(words) for words in drawn]


@pytest.mark.parametrize("query", ["shared", "separate"])
def test_terms_are_active_as_often_as_wanted(tmp_path: Path, query: str) -> None:
    base = save_checkpoint(tmp_path / "base")
    model = build_model(ModelOptions(str(base), query=query), [], tmp_path / "work")  # type: ignore[arg-type]
    documents, queries = texts(1), texts(2)
    before = model.encode_document(documents, convert_to_sparse_tensor=False)
    take_maximum_first(model)
    calibrate(model, documents, queries)
    sides = [(model.encode_document, documents)]
    if query == "separate":
        sides.append((model.encode_query, queries))
    special = set(model.tokenizer.all_special_ids)
    for encode, given in sides:
        active = (encode(given, convert_to_sparse_tensor=False) > 0).sum(dim=0).numpy()
        ids = [set(i) for i in model.tokenizer(given)["input_ids"]]
        for term in range(len(active)):
            held = sum(term in i for i in ids) / TEXTS
            wanted = 0 if term in special else min(max(held, LEAST), MOST) * TEXTS
            assert abs(active[term] - wanted) <= 1  # padding rounds the last place of a logit
    assert (before > 0).float().mean() > 2 * MOST  # there was something to do


def test_a_recipe_starts_sparse(tmp_path: Path) -> None:
    world = World(tmp_path)
    recipe = read_recipe(world.recipe(), ["train.steps=1", "train.learning_rate=0.0"])
    usual = train(recipe, tmp_path / "usual")
    overrides = ["train.steps=1", "train.learning_rate=0.0", "model.calibrate=40"]
    sparse = train(read_recipe(world.recipe(), overrides), tmp_path / "sparse")
    assert sparse.figures["document_terms"] < usual.figures["document_terms"] / 2


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    usual = build_model(ModelOptions(str(base)), [], tmp_path / "work")
    take_maximum_first(usual)
    with pytest.raises(UsageError, match="12 texts are too few"):
        calibrate(usual, texts(1)[:12], texts(2)[:12])
    model = build_model(ModelOptions(str(base), pooling="sum"), [], tmp_path / "work")
    take_maximum_first(model)
    with pytest.raises(UsageError, match=r"model\.calibrate needs max pooling"):
        calibrate(model, texts(1), texts(2))
