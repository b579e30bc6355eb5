"""All that transformers calls a masked language model, tiny: right, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import SMALL, VOCABULARY, one_thread, save_random, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.errors import BadInputError, UsageError
from test_encode import MAX_LENGTH, TEXTS, encode, plain_formula

transformers = pytest.importorskip("transformers")
NAMES = transformers.models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES

ASKED = [text for text in TEXTS if len(text) > 3]
SIZES = {
    **dict.fromkeys(("d_model", "dim", "emb_dim", "embedding_size", "hidden_size"), 32),
    **dict.fromkeys(("n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("n_heads", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 48),
    **SMALL,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": len(VOCABULARY),
    "pad_token_id": 0,
}
"""Under all names that sizes have; a configuration is given those that it knows."""
PICTURES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 16,
}
OWN: dict[str, dict[str, Any]] = {
    "funnel": {"block_sizes": [1, 1], "d_head": 16, "n_head": 2, "d_inner": 48},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernvbert": {"text_config": SIZES, "vision_config": PICTURES},
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 2,
        "num_cross_attention_heads": 2,
        "qk_channels": 32,
        "v_channels": 32,
    },
    "reformer": {
        "axial_pos_embds": False,
        "is_decoder": False,
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "feed_forward_size": 48,
        "attention_head_size": 16,
        "num_buckets": 4,
    },
    "roc_bert": {"pronunciation_vocab_size": 9, "shape_vocab_size": 9},
    "ultravbert": {"text_config": SIZES, "vision_config": PICTURES},
}
"""Sizes that only one kind has."""
REFUSED = {
    "bart": "BartForConditionalGeneration cannot be split into a body and a head that works on "
    "single positions: not supported",
    "mbart": "MBartForConditionalGeneration cannot be split",
    "mvp": "MvpForConditionalGeneration cannot be split",
    "perceiver": "PerceiverForMaskedLM cannot be split",
    "reformer": "attn_layers: lsh hashes at random without a hash_seed",
    "xmod": "XmodForMaskedLM gives no logits of token ids and an attention mask alone",
}


def tiny(kind: str, folder: Path) -> Path:
    """A random checkpoint of ``kind``, of some ten thousand parameters."""
    settings = transformers.CONFIG_MAPPING[kind]
    known = {*settings().to_dict(), *settings.attribute_map}
    own = OWN.get(kind, {})
    if "text_config" in own:
        own = own | {"text_config": {"model_type": settings().text_config.model_type, **SIZES}}
    sizes = {name: size for name, size in SIZES.items() if name in known}
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(settings(**(sizes | own))).eval()
    return save_random(model, folder)


@pytest.mark.parametrize("kind", sorted(NAMES, key=lambda kind: (kind not in REFUSED, kind)))
@pytest.mark.sample(9)
def test_right_or_refused(kind: str, tmp_path: Path) -> None:
    """Equal to the plain formula over the logits of each text alone."""
    model = tiny(kind, tmp_path)
    options = EncodeOptions(max_length=MAX_LENGTH, batch_tokens=1000)
    if kind in REFUSED:
        with pytest.raises(BadInputError) as caught:
            load_encoder(str(model), "document", options)
        assert REFUSED[kind] in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    found = encode(load_encoder(str(model), "document", options), ASKED)
    wanted = np.concatenate([plain_formula(model, [text], "max") for text in ASKED])
    assert 0.1 < (wanted > 0).mean() < 1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


LOOKED_INTO = ("neomme",)
"""Networks that look for more in a linear layer than its result."""


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(set(NAMES) - set(REFUSED)))
def test_in_integers_of_8_bits(kind: str, tmp_path: Path) -> None:
    """Near what float32 gives, of weights up to 4, or refused by name."""
    model = str(tiny(kind, tmp_path))
    options = EncodeOptions(max_length=MAX_LENGTH, dtype="int8")
    if kind in LOOKED_INTO:
        with pytest.raises(UsageError, match=r"--dtype int8: the linear layers of .* cannot be re"):
            load_encoder(model, "document", options)
        return
    near = encode(load_encoder(model, "document", options), ASKED)
    exact = encode(load_encoder(model, "document", EncodeOptions(max_length=MAX_LENGTH)), ASKED)
    assert 0 < np.abs(near - exact).max() < 1
    assert np.abs(near - exact).mean() < 0.05
