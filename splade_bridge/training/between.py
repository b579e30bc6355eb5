"""Models on the way from the base to what was trained.

The mean of a base's weights and those that were fine-tuned from it is often better than both, most
of all where the data are few: what was learnt is added to what was known (Wortsman et al., Robust
fine-tuning of zero-shot models, arXiv:2109.01903). How far to go is chosen on the validation set,
and costs nothing but a validation for each share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from splade_bridge.training.options import ValidationOptions
    from splade_bridge.training.trainer import BridgeTrainer

BETWEEN = "between"


class Between(NamedTuple):
    """The best model on the way.

    Attributes:
        folder: its checkpoint, whose name ends with the trained one's step.
        figures: of its validation, and ``share``: how far it is from the base, in (0, 1).
    """

    folder: Path
    figures: dict[str, float]


def best_between(
    trainer: BridgeTrainer,
    start: Path,
    trained: Path,
    validation: ValidationOptions,
    say: Callable[[str], None],
) -> Between:
    """Save the best of the models start + share x (trained - start), the first of equals.

    The model of ``trainer`` is left with the weights of the last one measured.

    Args:
        start: checkpoint of the base.
        trained: checkpoint that was trained from it, ``checkpoint-STEP``.
        validation: says the shares, and what the best has most of.
    """
    metric = validation.metric
    model, ends = trainer.model, []
    for folder in (start, trained):
        trainer._load_from_checkpoint(str(folder))
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
    base, tuned = ends
    best: Between | None = None
    for share in validation.interpolate:
        model.load_state_dict(
            {
                name: torch.lerp(value, tuned[name], share) if value.is_floating_point() else value
                for name, value in base.items()
            }
        )
        figures = dict(trainer.evaluator(model), share=share)
        say(
            f"{share:.0%} of the way from the base to {trained.name}: "
            f"{metric} {figures[metric]:.4f}, {figures['document_terms']:.0f} terms a document, "
            f"{figures['query_terms']:.1f} a query"
        )
        if best is None or figures[metric] > best.figures[metric]:
            best = Between(trained.with_name(f"{BETWEEN}-{trained.name}"), figures)
            trainer.save_model(str(best.folder), _internal_call=True)
    assert best
    return best
