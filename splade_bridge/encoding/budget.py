"""How many tokens a batch may have, found out and, when memory runs out, halved."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from splade_bridge.errors import UsageError

if TYPE_CHECKING:
    from splade_bridge.encoding.side import LoadedSide

log = logging.getLogger(__name__)

CPU_TOKENS = 2048
"""Measured on two cores with 1 MiB of cache each: 512 costs 5 % more time, 4,096 nothing less. What
a core computes alone is less, see :mod:`.batches`."""
CUDA_TOKENS = 65536
"""More would not be faster: 65,536 tokens keep an H100 busy for some 30 ms."""
CUDA_PROBE_TOKENS = 4096
CUDA_SHARE = 0.6
"""Of the free memory: the rest is for dense weights, two batches of them, and for fragments."""


class TokenBudget:
    """Tokens of a batch at most; a text that is longer is a batch of its own.

    Attributes:
        tokens: the limit in force.
        held: tokens of the largest batch that fitted into memory.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.held = 0
        self._halved = False

    def fits(self, tokens: int) -> None:
        """Note that a batch of so many tokens fitted."""
        if tokens > self.held:
            self.held = tokens
            if self._halved:
                log.info("the largest batch that fitted into memory so far: %d tokens", tokens)

    def halve(self, tried: int, texts: int) -> None:
        """After ``tried`` tokens in ``texts`` texts did not fit into memory.

        Raises:
            UsageError: it was a single text, so there is nothing to halve.
        """
        if texts == 1:
            raise UsageError(
                f"out of memory with a single text of {tried:,} tokens: use a smaller "
                "--max-length, or another device"
            )
        self._halved = True
        self.tokens = max(1, tried // 2)
        log.warning(
            "out of memory with a batch of %s tokens; going on with %s (the largest that held: %s)",
            f"{tried:,}",
            f"{self.tokens:,}",
            f"{self.held:,}" if self.held else "none yet",
        )


def fitting_tokens(loaded: LoadedSide) -> int:
    """A budget for the device of ``loaded``: on CUDA from the memory that a small batch takes."""
    device = loaded.columns.device
    if device.type != "cuda":
        return CPU_TOKENS
    length = min(loaded.max_length, CUDA_PROBE_TOKENS)
    lengths = [length] * max(1, CUDA_PROBE_TOKENS // length)
    try:
        with torch.inference_mode():
            ids = torch.zeros(sum(lengths), dtype=torch.int64)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            loaded.weights(ids, lengths)
            used = torch.cuda.max_memory_allocated(device) - before
    except torch.cuda.OutOfMemoryError:
        return CUDA_PROBE_TOKENS
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    fitting = int(CUDA_SHARE * free * len(ids) / max(used, 1))
    tokens = min(max(fitting, CUDA_PROBE_TOKENS), CUDA_TOKENS)
    log.info(
        "%s: %.1f KiB a token, %.1f GiB free, batches of %d tokens",
        device, used / len(ids) / 2**10, free / 2**30, tokens,
    )  # fmt: skip
    return tokens


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, on a GPU or on a CPU."""
    # torch's allocator for CPUs raises a RuntimeError like any other.
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
