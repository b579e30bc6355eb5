"""Training's own kernels on a CUDA device, against the CPU; `scripts/bench-gpu` runs this."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splade_bridge.training.max_first import HeadMaximum


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_maximum_and_its_gradients(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    given = [torch.randn(size, generator=random) for size in ((16, 40, 64), (900, 64), (900,))]
    mask = torch.arange(40)[None] < torch.randint(1, 41, (16, 1), generator=random)
    found: dict[str, list[Tensor]] = {}
    for device in ("cpu", "cuda"):
        leaves = [tensor.to(device).requires_grad_() for tensor in given]
        hidden, weight, bias = leaves
        if device == "cuda":
            hidden = hidden.to(dtype)
        pooled = HeadMaximum.apply(hidden, weight, bias, mask.to(device)).relu().log1p()  # type: ignore[no-untyped-call]
        gradients = torch.autograd.grad(pooled.sum(), leaves)
        found[device] = [tensor.detach().float().cpu() for tensor in (pooled, *gradients)]
    for ours, theirs in zip(found["cuda"], found["cpu"], strict=True):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < (1e-4 if dtype == torch.float32 else 0.1)
