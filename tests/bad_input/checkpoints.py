"""Checkpoints that are not what they say, or want more than a model should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_input import Content, Row

CORPUS = '{"id": "d1", "text": "the cat"}\n'
NEEDED = ("torch", "transformers")


def made(*changes: Callable[[Path], object], **config: Any) -> Content:
    """A small BERT whose config.json has ``config`` in it, and to which ``changes`` were done."""

    def make(folder: Path) -> None:
        from checkpoints import save_checkpoint

        save_checkpoint(folder)
        tree = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(tree))
        for change in changes:
            change(folder)

    return make


def adapter(**settings: Any) -> Content:
    """A folder with the settings of an adapter, and no numbers."""
    given = {"peft_type": "LORA", "base_model_name_or_path": "./gone"} | settings
    return json.dumps({key: value for key, value in given.items() if value is not None})


def own_code(folder: Path) -> None:
    (folder / "own.py").write_text("open('ran', 'w').close()\n")


def head_of(numbers: int) -> Callable[[Path], None]:
    """A head as BGE-M3 has one, for hidden states of so many numbers."""

    def save(folder: Path) -> None:
        import torch

        torch.save(torch.nn.Linear(numbers, 1).state_dict(), folder / "sparse_linear.pt")

    return save


def not_torch(folder: Path) -> None:
    (folder / "sparse_linear.pt").write_bytes(b"\x80\x04K\x01.")


def gpt2(folder: Path) -> None:
    """A decoder whose matrices stand in layers of another class."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from checkpoints import VOCABULARY, save_random

    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 66}
    save_random(GPT2LMHeadModel(GPT2Config(vocab_size=len(VOCABULARY), **sizes)).eval(), folder)


def encode(
    title: str, model: Content, *words: str, code: int = 4, flags: str = "", name: str = "m"
) -> Row:
    """A checkpoint that ``encode`` refuses."""
    return Row(
        title,
        f"encode c.jsonl -m m -o v {flags}".strip(),
        code,
        words,
        {"c.jsonl": CORPUS, name: model},
        without=("look at the above report",),
        imports=NEEDED,
    )


ROWS = [
    encode(
        "a head that was resized in one file alone",
        made(vocab_size=999),
        "m: ", "word_embeddings.weight has shape [113, 32] in its weights and [999, 32] by its",
    ),
    encode(
        "positions that were resized in one file alone",
        made(max_position_embeddings=512),
        "position_embeddings.weight has shape [66, 32] in its weights and [512, 32] by its",
    ),
    encode(
        "fewer layers in config.json than in the weights",
        made(num_hidden_layers=1),
        "its weights hold bert.encoder.layer.1.", "a layer that its config.json does not build",
    ),
    encode(
        "more layers in config.json than in the weights",
        made(num_hidden_layers=3),
        "its weights lack bert.encoder.layer.2.",
    ),
    encode(
        "no layers in config.json",
        made(num_hidden_layers=0),
        "m/config.json: num_hidden_layers is 0: a network without layers",
    ),
    encode("a number of heads below 0", made(num_attention_heads=-1), "BertForMaskedLM gives no"),
    encode(
        "code of a checkpoint's own, and nobody said that it may run",
        made(own_code, model_type="own", auto_map={"AutoConfig": "own.C"}),
        "m: it needs code of its own", "runs only with --trust-remote-code",
    ),
    encode(
        "an adapter whose base is not there",
        adapter(), "this adapter's base is not there", "./gone", "base_model_name_or_path",
        name="m/adapter_config.json",
    ),
    encode(
        "an adapter that names no base",
        adapter(base_model_name_or_path=None), "base_model_name_or_path: names no base",
        name="m/adapter_config.json",
    ),
    encode(
        "an adapter without numbers, beside its network",
        made(lambda folder: (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')),
        "m: holds adapter_config.json and not adapter_model.safetensors or adapter_model.bin",
    ),
    encode(
        "a head of tokens for another network",
        made(head_of(31)),
        "m/sparse_linear.pt: its head takes hidden states of 31 numbers and its network has 32",
    ),
    encode(
        "a head of tokens that is a pickle of something else",
        made(not_torch), "m/sparse_linear.pt: holds no linear layer, weight and bias alone",
    ),
    encode(
        "a pooling of logits for a head of tokens",
        made(head_of(32)), "--pooling sum: m weighs the tokens of a text one by one",
        code=2, flags="--pooling sum",
    ),
    encode(
        "integers of 8 bits for a network without linear layers",
        gpt2, "--dtype int8: the linear layers of GPT2LMHeadModel cannot be replaced (it has none)",
        code=2, flags="--dtype int8",
    ),
]  # fmt: skip
