"""A masked language model, split into its body (up to the last layer) and its head.

The split knows no architecture. The last linear layer is the one the model itself names as its
output embeddings; with a pass-through in its place the model's "logits" are what that layer would
have been given, head transform included. A model that computes something else afterwards (a scale,
a cap, a decoder of its own) is noticed by a probe and gets a slower head, which runs the model's
own head on chunks of positions.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from splade_bridge.encoding.fastest_head import linear_head
from splade_bridge.encoding.head import ChunkedHead, Head
from splade_bridge.encoding.int8 import kept_in, quantize
from splade_bridge.encoding.network import cast, first_line, quiet
from splade_bridge.encoding.packed import (
    Body,
    PackedBody,
    PaddedBody,
    Together,
    packed_attention,
    texts_of_a_step,
)
from splade_bridge.encoding.prepacked import prepack
from splade_bridge.encoding.token_head import TokenHead
from splade_bridge.errors import BadInputError

log = logging.getLogger(__name__)

PROBE_TEXTS = ((0, 11), (3, 10), (6, 6), (2, 6))
"""First token id and length of each text; the second is padded where the first is beside it."""
ROTATIONS = ("rope_parameters", "rope_theta", "global_rope_theta")
"""Settings of a network with rotary positions."""
PROBE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SplitModel:
    """A masked language model as a body and a head that takes the body's hidden states.

    Attributes:
        packed: whether the body computes no padding.
        together: how many texts of a length attention computes in one step, where that alone
            decides the last digits of what becomes of a text; None where all that stands beside it
            may.
        width: numbers of a hidden state; None for a model whose settings do not say.
    """

    body: Body
    head: Head | TokenHead
    packed: bool
    together: Together | None = None
    width: int | None = None

    def twin(self) -> SplitModel | None:
        """The same for another thread, over the same parameters and prepacked weights.

        Its modules are its own, because some keep what they computed for the last call (rotations,
        a hidden state that is handed on). None for a network that cannot be copied.
        """
        if not isinstance(self.body, PackedBody | PaddedBody):
            return None
        shared: dict[int, Any] = {id(p): p for p in self.body.model.parameters()}
        if isinstance(self.head, ChunkedHead):
            shared |= {id(p): p for p in self.head.run.parameters()}
        else:  # it keeps nothing
            shared[id(self.head)] = self.head
        try:
            return copy.deepcopy(self, shared)
        except Exception as error:  # whatever a model raises that was not made for this
            log.info("%s: cannot be copied (%s)", type(self.body.model).__name__, first_line(error))
            return None


def head_width(model: Any) -> int:
    """Columns of the model's logits.

    Raises:
        BadInputError: its settings do not say.
    """
    width = getattr(_text_settings(model), "vocab_size", None)
    if not isinstance(width, int):
        raise BadInputError(f"{type(model).__name__} has no vocab_size in its config.json")
    return width


def position_limit(model: Any, *, counted_only: bool = False) -> int | None:
    """How many tokens the model has positions for, or None if it names no limit.

    Args:
        counted_only: None, too, where positions are rotations, of which there are as many as are
            wanted, whatever the configuration says that it was trained on.
    """
    if (table := _positions(model)) is not None:
        return table.num_embeddings - first_position(model)
    settings = _text_settings(model)
    if counted_only and any(hasattr(settings, name) for name in ROTATIONS):
        return None
    limit = getattr(settings, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _text_settings(model: Any) -> Any:
    """The configuration of what reads text, which is a part of one that reads pictures, too."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def first_position(model: Any) -> int:
    """What the model calls its first position: RoBERTa counts from padding_idx + 1 on."""
    table = _positions(model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def _positions(model: Any) -> nn.Embedding | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def split_model(
    model: Any, columns: Tensor, dtype: torch.dtype, device: torch.device
) -> SplitModel:
    """Split ``model`` (float32, on the CPU), cast its parameters and move it.

    Args:
        model: is changed and must not be used for anything else.
        columns: int64[V], rising: the columns of its logits that have a term.
        dtype: of the parameters, and so of hidden states and of logits before pooling; int8 keeps
            these in float32 and multiplies in integers of 8 bits, see :mod:`.int8`.
        device: where it will run.

    Raises:
        BadInputError: the model has neither a linear last layer nor a base model to split at, or
            its logits are not finite.
        UsageError: its linear layers cannot be replaced, as int8 must.
    """
    try:
        probe = _Probe.of(model, columns, lambda output: _logits(output)[:, :, columns])
    except Exception as error:  # whatever a model raises that wants more than tokens
        raise _not_of_tokens(model, error) from error
    if not bool(torch.isfinite(probe.logits).all()):
        raise BadInputError(
            f"{type(model).__name__} gives logits that are not finite: its weights are damaged"
        )
    decoder = model.get_output_embeddings()
    if isinstance(decoder, nn.Linear):
        _replace(model, decoder, stand_in := _PassThrough())
        found = _body(model, _logits, lambda h: decoder(h)[:, columns], probe)
        if found is not None:
            body, packed = found
            cast(model, kept_in(dtype)).to(device)
            cast(decoder, kept_in(dtype)).to(device)
            prepacked = _lay_out(model, body, probe, dtype, device)
            weight, bias = _rows_of(decoder, columns)
            head = linear_head(weight, bias, dtype)
            if device.type == "cpu":
                _leave_file(model)
            together = _together(model) if packed and prepacked else None
            return SplitModel(body, head, packed, together, _width(model))
        _replace(model, stand_in, decoder)
    base = getattr(model, model.base_model_prefix, None)
    if base is not None:
        alone = _HeadAlone(model, base)
        found = _body(base, _last_hidden, lambda h: alone(h[None])[0, :, columns], probe)
        if found is not None:
            body, packed = found
            cast(model, kept_in(dtype)).to(device)
            base.to(device)
            _lay_out(base, body, probe, dtype, device)
            log.info(
                "the last layer of %s is not a plain linear one: its head runs in chunks",
                type(model).__name__,
            )
            return SplitModel(body, ChunkedHead(alone, columns.to(device)), packed)
    raise BadInputError(
        f"{type(model).__name__} cannot be split into a body and a head that works on single "
        "positions: not supported"
    )


def split_headless(
    model: Any, head: TokenHead, columns: Tensor, dtype: torch.dtype, device: torch.device
) -> SplitModel:
    """A network without a language-model head as the body of ``head``.

    Args, Raises: see :func:`split_model`.
    """
    try:
        probe = _Probe.of(model, columns, _last_hidden)
    except Exception as error:  # whatever a model raises that wants more than tokens
        raise _not_of_tokens(model, error) from error
    found = _body(model, _last_hidden, lambda hidden: hidden, probe)
    if found is None:
        raise BadInputError(f"{type(model).__name__} cannot be run on token ids: not supported")
    body, packed = found
    cast(model, kept_in(dtype)).to(device)
    _lay_out(model, body, probe, dtype, device)
    return SplitModel(body, head, packed)


def _lay_out(
    model: Any, body: Body, probe: _Probe, dtype: torch.dtype, device: torch.device
) -> bool:
    """Lay weights out as products of a CPU want them; see :func:`.replace_linear`."""

    def run() -> Tensor:
        return body(probe.ids, probe.lengths)

    if dtype == torch.int8:
        return quantize(model, run)
    return device.type == "cpu" and prepack(model, run)


def _not_of_tokens(model: Any, error: Exception) -> BadInputError:
    return BadInputError(
        f"{type(model).__name__} gives no logits of token ids and an attention mask alone "
        f"({first_line(error)}): not supported"
    )


@dataclass(frozen=True)
class _Probe:
    """Some short texts and what the whole model says of each alone.

    Attributes:
        ids: int64[T], end to end.
        lengths: of the texts.
        logits: float32[T, V]; hidden states [T, H] of a model without a head.
    """

    ids: Tensor
    lengths: list[int]
    logits: Tensor

    @classmethod
    def of(cls, model: Any, columns: Tensor, said: Callable[[Any], Tensor]) -> _Probe:
        """Ask ``model`` about tokens among ``columns``; ``said`` takes out of it what counts."""
        pad = getattr(_text_settings(model), "pad_token_id", None)
        known = [i for i in range(int(columns[-1]) + 1) if i != pad]
        texts = [
            torch.tensor([known[i % len(known)] for i in range(first, first + length)])
            for first, length in PROBE_TEXTS
        ]
        with torch.inference_mode():
            logits = [
                said(model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]))
                for ids in texts
            ]
        return cls(torch.cat(texts), [len(ids) for ids in texts], torch.cat(logits, 1)[0])


def _body(
    model: Any,
    hidden: Callable[[Any], Tensor],
    logits: Callable[[Tensor], Tensor],
    probe: _Probe,
) -> tuple[Body, bool] | None:
    """``model`` as a body, and whether it computes no padding; None: its logits are wrong.

    Some networks mix positions whatever the mask says (by a convolution, a Fourier transform, a
    sketch of attention): padding would change what they say of a text, so they are given none.
    """

    def tried(body: Body) -> Body:
        with torch.inference_mode():
            found = logits(body(probe.ids, probe.lengths))
        if not _agree(found, probe.logits, PROBE_TOLERANCE):
            raise ValueError("other logits")
        return body

    try:
        with quiet(), packed_attention(model):
            return tried(PackedBody(model, hidden, first_position(model))), True
    except Exception as error:  # whatever a model raises that was not made for this
        log.info("%s cannot be packed (%s)", type(model).__name__, first_line(error))
    pad = getattr(_text_settings(model), "pad_token_id", None) or 0
    for padding in (True, False):
        with contextlib.suppress(Exception):  # the layer stands elsewhere, or padding matters
            return tried(PaddedBody(model, hidden, pad, padding)), not padding
    return None


def _rows_of(decoder: nn.Linear, columns: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the columns that have a term."""
    weight, bias = decoder.weight.detach(), None if decoder.bias is None else decoder.bias.detach()
    if int(columns[-1]) == len(columns) - 1:  # a view: weights are mostly tied to the embeddings
        return weight[: len(columns)], None if bias is None else bias[: len(columns)]
    columns = columns.to(weight.device)
    return weight[columns], None if bias is None else bias[columns]


class _PassThrough(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


class _HeadAlone(nn.Module):
    """Logits of hidden states: the model with a base that returns what it is handed."""

    def __init__(self, model: Any, base: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._given = _Given(base)
        setattr(model, model.base_model_prefix, self._given)

    def forward(self, hidden: Tensor) -> Tensor:
        self._given.hidden = hidden
        ids = torch.zeros(hidden.shape[:2], dtype=torch.int64, device=hidden.device)
        logits: Tensor = self._model(input_ids=ids).logits
        return logits


class _Given(nn.Module):
    """Stands in for a base model; everything but calling it is still answered by that model."""

    hidden: Tensor

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self._base = base

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_base"), name)

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.hidden)


def _logits(output: Any) -> Tensor:
    found: Tensor = output.logits
    return found


def _last_hidden(output: Any) -> Tensor:
    found: Tensor = output[0]
    return found


def _together(model: Any) -> Together | None:
    """See :class:`SplitModel`; None for a model whose settings do not say how it attends."""
    heads = getattr(_text_settings(model), "num_attention_heads", None)
    return partial(texts_of_a_step, heads=heads) if isinstance(heads, int) else None


def _width(model: Any) -> int | None:
    """See :class:`SplitModel`."""
    width = getattr(_text_settings(model), "hidden_size", None)
    return width if isinstance(width, int) else None


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    place = next(name for name, module in model.named_modules() if module is old)
    parent, _, leaf = place.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def _leave_file(model: Any) -> None:
    """Copy what parameters are left: their file stays mapped as long as one lies in it."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _agree(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return found.shape == wanted.shape and bool(
        (found - wanted).abs().max() <= tolerance * (1 + wanted.abs().max())
    )
