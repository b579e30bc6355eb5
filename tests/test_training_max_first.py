"""The maximum of the logits without their gradients, against plain autograd."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SparseEncoder
from torch import Tensor, nn

from checkpoints import save_checkpoint
from splade_bridge.training import max_first as module
from splade_bridge.training.max_first import (
    HeadMaximum,
    encoders_with_decoder,
    take_maximum_first,
)
from splade_bridge.training.model import build_model
from splade_bridge.training.options import ModelOptions

TEXTS = ["he was not in it", "by his", "this", "and of the on or a of the in it by his that was"]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 7), st.integers(1, 20),
    st.integers(1, 200),
)  # fmt: skip
def test_values_and_gradients_are_those_of_autograd(
    seed: int, texts: int, positions: int, terms: int, at_once: int
) -> None:
    random = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=random).requires_grad_()

    hidden, weight, bias = normal(texts, positions, 6), normal(terms, 6), normal(terms)
    mask = torch.rand(texts, positions, generator=random) < 0.7
    mask[:, 0] = True
    logits = nn.functional.linear(hidden, weight, bias)
    plain = logits.masked_fill(~mask[..., None], float("-inf")).max(dim=1).values.relu().log1p()
    upstream = torch.randn(plain.shape, generator=random)
    expected = torch.autograd.grad((plain * upstream).sum(), (hidden, weight, bias))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOGITS_AT_ONCE", at_once)
        found = HeadMaximum.apply(hidden, weight, bias, mask).relu().log1p()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, plain)
    gradients = torch.autograd.grad((found * upstream).sum(), (hidden, weight, bias))
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def vectors_and_gradients(model: SparseEncoder, side: str) -> tuple[Tensor, dict[str, Tensor]]:
    model.train()
    model.zero_grad()
    features = model.preprocess(TEXTS, task=side)
    vectors = model(features, task=side)["sentence_embedding"]
    (vectors * torch.linspace(-1, 2, vectors.numel()).view_as(vectors)).sum().backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return vectors.detach(), found


@pytest.mark.parametrize(
    "settings", [{}, {"query": "separate"}, {"activation": "log1p_relu"}, {"query": "bow"}]
)
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "roberta"])
@pytest.mark.sample(4)
def test_a_model_learns_the_same(
    tmp_path: Path, architecture: str, settings: dict[str, Any]
) -> None:
    base = save_checkpoint(tmp_path / "base", architecture)
    model = build_model(ModelOptions(str(base), **settings), [], tmp_path / "work")
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    plain = copy.deepcopy(model)
    take_maximum_first(model)
    sides = ["document"] if settings.get("query") == "bow" else ["document", "query"]
    for side in sides:
        expected, theirs = vectors_and_gradients(plain, side)
        found, ours = vectors_and_gradients(model, side)
        assert (expected > 0).any()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert ours.keys() == theirs.keys()
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-3, msg=name)
    model.save_pretrained(str(tmp_path / "saved"))
    again = SparseEncoder(str(tmp_path / "saved"), device="cpu")
    ours_now = model.eval().encode_document(TEXTS, convert_to_sparse_tensor=False)
    torch.testing.assert_close(
        again.encode_document(TEXTS, convert_to_sparse_tensor=False), ours_now, atol=1e-5, rtol=1e-4
    )


def test_sum_pooling_is_left_alone(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    model = build_model(ModelOptions(str(base), pooling="sum"), [], tmp_path / "work")
    expected = model.encode_document(TEXTS, convert_to_sparse_tensor=False)
    take_maximum_first(model)
    found = model.encode_document(TEXTS, convert_to_sparse_tensor=False)
    assert torch.equal(found, expected)


class Capped(nn.Module):
    """A network whose logits are not what its decoder gives, as with a soft cap."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def get_output_embeddings(self) -> nn.Module:
        decoder: nn.Module = self.network.get_output_embeddings()
        return decoder

    def forward(self, **inputs: Any) -> Any:
        output = self.network(**inputs)
        output.logits = torch.tanh(output.logits)
        return output


def test_logits_that_are_changed_after_the_decoder_are_noticed(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    model = build_model(ModelOptions(str(base)), [], tmp_path / "work")
    transformer = next(iter(model.children()))
    assert module._ends_with_decoder(transformer)
    transformer.model = Capped(transformer.model)  # type: ignore[assignment]
    assert not module._ends_with_decoder(transformer)


def test_the_encoders_of_known_architectures_are_changed(tmp_path: Path) -> None:
    for architecture in ("bert", "distilbert", "roberta"):
        base = save_checkpoint(tmp_path / architecture, architecture)
        model = build_model(ModelOptions(str(base), query="separate"), [], tmp_path / "work")
        assert not encoders_with_decoder(model)
        take_maximum_first(model)
        assert len(encoders_with_decoder(model)) == 2
