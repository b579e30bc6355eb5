"""A model before its training: how many terms it gives, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from splade_bridge.training.model import transformers_of
from splade_bridge.training.options import TrainOptions
from splade_bridge.training.schedule import SIDES, Side

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from splade_bridge.training.recipe import Recipe
    from splade_bridge.training.trainer import BridgeTrainer

START = "start-0"
"""Folder of the model as it was, beside the checkpoints of a training."""


def base_terms(
    model: SparseEncoder, recipe: Recipe, documents: Sequence[str], queries: Sequence[str]
) -> dict[Side, float]:
    """Mean number of active terms of the texts of each side that is to be held near it.

    Documents are cut as they are in training.
    """
    texts: dict[Side, Sequence[str]] = {"query": queries, "document": documents}
    asked = [s for s in SIDES if getattr(recipe.regularizer, s).base_terms is not None]
    training = model.training
    model.eval()
    cut: dict[Side, int | None] = {"query": None, "document": training_length(model, recipe.train)}
    found = {side: _mean_terms(model, texts[side], side, cut[side]) for side in asked}
    model.train(training)
    return found


def training_length(model: SparseEncoder, options: TrainOptions) -> int | None:
    """Tokens of a document in training; None for as many as the model itself reads."""
    own = [t.document_length or options.document_length for t in transformers_of(model)]
    return min(options.document_length, *own) or None


def _mean_terms(
    model: SparseEncoder,
    texts: Sequence[str],
    side: Side,
    max_length: int | None,
    at_once: int = 32,
) -> float:
    """As the regularizers count them: every weight above 0, before any limit of encoding."""
    seen = 0
    ordered = sorted(texts, key=len)
    for begin in range(0, len(ordered), at_once):
        features = model.preprocess(
            list(ordered[begin : begin + at_once]), task=side, max_length=max_length
        )
        features = {
            k: v.to(model.device) if isinstance(v, torch.Tensor) else v
            for k, v in features.items()
        }  # fmt: skip
        with torch.no_grad():
            weights = model({**features, "task": side})["sentence_embedding"]
        seen += int((weights != 0).sum())
    return seen / len(ordered)


class MeasureAtTheStart(TrainerCallback):  # type: ignore[misc]
    """Validates the model as it is, and keeps it, before the first step of a new training."""

    def __init__(self, trainer: BridgeTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure and save, unless a training goes on."""
        if state.global_step:
            return
        self._trainer.save_model(str(Path(args.output_dir) / START), _internal_call=True)
        self._trainer.evaluate()


def start_is_best(history: Sequence[Mapping[str, float]], metric: str) -> bool:
    """Whether no step was better than the model before the first."""
    measured = [(e["step"], e[f"eval_{metric}"]) for e in history if f"eval_{metric}" in e]
    return bool(measured) and measured[0][0] == 0 and measured[0][1] == max(v for _, v in measured)
