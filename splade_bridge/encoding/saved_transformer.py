"""What sentence-transformers saves with a Transformer module: ``sentence_bert_config.json``.

Every key that its versions 5 and 6 read is obeyed, known to change no weight, or refused by its
name. Where several say how many tokens are read, what stands for the call wins: ``common``, then
``text`` of ``processing_kwargs``, then the length of the side; else ``model_max_length`` of the
tokenizer's arguments, then ``max_seq_length``, then what the tokenizer and the network say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Side
from splade_bridge.files.typed import Where, checked, json_file, refuse_unknown, typed

log = logging.getLogger(__name__)

KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
FILES = tuple(f"sentence_{kind}_config.json" for kind in KINDS)
"""Where the settings may stand; the first file that is not empty has them."""

ASKED_OF_THE_HUB = (
    "subfolder", "token", "cache_dir", "revision", "local_files_only", "trust_remote_code",
)  # fmt: skip
"""What sentence-transformers puts there itself, whatever the file says."""
HOW_IT_IS_LOADED = (
    "torch_dtype", "dtype", "attn_implementation", "device_map", "low_cpu_mem_usage",
    "use_safetensors", "provider", "export", "max_memory", "offload_folder",
)  # fmt: skip
"""Of the network; none of them is another network, and --dtype says what it computes in."""
OF_TOKENIZERS: dict[str, Any] = {
    "model_max_length": int, "do_lower_case": bool, "do_basic_tokenize": bool,
    "strip_accents": bool | None, "tokenize_chinese_chars": bool, "use_fast": bool,
    "add_prefix_space": bool, "clean_up_tokenization_spaces": bool, "add_bos_token": bool,
    "add_eos_token": bool, "legacy": bool, "split_special_tokens": bool, "truncation_side": str,
    "padding_side": str, "unk_token": str, "sep_token": str, "pad_token": str, "cls_token": str,
    "mask_token": str, "bos_token": str, "eos_token": str,
}  # fmt: skip
"""Arguments that a tokenizer may be loaded with: none of them names another file."""
OF_A_CALL: dict[str, Any] = {
    "max_length": int | None, "truncation": bool | str, "add_special_tokens": bool,
}  # fmt: skip
ABOUT_PADDING = (
    "padding", "pad_to_multiple_of", "return_tensors", "return_token_type_ids", "verbose",
    "logits_to_keep", "stride",
)  # fmt: skip
"""Arguments of a call that change no weight: nothing is padded here, and padding weighs nothing."""
CUTS = (True, "longest_first", "only_first")


@dataclass(frozen=True)
class TransformerSettings:
    """How texts become tokens for a network.

    Attributes:
        max_length: tokens of a text, whatever the tokenizer says; None for what it says.
        cut: whether longer texts are cut.
        special: whether special tokens are added.
        lower_case: whether texts are lower-cased before the tokenizer's own rules.
        tokenizer_options: arguments that the tokenizer is loaded with.
    """

    max_length: int | None = None
    cut: bool = True
    special: bool = True
    lower_case: bool = False
    tokenizer_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Saved:
    """The file, with a type for each key; see sentence-transformers' Transformer."""

    max_seq_length: int | None = None
    do_lower_case: bool | None = None
    transformer_task: str | None = None
    modality_config: dict[str, dict[str, Any]] | None = None
    module_output_name: str | None = None
    processing_kwargs: dict[str, dict[str, Any] | None] | None = None
    unpad_inputs: bool | None = None
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: dict[str, Any] | None = None
    tokenizer_name_or_path: str | None = None
    model_args: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] | None = None
    tokenizer_args: dict[str, Any] | None = None
    processor_kwargs: dict[str, Any] | None = None
    config_args: dict[str, Any] | None = None
    config_kwargs: dict[str, Any] | None = None
    backend: str | None = None


def read_transformer(place: Path, side: Side, task: str) -> TransformerSettings:
    """The settings of the Transformer in folder ``place``.

    Args:
        side: whose length counts.
        task: what the module does where the file does not say.

    Raises:
        BadInputError: a key that is not known, of another type, or that asks for what is not done
            here; the message names file and key.
    """
    where, tree = _file(place)
    saved = typed(_Saved, tree, where)
    _check_output(saved, saved.transformer_task or task, where)
    for key in ("query_expansion", "tokenizer_name_or_path"):
        if getattr(saved, key):
            where.inside(key).fail(f"{REFUSED[key]}, and that is not done here")
    _check_loading(tree, where)
    options = _tokenizer_options(tree, where)
    if saved.max_seq_length is not None:
        _check_length(saved.max_seq_length, where.inside("max_seq_length"))
        options.setdefault("model_max_length", saved.max_seq_length)
    call = _call(saved, side, where)
    return TransformerSettings(
        max_length=call.get("max_length"),
        cut=call.get("truncation", True) in CUTS,
        special=call.get("add_special_tokens", True),
        lower_case=bool(saved.do_lower_case),
        tokenizer_options=options,
    )


REFUSED = {
    "query_expansion": "is of models of many vectors a text",
    "tokenizer_name_or_path": "says that the tokenizer is somewhere else",
}


def _file(place: Path) -> tuple[Where, Any]:
    """The file of the settings, or an empty one."""
    for name in FILES:
        where = Where(str(place / name))
        if (place / name).is_file() and (tree := json_file(where)) != {}:
            return where, tree
    return Where(str(place / FILES[0])), {}


def _check_output(saved: _Saved, task: str, where: Where) -> None:
    """Refuse a network whose output for a text is not a logit for each term."""
    if task != "fill-mask":
        what = (
            "a dense encoder without a masked-LM head, not SPLADE"
            if task == "feature-extraction"
            else "not the task of a masked language model, fill-mask"
        )
        where.inside("transformer_task").fail(f"is {task}: {what}")
    if saved.modality_config is None:
        return
    at = where.inside("modality_config")
    if "message" in saved.modality_config:
        at.inside("message").fail("texts are put into a chat template, and that is not done here")
    text = saved.modality_config.get("text")
    if text is None:
        at.fail("says nothing of text")
    method, output = text.get("method"), text.get("method_output_name")
    if method != "forward" or output not in ("logits", ["logits"]):
        at.inside("text").fail(
            f"takes {output} of {method}, and SPLADE is of the logits of forward"
        )
    if saved.module_output_name != "token_embeddings":
        where.inside("module_output_name").fail(
            f"is {saved.module_output_name}, and SpladePooling reads token_embeddings"
        )


def _check_loading(tree: Mapping[str, Any], where: Where) -> None:
    """Refuse arguments that would make another network of the files."""
    for names, harmless, remedy in (
        (("model_args", "model_kwargs"), HOW_IT_IS_LOADED, "save the network as it shall be"),
        (("config_args", "config_kwargs"), ("use_cache",), "write it into config.json"),
    ):
        for name, key, value in _arguments(tree, names):
            at = where.inside(name).inside(key)
            if key not in harmless:
                at.fail(f"{value!r} may change what the network computes: {remedy}")
            log.info("%s: %s has no effect here", at.file, at.at)


def _arguments(tree: Mapping[str, Any], names: tuple[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Name of the table, key and value: the older name is the one that counts, as there."""
    name = names[0] if names[0] in tree else names[1]
    for key, value in (tree.get(name) or {}).items():
        if key not in ASKED_OF_THE_HUB:
            yield name, key, value


def _tokenizer_options(tree: Mapping[str, Any], where: Where) -> dict[str, Any]:
    options = {}
    for name, key, value in _arguments(tree, ("tokenizer_args", "processor_kwargs")):
        at = where.inside(name)
        refuse_unknown({key: value}, OF_TOKENIZERS, at)
        options[key] = checked(OF_TOKENIZERS[key], value, at.inside(key))
        if key == "model_max_length":
            _check_length(value, at.inside(key))
    return options


def _call(saved: _Saved, side: Side, where: Where) -> dict[str, Any]:
    """What the tokenizer is called with."""
    call: dict[str, Any] = {}
    for name in ("query_length", "document_length"):
        if (length := getattr(saved, name)) is not None:
            _check_length(length, where.inside(name))
            if name == f"{side}_length":
                call["max_length"] = length
    given, at = saved.processing_kwargs or {}, where.inside("processing_kwargs")
    known = ("common", "text", "audio", "image", "video", "chat_template")
    for name in given.keys() - set(known):
        log.warning(
            "%s: %s has no effect, as it has none in sentence-transformers: it belongs below text "
            "or common",
            where.file,
            at.inside(name).at,
        )
    for name in ("text", "common"):  # the second wins
        inner = at.inside(name)
        for key, value in (given.get(name) or {}).items():
            if key in ABOUT_PADDING or (key == "padding_side" and value == "right"):
                continue
            refuse_unknown({key: value}, OF_A_CALL, inner)
            call[key] = checked(OF_A_CALL[key], value, inner.inside(key))
            if key == "max_length" and value is not None:
                _check_length(value, inner.inside(key))
            if key == "truncation" and value not in (*CUTS, False, "do_not_truncate"):
                inner.inside(key).fail(f"is {value}; it can be true or false here")
    return call


def _check_length(length: int, at: Where) -> None:
    if length < 1:
        at.fail(f"is {length}, and must be 1 or more")
