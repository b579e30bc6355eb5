"""One side of a model as one plain module: padded token ids in, weights of terms out.

It computes what :class:`splade_bridge.encoding.side.LoadedSide` does, by the formula and not by its
faster ways, since tracing keeps only what torch's own operators do.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from splade_bridge.encoding.head import Activation, Pooling
from splade_bridge.encoding.network import quiet
from splade_bridge.encoding.side import LoadedSide

EXAMPLE = ((2, 7), 5)
"""Texts and tokens that a module is traced with, and tokens of the shorter text."""


class TermWeights(nn.Module):
    """Weights float32[B, W] by token id; 0 for ids that are no term.

    Args:
        network: the masked language model; None for a side that only looks tokens up.
        loaded: the side.
        special: ids of the special tokens, which a side without a network never sees.
    """

    static: Tensor | None
    terms: Tensor | None

    def __init__(self, network: Any, loaded: LoadedSide, special: list[int]) -> None:
        super().__init__()
        self.network = network
        columns = loaded.columns.cpu()
        self.width = int(columns[-1]) + 1
        self.pooling: Pooling = loaded.pooling
        self.activation: Activation = loaded.activation
        self.max_active = loaded.max_active
        static = None
        if loaded.static is not None:
            static = torch.zeros(self.width)
            static[columns] = loaded.static.cpu()
            if network is None:
                static[[i for i in special if i < self.width]] = 0
        terms = torch.zeros(self.width)
        terms[columns] = 1
        self.register_buffer("static", static)
        self.register_buffer("terms", None if bool(terms.all()) else terms)
        named = () if network is None else inspect.signature(network.forward).parameters
        self.takes_types = "token_type_ids" in named

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Weights of texts.

        Args:
            input_ids, attention_mask, token_type_ids: int64[B, L]; the mask is 0 for padding.
        """
        weights = None
        if self.network is not None:
            weights = self._pooled(input_ids, attention_mask, token_type_ids)
        if self.static is not None:
            there = torch.zeros(input_ids.shape[0], self.width).scatter_add(
                1, input_ids, attention_mask.float()
            )
            fixed = there.clamp(max=1) * self.static
            weights = fixed if weights is None else weights * fixed
        assert weights is not None
        if self.terms is not None:
            weights = weights * self.terms
        if self.max_active is not None:
            most = min(self.max_active, self.width)
            values, places = weights.topk(most, dim=1)
            weights = torch.zeros_like(weights).scatter(1, places, values)
        return weights

    def _pooled(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
    ) -> Tensor:
        more = {}
        if self.takes_types and token_type_ids is not None:
            more["token_type_ids"] = token_type_ids
        logits = self.network(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        logits = logits[:, :, : self.width].masked_fill(attention_mask[:, :, None] == 0, 0.0)
        if self.pooling == "max":  # ReLU makes nothing of the 0 of padding
            return self._activated(logits.amax(1))
        return self._activated(logits).sum(1)

    def _activated(self, logits: Tensor) -> Tensor:
        weights = torch.log1p(torch.relu(logits))
        return torch.log1p(weights) if self.activation == "log1p_relu" else weights


def example(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types int64[B, L] to trace a module with: two texts of different lengths."""
    shape, shorter = EXAMPLE
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) % width
    mask = torch.ones_like(ids)
    mask[1, shorter:] = 0
    return ids, mask, torch.zeros_like(ids)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what tracing warns of: that branches are kept as they are taken, and its own end.

    What is traced is compared with what encodes.
    """
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield
