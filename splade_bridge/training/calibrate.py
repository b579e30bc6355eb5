"""A sparse start for networks that begin with thousands of active terms.

A network that was trained little predicts nearly all terms for every text. Scores are then in the
hundreds and much the same for all documents; training first learns to switch everything off, and
may not find back. So the bias of each term is shifted once, such that the term is active in about
as many texts as hold it: data-dependent initialisation (Salimans and Kingma, 2016,
arXiv:1602.07868, section 3), with document frequency for what is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splade_bridge.errors import UsageError
from splade_bridge.training.max_first import HeadMaximum, encoders_with_decoder

LEAST, MOST = 0.01, 0.08
"""Share of the texts in which a term may be active. The first leaves room for terms that a text
does not hold; the second lets stop words be active only where they stand out."""
NEVER = -100.0
AT_ONCE = 32


def calibrate(model: Any, documents: Sequence[str], queries: Sequence[str]) -> None:
    """Shift the biases of all encoders of a SparseEncoder whose maximum is taken first.

    Args:
        documents: for the encoder of documents.
        queries: for an encoder of queries alone.

    Raises:
        UsageError: an encoder's head has no bias, or is not a linear layer.
    """
    found = encoders_with_decoder(model)
    if not found:
        raise UsageError("model.calibrate needs max pooling over a linear head")
    if len(documents) * MOST < 2:
        raise UsageError(f"model.calibrate: {len(documents)} texts are too few, 100 are needed")
    for transformer, decoder in found:
        if decoder.bias is None:
            raise UsageError("model.calibrate needs a head with a bias for each term")
        side = "query" if _is_of_queries(model, transformer) else "document"
        texts = sorted(queries if side == "query" else documents, key=len)
        _shift(transformer, decoder, texts, side)


def _is_of_queries(model: Any, transformer: Any) -> bool:
    """Whether an encoder is a Router's for queries alone."""
    routes = getattr(model[0], "sub_modules", {})
    return "query" in routes and any(m is transformer for m in routes["query"].modules())


def _shift(transformer: Any, decoder: Any, texts: Sequence[str], side: str) -> None:
    highest: list[Tensor] = []
    holding = np.zeros(len(decoder.weight), dtype=np.int64)
    training = transformer.training
    transformer.eval()
    for begin in range(0, len(texts), AT_ONCE):
        features = transformer.preprocess(list(texts[begin : begin + AT_ONCE]), task=side)
        for row, mask in zip(features["input_ids"], features["attention_mask"], strict=True):
            holding[np.unique(row[mask.bool()].numpy())] += 1
        features = {k: v.to(decoder.weight.device) if isinstance(v, Tensor) else v
                    for k, v in features.items()}  # fmt: skip
        with torch.no_grad():
            hidden = transformer(features)["token_embeddings"]
            mask = features["attention_mask"].bool()
            highest.append(HeadMaximum.apply(hidden, decoder.weight, decoder.bias, mask))  # type: ignore[no-untyped-call]
    transformer.train(training)
    ranked = torch.cat(highest).sort(dim=0, descending=True).values
    wanted = np.clip(holding / len(texts), LEAST, MOST) * len(texts)
    allowed = torch.from_numpy(wanted).long().clamp(max=len(texts) - 1).to(ranked.device)
    with torch.no_grad():
        decoder.bias -= ranked.gather(0, allowed[None]).squeeze(0)
        decoder.bias[torch.tensor(transformer.tokenizer.all_special_ids)] = NEVER
