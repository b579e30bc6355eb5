"""Folders as naver's trainings leave them: what their config.yaml says is obeyed, or refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import VOCABULARY, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import Text
from test_encode import dense

TEXTS = ["the cat sat", "42 of the mat, not of his", "x"]
CONFIG = """\
config:
  lr: 2.0e-05
  seed: 123
  pretrained_no_yamlconfig: false
  max_length: {length}
  fp16: true
  matching_type: {kind}
  tokenizer_type: distilbert-base-uncased
  checkpoint_dir: ???
  regularizer:
    FLOPS:
      lambda_q: 0.0005
data:
  type: triplets
init_dict:
  model_type_or_dir: distilbert-base-uncased
  model_type_or_dir_q: {query}
  freeze_d_model: 0
  agg: {agg}
  fp16: true
"""
"""As OmegaConf saves conf/config_splade.yaml of naver/splade."""


def training(
    folder: Path, *, agg: str = "sum", kind: str = "splade", query: str = "null", length: Any = 256
) -> Path:
    """The folder of a training: its configuration, and the network in ``model/``."""
    save_checkpoint(folder / "model")
    text = CONFIG.format(agg=agg, kind=kind, query=query, length=length)
    (folder / "config.yaml").write_text(text)
    return folder


def rows(encoder: Encoder) -> np.ndarray:
    return dense(next(encoder.encode([Text(str(i), t, "") for i, t in enumerate(TEXTS)])))


def load(folder: Path, side: Any = "document", **options: Any) -> Encoder:
    return load_encoder(str(folder), side, EncodeOptions(**options))


def formula(folder: Path, agg: str, length: int = 256) -> np.ndarray:
    """The plain formula: log(1 + ReLU) summed over positions, or its maximum."""
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    wanted = []
    for text in TEXTS:
        ids = wordpiece_tokenizer()(text, return_tensors="pt", max_length=length, truncation=True)
        with torch.no_grad():
            weights = torch.log1p(torch.relu(network(**ids).logits[0]))
        wanted.append(weights.sum(0) if agg == "sum" else weights.amax(0))
    return torch.stack(wanted).numpy()


@pytest.mark.parametrize("agg", ["sum", "max"])
@pytest.mark.parametrize("place", ["training", "network", "published"])
def test_the_aggregation_is_obeyed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, agg: str, place: str
) -> None:
    """In the folder of the training, in its network's, and beside a network as it is published."""
    folder = training(tmp_path / "exp", agg=agg)
    if place == "published":
        (folder / "config.yaml").rename(folder / "model" / "config.yaml")
    if place != "training":
        folder = folder / "model"
    caplog.set_level(logging.INFO, "splade_bridge")
    wanted = formula(tmp_path / "exp" / "model", agg)
    for side in ("document", "query"):
        encoder = load(folder, side)
        np.testing.assert_allclose(rows(encoder), wanted, rtol=0, atol=1e-5)
        assert encoder.info(0).pooling == agg
    assert f"config.yaml says {agg} pooling" in caplog.text
    other = {"sum": "max", "max": "sum"}[agg]
    asked = load(folder, pooling=other)
    np.testing.assert_allclose(
        rows(asked), formula(tmp_path / "exp" / "model", other), rtol=0, atol=1e-5
    )
    assert f"was saved with {agg} pooling; using {other} as asked" in caplog.text


def test_it_decides_the_vectors_and_is_hashed(tmp_path: Path) -> None:
    folder = training(tmp_path / "exp", agg="max")
    one = load(folder).loaded.settings_sha256
    training(tmp_path / "exp", agg="sum")
    assert load(folder).loaded.settings_sha256 != one


def test_its_length_is_the_limit(tmp_path: Path) -> None:
    folder = training(tmp_path / "exp", length=5)
    encoder = load(folder)
    assert encoder.loaded.max_length == 5
    np.testing.assert_allclose(
        rows(encoder), formula(folder / "model", "sum", 5), rtol=0, atol=1e-5
    )


def test_documents_alone(tmp_path: Path) -> None:
    folder = training(tmp_path / "exp", kind="splade_doc")
    asked = load(folder, "query")
    wanted = np.zeros((len(TEXTS), len(VOCABULARY)), np.float32)
    for row, text in enumerate(TEXTS):
        wanted[row, wordpiece_tokenizer()(text, add_special_tokens=False)["input_ids"]] = 1
    np.testing.assert_array_equal(rows(asked), wanted)
    assert asked.info(0).pooling == "bow"
    np.testing.assert_allclose(
        rows(load(folder)), formula(folder / "model", "sum"), rtol=0, atol=1e-5
    )


def test_a_query_encoder_of_its_own(tmp_path: Path) -> None:
    folder = training(tmp_path / "exp", query="models/BERTiny")
    with pytest.raises(BadInputError) as error:
        load(folder, "query")
    assert str(error.value) == (
        f"{folder}/config.yaml: init_dict.model_type_or_dir_q: names a query encoder, and query/ "
        "is missing"
    )
    save_checkpoint(folder / "model" / "query", seed=1)
    np.testing.assert_allclose(
        rows(load(folder, "query")), formula(folder / "model" / "query", "sum"), rtol=0, atol=1e-5
    )


REFUSED = [
    ({"agg": "mean"}, "init_dict.agg: is 'mean'; it can be max, sum"),
    ({"agg": "${other}"}, "init_dict.agg: is '${other}'; it can be max, sum"),
    ({"kind": "splade_t5"}, "config.matching_type: is 'splade_t5', a kind of model that gives no"),
    ({"kind": "siamese"}, "config.matching_type: is 'siamese', a model of dense vectors that"),
    ({"kind": "3"}, "config.matching_type: must be a string, not 3"),
    ({"length": "long"}, "config.max_length: must be a whole number, not 'long'"),
    ({"length": 0}, "config.max_length: must be 1 or more, not 0"),
    ({"agg": "[sum"}, "not YAML ("),
]


@pytest.mark.parametrize(("said", "message"), REFUSED)
def test_what_cannot_be_obeyed_is_refused(
    tmp_path: Path, said: dict[str, Any], message: str
) -> None:
    folder = training(tmp_path / "exp", **said)
    with pytest.raises(BadInputError) as error:
        load(folder)
    assert str(error.value).startswith(f"{folder}/config.yaml: {message}")


def test_a_config_of_another_tool_says_nothing(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model")
    for text in ("agg: sum\n", "{{ broken: [", "x" * (1 << 21)):
        (folder / "config.yaml").write_text(text)
        assert load(folder).info(0).pooling == "max"


def test_the_pickled_state_of_a_training_is_named(tmp_path: Path) -> None:
    (tmp_path / "exp" / "model").mkdir(parents=True)
    (tmp_path / "exp" / "model" / "model.tar").write_bytes(b"x")
    for folder in (tmp_path / "exp", tmp_path / "exp" / "model"):
        with pytest.raises(BadInputError) as error:
            load(folder)
        assert "model.tar: is the pickled state of a training, which is not read" in str(
            error.value
        )


@pytest.mark.long
def test_training_goes_on_from_it_as_it_is(tmp_path: Path) -> None:
    from splade_bridge.training.recipe import read_recipe
    from splade_bridge.training.train import train
    from tiny_training import World

    world = World(tmp_path)
    folder = training(tmp_path / "exp")
    recipe = read_recipe(world.recipe(), [f"model.base={folder}", "train.steps=1"])
    train(recipe, tmp_path / "out")
    assert load(tmp_path / "out").info(0).pooling == "sum"
