"""What decides the vectors is hashed: another such file is another encoding, and no other is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from checkpoints import VOCABULARY, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.passages import LongOptions, PartEncoder
from splade_bridge.encoding.runner import provenance

pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")

OPTIONS = EncodeOptions(max_length=16, device="cpu")
TRUSTED = replace(OPTIONS, checkpoint=ModelChoices(trust_remote_code=True))


def identity(model: Path, side: Any = "document", options: EncodeOptions = OPTIONS) -> Any:
    """What shards must agree in to be merged."""
    encoder = load_encoder(str(model), side, options)
    return {**provenance(PartEncoder(encoder, LongOptions())).plan, "model": None}


def save_adapter(
    base: Path,
    folder: Path,
    seed: int = 1,
    kind: str = "AutoModelForMaskedLM",
    **settings: Any,
) -> Path:
    """A LoRA adapter of ``base`` with numbers that matter."""
    import transformers

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, **({"target_modules": ["query", "value"]} | settings))
    adapted = peft.get_peft_model(getattr(transformers, kind).from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
            elif "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(folder)
    return folder


def save_both(folder: Path) -> Path:
    """A router with pooling, a table for queries, prompts and a lexical mask for documents."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder import modules

    save_checkpoint(folder / "network")
    weight = torch.rand(len(VOCABULARY), generator=torch.Generator().manual_seed(0))
    router = modules.Router.for_query_document(
        query_modules=[modules.SparseStaticEmbedding(wordpiece_tokenizer(), weight=weight)],
        document_modules=[
            modules.Transformer(str(folder / "network"), transformer_task="fill-mask"),
            modules.SpladePooling("max"),
        ],
    )
    model = SparseEncoder(modules=[router], prompts={"document": "a "}, device="cpu")
    model.save_pretrained(str(folder / "both"), create_model_card=False)
    return folder / "both"


def changed_json(**changes: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | changes))

    return change


def other_numbers(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({k: v + 1e-3 for k, v in load_file(file).items()}, file, {"format": "pt"})


def other_letters(file: Path) -> None:
    tree = json.loads(file.read_text())
    tree["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(tree))


def more_code(file: Path) -> None:
    file.write_text(file.read_text() + "\nX = 1\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity")
    save_both(folder)
    save_adapter(folder / "network", folder / "alone")
    save_checkpoint(folder / "beside")
    save_adapter(folder / "beside", folder / "beside")
    return folder


DECIDE = [
    ("network", "document", "model.safetensors", other_numbers),
    ("network", "document", "config.json", changed_json(layer_norm_eps=1e-3)),
    ("network", "document", "tokenizer.json", other_letters),
    ("network", "document", "tokenizer_config.json", changed_json(model_max_length=12)),
    ("alone", "document", "adapter_model.safetensors", other_numbers),
    ("alone", "document", "adapter_config.json", changed_json(lora_alpha=16)),
    ("alone", "document", "../network/model.safetensors", other_numbers),
    ("alone", "document", "../network/config.json", changed_json(layer_norm_eps=1e-3)),
    ("alone", "document", "../network/tokenizer.json", other_letters),
    ("beside", "document", "adapter_model.safetensors", other_numbers),
    ("beside", "document", "model.safetensors", other_numbers),
    ("both", "document", "document_1_SpladePooling/config.json",
     changed_json(pooling_strategy="sum")),
    ("both", "document", "document_1_SpladePooling/config.json",
     changed_json(activation_function="log1p_relu")),
    ("both", "document", "router_config.json",
     changed_json(parameters={"route_mappings": {"('document', None)": "query"}})),
    ("both", "document", "config_sentence_transformers.json",
     changed_json(prompts={"document": "b "})),
    ("both", "document", "document_0_Transformer/sentence_bert_config.json",
     changed_json(max_seq_length=12)),
    ("both", "query", "query_0_SparseStaticEmbedding/model.safetensors", other_numbers),
    ("both", "query", "query_0_SparseStaticEmbedding/tokenizer.json", other_letters),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "side", "file", "change"), DECIDE, ids=[f"{m} {f}" for m, _, f, _ in DECIDE]
)
@pytest.mark.sample(8)
def test_another_file_is_another_encoding(
    made: Path, model: str, side: Any, file: str, change: Callable[[Path], None]
) -> None:
    path = made / model / file
    before, content = identity(made / model, side), path.read_bytes()
    try:
        change(path)
        assert path.read_bytes() != content
        assert identity(made / model, side) != before
    finally:
        path.write_bytes(content)
    assert identity(made / model, side) == before


@pytest.mark.parametrize("model", ["network", "alone", "beside", "both"])
def test_what_decides_nothing_is_not_hashed(made: Path, model: str) -> None:
    before = identity(made / model)
    for name in ("README.md", ".git/config", "optimizer.pt", "rng_state.pth", "own.py"):
        (made / model / name).parent.mkdir(exist_ok=True)
        (made / model / name).write_text("anything")
    assert identity(made / model) == before


def test_code_counts_where_it_is_run(tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model")
    (model / "own.py").write_text("X = 0\n")
    before = identity(model), identity(model, options=TRUSTED)
    more_code(model / "own.py")
    assert identity(model) == before[0]
    assert identity(model, options=TRUSTED) != before[1]


def test_an_index_of_weights_may_name_any_file(tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model")
    (model / "model.safetensors").rename(model / "a.safetensors")
    from safetensors.torch import load_file

    names = load_file(model / "a.safetensors")
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "a.safetensors")})
    )
    before = identity(model)
    other_numbers(model / "a.safetensors")
    assert identity(model) != before


def test_where_a_base_lies_does_not_matter(made: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made / "network", tmp_path / "elsewhere")
    shutil.copytree(made / "alone", tmp_path / "alone")
    changed_json(base_model_name_or_path=str(tmp_path / "elsewhere"))(
        tmp_path / "alone" / "adapter_config.json"
    )
    there, here = identity(made / "alone"), identity(tmp_path / "alone")
    assert there["model_sha256"] == here["model_sha256"]


def test_plain_checkpoints_keep_the_identity_that_they_had(tmp_path: Path) -> None:
    """As version 0.4 hashed them: stores that were made before can still be merged."""
    import hashlib

    model = save_checkpoint(tmp_path / "model")
    (model / "vocab.txt").write_text("x\n")

    def over(*names: str) -> str:
        digest = hashlib.sha256()
        for name in sorted(names):
            of_file = hashlib.sha256((model / name).read_bytes()).hexdigest()
            digest.update(f"{name}\0{of_file}\n".encode())
        return digest.hexdigest()

    plan = identity(model)
    assert plan["model_sha256"] == over("model.safetensors")
    small = [p.name for p in model.iterdir() if p.suffix in (".json", ".txt")]
    assert plan["settings_sha256"] == over(*small)
