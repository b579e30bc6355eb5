"""Texts of different lengths as one row of tokens, so that nothing is computed for padding.

Everything in a transformer but attention works on single tokens. Here the tokens of a batch are
laid end to end, and attention alone is told where a text begins: it runs once for each run of
texts of one length, without a mask, which is also what lets CUDA use its flash kernels.

transformers lets a model's attention be replaced by name (its ``AttentionInterface``). Whether a
model obeys, and takes the positions it is given, is not asked but tried: see
:func:`splade_bridge.encoding.masked_lm.split_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "splade_bridge_packed"
SCORES_BYTES = 1 << 20
"""Attention scores of one step on a CPU, for each thread: they stay in its cache."""
SHORT = 256
"""Up to so many tokens plain products beat torch's own attention on a CPU (1.2x in float32, 1.6x
in bfloat16 at 85 tokens); from 512 on they lose."""

Body = Callable[[Tensor, Sequence[int]], Tensor]
"""Hidden states [T, H] of texts laid end to end: their ids, int64[T], and their lengths."""

_runs: ContextVar[list[tuple[int, int]]] = ContextVar("runs")


def packed_body(model: Any, hidden: Callable[[Any], Tensor], first_position: int) -> Body:
    """``model`` as a body that computes no padding; its attention is replaced.

    Args:
        hidden: takes the hidden states [1, T, H] out of what the model returns.
        first_position: what the model calls the first position of a text.
    """

    def body(ids: Tensor, lengths: Sequence[int]) -> Tensor:
        sizes = torch.tensor(lengths)
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        positions = sent(torch.arange(len(ids)) - starts + first_position, ids.device)
        with _packed(lengths):
            found = hidden(model(input_ids=ids[None], position_ids=positions[None]))
        return found[0]

    return body


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


def padded_body(model: Any, hidden: Callable[[Any], Tensor], pad: int) -> Body:
    """``model`` as a body that pads for itself: for models that cannot be packed."""

    def some(rows: Sequence[Tensor]) -> Tensor:
        padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=pad)
        limits = sent(torch.tensor([len(row) for row in rows]), padded.device)
        real = torch.arange(padded.shape[1], device=padded.device) < limits[:, None]
        found = hidden(model(input_ids=padded, attention_mask=real.to(torch.int64)))
        return found[real]

    def body(ids: Tensor, lengths: Sequence[int]) -> Tensor:
        rows = torch.split(ids, list(lengths))
        return torch.cat([some(rows[group]) for group in padded_groups(lengths)])

    return body


def padded_groups(lengths: Sequence[int]) -> list[slice]:
    """Neighbours of which none is padded by more than a tenth, for lengths that fall."""
    bounds = [0]
    for i, length in enumerate(lengths):
        if not 0.9 * lengths[bounds[-1]] <= length <= lengths[bounds[-1]]:
            bounds.append(i)
    return [slice(*pair) for pair in pairwise([*bounds, len(lengths)])]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor``, from the host, on ``device``, without waiting for what is queued there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def runs_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (length, count) of neighbouring texts of one length."""
    return [(n, sum(1 for _ in same)) for n, same in groupby(lengths)]


@contextmanager
def _packed(lengths: Sequence[int]) -> Iterator[None]:
    token = _runs.set(runs_of(lengths))
    try:
        yield
    finally:
        _runs.reset(token)


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
    packed = [x[0].transpose(0, 1) for x in (query, key, value)]  # [T, heads, d]
    out = torch.empty(packed[2].shape, dtype=value.dtype, device=value.device)
    start = 0
    for length, count in _steps(_runs.get(), query):
        here = slice(start, start + length * count)
        q, k, v = (_rows(x[here], count).transpose(1, 2) for x in packed)
        _rows(out[here], count).copy_(_attend(q, k, v, scale, sliding_window).transpose(1, 2))
        start = here.stop
    return out[None], None


def _rows(packed: Tensor, count: int) -> Tensor:
    """[count, length, heads, d] of [count * length, heads, d]."""
    return packed.view(count, -1, *packed.shape[1:])


def _steps(runs: Sequence[tuple[int, int]], query: Tensor) -> Iterator[tuple[int, int]]:
    """``runs``, on a CPU cut so that the scores of one step stay in the cache."""
    if query.is_cuda:
        yield from runs
        return
    room = SCORES_BYTES * torch.get_num_threads() // (4 * query.shape[1])
    for length, count in runs:
        most = max(1, room // length**2)
        while count > 0:
            yield length, min(most, count)
            count -= most


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
    return scaled_dot_product_attention(q, k, v, attn_mask=near, scale=scale)
