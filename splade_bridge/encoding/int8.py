r"""Linear layers in integers of 8 bits, on a CPU.

A row of a weight matrix and a token's activations are each a number times integers from -127 to
127: :math:`w_{jk} \approx t_j p_{jk}` with :math:`t_j = \max_k |w_{jk}| / 127`, and
:math:`x_{ik} \approx s_i q_{ik}` in the same way, once the token is there. A layer gives

.. math:: y_{ij} = s_i \, t_j \sum_k q_{ik} p_{jk} + b_j

The sum is one of integers in 32 bits, so that it is the same in any order: on every processor, with
any number of threads, and whatever tokens stand beside this one. A processor that multiplies bytes
(VNNI, AMX) does that about four times as fast as it multiplies float32. Elsewhere the same sums are
made of products in float32, which are exact below 2^24.

All else (normalization, attention, GELU, residuals) stays in float32.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from splade_bridge.encoding.head import LinearHead, slices
from splade_bridge.encoding.prepacked import (
    AGREEMENT,
    KeptLayersError,
    Product,
    replace_linear,
)
from splade_bridge.errors import UsageError

log = logging.getLogger(__name__)

LEVELS = 127
"""Of -128 there is no use: it has no counterpart."""
OFFSET = 128
"""What is added to activations: the instructions take one side without a sign."""
LEAST = 2.0**-100
"""What is smaller counts as so large, so that 127 over it is a number."""
EXACT_TERMS = 2**24 // LEVELS**2
"""So many products of two integers of 8 bits are summed in float32 without an error."""

Sums = Callable[[Tensor], Tensor]
"""float32[n, out] of values [n, in] that :func:`by_token` has made: sums of products with a matrix,
each rounded to float32 once, and then times the scale of its column."""

TILE_TERMS = 512
"""Of the head: with 128 dimensions 1,024 take 1.7 times as long, with 384 and 768 they are alike
(1,024 tokens, 1 MiB of cache a core)."""
ROWS = 256
"""That are made into integers at once: with more, what is between leaves the cache, and the memory
that it takes is given back to the system and asked for again."""
VECTOR = 64
"""Numbers that torch computes in one step, at most."""
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
"""That multiply bytes, as torch calls them."""
TRIED = ((1, 5, 3), (3, 64, 33), (33, 1300, 17), (64, 512, 256))
"""Rows, terms of a sum and columns that fast products are tried with."""
SLOWEST = 10
"""Times what float32 takes: for what it has no kernels for, oneDNN takes a thousand times that."""


class Quantized(NamedTuple):
    """Rows as integers.

    Attributes:
        values: int8[n, in], from -127 to 127; of activations uint8, with 128 added.
        scales: float32[n, 1]; of a row that is not finite neither is its scale.
    """

    values: Tensor
    scales: Tensor


def by_row(rows: Tensor) -> Quantized:
    """float32[n, in], each row by its largest number; the nearest integers, half to even.

    What a row becomes depends on nothing beside it.
    """
    values = rows.new_empty(rows.shape, dtype=torch.int8)
    scales = rows.new_empty(len(rows), 1)
    for part in slices(len(rows), ROWS):
        here = rows[part]
        largest = torch.maximum(here.amax(1, keepdim=True), here.amin(1, keepdim=True).neg_())
        largest.clamp_(min=LEAST)
        values[part] = (here * (LEVELS / largest)).round_()
        torch.div(largest, LEVELS, out=scales[part])
    return Quantized(values, scales)


def by_token(rows: Tensor) -> Quantized:
    """The same of activations."""
    values, scales = by_row(rows)
    return Quantized(values.view(torch.uint8).bitwise_xor_(OFFSET), scales)


def sums(weight: Quantized) -> Sums:
    """The fastest products with a matrix that there are here; all give the same bytes."""
    return fast_sums(weight) if multiplies_bytes() else plain_sums(weight)


def fast_sums(weight: Quantized) -> Sums:
    """By oneDNN, which keeps a copy in the order in which its kernels read it.

    torch's own compiler calls these two operators, which are not part of its public interface; so
    :func:`multiplies_bytes` tries them first.
    """
    ops: Any = torch.ops.onednn
    packed = ops.qlinear_prepack(weight.values.contiguous(), None)
    scales = weight.scales.flatten()
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    linear = ops.qlinear_pointwise
    after: tuple[Any, ...] = (None, 1.0, 0, torch.float32, "none", [], "")
    return lambda rows: linear(rows, 1.0, OFFSET, packed, scales, zeros, *after)


def plain_sums(weight: Quantized) -> Sums:
    """By products of float32, so many terms at a time that they are exact."""
    scales = weight.scales.flatten()
    bounds = list(slices(weight.values.shape[1], EXACT_TERMS))
    parts = [weight.values[:, part].t().float() for part in bounds]

    def multiply(rows: Tensor) -> Tensor:
        found = torch.zeros(len(rows), len(scales), dtype=torch.int32)
        signed = rows.float().sub_(OFFSET)
        for part, columns in zip(parts, bounds, strict=True):
            found += torch.mm(signed[:, columns], part).to(torch.int32)
        return found.float().mul_(scales)

    return multiply


@cache
def multiplies_bytes() -> bool:
    """Whether this processor multiplies bytes, and this torch lets it, without an error."""
    # Older torch does not say what a processor has.
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if told and not any(told.get(name) for name in INSTRUCTIONS):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        values = torch.randint(-LEVELS, LEVELS + 1, shape, generator=generator, dtype=torch.int8)
        values[0] = LEVELS  # where products of two are added in 16 bits, these are too many
        return values

    with torch.inference_mode():
        for count, terms, columns in TRIED:
            weight = Quantized(some(columns, terms), torch.rand(columns, 1, generator=generator))
            rows = some(count, terms).view(torch.uint8).bitwise_xor_(OFFSET)
            plain = plain_sums(weight)
            try:
                fast = fast_sums(weight)
                found = fast(rows)
            except (AttributeError, RuntimeError, TypeError):
                return False
            if not torch.equal(found, plain(rows)):
                return False
        return _seconds(fast, rows) <= SLOWEST * _seconds(plain, rows)


def _seconds(multiply: Sums, rows: Tensor) -> float:
    """Of this thread's time on a processor, the least of three."""
    found = []
    for _ in range(3):
        began = time.thread_time()
        multiply(rows)
        found.append(time.thread_time() - began)
    return min(found)


def kept_in(dtype: torch.dtype) -> torch.dtype:
    """What parameters are kept in where products are computed in ``dtype``."""
    return torch.float32 if dtype == torch.int8 else dtype


class Tokens:
    """Activations as integers: those that several layers take (query, key and value) made once.

    Attributes:
        remembers: whether the last ones are kept, in each thread, until there are others.
    """

    def __init__(self) -> None:
        self.remembers = True
        self._last = threading.local()

    def __call__(self, rows: Tensor) -> Quantized:
        """Of float32[..., in], the tokens one after the other."""
        last: weakref.ref[Tensor] | None = getattr(self._last, "rows", None)
        if self.remembers and last is not None and last() is rows:
            found: Quantized = self._last.found
            return found
        found = by_token(rows.reshape(-1, rows.shape[-1]))
        if self.remembers:
            self._last.rows, self._last.found = weakref.ref(rows), found
        return found

    def layer(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Product:
        """What a linear layer does, see :class:`.prepacked.Maker`, with weights of float32."""
        width = len(weight)
        if gelu and width % VECTOR:
            # GELU has other last digits where less than a register is left of a tensor.
            weight = nn.functional.pad(weight, (0, 0, 0, VECTOR - width % VECTOR))
            bias = None if bias is None else nn.functional.pad(bias, (0, len(weight) - width))
        multiply = sums(by_row(weight))

        def linear(rows: Tensor) -> Tensor:
            values, scales = self(rows)
            found = multiply(values)
            if bias is None:
                found.mul_(scales)
            else:
                torch.addcmul(bias, found, scales, out=found)
            if gelu:
                torch.ops.aten.gelu_(found)
            return found.view(*rows.shape[:-1], -1)[..., :width]

        return linear


def quantize(model: nn.Module, run: Callable[[], Tensor]) -> bool:
    """Let the linear layers of ``model``, which is in float32, compute in integers of 8 bits.

    Args, Returns: see :func:`.prepacked.replace_linear`.

    Raises:
        UsageError: it has none, or says otherwise where others stand in their place.
    """
    tokens = Tokens()
    why = "it has none"
    if any(type(module) is nn.Linear for module in model.modules()):
        try:
            only_looked_up = replace_linear(
                model, run, _as_they_were, AGREEMENT[torch.float32], tokens.layer
            )
        except KeptLayersError as error:
            why = str(error)
        else:
            with torch.inference_mode():
                shared, tokens.remembers = run(), False
                # A model may write into what it hands to one layer, and hand it to another.
                tokens.remembers = torch.equal(shared, run())
            return only_looked_up
    raise UsageError(
        f"--dtype int8: the linear layers of {type(model).__name__} cannot be replaced ({why}); "
        "use --dtype float32"
    )


def _as_they_were(weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Product:
    def linear(rows: Tensor) -> Tensor:
        found = nn.functional.linear(rows, weight, bias)
        return nn.functional.gelu(found) if gelu else found

    return linear


class Int8Head(LinearHead):
    """The last linear layer of a masked language model, in integers; weights of float32."""

    def _lay_out(self, weight: Tensor) -> None:
        self._parts = [
            (columns, sums(by_row(weight[columns]))) for columns in slices(self.terms, TILE_TERMS)
        ]

    def _tiles(self, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
        values, scales = by_token(hidden)
        for columns, multiply in self._parts:
            yield columns, multiply(values).mul_(scales)
