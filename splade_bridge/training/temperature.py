"""The temperature of the contrastive loss at which a base's scores fit the training data.

Scores of a published model fit the data that it was trained on. Of others, whose judgements are
noisier, its softmax is too sure, and the shortest way to a smaller loss is smaller scores: all
weights shrink and terms are lost before anything is learnt. Divided by the temperature at which a
factor of all scores can no longer lower the loss, they ask for another order of the documents and
for nothing else. It is the temperature scaling of Guo et al. (arXiv:1706.04599), before the
training instead of after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splade_bridge.training.in_batch import Answers

if TYPE_CHECKING:
    from splade_bridge.training.trainer import BridgeTrainer

LOWEST_POWER, HIGHEST_POWER, STEPS = -6, 12, 8
"""From 2^-6 to 2^12, in factors of 2^(1/8)."""
ROWS = 256
"""Of the training data that are looked at, at least."""


def fit_temperature(trainer: BridgeTrainer) -> float:
    """Give the contrastive loss the temperature that fits the model as it is, and return it."""
    mixed = trainer.loss.loss
    temperature = best_temperature(_scores(trainer))
    mixed.parts["contrastive"].scale = 1 / temperature
    return temperature


def best_temperature(batches: Sequence[Tensor]) -> float:
    """The one with the least mean cross-entropy, the lowest of equals.

    Args:
        batches: of scores, float[B, D]; the positive of row i is in column i, and minus infinity
            where a document is no negative.
    """

    def loss(temperature: float) -> float:
        found = 0.0
        for scores in batches:
            own = torch.arange(len(scores), device=scores.device)
            found += float(
                torch.nn.functional.cross_entropy(scores / temperature, own, reduction="sum")
            )
        return found

    powers = range(LOWEST_POWER * STEPS, HIGHEST_POWER * STEPS + 1)
    candidates: list[float] = [2 ** (power / STEPS) for power in powers]
    return min(candidates, key=loss)


def _scores(trainer: BridgeTrainer) -> list[Tensor]:
    """Of batches of the training data, in the order of the file but spread over all of it."""
    model, rows, answers = trainer.model, trainer.train_dataset, Answers(gather=False)
    size = min(trainer.args.per_device_train_batch_size, len(rows))
    count = min(-(-ROWS // size), len(rows) // size)
    training, found = model.training, []
    model.eval()
    for batch in range(count):
        # Neighbours are often of one query, and answers of it no negatives: a batch is spread too.
        places = [(batch + i * count) * len(rows) // (count * size) for i in range(size)]
        inputs = trainer._prepare_inputs(trainer.data_collator(list(rows.select(places))))
        features, _ = trainer.collect_features(inputs)
        with torch.no_grad():
            query, *documents = (model(column)["sentence_embedding"].float() for column in features)
            answers.tell(inputs)
            found.append(answers(query, torch.cat(documents)))
    model.train(training)
    return found
