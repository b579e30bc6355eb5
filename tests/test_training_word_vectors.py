"""Word vectors against a dense computation, and a network that starts from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.training import word_vectors as module
from splade_bridge.training.mlm import train_mlm
from splade_bridge.training.options import MlmOptions
from splade_bridge.training.word_vectors import LOGIT, start_from, word_vectors

SEPARATOR = 3


def dense(texts: list[list[int]], vocabulary: int, width: int) -> np.ndarray:
    """The definition, term by term."""
    counts = np.zeros((vocabulary, vocabulary))
    for text in texts:
        for i, first in enumerate(text):
            for j, second in enumerate(text):
                if 0 < abs(i - j) <= module.WINDOW:
                    counts[first, second] += 1 / abs(i - j)
    contexts = counts.sum(axis=0) ** module.SMOOTHING
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(counts * contexts.sum() / (counts.sum(axis=1)[:, None] * contexts[None, :]))
    table = np.where(counts > 0, np.maximum(np.nan_to_num(pmi, neginf=0), 0), 0)
    left, singular, _ = np.linalg.svd(table)
    vectors = left[:, :width] * np.sqrt(singular[:width])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: np.ndarray = np.divide(
        vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6
    )
    return result


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(7, 60))
def test_vectors_are_those_of_the_definition(seed: int, at_once: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(4, 20, rng.integers(1, 25)).tolist() for _ in range(12)]
    stream = [token for text in texts for token in (SEPARATOR, *text)][1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_ONCE", at_once)  # counted in parts, as a large text is
        found = word_vectors(np.array(stream, dtype=np.int32), SEPARATOR, 20, 15, 0)
    expected = dense(texts, 20, 15)
    assert found.shape == (20, 15) and found.dtype == np.float32
    # Columns may have the other sign, or be turned where singular values are equal.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=2e-3)
    assert not found[:4].any()


def test_a_network_that_starts_from_vectors_predicts_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 16)).astype(np.float32)
    vectors[7] = vectors[6] + 0.5 * vectors[7]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:4] = 0
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16,
        )
    ).eval()  # fmt: skip
    before = model.get_input_embeddings().weight[:4].clone()
    start_from(model, vectors)
    assert torch.equal(model.get_input_embeddings().weight[:4], before)
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    with torch.no_grad():
        logits = model(torch.tensor([[6, 20]])).logits[0]
    assert int(logits[1].argmax()) == 20
    assert set(logits[0].topk(2).indices.tolist()) == {6, 7}
    assert LOGIT / 2 < float(logits[1, 20]) < LOGIT


def test_mlm_training_starts_from_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    groups = [["red", "green", "blue", "paint"], ["one", "two", "three", "count"]]
    texts = [" ".join(rng.choice(groups[i % 2], 12)) for i in range(300)]
    (tmp_path / "text.txt").write_text("\n".join(texts))
    usual = MlmOptions(
        tmp_path / "out", (tmp_path / "text.txt",), vocab_size=150, layers=1, hidden=8, heads=2,
        intermediate=8, block=16, steps=1, batch_size=2, learning_rate=1e-9, dropout=0.0,
        word_vectors=True,
    )  # fmt: skip
    train_mlm(usual)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    vectors = model.get_input_embeddings().weight.detach()
    ids = tokenizer.convert_tokens_to_ids
    near, far = (float(vectors[ids("red")] @ vectors[ids(w)]) for w in ("blue", "two"))
    assert near > far + 0.1
    with pytest.raises(UsageError, match="terms are too few for hidden 256"):
        train_mlm(replace(usual, out=tmp_path / "wide", hidden=256))
    (tmp_path / "alone.txt").write_text("red\ngreen\n")
    with pytest.raises(BadInputError, match="no two terms beside each other"):
        train_mlm(
            replace(usual, out=tmp_path / "alone", texts=(tmp_path / "alone.txt",),
                    tokenizer=str(tmp_path / "out"))
        )  # fmt: skip
    with pytest.raises(UsageError, match="word_vectors are for a new network"):
        train_mlm(MlmOptions(tmp_path / "x", (tmp_path / "text.txt",), base="b", word_vectors=True))
