r"""From hidden states to term weights, without the B x L x V tensor of logits.

SPLADE's weight of term j is :math:`w_j = \max_i \log(1 + \mathrm{ReLU}(x_{ij}))` (SPLADE v2,
arXiv 2109.10086, eq. 6) or the sum over positions i (SPLADE, arXiv 2107.05720, eq. 2), with the
logits :math:`x_{ij} = h_i \cdot e_j + b_j`. log1p and ReLU never fall, so the maximum may be taken
of the logits first, and ReLU and log1p follow once on B x V.

Logits exist only as tiles of all positions by some thousand terms, small enough to be still in the
cache when they are pooled. Texts are laid end to end, so no product is computed for padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from splade_bridge.encoding.choices import Pooling as Pooling
from splade_bridge.encoding.packed import runs_of, sent
from splade_bridge.encoding.prepacked import Product, available, product

Activation = Literal["relu", "log1p_relu"]

CPU_TILE_TERMS = 1024
"""Measured with 2,048 tokens (AMD EPYC, 1 MiB of cache a core): 512 to 2,048 are alike, 4,096 loses
a tenth, because the logits leave the cache before they are pooled."""
CUDA_TILE_LOGITS = 1 << 27
CHUNK_LOGITS = 1 << 23


class Head(Protocol):
    """What pools hidden states into weights."""

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """Weights float32[B, V] of B texts.

        A hidden state that is not finite makes weights of its text that are not finite.

        Args:
            hidden: [T, H], the positions of all texts end to end.
            lengths: of the texts, 1 or more each; equal ones together are faster.
        """
        ...


class LinearHead:
    """The last linear layer of a masked language model.

    Args:
        weight: [V, H].
        bias: [V], or None; kept in float32, because it is added to float32 sums.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.terms = len(weight)
        self.bias = torch.zeros(len(weight), device=weight.device)
        if bias is not None:
            self.bias += bias
        self._packed: list[tuple[slice, Product]] = []
        self._lay_out(weight)

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """See :class:`Head`."""
        pooled = torch.empty((len(lengths), self.terms), device=hidden.device)
        runs = runs_of(lengths)
        # A maximum may take its bias afterwards. Prepacked products add it before they round.
        late = pooling == "max" and not self._packed
        for columns, logits in self._tiles(hidden):
            if pooling == "sum":
                logits = logits.float() if self._packed else logits.float().add_(self.bias[columns])
                activate_(logits, activation)
            pooled[:, columns] = _pool(logits, runs, pooling, any_negative=not late)
        if late:
            pooled.add_(self.bias)
        if pooling == "max":
            activate_(pooled, activation)
        return spoil_(pooled, hidden, lengths)

    def _lay_out(self, weight: Tensor) -> None:
        """Keep what :meth:`_tiles` multiplies with."""
        if weight.device.type == "cpu" and available(weight.dtype):
            self._packed = [
                (columns, product(weight[columns], self.bias[columns].clone()))
                for columns in slices(self.terms, CPU_TILE_TERMS)
            ]
        else:
            self.weight = weight

    def _tiles(self, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Columns and their logits [T, v], without bias unless products are prepacked."""
        if self._packed:
            for columns, logits_of in self._packed:
                yield columns, logits_of(hidden)
            return
        width = CPU_TILE_TERMS
        if self.weight.is_cuda:
            width = min(max(CUDA_TILE_LOGITS // len(hidden) // 256, 1) * 256, 1 << 14)
        for columns in slices(self.terms, width):
            yield columns, linear(hidden, self.weight[columns])


class ChunkedHead:
    """Any head at all, run on some positions of one sequence at a time.

    Attributes:
        run: logits [1, n, W] of hidden states [1, n, H].

    Args:
        columns: int64[V], the columns among W that have a term.
    """

    def __init__(self, run: torch.nn.Module, columns: Tensor) -> None:
        self.run = run
        self._columns = columns

    def __call__(
        self, hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
    ) -> Tensor:
        """See :class:`Head`."""
        size = max(1, CHUNK_LOGITS // len(self._columns))
        return torch.stack(
            [
                self._one(torch.split(text[None], size, 1), pooling, activation)
                for text in torch.split(hidden, list(lengths))
            ]
        )

    def _one(self, chunks: Sequence[Tensor], pooling: Pooling, activation: Activation) -> Tensor:
        parts = []
        for chunk in chunks:
            logits = self.run(chunk)[0, :, self._columns].float()
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


def spoil_(pooled: Tensor, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """``pooled`` with NaN in the rows of texts with hidden states that are not finite.

    A maximum over bit patterns or with ReLU would hide them; this costs no synchronization.
    """
    faults = hidden.sum(1, dtype=torch.float32).mul_(0)  # 0, or NaN
    of_texts = torch.zeros_like(pooled[:, 0])
    return pooled.add_(of_texts.index_add_(0, owners(lengths, hidden.device), faults)[:, None])


def owners(lengths: Sequence[int], device: torch.device) -> Tensor:
    """int64[T]: the number of the text that each position belongs to."""
    sizes = sent(torch.tensor(lengths), device)
    numbers = torch.arange(len(lengths), device=device)
    return numbers.repeat_interleave(sizes, output_size=sum(lengths))


def _pool(
    logits: Tensor, runs: Sequence[tuple[int, int]], pooling: Pooling, *, any_negative: bool
) -> Tensor:
    """Tile [B, v] of logits [T, v].

    Args:
        any_negative: a negative maximum may be any negative number.
    """
    half = logits.dtype == torch.bfloat16 and not logits.is_cuda
    if pooling == "max" and half and any_negative:
        # Bit patterns order positive numbers as integers, and integers are five times faster.
        return _pool(logits.view(torch.int16), runs, "max", any_negative=False).view(torch.bfloat16)
    pooled = []
    parts = torch.split(logits, [length * count for length, count in runs])
    for (length, count), part in zip(runs, parts, strict=True):
        block = part.view(count, length, -1)
        pooled.append(block.amax(1) if pooling == "max" else block.sum(1))
    return torch.cat(pooled)


def slices(size: int, width: int) -> Iterator[slice]:
    """Of ``size`` things, so many at a time."""
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))
