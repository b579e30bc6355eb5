"""Real signals to a real process: the step is saved, said, and gone on from to the same weights."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import one_thread  # noqa: F401
from splade_bridge.training.checkpoints import checkpoints
from splade_bridge.training.train import train_recipe
from test_training_run import weights
from tiny_training import World

STEPS = 120
SETTINGS = [f"train.steps={STEPS}", "train.save_every=1000", "train.log_every=1"]


def command(recipe: Path, out: Path, settings: list[str]) -> list[str]:
    given = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "splade_bridge", "train", str(recipe), "-o", str(out), *given]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(log: Path, text: str, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (log.is_file() and text in log.read_text()):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code", "settings"),
    [
        (signal.SIGINT, 130, []),
        (signal.SIGTERM, 143, ["regularizer.document.target_terms=40", "train.workers=1"]),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_saves_the_step_that_the_next_run_goes_on_from(
    world: World, tmp_path: Path, number: int, code: int, settings: list[str]
) -> None:
    settings = [*SETTINGS, *settings]
    out, whole = tmp_path / "out", tmp_path / "whole"
    child = start(command(world.recipe(), out, settings))
    work = tmp_path / "out.training"
    wait_for(work / "log.jsonl", '"step": 7}', child)
    child.send_signal(number)
    said = child.communicate(timeout=300)[1]
    assert child.returncode == code, said
    assert "Traceback" not in said
    (told,) = re.findall(r"interrupted; the same command goes on from step (\d+)", said)
    assert [c.name for c in checkpoints(work)] == [f"checkpoint-{told}"]
    assert 7 <= int(told) < STEPS and not out.exists()

    again = start(command(world.recipe(), out, settings))
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0 and f"going on from step {told}" in said, said
    train_recipe(world.recipe(), whole, settings)
    assert weights(out) == weights(whole) and weights(out)


@pytest.mark.long
def test_a_second_signal_stops_at_once(world: World, tmp_path: Path) -> None:
    """While a checkpoint is awaited for as long as a step takes, nobody has to wait for it."""
    slow = [*SETTINGS, "train.gradient_accumulation=2000"]  # a step of many seconds
    child = start(command(world.recipe(), tmp_path / "out", slow))
    wait_for(tmp_path / "out.training" / "log.jsonl", "", child)
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    assert child.stderr
    for line in child.stderr:
        if line.startswith("stopping after this step"):
            break
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=30)[1]
    assert child.returncode == 130 and "Traceback" not in said
    assert "no step was saved yet" in said and not checkpoints(tmp_path / "out.training")


@pytest.mark.long
def test_a_masked_language_model_is_saved_too(world: World, tmp_path: Path) -> None:
    out = tmp_path / "mlm"
    arguments = ["mlm", "--corpora", str(world.folder / "corpus.jsonl"), "-o", str(out)]
    arguments += ["--base", str(world.checkpoint), "--block", "16", "--batch-size", "2"]
    arguments += ["--steps", "3000", "--log-every", "1", "--save-every", "5000"]
    child = start([sys.executable, "-m", "splade_bridge", "train", *arguments])
    wait_for(tmp_path / "mlm.work" / "log.jsonl", '"step": 5}', child)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=300)[1]
    assert child.returncode == 143, said
    (told,) = re.findall(r"interrupted; the same command goes on from step (\d+)", said)
    assert [c.name for c in checkpoints(tmp_path / "mlm.work")] == [f"checkpoint-{told}"]
