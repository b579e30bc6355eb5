"""Which head is the fastest one here."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from splade_bridge.encoding.head import LinearHead
from splade_bridge.encoding.int8 import Int8Head


def linear_head(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None = None
) -> LinearHead:
    """The fastest head for the device of ``weight``.

    The fused one wants matrix units that Triton can use: 16 bits, compute capability 8.0.

    Args:
        dtype: int8 for products in integers of 8 bits, else that of ``weight``.
    """
    if dtype == torch.int8:
        return Int8Head(weight, bias)
    if (
        weight.is_cuda
        and weight.dtype != torch.float32
        and torch.cuda.get_device_capability(weight.device) >= (8, 0)
        and find_spec("triton")
    ):
        from splade_bridge.encoding.fused import fused_head

        return fused_head(weight, bias)
    return LinearHead(weight, bias)
