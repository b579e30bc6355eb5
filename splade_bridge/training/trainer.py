"""sentence-transformers' trainer, told to log more and to save all that a resumed run needs."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from sentence_transformers.sparse_encoder import SparseEncoder, SparseEncoderTrainer
from torch import Tensor
from transformers import TrainerCallback

from splade_bridge.errors import CheckFailedError
from splade_bridge.training.checkpoints import Resuming, going_on
from splade_bridge.training.in_batch import Collator
from splade_bridge.training.losses import Regularizer
from splade_bridge.training.schedule import SIDES, RegularizerSchedule, Side

log = logging.getLogger(__name__)

REGULARIZER_STATE = "regularizer.json"
LOG_FILE = "log.jsonl"
ADAPTED = "adapted.safetensors"
ALONE = "alone"


class BridgeTrainer(Resuming, SparseEncoderTrainer):  # type: ignore[misc]
    """Logs the parts of the loss unrounded, and terms, FLOPS and lambda of each side."""

    data_collator_class = Collator
    schedule: RegularizerSchedule
    adapters = False
    say: Callable[[str], None] = log.info
    _base: SparseEncoder | None = None

    def __init__(self, *more: Any, **named: Any) -> None:
        super().__init__(*more, **named)
        self._told: set[str] = set()

    def keep_base(self, base: SparseEncoder) -> None:
        """Compare scores with those of ``base``, which is not trained."""
        self._base = base.to(self.model.device).eval().requires_grad_(False)

    def compute_loss(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        """sentence-transformers' own, once the losses know what they have to of the batch."""
        mixed = self.loss.loss
        if mixed.answers is not None:
            mixed.answers.tell(inputs)
        if self._base is not None:
            features, _ = self.collect_features(inputs)
            with torch.no_grad():
                mixed.parts["base_scores"].base = [
                    self._base({**column})["sentence_embedding"] for column in features
                ]
        return super().compute_loss(model, inputs, *more, **named)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to ``logs`` what happened since they were last written."""
        if "loss" in logs:
            parts = self.accum_loss_components.pop("train")
            self.accum_loss_components["train"] = {}  # ours are not rounded to four places
            logs = logs | self._means(parts, "steps")
            for side in SIDES:
                regularizer: Regularizer = getattr(self.loss, f"{side}_regularizer")
                means = self._means(regularizer.take_sums(), "batches")
                logs |= {f"{side}_{name}": value for name, value in means.items()}
                logs[f"{side}_lambda"] = float(getattr(self.loss, f"{side}_regularizer_weight"))
                if bound := self.schedule.bound(side):
                    logs[f"{side}_bound"] = bound
                    self._tell_bound(side, bound, logs[f"{side}_terms"])
            self._tell_alone()
            self._refuse_nonsense(logs)
        super().log(logs, start_time)

    def _means(self, sums: Mapping[str, Tensor], count: str) -> dict[str, float]:
        """Means over batches and processes."""
        if not sums:
            return {}
        gathered = {name: self.accelerator.gather(value) for name, value in sums.items()}
        batches = float(gathered.pop(count).sum())
        return {name: float(value.sum()) / batches for name, value in gathered.items()}

    def _tell_bound(self, side: Side, bound: int, terms: float) -> None:
        """Say once of a side that its controller can do no more."""
        if side in self._told or not self.is_world_process_zero():
            return
        self._told.add(side)
        wanted = self.schedule.controllers[side].target
        why = "loses terms by itself: raise loss.base_scores, or lower train.learning_rate"
        if bound > 0:
            why = "holds on to its terms: lower the weights of the losses"
        self.say(
            f"step {self.state.global_step:,}: lambda of the {side} side stands at its "
            f"{'highest' if bound > 0 else 'lowest'}, with {terms:.1f} terms where "
            f"{wanted:.1f} are wanted: the model {why}"
        )

    def _tell_alone(self) -> None:
        """Say once that rows had nothing to be compared with."""
        answers = self.loss.loss.answers
        rows, alone = answers.take() if answers is not None else (0, 0)
        if not alone or ALONE in self._told or not self.is_world_process_zero():
            return
        self._told.add(ALONE)
        self.say(
            f"step {self.state.global_step:,}: {alone:,} of the last {rows:,} rows had nothing to "
            "be compared with (alone in their batch, or with nothing but answers to their query), "
            "and taught the contrastive loss nothing: raise train.batch_size or data.negatives"
        )

    def _refuse_nonsense(self, logs: Mapping[str, float]) -> None:
        step = self.state.global_step
        if not math.isfinite(logs["loss"]):
            raise CheckFailedError(
                f"step {step}: the loss is {logs['loss']}: lower train.learning_rate, or choose "
                'train.precision = "bf16" or "fp32"'
            )
        for side in SIDES:
            if logs.get(f"{side}_terms") == 0:
                raise CheckFailedError(
                    f"step {step}: no {side} has a term any more, and without one there is no "
                    f"gradient: lower regularizer.{side}.weight or raise loss.anti_zero"
                )

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card: the finished checkpoint gets one that names the recipe."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.adapters:
            super()._save(output_dir, state_dict)
        elif output_dir:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(Path(output_dir) / ADAPTED))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        # sentence-transformers cannot load adapters that lie in the folders of a Router.
        if not self.adapters:
            super()._load_from_checkpoint(checkpoint_path)
        else:
            with going_on(checkpoint_path):
                load_adapted(self.model, Path(checkpoint_path))

    def _save_rng_state(self, output_dir: str) -> None:
        # Written before trainer_state.json, which so stays the last file of a whole checkpoint.
        super()._save_rng_state(output_dir)
        if self.args.should_save:
            path = Path(output_dir) / REGULARIZER_STATE
            path.write_text(json.dumps(self.schedule.state()), "utf-8")


def load_adapted(model: SparseEncoder, checkpoint: Path) -> None:
    """Give ``model``, which has adapters, the weights of a training's checkpoint."""
    load_model(model, checkpoint / ADAPTED)


class EarlyStopping(TrainerCallback):  # type: ignore[misc]
    """Stops after ``patience`` measurements without a better one.

    It looks at the trainer's own history, which every checkpoint holds: a resumed run stops where
    an uninterrupted one would.
    """

    def __init__(self, metric: str, patience: int) -> None:
        self._metric, self._patience = metric, patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide, after a measurement."""
        values = [entry[self._metric] for entry in state.log_history if self._metric in entry]
        since_best = len(values) - 1 - values.index(max(values))
        if self._patience and since_best >= self._patience:
            control.should_training_stop = True


class MeasureAtTheEnd(TrainerCallback):  # type: ignore[misc]
    """The last step is measured, whatever the interval."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a measurement where the training ends."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


class JsonLog(TrainerCallback):  # type: ignore[misc]
    """One JSON object a line for everything that is logged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin anew, or take back the lines that a killed run wrote after its checkpoint."""
        if state.is_world_process_zero:
            lines = [_line(entry) for entry in state.log_history]
            self._path.write_text("".join(lines), "utf-8")

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the newest entry."""
        if state.is_world_process_zero:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(_line(state.log_history[-1]))


def _line(entry: Mapping[str, float]) -> str:
    """``entry`` as JSON; what is no number (a gradient that fp16 skips) is null."""
    numbers = {k: v if math.isfinite(v) else None for k, v in entry.items()}
    return json.dumps(numbers) + "\n"


class ProgressLine(TrainerCallback):  # type: ignore[misc]
    """A line for a person each time something is logged."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began, self._first = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._began, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say what was logged last."""
        if not state.is_world_process_zero:
            return
        done = state.global_step - self._first
        rate = done / max(time.monotonic() - self._began, 1e-9)
        if line := progress_line(state.log_history[-1], state.max_steps, rate):
            self._say(line)


_BOUNDS = {-1: " (its lowest)", 0: "", 1: " (its highest)"}


def progress_line(entry: Mapping[str, float], steps: int, rate: float) -> str:
    """``entry`` of the log in words; empty for what is of no interest while training."""
    at = f"step {int(entry['step']):,}/{steps:,}"
    if "eval_nDCG@10" in entry:
        return (
            f"{at}  validation: nDCG@10 {entry['eval_nDCG@10']:.4f}  "
            f"RR@10 {entry['eval_RR@10']:.4f}  "
            f"{entry['eval_document_terms']:.0f} terms a document, "
            f"{entry['eval_query_terms']:.1f} a query, FLOPS {entry['eval_flops']:.2f}"
        )
    if "loss" not in entry:
        return ""
    known = {"loss", "grad_norm", "learning_rate", "epoch", "step"}
    parts = [
        f"{name.removesuffix('_loss').replace('_regularizer', ' penalty')} {value:.3g}"
        for name, value in entry.items()
        if name not in known and not name.endswith(("_terms", "_flops", "_lambda", "_bound"))
    ]
    sides = [
        f"{side} {entry[f'{side}_terms']:.1f} terms, FLOPS {entry[f'{side}_flops']:.3g}, "
        f"lambda {entry[f'{side}_lambda']:.2g}{_BOUNDS[int(entry.get(f'{side}_bound', 0))]}"
        for side in SIDES
        if f"{side}_terms" in entry
    ]
    left = (steps - entry["step"]) / rate if rate else 0
    return (
        f"{at}  loss {entry['loss']:.4g} ({', '.join(parts)})  {'; '.join(sides)}  "
        f"{rate:.2g} steps/s, {_duration(left)} to go"
    )


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
