"""Published models as the base of a training: what they were saved with stays, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import one_thread, save_checkpoint  # noqa: F401
from splade_bridge.encoding.settings import read_settings
from splade_bridge.errors import BadInputError
from splade_bridge.training.model import build_model, prompts_of
from splade_bridge.training.recipe import read_recipe
from splade_bridge.training.train import train_recipe
from test_training_run import our_vectors, their_vectors
from tiny_training import World

PROMPTS = {"query": "alpha ", "document": "beta "}


def save_encoder(folder: Path, pooling: str = "sum", **settings: Any) -> Path:
    """A SparseEncoder with everything that is not a default."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    plain = save_checkpoint(folder.with_name(f"{folder.name}-plain"))
    transformer = Transformer(str(plain), transformer_task="fill-mask")
    layers = [transformer, SpladePooling(pooling, "log1p_relu")]
    given = {"prompts": PROMPTS, "max_active_dims": 9, **settings}
    SparseEncoder(modules=layers, **given).save_pretrained(str(folder), create_model_card=False)
    return folder


def test_a_sparse_encoder_keeps_what_it_was_saved_with(world: World, tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    # A rate of 0: what comes out must be the base, in every vector.
    settings = [f"model.base={base}", "train.steps=2", "train.learning_rate=0"]
    out = train_recipe(world.recipe(), tmp_path / "out", settings)
    texts = list(world.documents.values())[:9]
    for side in ("document", "query"):
        one, other = read_settings(base, side), read_settings(out, side)  # type: ignore[arg-type]
        for name in ("pooling", "activation", "prompts", "max_active"):
            assert getattr(one, name) == getattr(other, name)
        assert other.prompts[side] == PROMPTS[side]
        vectors = their_vectors(out, side, texts)
        assert (vectors == their_vectors(base, side, texts)).all() and vectors.any()
        assert (vectors > 0).sum(axis=1).max() == 9
        assert (our_vectors(out, side, texts) == our_vectors(base, side, texts)).all()


def test_a_recipe_may_say_otherwise(world: World, tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    settings = [f"model.base={base}", "model.pooling=max", "model.activation=relu"]
    model = build_model(read_recipe(world.recipe(), settings).model, [], tmp_path)
    assert (model[1].pooling_strategy, model[1].activation_function) == ("max", "relu")
    assert prompts_of(model) == PROMPTS and model.max_active_dims == 9
    plain = build_model(read_recipe(world.recipe()).model, [], tmp_path)
    assert (plain[1].pooling_strategy, plain[1].activation_function) == ("max", "relu")
    assert prompts_of(plain) == {"query": "", "document": ""}


def test_prompts_stand_before_the_texts_that_are_trained_on(world: World, tmp_path: Path) -> None:
    """The features of a training are those of ``encode``."""
    from splade_bridge.training.in_batch import Collator
    from splade_bridge.training.train import training_arguments

    base = save_encoder(tmp_path / "base", prompts={"query": "alpha "})
    recipe = read_recipe(world.recipe(), [f"model.base={base}"])
    model = build_model(recipe.model, [], tmp_path)
    columns = ["query", "positive"]
    arguments = training_arguments(recipe, tmp_path / "work", columns, prompts_of(model))
    collate = Collator(
        model.preprocess, router_mapping=arguments.router_mapping, prompts=arguments.prompts
    )
    batch = collate([{"query": "beta", "positive": "gamma"}])
    for column, text in (("query", "alpha beta"), ("positive", "gamma")):
        wanted = model.tokenizer([text], return_tensors="pt")["input_ids"]
        assert torch.equal(batch[f"{column}_input_ids"], wanted)


def routed(folder: Path) -> Path:
    """An inference-free model: a network for documents, weights of tokens for queries."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import Router, SparseStaticEmbedding

    document = SparseEncoder(str(save_encoder(folder.with_name("one"), "max")))
    weights = torch.arange(len(document.tokenizer)).float()
    static = SparseStaticEmbedding(document.tokenizer, weights, frozen=True)
    router = Router.for_query_document(query_modules=[static], document_modules=list(document))
    model = SparseEncoder(modules=[router])
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def test_weights_of_query_tokens_are_kept(world: World, tmp_path: Path) -> None:
    base = routed(tmp_path / "routed")
    settings = [
        f"model.base={base}", "model.query=idf", "regularizer.query.penalty=none", "train.steps=2",
    ]  # fmt: skip
    out = train_recipe(world.recipe(), tmp_path / "out", settings)
    texts = list(world.queries.values())[:5]
    kept = our_vectors(base, "query", texts)
    assert (our_vectors(out, "query", texts) == kept).all() and kept.max() > 10
    assert not (our_vectors(out, "document", texts) == our_vectors(base, "document", texts)).all()
    assert read_settings(out, "document").activation == "log1p_relu"


def test_a_base_of_two_sides_is_not_made_one(world: World, tmp_path: Path) -> None:
    base = routed(tmp_path / "routed")
    with pytest.raises(BadInputError, match=r"routed: encodes queries otherwise.*model.query"):
        train_recipe(world.recipe(), tmp_path / "out", [f"model.base={base}"])
    with pytest.raises(BadInputError, match=r"its query side has no network"):
        train_recipe(
            world.recipe(), tmp_path / "out2", [f"model.base={base}", "model.query=separate"]
        )


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("prompts", ["a"], r"prompts: must be a table"),
        ("default_prompt_name", "none", r"default_prompt_name: there is no prompt 'none'"),
        ("max_active_dims", "many", r"max_active_dims: must be"),
    ],
)
def test_settings_that_are_damaged(
    world: World, tmp_path: Path, key: str, value: object, told: str
) -> None:
    base = save_encoder(tmp_path / "base")
    file = base / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(BadInputError, match=told):
        train_recipe(world.recipe(), tmp_path / "out", [f"model.base={base}"])
