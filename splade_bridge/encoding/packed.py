"""Texts of different lengths as one row of tokens, so that nothing is computed for padding.

Everything in a transformer but attention works on single tokens. Here the tokens of a batch are
laid end to end, and attention alone is told where a text begins. On CUDA, in 16 bits, torch's
flash attention for sequences of different lengths takes all texts at once; elsewhere attention
runs once for each run of texts of one length, without a mask.

transformers lets a model's attention be replaced by name (its ``AttentionInterface``). Whether a
model obeys, and takes the positions it is given, is not asked but tried: see
:func:`splade_bridge.encoding.masked_lm.split_model`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

log = logging.getLogger(__name__)

NAME = "splade_bridge_packed"
SCORES_BYTES = 1 << 20
"""Attention scores of one step on a CPU: they stay in the cache of a core. However many
cores there are, because a text that is alone in its step has other last digits."""
SHORT = 256
"""Up to so many tokens plain products beat torch's own attention on a CPU (1.2x in float32, 1.6x
in bfloat16 at 85 tokens); from 512 on they lose."""

SHARED = 0.9
"""Of the longest text's length, at least, has one that stands beside it in a padded batch."""

Body = Callable[[Tensor, Sequence[int]], Tensor]
"""Hidden states [T, H] of texts laid end to end: their ids, int64[T], and their lengths."""

Together = Callable[[int], int]
"""How many texts of a length are computed in one step, where that decides their last digits."""

WITHOUT_PLANS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""torch would rather take cuDNN's attention on Hopper, which plans for each new shape anew: a
quarter of a second (measured on an H200), and batches of texts have hundreds of shapes."""
WITH_THE_COMMAND = 1 << 16
"""Bytes that CUDA copies at once (CUDA driver API, "API synchronization behavior")."""
TRIED_LENGTHS = (9, 3, 70, 1)
TRIED_WINDOW = 7
TRIED_TOLERANCE = 2e-2


@dataclass(frozen=True)
class PackedBody:
    """A model as a body that computes no padding; its attention is to be replaced.

    Attributes:
        model: of transformers.
        hidden: takes the hidden states [1, T, H] out of what the model returns.
        first_position: what the model calls the first position of a text.
    """

    model: Any
    hidden: Callable[[Any], Tensor]
    first_position: int

    def __call__(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See :data:`Body`."""
        sizes = torch.tensor(lengths)
        sizes, starts = sent(torch.stack([sizes, sizes.cumsum(0) - sizes]), ids.device)
        starts = starts.repeat_interleave(sizes, output_size=len(ids))
        positions = torch.arange(len(ids), device=ids.device) - starts + self.first_position
        with _packed(_Texts(lengths, ids.device)):
            found = self.hidden(self.model(input_ids=ids[None], position_ids=positions[None]))
        return found[0]


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Give ``model`` the attention of this module; an exception gives it its own one back.

    Raises:
        ValueError: by transformers, for a model whose attention cannot be replaced.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    except BaseException:
        model.set_attn_implementation(before)
        raise


@dataclass(frozen=True)
class PaddedBody:
    """A model as a body that pads for itself: for models that cannot be packed.

    Attributes:
        model: of transformers.
        hidden: takes the hidden states [B, L, H] out of what the model returns.
        pad: token id of padding.
        padding: whether texts of different lengths may stand in one batch at all.
    """

    model: Any
    hidden: Callable[[Any], Tensor]
    pad: int
    padding: bool = True

    def __call__(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See :data:`Body`."""
        rows = torch.split(ids, list(lengths))
        most = SHARED if self.padding else 1.0
        return torch.cat([self._some(rows[group]) for group in padded_groups(lengths, most)])

    def _some(self, rows: Sequence[Tensor]) -> Tensor:
        padded = pad_sequence(list(rows), batch_first=True, padding_value=self.pad)
        limits = sent(torch.tensor([len(row) for row in rows]), padded.device)
        real = torch.arange(padded.shape[1], device=padded.device) < limits[:, None]
        found = self.hidden(self.model(input_ids=padded, attention_mask=real.to(torch.int64)))
        return found[real]


def padded_groups(lengths: Sequence[int], shared: float = SHARED) -> list[slice]:
    """Neighbours of which none is shorter than this share of the longest, for falling lengths."""
    bounds = [0]
    for i, length in enumerate(lengths):
        if not shared * lengths[bounds[-1]] <= length <= lengths[bounds[-1]]:
            bounds.append(i)
    return [slice(*pair) for pair in pairwise([*bounds, len(lengths)])]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor``, from the host, on ``device``, without waiting for what is queued there.

    What is small travels with the command. The rest needs memory of its own that is pinned, which
    takes milliseconds unless an earlier copy has left some.
    """
    if device.type == "cuda" and tensor.nbytes > WITH_THE_COMMAND:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def runs_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (length, count) of neighbouring texts of one length."""
    return [(n, sum(1 for _ in same)) for n, same in groupby(lengths)]


class _Texts:
    """Where the texts of a batch lie, on the device that computes it."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = lengths
        self._device = device

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        return runs_of(self.lengths)

    @cached_property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def bounds(self) -> Tensor:
        """int32[B + 1]: where each begins, and the end of the last; sent once for all layers."""
        ends = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32)
        return sent(ends, self._device)


_texts: ContextVar[_Texts] = ContextVar("texts")


@contextmanager
def _packed(texts: _Texts) -> Iterator[None]:
    token = _texts.set(texts)
    try:
        yield
    finally:
        _texts.reset(token)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention within each text; see transformers' AttentionInterface for the protocol.

    Args:
        query: [1, heads, T, d], like ``key`` and ``value``.
        sliding_window: positions see only those less than so far away.

    Raises:
        NotImplementedError: the model wants something else of its attention as well.
    """
    asked = {name for name in ("position_bias", "softcap", "s_aux") if more.get(name) is not None}
    if asked or attention_mask is not None or query.shape != key.shape:
        raise NotImplementedError(f"attention with {asked or 'a mask or grouped heads'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [T, heads, d]
    texts = _texts.get()
    if q.is_cuda and _flash_works(q.device, q.dtype, q.shape[-1]):
        return _flash(q, k, v, texts, scale, sliding_window)[None], None
    return _by_runs(q, k, v, texts, scale, sliding_window)[None], None


def _flash(
    q: Tensor, k: Tensor, v: Tensor, texts: _Texts, scale: float, window: int | None
) -> Tensor:
    """Attention of all texts at once, [T, heads, d]."""
    from torch.nn.attention.varlen import varlen_attn

    around = (-1, -1) if window is None else (window - 1, window - 1)
    bounds, longest = texts.bounds, texts.longest
    found: Tensor = varlen_attn(  # type: ignore[assignment]  # it gives more where more is asked for
        *(q, k, v), bounds, bounds, longest, longest, scale=scale, window_size=around
    )
    return found


@cache
def _flash_works(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether :func:`_flash` is there, and gives what :func:`_by_runs` gives."""
    if dtype not in (torch.bfloat16, torch.float16):
        return False
    texts = _Texts(TRIED_LENGTHS, device)
    generator = torch.Generator(device).manual_seed(0)
    shape = (3, sum(TRIED_LENGTHS), 2, width)
    q, k, v = torch.randn(shape, generator=generator, device=device).to(dtype)
    try:
        for window in (None, TRIED_WINDOW):
            found = _flash(q, k, v, texts, width**-0.5, window).float()
            wanted = _by_runs(q, k, v, texts, width**-0.5, window).float()
            if not bool((found - wanted).abs().max() <= TRIED_TOLERANCE * wanted.abs().max()):
                raise ValueError("other results")
    except Exception as error:  # torch before 2.10 has none, and older cards raise as they like
        log.info("attention of many texts at once does not work here (%s)", error)
        return False
    return True


def _by_runs(
    q: Tensor, k: Tensor, v: Tensor, texts: _Texts, scale: float, window: int | None
) -> Tensor:
    """Attention of the texts of one length after the other, [T, heads, d]."""
    out = torch.empty_like(v, memory_format=torch.contiguous_format)
    start = 0
    for length, count in _steps(texts.runs, q):
        here = slice(start, start + length * count)
        a, b, c = (_rows(x[here], count).transpose(1, 2) for x in (q, k, v))
        _rows(out[here], count).copy_(_attend(a, b, c, scale, window).transpose(1, 2))
        start = here.stop
    return out


def _rows(packed: Tensor, count: int) -> Tensor:
    """[count, length, heads, d] of [count * length, heads, d]."""
    return packed.view(count, -1, *packed.shape[1:])


def _steps(runs: Sequence[tuple[int, int]], query: Tensor) -> Iterator[tuple[int, int]]:
    """``runs``, on a CPU cut so that the scores of one step [T, heads, d] stay in the cache."""
    if query.is_cuda:
        yield from runs
        return
    for length, count in runs:
        most = texts_of_a_step(length, query.shape[1])
        while count > 0:
            yield length, min(most, count)
            count -= most


def texts_of_a_step(length: int, heads: int) -> int:
    """Texts of one length whose attention is computed in one step on a CPU."""
    return max(1, SCORES_BYTES // (4 * heads) // length**2)


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None) -> Tensor:
    """softmax(q k^T scale) v for [texts, heads, length, d]."""
    length = q.shape[2]
    if not q.is_cuda and length <= SHORT and window is None:
        scores = torch.matmul(q * scale, k.transpose(2, 3))
        return torch.matmul(torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype), v)
    near = None
    if window is not None and length > window:
        places = torch.arange(length, device=q.device)
        near = (places[:, None] - places).abs() < window
    if not q.is_cuda:
        return scaled_dot_product_attention(q, k, v, attn_mask=near, scale=scale)
    with sdpa_kernel(WITHOUT_PLANS):
        return scaled_dot_product_attention(q, k, v, attn_mask=near, scale=scale)
