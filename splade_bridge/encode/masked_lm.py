"""A masked language model, split into its body (up to the last layer) and its head.

The split knows no architecture. The last linear layer is the one the model itself names as its
output embeddings; with a pass-through in its place the model's "logits" are what that layer would
have been given, head transform included. A model that computes something else afterwards (a scale,
a cap, a decoder of its own) is noticed by a probe and gets a slower head, which runs the model's
own head on chunks of positions.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splade_bridge.encode.head import ChunkedHead, Head, LinearHead
from splade_bridge.errors import BadInputError

log = logging.getLogger(__name__)

PROBE_TOKENS = 8
PROBE_TOLERANCE = 1e-4

Body = Callable[[Tensor, Tensor], Tensor]
"""Hidden states [B, L, H] of ``input_ids`` and ``attention_mask``, both int64[B, L]."""


@dataclass(frozen=True)
class SplitModel:
    """A masked language model as a body and a head that takes the body's hidden states."""

    body: Body
    head: Head


def load_masked_lm(folder: Path) -> Any:
    """The masked language model in ``folder``, in float32 on the CPU.

    Raises:
        BadInputError: it cannot be loaded, or its weights lack the head.
    """
    from transformers import AutoModelForMaskedLM

    try:
        with quiet():
            model, info = AutoModelForMaskedLM.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise BadInputError(
            f"cannot be loaded as a masked language model ({first_line(error)})", str(folder)
        ) from error
    if missing := sorted(map(str, info["missing_keys"])):
        raise BadInputError(
            f"its weights lack {', '.join(missing[:3])}{' ...' if missing[3:] else ''}: not a "
            "masked-language-model checkpoint, its terms would be random",
            str(folder),
        )
    return _cast(model.eval(), torch.float32)


def head_width(model: Any) -> int:
    """Columns of the model's logits."""
    return int(model.config.vocab_size)


def position_limit(model: Any) -> int | None:
    """How many tokens the model has positions for, or None if it names no limit."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from padding_idx + 1 on.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def split_model(
    model: Any, columns: Tensor, dtype: torch.dtype, device: torch.device
) -> SplitModel:
    """Split ``model`` (float32, on the CPU), cast its parameters and move it.

    Args:
        model: is changed and must not be used for anything else.
        columns: int64[V], rising: the columns of its logits that have a term.
        dtype: of the parameters, and so of hidden states and of logits before pooling.
        device: where it will run.

    Raises:
        BadInputError: the model has neither a linear last layer nor a base model to split at, or
            its logits are not finite.
    """
    ids = torch.arange(min(PROBE_TOKENS, model.get_input_embeddings().num_embeddings))[None]
    probe = (ids, torch.ones_like(ids))
    with torch.inference_mode():
        wanted = model(input_ids=probe[0], attention_mask=probe[1]).logits[..., columns]
    if not bool(torch.isfinite(wanted).all()):
        raise BadInputError(
            f"{type(model).__name__} gives logits that are not finite: its weights are damaged"
        )
    decoder = model.get_output_embeddings()
    if isinstance(decoder, nn.Linear) and _is_last(model, decoder, columns, probe, wanted):
        _cast(model, dtype).to(device)
        weight = decoder.weight.detach()
        bias = None if decoder.bias is None else decoder.bias.detach()
        size = len(columns)
        if int(columns[-1]) == size - 1:  # a view: the weights are mostly tied to the embeddings
            weight, bias = weight[:size], None if bias is None else bias[:size]
        else:
            columns = columns.to(device)
            weight, bias = weight[columns], None if bias is None else bias[columns]
        _replace(model, decoder, _PassThrough())
        return SplitModel(_logits_of(model), LinearHead(weight, bias))
    base = getattr(model, model.base_model_prefix, None)
    if base is not None:
        _cast(model, dtype).to(device)
        split = SplitModel(_hidden_of(base), ChunkedHead(_HeadAlone(model, base), columns))
        with torch.inference_mode():
            hidden = split.body(*(t.to(device) for t in probe))
            found = split.head(hidden, [ids.shape[1]], "sum", "relu").cpu()
        oracle = torch.log1p(wanted.relu()).sum(1)
        loose = 1.0 if dtype == torch.float32 else 1000.0
        if _agree(found, oracle, loose * PROBE_TOLERANCE):
            log.info(
                "the last layer of %s is not a plain linear one: its head runs in chunks",
                type(model).__name__,
            )
            return split
    raise BadInputError(
        f"{type(model).__name__} has neither a linear last layer nor a base model: not supported"
    )


def _is_last(
    model: Any, decoder: nn.Linear, columns: Tensor, probe: tuple[Tensor, Tensor], wanted: Tensor
) -> bool:
    """Whether ``decoder`` on the rest of the model gives the model's logits."""
    stand_in = _PassThrough()
    _replace(model, decoder, stand_in)
    try:
        with torch.inference_mode():
            found = decoder(_logits_of(model)(*probe))[..., columns]
        return _agree(found, wanted, PROBE_TOLERANCE)
    except RuntimeError:  # shapes that do not fit: the layer stands elsewhere
        return False
    finally:
        _replace(model, stand_in, decoder)


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


def _logits_of(model: Any) -> Body:
    def body(ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits

    return body


def _hidden_of(base: Any) -> Body:
    def body(ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = base(input_ids=ids, attention_mask=mask)[0]
        return hidden

    return body


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    place = next(name for name, module in model.named_modules() if module is old)
    parent, _, leaf = place.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """Cast parameters but no buffers: rotary frequencies lose their meaning in 16 bits."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _agree(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return found.shape == wanted.shape and bool(
        (found - wanted).abs().max() <= tolerance * (1 + wanted.abs().max())
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and load reports from transformers, which say nothing we do not check."""
    from transformers.utils import logging as hf

    verbosity, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(verbosity)
        if bars:
            hf.enable_progress_bar()
