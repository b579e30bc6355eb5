"""Linear layers on a CPU with weights laid out as oneDNN's kernels read them.

torch reorders a weight matrix at every call, and for float32 it calls MKL, whose kernels leave a
tenth to a fifth of an AMD processor unused: 2,048 x 768 x 3,072 ran at 94 GFLOP/s a core through
``torch.nn.Linear`` and at 110 through oneDNN with the weights reordered once (AMD EPYC, Zen 4);
in bfloat16 at 185 and 210. A row's result is also the same whatever rows stand beside it, which
MKL does not promise. torch's own compiler calls the same two operators, which are not part of its
public interface; so they are tried on a small matrix before they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Product = Callable[[Tensor], Tensor]
"""[..., out] of [..., in]: times a fixed matrix, plus a fixed bias."""


class Maker(Protocol):
    """Lays a linear layer's parameters out for one kind of product."""

    def __call__(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Product:
        """What ``weight`` [out, in] and ``bias`` [out] do, then GELU if asked."""
        ...


AGREEMENT = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Relative difference, as norms, that the same network may have on other kernels."""


def product(weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Product:
    """``rows @ weight.T + bias``, then GELU if asked; :func:`available` must hold.

    Args:
        weight: [out, in]; a copy is kept, not this.
        bias: [out] in the same type or in float32; kept itself.
    """
    packed = _ops()._reorder_linear_weight(weight.contiguous())
    linear = _ops()._linear_pointwise
    after: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")
    return lambda rows: linear(rows, packed, bias, *after)


class KeptLayersError(Exception):
    """A model keeps its own linear layers, and why."""


def prepack(model: nn.Module, run: Callable[[], Tensor]) -> bool:
    """Replace the linear layers in ``model``, those that a GELU follows together with it.

    A model that says otherwise with them, or that looks for more in a linear layer than its
    result, keeps its own.

    Args, Returns: see :func:`replace_linear`.
    """
    dtype = next(model.parameters()).dtype
    if not available(dtype):
        return False
    try:
        return replace_linear(model, run, product, AGREEMENT[dtype])
    except KeptLayersError as error:
        log.info("%s keeps its own linear layers, not prepacked ones (%s)", type(model), error)
        return False


def replace_linear(
    model: nn.Module,
    run: Callable[[], Tensor],
    tried: Maker,
    agreement: float,
    made: Maker | None = None,
) -> bool:
    """Replace the linear layers in ``model``, those that a GELU follows together with it.

    Args:
        model: on a CPU; cannot be trained, saved or moved afterwards.
        run: passes something through it. That is done three times: to see which activation takes
            what a layer gives, and to compare the results before and after.
        tried: makes the layers whose results are compared.
        agreement: relative difference that they may have, as norms.
        made: makes those that stand there in the end; None for the same.

    Returns:
        Whether every matrix that is left is one of embeddings, whose rows are looked up.

    Raises:
        KeptLayersError: the model says otherwise with other layers, or looks for more in a linear
            layer than its result; it is as it was.
    """
    why = ""
    with torch.inference_mode():
        with _followers(model) as followed:
            before = run()
        for fused in (followed, {}):
            old = _replace_layers(model, fused, tried)
            try:
                after = run()
            except Exception as error:  # whatever a model raises that finds another layer there
                why = str(error)
            else:
                if (after - before).norm() <= agreement * before.norm():
                    if made is not None:
                        _put_back(old)
                        _replace_layers(model, fused, made)
                    return _only_looked_up(model)
                why = "other results"
            _put_back(old)
    raise KeptLayersError(why)


class PrepackedLinear(nn.Module):
    """Does what ``linear`` does, by what ``make`` makes of it, with a GELU after it if asked."""

    def __init__(self, linear: nn.Linear, make: Maker, *, gelu: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self._product = make(linear.weight.detach(), bias, gelu=gelu)

    def forward(self, rows: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        return self._product(rows)


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have such kernels for ``dtype``."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype not in AGREEMENT:
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight, bias = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((3, 32), (5, 32), (5,))
    )
    try:
        if dtype == torch.bfloat16 and not _ops()._is_mkldnn_bf16_supported():
            return False
        if dtype == torch.float16 and not _ops()._is_mkldnn_fp16_supported():
            return False
        with torch.inference_mode():
            found = product(weight, bias.float())(rows).double()
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = rows.double() @ weight.double().t() + bias.double()
    return bool((found - wanted).norm() <= AGREEMENT[dtype] * wanted.norm())


@contextmanager
def _followers(model: nn.Module) -> Iterator[dict[nn.Module, nn.Linear]]:
    """Activations and the one linear layer whose output each of them took meanwhile."""
    outputs: list[tuple[Tensor, nn.Linear]] = []  # holds the tensors: their identity is the key
    found: dict[nn.Module, nn.Linear] = {}
    other: set[nn.Module] = set()

    def made(layer: Any, _: Any, output: Tensor) -> None:
        outputs.append((output, layer))

    def taken(activation: nn.Module, inputs: tuple[Any, ...]) -> None:
        makers = [layer for output, layer in outputs if output is inputs[0]]
        if len(makers) != 1 or found.setdefault(activation, makers[0]) is not makers[0]:
            other.add(activation)

    hooks = [m.register_forward_hook(made) for m in model.modules() if type(m) is nn.Linear]
    hooks += [m.register_forward_pre_hook(taken) for m in model.modules() if _is_gelu(m)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for activation in other:
            found.pop(activation, None)


def _only_looked_up(model: nn.Module) -> bool:
    return all(
        isinstance(module, nn.Embedding)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    )


def _is_gelu(module: nn.Module) -> bool:
    """Whether ``module`` is x times the normal distribution function of x, and not a likeness."""
    from transformers.activations import GELUActivation

    if isinstance(module, nn.GELU):
        return module.approximate == "none"
    return type(module) is GELUActivation and module.act is nn.functional.gelu


_Place = tuple[nn.Module, str, nn.Module]
"""A module's parent, its name there, and the module."""


def _replace_layers(
    model: nn.Module, fused: dict[nn.Module, nn.Linear], make: Maker
) -> list[_Place]:
    """Replace linear layers and fused activations; what stood where before."""
    with_gelu = set(fused.values())
    old: list[_Place] = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                new: nn.Module = PrepackedLinear(child, make, gelu=child in with_gelu)
            elif child in fused:
                new = nn.Identity()
            else:
                continue
            old.append((parent, name, child))
            setattr(parent, name, new)
    return old


def _put_back(old: list[_Place]) -> None:
    for parent, name, module in old:
        setattr(parent, name, module)


def _ops() -> Any:
    return torch.ops.mkldnn
