"""Max pooling that looks at logits once: no gradient goes through those that are not the maximum.

log1p and relu are monotone, so the maximum over positions is taken of the raw logits, and only the
position of the highest logit of each term gets a gradient. The logits [texts, positions, terms] are
computed a few texts at a time and forgotten; what is kept for the backward pass is one number and
one position for each text and term. Its two products (with the head's weights, and for them), which
are two thirds of the head's cost, are with a sparse matrix of the active terms.

The layers stay those of sentence-transformers, which save and load as ever: only what they compute
while they train is exchanged.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

LOGITS_AT_ONCE = 1 << 23
DECODER, COLUMNS = "decoder", "columns"


class HeadMaximum(torch.autograd.Function):
    """max over unmasked positions l of h_il . w_j + b_j: float32 [texts, terms]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        """``hidden`` [texts, positions, width], ``weight`` [terms, width], ``mask`` of bools."""
        texts, positions, _ = hidden.shape
        step = max(1, LOGITS_AT_ONCE // (positions * len(weight)))
        best = hidden.new_empty((texts, len(weight)), dtype=torch.float32)
        places = torch.empty((texts, len(weight)), dtype=torch.int32, device=hidden.device)
        rows, columns = weight.to(hidden.dtype), bias.to(hidden.dtype)
        for begin in range(0, texts, step):
            part = slice(begin, begin + step)
            logits = nn.functional.linear(hidden[part], rows, columns)
            if not mask[part].all():
                logits.masked_fill_(~mask[part][..., None], float("-inf"))
            highest, place = logits.max(dim=1)
            best[part], places[part] = highest, place
        ctx.save_for_backward(hidden, weight, places)
        return best

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None]:
        """Products with the sparse matrix of the gradients at the highest logits."""
        hidden, weight, places = ctx.saved_tensors
        (gradient,) = gradients
        texts, positions, width = hidden.shape
        text, term = gradient.nonzero(as_tuple=True)
        values = gradient[text, term].float()
        place = text * positions + places[text, term]
        size = (texts * positions, len(weight))
        where = torch.stack([place, term])
        sparse = torch.sparse_coo_tensor(where, values, size, check_invariants=False).coalesce()
        for_hidden = torch.sparse.mm(sparse, weight.float()).view(texts, positions, width)
        for_weight = None
        if ctx.needs_input_grad[1]:  # not so where adapters are trained
            flat = hidden.reshape(-1, width).float()
            for_weight = torch.sparse.mm(sparse.t().coalesce(), flat).to(weight.dtype)
        return for_hidden.to(hidden.dtype), for_weight, gradient.float().sum(dim=0), None


def take_maximum_first(model: nn.Module) -> None:
    """Make the encoders of a SparseEncoder with max pooling compute so; others stay as they are."""
    for transformer, pooling in _encoders(model):
        if pooling.pooling_strategy == "max" and _ends_with_decoder(transformer):
            decoder = transformer.model.get_output_embeddings()
            decoder.forward = types.MethodType(_pass_through, decoder)
            pooling.forward = types.MethodType(_pooled, pooling)
            # Not as a module of its own, or its weights would be saved twice.
            object.__setattr__(pooling, DECODER, decoder)


def encoders_with_decoder(model: nn.Module) -> list[tuple[Any, nn.Linear]]:
    """Transformer and decoder of the encoders that :func:`take_maximum_first` has changed."""
    return [(t, p.__dict__[DECODER]) for t, p in _encoders(model) if DECODER in p.__dict__]


@contextlib.contextmanager
def only_terms(model: nn.Module, columns: Tensor) -> Iterator[bool]:
    """In here vectors hold the terms ``columns`` (int64[n]) alone, and cost accordingly less.

    Yields whether that is so: where :func:`take_maximum_first` has changed all encoders, or none of
    them computes less.
    """
    poolings = [pooling for _, pooling in _encoders(model)]
    changed = bool(poolings) and all(DECODER in p.__dict__ for p in poolings)
    try:
        for pooling in poolings if changed else ():
            object.__setattr__(pooling, COLUMNS, columns)
        yield changed
    finally:
        for pooling in poolings:
            pooling.__dict__.pop(COLUMNS, None)


def _encoders(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Transformer and pooling, wherever they follow each other."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    for layers in model.modules():
        for first, second in pairwise(layers.children()):
            if isinstance(first, Transformer) and isinstance(second, SpladePooling):
                yield first, second


def _pass_through(_: nn.Linear, hidden: Tensor) -> Tensor:
    return hidden


def _pooled(pooling: Any, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """SpladePooling.forward, where the decoder's input comes instead of logits."""
    decoder = pooling.__dict__[DECODER]
    hidden, mask = features["token_embeddings"], features["attention_mask"].bool()
    weight = decoder.weight
    bias = decoder.bias if decoder.bias is not None else hidden.new_zeros(len(weight))
    columns = pooling.__dict__.get(COLUMNS)
    if columns is not None:
        weight, bias = weight[columns], bias[columns]
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    weights = HeadMaximum.apply(hidden, weight, bias, mask).relu().log1p()  # type: ignore[no-untyped-call]
    if pooling.activation_function == "log1p_relu":
        weights = weights.log1p()
    if columns is not None:
        full = weights.new_zeros((len(weights), len(decoder.weight)))
        weights = full.index_copy(1, columns, weights)
    if pooling.embedding_dimension is None:
        pooling.embedding_dimension = weights.shape[1]
    features["sentence_embedding"] = weights
    return features


def _ends_with_decoder(transformer: Any) -> bool:
    """Whether the logits are what the decoder, a plain linear layer, gives (no cap after it)."""
    network = transformer.model
    decoder = network.get_output_embeddings()
    if type(decoder) is not nn.Linear:
        return False
    seen: list[Tensor] = []
    hook = decoder.register_forward_hook(lambda *given: seen.append(given[2]))
    probe = torch.arange(4, device=decoder.weight.device)[None]
    training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(input_ids=probe, attention_mask=torch.ones_like(probe)).logits
    finally:
        hook.remove()
        network.train(training)
    return len(seen) == 1 and torch.equal(seen[0], logits)
