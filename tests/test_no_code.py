"""A checkpoint, or a file of a training, is data: no code of it runs, and nobody is asked."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import one_thread, save_checkpoint  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.errors import BadInputError
from splade_bridge.training.checkpoints import going_on

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
