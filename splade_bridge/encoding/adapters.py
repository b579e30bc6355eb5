"""Adapters of PEFT (LoRA and its kin): which folder holds one, what it adapts, and the sum of both.

An adapter is a small file beside ``adapter_config.json``. It adapts the whole network that lies in
the same folder; where none does, the one that ``base_model_name_or_path`` names, a folder or a name
on the model hub at its ``revision``, which may be an adapter itself.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from splade_bridge.encoding.snapshot import ADAPTER_WEIGHTS, find_snapshot
from splade_bridge.errors import BadInputError, require
from splade_bridge.files.typed import Where, as_table, json_file, value_of

SETTINGS = "adapter_config.json"
BASE = "base_model_name_or_path"
NAME = "default"
"""What PEFT calls an adapter that is not named."""


def is_adapter(folder: Path) -> bool:
    """Whether an adapter lies in ``folder``."""
    return (folder / SETTINGS).is_file()


def adapter_chain(folder: Path) -> list[Path]:
    """``folder``, what it adapts where that lies elsewhere, and so on to a whole network.

    Raises:
        BadInputError: an adapter names no base, one that is not there, or goes round in a circle.
    """
    chain = [folder]
    while is_adapter(chain[-1]) and not (chain[-1] / "config.json").is_file():
        base = _base(chain[-1])
        if any(base.samefile(known) for known in chain):
            raise BadInputError(
                f"its base is {base}, which is an adapter of this one: no network is among them",
                str(chain[-1] / SETTINGS),
            )
        chain.append(base)
    return chain


def adapter_file(folder: Path) -> Path:
    """The weights of the adapter in ``folder``.

    Raises:
        BadInputError: there are none.
    """
    for name in ADAPTER_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise BadInputError(f"holds {SETTINGS} and not {' or '.join(ADAPTER_WEIGHTS)}", str(folder))


def merged(model: Any, folder: Path) -> Any:
    """``model`` (float32, on the CPU) with the adapter in ``folder`` added to its weights.

    Raises:
        BadInputError: the adapter is damaged, fits another network, or is of a kind that is no
            sum with weights.
        MissingToolError: peft is not installed.
    """
    require("train", f"{folder}: an adapter")
    adapter_file(folder)
    from peft import PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that are missing or too many: checked below
            config = PeftConfig.from_pretrained(str(folder))
            if config.is_prompt_learning:
                raise ValueError(f"{config.peft_type.value} adds positions, and no weights")
            config.inference_mode = True
            adapted = get_peft_model(model, config, adapter_name=NAME)
            state = load_peft_weights(str(folder), device="cpu")
            result = set_peft_model_state_dict(adapted, state, adapter_name=NAME)
            _fits(result)
            _untie(adapted)
            return adapted.merge_and_unload()
    except Exception as error:  # a damaged file raises whatever its reader raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"this adapter cannot be added to {type(model).__name__} ({first})", str(folder)
        ) from error


def _base(folder: Path) -> Path:
    where = Where(str(folder / SETTINGS))
    saved = as_table(json_file(where), where)
    name = value_of(saved, BASE, str | None, where, None)
    revision = value_of(saved, "revision", str | None, where, None)
    if not name:
        where.inside(BASE).fail(
            "names no base, and no config.json lies beside the adapter: put the name or folder of "
            "the network there that was adapted"
        )
    if Path(name).expanduser().is_dir():
        revision = None  # of the hub's model that lies here now
    try:
        return find_snapshot(name, revision or None).folder
    except BadInputError as error:
        raise BadInputError(
            f"this adapter's base is not there ({error}): put its folder into {BASE}",
            str(folder / SETTINGS),
        ) from error


def _fits(result: Any) -> None:
    """Whether every number of an adapter has found its place, and every place its numbers."""
    if too_many := sorted(result.unexpected_keys):
        raise ValueError(f"it holds {too_many[0]}, which that network does not have")
    if lacking := sorted(key for key in result.missing_keys if f".{NAME}" in key):
        raise ValueError(f"it lacks {lacking[0].replace(f'.{NAME}', '')}")


def _untie(adapted: Any) -> None:
    """Give an adapted layer weights of its own, where another layer has the same.

    The head mostly has those of the embeddings; an adapter of one is none of the other.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    uses = Counter(id(p) for _, p in adapted.named_parameters(remove_duplicate=False))
    for layer in adapted.modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        inner = layer.get_base_layer()
        for name, parameter in list(inner.named_parameters(recurse=False)):
            if uses[id(parameter)] > 1:
                setattr(inner, name, nn.Parameter(parameter.detach().clone()))
                adapted.config.tie_word_embeddings = False
