"""Decoders with a language-model head as SPLADE: the plain formula over each text alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import VOCABULARY, one_thread, save_random, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.text.corpora import Text
from test_encode import MAX_LENGTH, encode
from test_identity import save_adapter
from test_masked_lm_table import ASKED, SIZES

transformers = pytest.importorskip("transformers")

KINDS: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66},
    "llama": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 8},
    "modernbert-decoder": {"bos_token_id": 2, "eos_token_id": 3},
    "qwen3": {"num_key_value_heads": 1, "tie_word_embeddings": True},
}
BOTH_WAYS = ("llama", "mistral", "qwen3")
"""Those that obey is_causal: false."""


def tiny(kind: str, folder: Path, **more: Any) -> Path:
    settings = transformers.CONFIG_MAPPING[kind]
    known = {*settings().to_dict(), *settings.attribute_map}
    sizes = {name: size for name, size in SIZES.items() if name in known}
    made = settings(**(sizes | KINDS[kind] | more))
    made.is_causal = more.get("is_causal", True)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(made).eval()
    return save_random(model, folder)


def plain(model: Path, pooling: str) -> np.ndarray:
    network = transformers.AutoModelForCausalLM.from_pretrained(model).eval()
    tokenizer = wordpiece_tokenizer()
    rows = []
    for text in ASKED:
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids = tokenizer(clean, return_tensors="pt", truncation=True, max_length=MAX_LENGTH)
        with torch.no_grad():
            logits = network(input_ids=ids["input_ids"]).logits[0]
        weights = torch.log1p(torch.relu(logits))
        rows.append(weights[-1] if pooling == "last" else weights.amax(0))
    return torch.stack(rows).numpy()


def check(model: Path, pooling: Any) -> np.ndarray:
    options = EncodeOptions(max_length=MAX_LENGTH, pooling=pooling, batch_tokens=100)
    encoder = load_encoder(str(model), "document", options)
    found, wanted = encode(encoder, ASKED), plain(model, pooling or "max")
    assert 0.1 < (wanted > 0).mean() < 1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert encoder.info(0).pooling == (pooling or "max")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_decoders(tmp_path: Path, kind: str) -> None:
    """As their configuration says, each position sees those before it."""
    model = tiny(kind, tmp_path)
    assert not np.allclose(check(model, None), check(model, "last"))


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_decoders_that_see_both_ways(tmp_path: Path, kind: str) -> None:
    ways = [tiny(kind, tmp_path / str(way), is_causal=way) for way in (False, True)]
    first = [check(model, None) for model in ways]
    assert np.abs(first[0] - first[1]).max() > 0.01


@pytest.mark.parametrize("kind", ["mistral"])
def test_a_decoder_with_an_adapter(tmp_path: Path, kind: str) -> None:
    """Mistral-SPLADE (arXiv 2408.11119) is published as an adapter."""
    from peft import PeftModel

    model = tiny(kind, tmp_path / "base")
    from transformers import AutoModelForMaskedLM

    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForMaskedLM.from_pretrained(model)
    adapter = save_adapter(
        model, tmp_path / "adapter", kind="AutoModelForCausalLM", target_modules=["q_proj"]
    )
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    PeftModel.from_pretrained(network, str(adapter)).merge_and_unload().save_pretrained(
        tmp_path / "sum"
    )
    wanted = plain(tmp_path / "sum", "max")
    encoder = load_encoder(str(adapter), "document", EncodeOptions(max_length=MAX_LENGTH))
    np.testing.assert_allclose(encode(encoder, ASKED), wanted, rtol=0, atol=1e-5)


def test_the_last_position_of_each_text_counts(tmp_path: Path) -> None:
    """Of a text that is cut, too; and of a BERT, whose last position is [SEP]'s."""
    from checkpoints import save_checkpoint

    model = save_checkpoint(tmp_path / "bert")
    encoder = load_encoder(str(model), "document", EncodeOptions(max_length=12, pooling="last"))
    network = transformers.AutoModelForMaskedLM.from_pretrained(model).eval()
    for text in ("the cat", "of and to in is that it " * 9):
        ids = wordpiece_tokenizer()(text, return_tensors="pt", truncation=True, max_length=12)
        with torch.no_grad():
            logits = network(input_ids=ids["input_ids"]).logits[0, -1]
        wanted = torch.log1p(torch.relu(logits))[: len(VOCABULARY)]
        batch = next(encoder.encode([Text("1", text, "")]))
        np.testing.assert_allclose(batch.weights, wanted[batch.indices.astype(int)], atol=1e-5)
        assert len(batch.indices) == int((wanted > 0).sum())
