"""A side of a model as TorchScript, with the signatures that engines call."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splade_bridge.encoding.exports.term_weights import TermWeights, example, quietly
from splade_bridge.encoding.onnx_graph import IDS, MASK

FROM_CHECKPOINTS = "transformers_modules."
"""What the modules of checkpoints with code of their own are called by transformers."""
OUTPUT = "output"
"""What ml-commons reads of the dictionary that it is given."""

Weights = Callable[[Tensor, Tensor], Tensor]
"""Weights float32[B, W] by token id, of ids and mask int64[B, L]."""


class MlCommons(nn.Module):
    """A dictionary in and a dictionary out, as ml-commons (OpenSearch) calls a sparse encoder."""

    def __init__(self, weights: TermWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights float32[B, W] of ids and mask int64[B, L]."""
        return {OUTPUT: self.weights(inputs[IDS], inputs[MASK])}


class Inference(nn.Module):
    """Four tensors in and weights out, as Elasticsearch calls a model with BERT's tokenizer."""

    def __init__(self, weights: TermWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """Weights float32[B, W] of int64[B, L]; positions may be int64[L]."""
        # Positions are counted from 0 there, whatever the network calls its first one, and all
        # four are given whether they are used or not.
        mask = mask + positions * 0
        if not self.weights.takes_types:
            mask = mask + types * 0
        found: Tensor = self.weights(ids, mask, types)
        return found


def write_ml_commons(weights: TermWeights, file: Path) -> Weights:
    """Trace for ml-commons, and open what was written as its reader does."""
    ids, mask, _ = example(weights.width)
    script = _written(MlCommons(weights), ({IDS: ids, MASK: mask},), file)
    return lambda ids, mask: script({IDS: ids, MASK: mask})[OUTPUT]


def write_inference(weights: TermWeights, file: Path) -> Weights:
    """Trace for Elasticsearch, and open what was written as its reader does."""
    ids, mask, types = example(weights.width)
    script = _written(Inference(weights), (ids, mask, types, _positions(ids)), file)
    return lambda ids, mask: script(ids, mask, torch.zeros_like(ids), _positions(ids))


def plain_attention(network: Any) -> None:
    """Give ``network`` attention of products alone, which every version of torch can run."""
    with contextlib.suppress(Exception):  # an architecture that has no other
        network.set_attn_implementation("eager")


def _positions(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[1])


def _written(module: nn.Module, inputs: tuple[Any, ...], file: Path) -> Any:
    """``module`` traced into ``file``, and loaded from there."""
    with quietly(), _readable_names(module), torch.no_grad():
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            module.eval(), inputs, strict=False, check_trace=False
        )
        # Where the disk is full, torch's own writer of files ends the process.
        written = io.BytesIO()
        torch.jit.save(traced, written)
        file.write_bytes(written.getbuffer())
        return torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _readable_names(module: nn.Module) -> Iterator[None]:
    """Classes of a checkpoint's own code by names that TorchScript can read back.

    A class is saved with its module's name, in which transformers has a hash. Nothing there may
    begin with a digit or be one of TorchScript's words, and its writer does not look.
    """
    named = {
        kind: kind.__module__
        for kind in {type(part) for part in module.modules()}
        if kind.__module__.startswith(FROM_CHECKPOINTS)
    }
    try:
        for kind, name in named.items():
            kind.__module__ = name.replace(".", "._")
        yield
    finally:
        for kind, name in named.items():
            kind.__module__ = name
