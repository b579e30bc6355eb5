"""Heads that weigh tokens, compared with plain formulas.

Pyserini 1.6 cannot load uniCOIL with transformers 5 (no all_tied_weights_keys), so what
it does with the weights is written out here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import VOCABULARY, config, one_thread, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.errors import BadInputError, UsageError
from test_encode import encode
from test_identity import identity, other_numbers
from test_no_code import Bomb

pytest.importorskip("transformers")

TEXTS = ["the cat sat on the mat", "x", "was with by " * 9, "42 of (his) ☃ was not", "on " * 37]
WHOLE = EncodeOptions(max_length=None)


def random_body(seed: int) -> tuple[Any, torch.nn.Linear]:
    """A small BERT without a head, and a linear layer from its hidden states to 1."""
    from transformers import BertModel

    torch.manual_seed(seed)
    body = BertModel(config("bert", len(VOCABULARY) + 3)).eval()
    layer = torch.nn.Linear(32, 1)
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
        layer.weight.normal_(0, 0.3)
        layer.bias.fill_(0.5)
    return body, layer


def by_formula(body: Any, layer: Any, left_out: set[str], join: Callable[..., float]) -> np.ndarray:
    """ReLU of the layer on each last hidden state, joined token by token, one text a time."""
    tokenizer = wordpiece_tokenizer()
    rows = np.zeros((len(TEXTS), len(VOCABULARY)), np.float32)
    for row, text in zip(rows, TEXTS, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            weights = torch.relu(layer(body(input_ids=ids).last_hidden_state))[0, :, 0].tolist()
        places: dict[int, list[float]] = {}
        for token, weight in zip(ids[0].tolist(), weights, strict=True):
            if VOCABULARY[token] not in left_out:
                places.setdefault(token, []).append(weight)
        for token, found in places.items():
            row[token] = join(found)
    assert (rows > 0).sum() > 10
    return rows


def save_bge(folder: Path, layer: Any | None = None) -> tuple[Path, Any, Any]:
    """As BAAI/bge-m3 is laid out: the network, two heads beside it, modules of its dense side."""
    body, own = random_body(1)
    layer = layer or own
    body.save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    torch.save(layer.state_dict(), folder / "sparse_linear.pt")
    torch.save(torch.nn.Linear(32, 32).state_dict(), folder / "colbert_linear.pt")
    kinds = ["Transformer", "Pooling", "Normalize"]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": f"{i}_{kind}" if i else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, kind in enumerate(kinds)
            ]
        )
    )
    return folder, body, layer


def save_unicoil(folder: Path, name: str = "UniCoilEncoder") -> tuple[Path, Any, Any]:
    """As castorini/unicoil-msmarco-passage is: the network and tok_proj in one file of weights."""
    body, layer = random_body(2)
    state = {f"bert.{key}": value for key, value in body.state_dict().items()}
    state |= {f"tok_proj.{key}": value for key, value in layer.state_dict().items()}
    body.config.architectures = [name]
    body.config.save_pretrained(folder)
    torch.save(state, folder / "pytorch_model.bin")
    wordpiece_tokenizer().save_pretrained(folder)
    return folder, body, layer


@pytest.mark.parametrize("side", ["document", "query"])
def test_bge_m3(tmp_path: Path, side: Any) -> None:
    model, body, layer = save_bge(tmp_path)
    wanted = by_formula(body, layer, {"[CLS]", "[SEP]", "[PAD]", "[UNK]"}, max)
    # XLM-RoBERTa calls [SEP] the end of a text.
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": "[SEP]"}))
    encoder = load_encoder(str(model), side, WHOLE)
    np.testing.assert_allclose(encode(encoder, TEXTS), wanted, rtol=0, atol=1e-5)
    assert encoder.info(0).pooling == "tokens max"
    assert encoder.info(0).partner == encoder.info(0).sha256


@pytest.mark.parametrize(("side", "join"), [("document", max), ("query", sum)])
def test_unicoil(tmp_path: Path, side: Any, join: Any) -> None:
    model, body, layer = save_unicoil(tmp_path)
    encoder = load_encoder(str(model), side, WHOLE)
    wanted = by_formula(body, layer, {"[CLS]"}, join)
    np.testing.assert_allclose(encode(encoder, TEXTS), wanted, rtol=0, atol=1e-5)
    assert encoder.info(0).pooling == f"tokens {join.__name__}"


def test_tilde_weighs_no_queries(tmp_path: Path) -> None:
    model, body, layer = save_unicoil(tmp_path, "TILDEv2")
    found = encode(load_encoder(str(model), "document", WHOLE), TEXTS)
    np.testing.assert_allclose(found, by_formula(body, layer, {"[CLS]"}, max), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match=r"TILDEv2 weighs no queries.*use --query-mode bow"):
        load_encoder(str(model), "query", WHOLE)
    bow = EncodeOptions(max_length=None, checkpoint=ModelChoices(query_mode="bow"))
    assert encode(load_encoder(str(model), "query", bow), ["the cat"]).max() == 1


def test_its_numbers_decide_the_identity(tmp_path: Path) -> None:
    model, _, layer = save_bge(tmp_path)
    before = identity(model)
    with torch.no_grad():
        layer.bias.add_(0.5)
    torch.save(layer.state_dict(), model / "sparse_linear.pt")
    assert identity(model)["model_sha256"] != before["model_sha256"]
    again = identity(model)
    other_numbers(model / "model.safetensors")
    assert identity(model)["model_sha256"] != again["model_sha256"]


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    model, _, _ = save_bge(tmp_path, torch.nn.Linear(31, 1))
    with pytest.raises(BadInputError, match="takes hidden states of 31 numbers and its network ha"):
        load_encoder(str(model), "document", WHOLE)
    torch.save({"weight": torch.ones(1, 32)}, model / "sparse_linear.pt")
    with pytest.raises(BadInputError, match=r"sparse_linear.pt: holds no linear layer.*bias"):
        load_encoder(str(model), "document", WHOLE)
    torch.save(
        {"weight": torch.ones(1, 32), "bias": torch.tensor([torch.nan])}, model / "sparse_linear.pt"
    )
    with pytest.raises(BadInputError, match="a weight of its head is not finite"):
        load_encoder(str(model), "document", WHOLE)
    torch.save({"weight": Bomb(tmp_path / "ran")}, model / "sparse_linear.pt")
    with pytest.raises(BadInputError, match="holds no linear layer"):
        load_encoder(str(model), "document", WHOLE)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match=r"--pooling sum: .* weighs the tokens of a text one by"):
        load_encoder(str(model), "document", EncodeOptions(pooling="sum"))
