"""The loss of :mod:`.mlm`, and transformers' trainer with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import SequentialSampler
from transformers import Trainer

from splade_bridge.errors import CheckFailedError
from splade_bridge.training.checkpoints import Resuming
from splade_bridge.training.options import MlmOptions
from splade_bridge.training.schedule import ramp


def splade_weights(logits: Tensor, attention_mask: Tensor) -> Tensor:
    """log(1 + relu(maximum over the positions)): float [n, terms] of logits [n, length, terms].

    The logarithm is taken after the maximum, of which it is a monotone function: the same result
    with a tensor the smaller. Blocks are full but for the last one, so there is mostly nothing to
    mask; and the gradient of ``max`` goes to one position, where that of ``amax`` looks for ties.
    """
    shown = attention_mask.bool()
    if not shown.all():
        logits = logits.masked_fill(~shown[..., None], float("-inf"))
    return logits.max(dim=1).values.relu().log1p()


def flops(weights: Tensor) -> Tensor:
    """sum_j (mean_i w_ij)^2 of weights [n, terms] (Paria et al., 2020, arXiv:2004.05665, eq. 4)."""
    return weights.float().mean(dim=0).square().sum()


class MlmTrainer(Resuming, Trainer):  # type: ignore[misc]
    """transformers' trainer with the loss of this module."""

    def __init__(self, options: MlmOptions, **settings: Any) -> None:
        super().__init__(**settings)
        self.model_accepts_loss_kwargs = False  # the mean over accumulated batches is taken here
        self._options = options
        self._parts: list[dict[str, Tensor]] = []

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """The weighted sum of the parts; they are kept for the log."""
        options = self._options
        labels = inputs["labels"]
        mask = inputs["attention_mask"]
        output = model(input_ids=inputs["input_ids"], attention_mask=mask)
        logits = output.logits
        masked = labels != -100
        told, wanted = logits[masked].float(), labels[masked]
        # A batch without a masked token has no loss, and not the NaN of an empty mean.
        count = max(1, len(wanted))
        parts = {"mlm": functional.cross_entropy(told, wanted, reduction="sum") / count}
        loss = options.mlm * parts["mlm"]
        if options.activated:
            weights = told.relu().log1p()
            parts["activated"] = functional.cross_entropy(weights, wanted, reduction="sum") / count
            loss = loss + options.activated * parts["activated"]
        vectors = splade_weights(logits if options.flops else logits.detach(), mask)
        parts["flops"] = flops(vectors)
        parts["terms"] = (vectors > 0).sum(dim=1).float().mean()
        if options.flops:
            scale = ramp(self.state.global_step, options.flops_ramp)
            loss = loss + options.flops * scale * parts["flops"]
        if not torch.isfinite(loss):
            raise CheckFailedError(
                f"step {self.state.global_step}: the loss is {loss.item()}: lower the learning rate"
            )
        self._parts.append({name: value.detach() for name, value in parts.items()})
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the parts since the last line."""
        if "loss" in logs and self._parts:
            names = self._parts[0]
            means = {n: float(torch.stack([p[n] for p in self._parts]).mean()) for n in names}
            logs = {**logs, **means}
            self._parts.clear()
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)
