"""A checkpoint, or a file of a training, is data: no code of it runs untold, nobody is asked."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import command_line
from checkpoints import one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.network import quiet
from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import Text
from splade_bridge.training.checkpoints import going_on
from tiny_training import World

OPTIONS = EncodeOptions(max_length=16, device="cpu")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What custom code would make; nobody may be asked for leave."""

    def refuse(*_: object) -> str:
        raise AssertionError("asked on stdin")

    monkeypatch.setattr(builtins, "input", refuse)
    return tmp_path / "ran"


def own_code(model: Path, mark: Path, file: str, classes: dict[str, str]) -> None:
    """Let ``file`` name classes of a module that lies in the checkpoint."""
    (model / "custom.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    tree = json.loads((model / file).read_text())
    tree["auto_map"] = {auto: f"custom.{name}" for auto, name in classes.items()}
    if file == "config.json":
        tree["model_type"] = "custom"
    else:
        tree["tokenizer_class"] = "CustomTokenizer"
    (model / file).write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("file", "classes"),
    [
        ("config.json", {"AutoConfig": "C", "AutoModelForMaskedLM": "M"}),
        ("tokenizer_config.json", {"AutoTokenizer": "T"}),
    ],
)
def test_no_code_of_a_checkpoint_is_run(
    tmp_path: Path, mark: Path, file: str, classes: dict[str, str]
) -> None:
    model = save_checkpoint(tmp_path / "model")
    own_code(model, mark, file, classes)
    try:
        load_encoder(str(model), "document", OPTIONS)
    except BadInputError as error:  # what transformers knows itself it may load without the code
        assert str(model) in str(error)
    else:
        assert file == "tokenizer_config.json"
    assert not mark.exists()


def test_pickled_weights_are_weights_only(tmp_path: Path, mark: Path) -> None:
    model = save_checkpoint(tmp_path / "model")
    (model / "model.safetensors").unlink()
    torch.save({"bert.embeddings": Bomb(mark)}, model / "pytorch_model.bin")
    with pytest.raises(BadInputError, match="cannot be loaded as a masked language model"):
        load_encoder(str(model), "document", OPTIONS)
    assert not mark.exists()


def test_pickled_token_weights_are_weights_only(tmp_path: Path, mark: Path) -> None:
    from splade_bridge.encoding.side import _static_weights

    torch.save({"weight": Bomb(mark)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInputError, match="holds no tensor named weight"):
        _static_weights(tmp_path / "pytorch_model.bin", None)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_the_state_of_an_optimizer_is_weights_only(tmp_path: Path, mark: Path, name: str) -> None:
    from transformers import TrainingArguments

    from splade_bridge.training.mlm_trainer import MlmTrainer

    for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"a": Bomb(mark)} if file == name else {}, tmp_path / file)
    trainer = MlmTrainer.__new__(MlmTrainer)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    model = torch.nn.Linear(1, 1)
    vars(trainer).update(
        args=arguments, is_deepspeed_enabled=False, is_fsdp_enabled=False, model=model
    )
    trainer.optimizer = torch.optim.SGD(model.parameters())
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer)
    with pytest.raises(BadInputError, match=r"damaged .*remove this folder"):
        trainer._load_optimizer_and_scheduler(str(tmp_path))
        trainer._load_rng_state(str(tmp_path))
    assert not mark.exists()


def test_what_a_damaged_checkpoint_raises_is_named() -> None:
    told = r"checkpoint-4: damaged \(header\): remove this"
    with pytest.raises(BadInputError, match=told), going_on("checkpoint-4"):
        raise RuntimeError("header\nmore")


OWN = """
open({mark!r}, "w").close()
from transformers import BertConfig, BertForMaskedLM


class OwnConfig(BertConfig):
    model_type = "own-kind"


class OwnModel(BertForMaskedLM):
    config_class = OwnConfig

    def forward(self, *args, **more):
        output = super().forward(*args, **more)
        output.logits = output.logits + 0.25
        return output
"""


def with_own_network(folder: Path, mark: Path) -> Path:
    """A checkpoint that works, by code of its own: BERT with a quarter added to each logit."""
    save_checkpoint(folder)
    (folder / "own.py").write_text(OWN.format(mark=str(mark)))
    tree = json.loads((folder / "config.json").read_text())
    tree |= {
        "model_type": "own-kind",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(tree))
    return folder


def test_code_runs_when_it_is_told_to(
    tmp_path: Path, mark: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In encode: refused with the flag's name, then run with it, and what it says is encoded."""
    import numpy as np
    from transformers import BertForMaskedLM

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    model = with_own_network(tmp_path / "model", mark)
    (tmp_path / "c.tsv").write_text("d1\tthe cat of his\n")
    asked = ["encode", str(tmp_path / "c.tsv"), "-m", str(model), "-o", str(tmp_path / "v")]
    status, _, said = command_line.run(capfd, *asked)
    assert (status, mark.exists()) == (4, False)
    assert f"{model}: it needs code of its own, which lies in the checkpoint (auto_map)" in said
    assert "runs only with --trust-remote-code" in said
    status, _, said = command_line.run(capfd, *asked, "--trust-remote-code")
    assert (status, mark.exists()) == (0, True), said
    trusted = replace(OPTIONS, checkpoint=ModelChoices(trust_remote_code=True))
    encoder = load_encoder(str(model), "document", trusted)
    batch = next(encoder.encode([Text("1", "the cat of his", "")]))
    plain = BertForMaskedLM.from_pretrained(model)
    ids = wordpiece_tokenizer()("the cat of his", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = torch.log1p(torch.relu(plain(input_ids=ids).logits + 0.25)).amax(1)[0]
    np.testing.assert_allclose(batch.weights, wanted[batch.indices.astype(int)], atol=1e-5)
    assert len(batch.indices) == int((wanted > 0).sum())


def test_code_of_a_base_runs_in_train_when_it_is_told_to(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splade_bridge.training.recipe import read_recipe
    from splade_bridge.training.train import train

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    world = World(tmp_path)
    model = with_own_network(tmp_path / "model", mark)
    recipe = read_recipe(world.recipe(), [f"model.base={str(model)!r}", "train.steps=1"])
    with pytest.raises(BadInputError, match=r"needs code of its own.*--trust-remote-code"):
        train(recipe, tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()
    train(recipe, tmp_path / "out", trust_remote_code=True)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(BadInputError, match=r"needs code of its own.*--trust-remote-code"):
        load_encoder(str(tmp_path / "out"), "document", OPTIONS)
    assert not mark.exists()


def test_nobody_is_asked_where_a_library_would(tmp_path: Path, mark: Path) -> None:
    """Whoever forgets to say no: transformers asks on stdin, and does not below quiet()."""
    from transformers import AutoConfig

    model = with_own_network(tmp_path / "model", mark)
    with quiet(), pytest.raises(ValueError, match="trust_remote_code"):
        AutoConfig.from_pretrained(model)
    assert not mark.exists()
