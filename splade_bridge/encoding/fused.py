r"""The head on CUDA as one kernel: logits are pooled in registers and never written.

A program multiplies a block of positions, of one or several texts, with a block of the decoder's
rows, accumulating in float32. It adds the bias, takes the maximum over the positions of each text
in its block and joins it with what other programs found by an atomic maximum. ReLU comes for free:
weights start at 0, and among numbers that are not negative the order of bit patterns is that of
the numbers, so that the atomic maximum is one of integers. A maximum does not depend on its order:
results are the same in every run. Texts lie end to end, so nothing is computed for padding.

For T positions this reads :math:`(T + V) H` numbers as any matrix product does and writes B x V;
the plain formula writes and reads T x V several times. Sparton (arXiv 2603.25011) describes a
kernel for the same purpose.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from splade_bridge.encoding.head import Activation, LinearHead, Pooling, activate_, owners, spoil_

log = logging.getLogger(__name__)

CHECK_LENGTHS = (200, 57, 57, 1)
CHECK_TERMS = 4096
"""At each end of the vocabulary."""
TOLERANCE = 1e-3
"""Of the largest logit: sums are in float32 in another order, or in TF32."""


class FusedHead(LinearHead):
    """A linear head whose maximum is taken by the kernel; sums go the way of its base class."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        self.weight = weight

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """See :class:`splade_bridge.encoding.head.Head`."""
        if pooling == "sum":
            return super().__call__(hidden, lengths, pooling, activation)
        pooled = largest_logits(hidden.contiguous(), self.weight, self.bias, lengths)
        return spoil_(activate_(pooled, activation), hidden, lengths)

    def check(self) -> None:
        """Compare the kernel with the plain formula in float32 on random numbers.

        Without the bias: a trained one is as low as the logits are high, and what is left of
        random numbers above it is rounding.

        Raises:
            ValueError: they differ; or whatever else the compiler or the card raises.
        """
        generator = torch.Generator(self.weight.device).manual_seed(0)
        hidden = torch.randn(
            (sum(CHECK_LENGTHS), self.weight.shape[1]),
            generator=generator,
            device=self.weight.device,
        ).to(self.weight.dtype)
        with torch.inference_mode():
            found = largest_logits(hidden, self.weight, torch.zeros_like(self.bias), CHECK_LENGTHS)
            for ends in (slice(CHECK_TERMS), slice(-CHECK_TERMS, None)):
                logits = hidden.float() @ self.weight[ends].float().t()
                texts = torch.split(logits, list(CHECK_LENGTHS))
                wanted = torch.stack([text.amax(0) for text in texts]).relu_()
                if not bool((found[:, ends] - wanted).abs().max() <= TOLERANCE * wanted.max()):
                    raise ValueError("the fused kernel gives other results")


def fused_head(weight: Tensor, bias: Tensor | None) -> LinearHead:
    """A fused head, or a tiled one where the kernel does not run or does not fit."""
    head = FusedHead(weight, bias)
    try:
        head.check()
    except Exception as error:  # compilers, drivers and old cards have errors of many kinds
        log.warning("the fused head does not work here, so the tiled one is used: %s", error)
        return LinearHead(weight, bias)
    return head


def largest_logits(hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int]) -> Tensor:
    """float32[B, V]: the largest logit over the positions of each text, or 0 if that is less.

    Args:
        hidden: [T, H], contiguous; H is a multiple of 16.
        weight: [V, H], each row contiguous.
        bias: float32[V].
        lengths: of the B texts, T in sum.
    """
    rows, width = hidden.shape
    if width % 16:
        raise ValueError(f"a hidden size of {width} is not a multiple of 16")
    pooled = torch.zeros((len(lengths), len(weight)), dtype=torch.float32, device=hidden.device)
    block_t, block_v, block_h, warps, stages = _blocks(hidden.device, width)
    grid = (triton.cdiv(rows, block_t) * triton.cdiv(len(weight), block_v),)
    _largest_logits[grid](
        hidden,
        weight,
        bias,
        owners(lengths, hidden.device).to(torch.int32),
        pooled.view(torch.int32),
        rows,
        len(weight),
        weight.stride(0),
        H=width,
        BLOCK_T=block_t,
        BLOCK_V=block_v,
        BLOCK_H=block_h,
        GROUP=8,
        EXACT=hidden.dtype == torch.float32,
        num_warps=warps,
        num_stages=stages,
    )
    return pooled


def _blocks(device: torch.device, width: int) -> tuple[int, int, int, int, int]:
    """Positions, terms and hidden dimensions of a block, warps and pipeline stages."""
    block_h = next(n for n in (64, 32, 16) if width % n == 0)
    if device.type == "cuda" and torch.cuda.get_device_capability(device) in ((8, 0), (9, 0)):
        return 128, 128, block_h, 4, 3  # 96 KiB of shared memory in 16 bits
    return 128, 128, min(block_h, 32), 4, 3  # 32 KiB


@triton.jit
def _largest_logits(
    hidden,
    weight,
    bias,
    owner,
    pooled,
    rows,
    terms,
    weight_stride,
    H: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    GROUP: tl.constexpr,
    EXACT: tl.constexpr,
):
    # Neighbouring programs share blocks of both matrices, which stay in the L2 cache.
    program = tl.program_id(0)
    blocks_t = tl.cdiv(rows, BLOCK_T)
    in_group = GROUP * tl.cdiv(terms, BLOCK_V)
    first_block = program // in_group * GROUP
    group = min(blocks_t - first_block, GROUP)
    block_t = first_block + program % in_group % group
    block_v = program % in_group // group

    t = block_t * BLOCK_T + tl.arange(0, BLOCK_T)
    v = block_v * BLOCK_V + tl.arange(0, BLOCK_V)
    h = tl.arange(0, BLOCK_H)
    # What is beyond an end reads row 0 and is left out below.
    a = hidden + tl.where(t < rows, t, 0)[:, None] * H + h[None, :]
    b = weight + tl.where(v < terms, v, 0)[None, :] * weight_stride + h[:, None]
    logits = tl.zeros((BLOCK_T, BLOCK_V), dtype=tl.float32)
    for _ in range(0, H, BLOCK_H):
        precision: tl.constexpr = "ieee" if EXACT else "tf32"
        logits = tl.dot(tl.load(a), tl.load(b), logits, input_precision=precision)
        a += BLOCK_H
        b += BLOCK_H
    logits += tl.load(bias + v, mask=v < terms, other=0.0)[None, :]

    text_of = tl.load(owner + t, mask=t < rows, other=-1)
    first = tl.load(owner + block_t * BLOCK_T)
    last = tl.load(owner + min(block_t * BLOCK_T + BLOCK_T, rows) - 1)
    for text in range(first, last + 1):
        largest = tl.max(tl.where((text_of == text)[:, None], logits, 0.0), axis=0)
        place = pooled + text * terms + v
        tl.atomic_max(place, largest.to(tl.int32, bitcast=True), mask=v < terms, sem="relaxed")
