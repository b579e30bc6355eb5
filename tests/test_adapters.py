"""Adapters of PEFT, with what PEFT says of the unmerged network as the oracle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import cached, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.network import load_network
from splade_bridge.errors import BadInputError, MissingToolError
from test_encode import encode
from test_identity import changed_json, save_adapter
from tiny_training import World

peft = pytest.importorskip("peft")

TEXTS = ["the cat sat on the mat", "x", "was with by " * 9, "42 of (his) [SEP] not"]


def by_peft(base: Path, adapter: Path) -> np.ndarray:
    """The plain formula over the logits of PEFT's own module, one text a time."""
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(base, adapter_kwargs={"subfolder": "none"})
    model = peft.PeftModel.from_pretrained(model, str(adapter)).eval()
    tokenizer = wordpiece_tokenizer()
    rows = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            rows.append(torch.log1p(torch.relu(model(input_ids=ids).logits)).amax(1)[0])
    return torch.stack(rows).numpy()


def found(model: Path) -> np.ndarray:
    return encode(load_encoder(str(model), "document", EncodeOptions(max_length=None)), TEXTS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("adapters") / "base")


KINDS: dict[str, dict[str, Any]] = {
    "attention": {},
    "weight-decomposed": {"use_dora": True},
    "of the head, which is tied": {"target_modules": ["query", "decoder"]},
    "with a whole layer": {"modules_to_save": ["transform"]},
    "scaled by the root of its rank": {"lora_alpha": 32, "use_rslora": True},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_an_adapter_alone_is_added_to_its_base(
    tmp_path: Path, base: Path, settings: dict[str, Any]
) -> None:
    adapter = save_adapter(base, tmp_path / "adapter", **settings)
    wanted = by_peft(base, adapter)
    assert np.abs(wanted - found(base)).max() > 0.05
    np.testing.assert_allclose(found(adapter), wanted, rtol=0, atol=1e-5)


def test_an_adapter_beside_its_network(tmp_path: Path, base: Path) -> None:
    """What it names as its base does not matter: the network is there."""
    adapter = save_adapter(base, tmp_path / "adapter")
    wanted = by_peft(base, adapter)
    together = Path(shutil.copytree(base, tmp_path / "together"))
    shutil.copytree(adapter, together, dirs_exist_ok=True)
    changed_json(base_model_name_or_path="not/there")(together / "adapter_config.json")
    np.testing.assert_allclose(found(together), wanted, rtol=0, atol=1e-5)


def test_a_base_of_the_hub_at_its_revision(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT notes which revision of a hub model was adapted; a folder's is of where it came from."""
    adapter = save_adapter(base, tmp_path / "adapter")
    wanted = by_peft(base, adapter)
    other = save_checkpoint(tmp_path / "other", seed=3)
    cached(tmp_path / "cache", "someone/base", {"v1": other, "v2": base})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = changed_json(base_model_name_or_path="someone/base", revision="v2")
    told(adapter / "adapter_config.json")
    np.testing.assert_allclose(found(adapter), wanted, rtol=0, atol=1e-5)
    changed_json(revision="v9")(adapter / "adapter_config.json")
    with pytest.raises(BadInputError, match=r"this adapter.s base is not there .* at revision v9"):
        found(adapter)
    changed_json(base_model_name_or_path=str(base))(adapter / "adapter_config.json")
    np.testing.assert_allclose(found(adapter), wanted, rtol=0, atol=1e-5)


def test_an_adapter_of_an_adapter(tmp_path: Path, base: Path) -> None:
    first = save_adapter(base, tmp_path / "first")
    model = load_network(first)
    model.save_pretrained(tmp_path / "sum")
    second = save_adapter(tmp_path / "sum", tmp_path / "second", seed=2)
    wanted = by_peft(tmp_path / "sum", second)
    changed_json(base_model_name_or_path=str(first))(second / "adapter_config.json")
    np.testing.assert_allclose(found(second), wanted, rtol=0, atol=1e-5)


def test_saved_by_sentence_transformers(tmp_path: Path, base: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder import modules

    transformer = modules.Transformer(str(base), transformer_task="fill-mask")
    model = SparseEncoder(modules=[transformer, modules.SpladePooling()], device="cpu")
    model.add_adapter(peft.LoraConfig(r=4, target_modules=["query", "value"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert not list((tmp_path / "saved").rglob("model.safetensors"))
    wanted = model.encode_document(TEXTS, convert_to_sparse_tensor=False, show_progress_bar=False)
    np.testing.assert_allclose(found(tmp_path / "saved"), wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.long
def test_as_the_base_of_a_recipe(tmp_path: Path) -> None:
    """A training of no consequence starts from the sum, not from the base."""
    from splade_bridge.training.recipe import read_recipe
    from splade_bridge.training.train import train

    world = World(tmp_path)
    adapter = save_adapter(world.checkpoint, tmp_path / "adapter")
    recipe = read_recipe(
        world.recipe(),
        [f"model.base={str(adapter)!r}", "train.steps=1", "train.learning_rate=1e-9"],
    )
    trained = train(recipe, tmp_path / "out").out
    np.testing.assert_allclose(found(trained), found(adapter), rtol=0, atol=1e-4)
    assert np.abs(found(trained) - found(world.checkpoint)).max() > 0.05


def refused(model: Path, match: str) -> None:
    with pytest.raises(BadInputError, match=match) as caught:
        load_encoder(str(model), "document")
    assert str(model) in str(caught.value)


def test_a_base_that_is_not_there(tmp_path: Path, base: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    settings = adapter / "adapter_config.json"
    changed_json(base_model_name_or_path=str(tmp_path / "gone"))(settings)
    refused(adapter, "this adapter's base is not there .*gone.*put its folder into base_model_na")
    changed_json(base_model_name_or_path=None)(settings)
    refused(adapter, "names no base, and no config.json lies beside the adapter")
    changed_json(base_model_name_or_path=7)(settings)
    refused(adapter, "base_model_name_or_path")
    changed_json(base_model_name_or_path=str(adapter))(settings)
    refused(adapter, "which is an adapter of this one: no network is among them")


def test_an_adapter_that_does_not_fit(tmp_path: Path, base: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    changed_json(target_modules=["query"])(adapter / "adapter_config.json")
    refused(adapter, r"cannot be added to BertForMaskedLM \(it holds .*value.*which that network")
    changed_json(target_modules=["query", "value", "key"])(adapter / "adapter_config.json")
    refused(adapter, r"cannot be added to BertForMaskedLM \(it lacks .*key.*lora_A.weight\)")
    changed_json(target_modules=["q_proj"])(adapter / "adapter_config.json")
    refused(adapter, r"cannot be added to BertForMaskedLM \(.*q_proj")
    changed_json(target_modules=["query", "value"], r=8)(adapter / "adapter_config.json")
    refused(adapter, r"cannot be added to BertForMaskedLM")
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, "holds adapter_config.json and not adapter_model.safetensors or")


def test_an_adapter_of_prompts_is_no_sum(tmp_path: Path, base: Path) -> None:
    from transformers import AutoModelForMaskedLM

    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION")
    model = AutoModelForMaskedLM.from_pretrained(base)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "prompts")
    refused(tmp_path / "prompts", "PROMPT_TUNING adds positions, and no weights")


def test_a_pickled_adapter_is_weights_only(tmp_path: Path, base: Path) -> None:
    from test_no_code import Bomb

    adapter = save_adapter(base, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": Bomb(tmp_path / "ran")}, adapter / "adapter_model.bin")
    refused(adapter, "cannot be added to BertForMaskedLM")
    assert not (tmp_path / "ran").exists()


def test_without_peft_the_extra_is_named(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import splade_bridge.errors as errors

    adapter = save_adapter(base, tmp_path / "adapter")
    there = errors.importlib.util.find_spec
    monkeypatch.setattr(
        errors.importlib.util, "find_spec", lambda name: None if name == "peft" else there(name)
    )
    with pytest.raises(MissingToolError, match=r"an adapter needs peft: pip install .*\[train\]"):
        load_encoder(str(adapter), "document")
