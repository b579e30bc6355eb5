r"""From hidden states to term weights, without the B x L x V tensor of logits.

SPLADE's weight of term j is :math:`w_j = \max_i \log(1 + \mathrm{ReLU}(x_{ij}))` (SPLADE v2,
arXiv 2109.10086, eq. 6) or the sum over positions i (SPLADE, arXiv 2107.05720, eq. 2), with the
logits :math:`x_{ij} = h_i \cdot e_j + b_j`. log1p and ReLU never fall, so the maximum may be taken
of the products :math:`h_i \cdot e_j` first, and bias, ReLU and log1p follow once on B x V.

Logits exist only as tiles of all positions by some thousand terms. The products of one tile use
the same slice of the decoder's weights for every sequence of the batch, which keeps that slice in
the cache; and on a CPU padding is taken out before, so that no product is computed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, Protocol

import torch
from torch import Tensor

Pooling = Literal["max", "sum"]
Activation = Literal["relu", "log1p_relu"]

CPU_TILE = 1 << 23
"""Logits of one tile: 32 MiB in float32, small beside the decoder's weights."""
CUDA_TILE = 1 << 27
CHUNK_LOGITS = 1 << 23


class Head(Protocol):
    """What pools hidden states into weights."""

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """Weights float32[B, V] of B texts.

        Args:
            hidden: [B, L, H]; row i holds a text at its first ``lengths[i]`` positions.
            lengths: 1 or more; sorted, or at least with equal ones together, is faster.
        """
        ...


class LinearHead:
    """The last linear layer of a masked language model.

    Args:
        weight: [V, H].
        bias: [V], or None; kept in float32, because it is added to the pooled float32 logits.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = torch.zeros(len(weight), device=weight.device) if bias is None else bias.float()

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """See :class:`Head`."""
        tiles = self._padded_tiles if hidden.is_cuda else self._packed_tiles
        pooled = hidden.new_empty((len(lengths), len(self.weight)), dtype=torch.float32)
        for columns, tile in tiles(hidden, lengths, pooling, activation):
            pooled[:, columns] = tile
        if pooling == "max":
            activate_(pooled.add_(self.bias), activation)
        return pooled

    def _packed_tiles(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Iterator[tuple[slice, Tensor]]:
        """Tiles [B, v] from the real positions of all sequences as one matrix."""
        rows = torch.cat([h[:n] for h, n in zip(hidden, lengths, strict=True)])
        width = _tile_width(len(rows), CPU_TILE)
        # One buffer for all tiles: fresh memory would cost as much as filling it.
        buffer = rows.new_empty(len(rows) * width)
        runs = [(n, sum(1 for _ in same)) for n, same in groupby(lengths)]
        for start in range(0, len(self.weight), width):
            part = self.weight[start : start + width]
            logits = buffer[: len(rows) * len(part)].view(len(rows), len(part))
            torch.mm(rows, part.t(), out=logits)
            columns = slice(start, start + len(part))
            if pooling == "sum":
                logits = activate_(logits.float().add_(self.bias[columns]), activation)
            pooled, first = [], 0
            for length, count in runs:
                block = logits[first : first + length * count].view(count, length, len(part))
                pooled.append(block.amax(1) if pooling == "max" else block.sum(1))
                first += length * count
            yield columns, torch.cat(pooled)

    def _padded_tiles(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Iterator[tuple[slice, Tensor]]:
        """Tiles [B, v] from padded sequences: few large operations, as a GPU wants them."""
        size, longest, _ = hidden.shape
        limits = torch.tensor(lengths, device=hidden.device)
        real = (torch.arange(longest, device=hidden.device) < limits[:, None])[:, :, None]
        # A padded position becomes a copy of the first one, which cannot change a maximum.
        hidden = torch.where(real, hidden, hidden[:, :1])
        width = _tile_width(size * longest, CUDA_TILE)
        for start in range(0, len(self.weight), width):
            columns = slice(start, min(start + width, len(self.weight)))
            logits = hidden @ self.weight[columns].t()
            if pooling == "max":
                yield columns, logits.amax(1)
            else:
                logits = activate_(logits.float().add_(self.bias[columns]), activation)
                yield columns, logits.mul_(real).sum(1)


class ChunkedHead:
    """Any head at all, run on some positions of one sequence at a time.

    Args:
        run: logits [1, n, W] of hidden states [1, n, H].
        columns: int64[V], the columns among W that have a term.
    """

    def __init__(self, run: torch.nn.Module, columns: Tensor) -> None:
        self._run = run
        self._columns = columns

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """See :class:`Head`."""
        size = max(1, CHUNK_LOGITS // len(self._columns))
        return torch.stack(
            [
                self._one(torch.split(hidden[i : i + 1, :n], size, 1), pooling, activation)
                for i, n in enumerate(lengths)
            ]
        )

    def _one(self, chunks: Sequence[Tensor], pooling: Pooling, activation: Activation) -> Tensor:
        parts = []
        for chunk in chunks:
            logits = self._run(chunk)[0, :, self._columns].float()
            weights = activate_(logits, activation)
            parts.append(weights.amax(0) if pooling == "max" else weights.sum(0))
        together = torch.stack(parts)
        return together.amax(0) if pooling == "max" else together.sum(0)


def activate_(logits: Tensor, activation: Activation) -> Tensor:
    """``log(1 + ReLU(x))`` in place, and the logarithm once more for ``log1p_relu``.

    The second form is that of the inference-free models of arXiv 2504.14839.
    """
    logits.relu_().log1p_()
    return logits.log1p_() if activation == "log1p_relu" else logits


def _tile_width(rows: int, logits: int) -> int:
    """Terms of one tile: a multiple of 256 between 256 and 4,096."""
    return min(max(logits // rows // 256, 1) * 256, 4096)
