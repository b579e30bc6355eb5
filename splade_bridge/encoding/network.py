"""The network of a checkpoint folder, loaded: what it needs, what is wrong with it, in a sentence.

A folder holds a whole network, or an adapter (PEFT) whose base lies elsewhere, or both. Loaded is
one plain network on the CPU, with its adapters added to its weights.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from splade_bridge.encoding.adapters import adapter_chain, is_adapter, merged
from splade_bridge.encoding.snapshot import weight_files
from splade_bridge.errors import BadInputError, is_panic
from splade_bridge.files.typed import shown

log = logging.getLogger(__name__)

REPEATED = re.compile(
    r"layers?$|blocks?(_sizes|_repeats)?$|groups?(_num)?$|experts$|depths?$|networks$|^attention_types$"
)
"""Settings that say how often a part is built, by a number or by several."""
MOST_LAYERS = 1_000
MOST_A_BYTE = 4
"""Parameters for each byte of weights; integers of 4 bits have 2."""
FEW = 1 << 24
"""Parameters that are made without a look at the weights."""
NO_ADAPTER = {"subfolder": "no-adapter"}
"""Keeps transformers from adding an adapter by itself, which it does only where peft is there."""
TOKEN_PROJECTION = "tok_proj."  # noqa: S105
"""What a linear layer that weighs tokens is called among weights; see :mod:`.token_head`."""
NO_PART = re.compile(r"(^|\.)(pooler|tok_proj|cls|lm_head)\.")
"""Weights of a head, which a network without one may lack or hold."""
NOT_FOR_TERMS = re.compile(r"(^|\.)(pooler|seq_relationship|position_ids)(\.|$)")
"""Weights that a masked language model's checkpoint may hold and its logits do not need."""


def load_network(folder: Path, *, trust_remote_code: bool = False, headless: bool = False) -> Any:
    """The language model in ``folder``, in float32 on the CPU.

    What transformers calls a masked language model is one here; a decoder with a language-model
    head stands for one where there is no other. Whether positions see those after them is what
    the configuration says.

    Args:
        trust_remote_code: run code that lies in the checkpoint, where its settings name some.
        headless: without a language-model head, for a checkpoint that has another one.

    Raises:
        BadInputError: it cannot be loaded, its weights lack the head, or have other sizes than
            its settings say.
        MissingToolError: it holds an adapter, and peft is not installed.
    """
    *adapters, base = adapter_chain(folder)
    model = _loaded(base, trust_remote_code, headless)
    if is_adapter(base):
        adapters.append(base)
    for adapter in reversed(adapters):
        with quiet():
            model = merged(model, adapter)
    return in_float32(model.eval())


def _loaded(folder: Path, trust_remote_code: bool, headless: bool) -> Any:
    """The network in ``folder``, without an adapter that lies beside it."""
    from transformers import AutoConfig

    refuse_claims(folder)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
            _refuse_random(config)
            model, info = _class_for(config, headless).from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                adapter_kwargs=dict(NO_ADAPTER),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise refusal(error, folder, "cannot be loaded as a masked language model") from error
    if headless:
        for noticed in ("missing_keys", "unexpected_keys"):
            info[noticed] = {k for k in info[noticed] if not NO_PART.search(str(k))}
    _check_weights(model, info, folder)
    return model


def refusal(error: Exception, folder: Path, what: str) -> BadInputError:
    """Why ``folder`` is not loaded: ``error`` of transformers in words of this program."""
    if "trust_remote_code" in str(error):
        return BadInputError(
            "it needs code of its own, which lies in the checkpoint (auto_map), and that runs only "
            "with --trust-remote-code: read it first, it may do anything",
            str(folder),
        )
    return BadInputError(f"{what} ({first_line(error)})", str(folder))


def _refuse_random(config: Any) -> None:
    """Raise ValueError for a network that says something else each time (Reformer's hashing)."""
    if "lsh" in (getattr(config, "attn_layers", None) or ()) and config.hash_seed is None:
        raise ValueError("attn_layers: lsh hashes at random without a hash_seed")


def _class_for(config: Any, headless: bool) -> Any:
    """The class that loads a network of ``config``, with its language-model head or without."""
    import transformers
    from transformers.models.auto import modeling_auto

    if headless:
        return transformers.AutoModel
    named = getattr(config, "auto_map", None) or {}
    for kind, known in (
        ("AutoModelForMaskedLM", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING),
        ("AutoModelForCausalLM", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING),
    ):
        if kind in named or type(config) in known:
            return getattr(transformers, kind)
    return transformers.AutoModelForMaskedLM


def _check_weights(model: Any, info: Any, folder: Path) -> None:
    """Refuse weights that are not those of ``model``; ``info`` is what transformers noticed."""
    if missing := sorted(map(str, info["missing_keys"])):
        raise BadInputError(
            f"its weights lack {', '.join(missing[:3])}{' ...' if missing[3:] else ''}: not a "
            "masked-language-model checkpoint, its terms would be random",
            str(folder),
        )
    if wrong := sorted(info["mismatched_keys"], key=str):
        name, saved, built = wrong[0]
        raise BadInputError(
            f"{name} has shape {list(saved)} in its weights and {list(built)} by its config.json"
            f"{f', and so have {len(wrong) - 1} others' if wrong[1:] else ''}: they do not belong "
            "together (a head or positions that were resized, and the other file was not saved)",
            str(folder),
        )
    left = sorted(k for k in map(str, info["unexpected_keys"]) if not NOT_FOR_TERMS.search(k))
    built = {_numberless(name) for name in model.state_dict()}
    if beyond := [name for name in left if _numberless(name) in built]:
        raise BadInputError(
            f"its weights hold {beyond[0]}{' ...' if beyond[1:] else ''}, a layer that its "
            "config.json does not build: they do not belong together (num_hidden_layers?)",
            str(folder),
        )
    if left:
        log.warning(
            "%s: its weights hold %s%s, which %s does not have: left out",
            folder, ", ".join(left[:3]), " ..." if left[3:] else "", type(model).__name__,
        )  # fmt: skip


def _numberless(name: str) -> str:
    """The name of a parameter, the same for all layers of a kind."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "N", name)


def refuse_claims(folder: Path) -> None:
    """Refuse a configuration that takes memory which the weights of its network do not.

    Layers and sizes are decided by it, and what the weights lack is made before it is noticed.

    Raises:
        BadInputError: it claims more layers than any network has, or none at all, or many more
            parameters than the weights beside it hold.
    """
    file = folder / "config.json"
    tree: Any = None
    # Read as transformers reads it, which takes numbers of any length; and if it cannot be read,
    # whoever loads the network says why.
    with contextlib.suppress(OSError, ValueError, RecursionError):
        tree = json.loads(file.read_text(encoding="utf-8"))
    for key, value in _settings(tree):
        if REPEATED.search(key) and value > MOST_LAYERS:
            raise BadInputError(f"{key} is above {MOST_LAYERS:,}, as no network's", str(file))
        if key == "num_hidden_layers" and value < 1:
            raise BadInputError(f"{key} is {shown(value)}: a network without layers", str(file))
    try:
        held = sum(weights.stat().st_size for weights in weight_files(folder))
    except BadInputError:  # settings of a module without weights, or nothing that is loaded
        return
    if (claimed := _parameters(folder)) > max(FEW, MOST_A_BYTE * held):
        raise BadInputError(
            f"makes a network of {claimed:,} parameters, and the weights beside it are "
            f"{held:,} bytes: they do not belong together",
            str(file),
        )


def _parameters(folder: Path) -> int:
    """How many parameters the network has that is configured in ``folder``; 0 if unknown.

    It is built without memory, and without code that lies in the folder.
    """
    from transformers import AutoConfig, AutoModel

    # What cannot be built so is for whoever loads the network to tell.
    with contextlib.suppress(Exception), quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        built = AutoModel.from_config(config, trust_remote_code=False)
        return sum(parameter.numel() for parameter in built.parameters())
    return 0


def _settings(tree: Any) -> Iterator[tuple[str, int]]:
    """Each whole number in ``tree``, with the key that it, or the list that holds it, stands at."""
    left: list[tuple[str, Any]] = [("", tree)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(key, item) for item in value]
        elif isinstance(value, int):
            yield key, value


def in_float32(model: Any) -> Any:
    """``model`` with its parameters in float32; buffers stay as they are."""
    return cast(model, torch.float32)


def cast(model: Any, dtype: torch.dtype) -> Any:
    """Cast parameters but no buffers: rotary frequencies lose their meaning in 16 bits."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and load reports from transformers, which say nothing we do not check.

    Nor does it ask on stdin whether a checkpoint's code may run: it raises. And what fails in Rust
    raises as all else does: pyo3's panics are no ``Exception``.
    """
    from transformers import dynamic_module_utils as code
    from transformers.utils import logging as hf

    seconds, code.TIME_OUT_REMOTE_CODE = code.TIME_OUT_REMOTE_CODE, 0
    verbosity, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    except BaseException as error:
        if is_panic(error):
            raise RuntimeError(str(error)) from error
        raise
    finally:
        code.TIME_OUT_REMOTE_CODE = seconds
        hf.set_verbosity(verbosity)
        if bars:
            hf.enable_progress_bar()
