"""Weights and settings that do not belong together are refused in a sentence with both sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import VOCABULARY, one_thread, save_checkpoint  # noqa: F401
from splade_bridge.encoding.encoder import load_encoder
from splade_bridge.encoding.network import refuse_claims
from splade_bridge.errors import BadInputError
from test_identity import changed_json

WIDTH = len(VOCABULARY)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"vocab_size": WIDTH + 2},
            rf"bert\.embeddings\.word_embeddings\.weight has shape \[{WIDTH}, 32\] in its weights "
            rf"and \[{WIDTH + 2}, 32\] by its config.json",
        ),
        (
            {"max_position_embeddings": 40},
            r"position_embeddings\.weight has shape \[66, 32\] in its weights and \[40, 32\]",
        ),
        (
            {"max_position_embeddings": 512},
            r"position_embeddings\.weight has shape \[66, 32\] in its weights and \[512, 32\]",
        ),
        ({"intermediate_size": 64}, r"has shape \[48\] .* \[64\] .*and so have \d others"),
        (
            {"num_hidden_layers": 1},
            r"its weights hold bert\.encoder\.layer\.1\..*, a layer that its config.json does not "
            r"build: they do not belong together \(num_hidden_layers\?\)",
        ),
        ({"num_hidden_layers": 3}, r"its weights lack bert\.encoder\.layer\.2\."),
    ],
)
def test_other_sizes_are_refused(model: Path, changes: dict[str, Any], match: str) -> None:
    changed_json(**changes)(model / "config.json")
    with pytest.raises(BadInputError, match=match) as caught:
        load_encoder(str(model), "document")
    assert str(caught.value).startswith(f"{model}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        # transformers would build layer after layer until the memory is full
        ({"num_hidden_layers": 1001}, "num_hidden_layers is above 1,000"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers is above 1,000"),  # beyond 64 bits
        ({"num_hidden_layers": -(10**400)}, "num_hidden_layers is -1000.*: a network without"),
        ({"model_type": "funnel", "block_sizes": [4, 10**9]}, "block_sizes is above 1,000"),
        (
            {"model_type": "gpt_neo", "attention_types": [[["global", "local"], 10**9]]},
            "attention_types is above 1,000",
        ),
        ({"text_config": {"n_layer": 10**9}}, "n_layer is above 1,000"),
        # and would make what the weights have in another size
        ({"vocab_size": 10**9}, r"makes a network of 32(,\d{3}){3} parameters"),
        ({"intermediate_size": 10**8}, r".* the weights beside it are \d+,\d{3} bytes"),
        ({"max_position_embeddings": 10**8}, "makes a network of"),
    ],
)
def test_sizes_are_not_made_because_a_configuration_claims_them(
    model: Path, changes: dict[str, Any], match: str
) -> None:
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(BadInputError, match=f"config.json: {match}"):
        refuse_claims(model)


def test_what_is_left_over_is_told(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.torch import load_file, save_file

    def add(**tensors: torch.Tensor) -> None:
        save_file(load_file(model / "model.safetensors") | tensors, model / "model.safetensors")

    add(
        **{
            "cls.seq_relationship.weight": torch.zeros(2, 32),
            "bert.pooler.dense.bias": torch.ones(32),
        }
    )
    load_encoder(str(model), "document")
    assert caplog.text == ""  # as every BERT has them, and no term needs them
    add(extra_projection=torch.ones(2, 2))
    load_encoder(str(model), "document")
    assert "its weights hold extra_projection, which BertForMaskedLM does not have" in caplog.text
