"""How much the regularisers weigh at each step: a ramp, or a wanted number of terms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
    SpladeRegularizerWeightSchedulerCallback,
)

from splade_bridge.files.typed import Where, checked, json_file, refuse_unknown
from splade_bridge.training.options import RegularizerOptions, SideRegularizer

Side = Literal["query", "document"]
SIDES: tuple[Side, ...] = ("query", "document")

SMOOTHING = 0.8
PROPORTIONAL, INTEGRAL = 1.0, 0.05
LARGEST_CHANGE = 0.1
LOWEST, HIGHEST = 1e-9, 1e9
MOST_TERMS = 2**31
"""More than any text has."""


def ramp(step: int, ramp_steps: int) -> float:
    """min(1, t / T)^2, the factor of lambda at step t (SPLADE v2, arXiv:2109.10086)."""
    return min(1.0, step / ramp_steps) ** 2 if ramp_steps else 1.0


@dataclass(frozen=True)
class ControllerState:
    """What a resumed training needs of a :class:`TermsController`."""

    weight: float
    first: float | None
    smoothed: float
    error: float


@dataclass
class TermsController:
    """Steers lambda so that texts have about ``target`` terms.

    A lambda that is right for one batch size, loss or vocabulary is wrong for the next; the number
    of terms is what people want to choose. The wanted number goes from the first one measured to
    the target along an exponential curve in ``ramp_steps`` steps. With e, the logarithm of the
    measured (smoothed) over the wanted number, each step changes log lambda by
    PROPORTIONAL x (e - e of the step before) + INTEGRAL x e, at most by LARGEST_CHANGE: a
    proportional-integral controller in velocity form, which has no integral to wind up. The first
    part holds lambda back while the terms already fall.

    Attributes:
        target: terms wanted in the end.
        weight: lambda now.
        ramp_steps: until then the wanted number is on its way.
        first: terms at the start; None before the first step.
        smoothed: running mean of the terms.
        error: e of the last step.
    """

    target: float
    weight: float
    ramp_steps: int
    first: float | None = None
    smoothed: float = 0.0
    error: float = 0.0

    def wanted(self, step: int) -> float:
        """The terms that a text should have at ``step``."""
        assert self.first is not None
        share = min(1.0, step / self.ramp_steps) if self.ramp_steps else 1.0
        return math.exp((1 - share) * math.log(self.first) + share * math.log(self.target))

    def update(self, step: int, terms: float) -> None:
        """Take note that texts had ``terms`` terms in ``step``, and set :attr:`weight`."""
        terms = max(terms, 0.5)  # no logarithm of 0
        if self.first is None:
            self.first = self.smoothed = terms
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * terms
        error = math.log(self.smoothed / self.wanted(step))
        change = PROPORTIONAL * (error - self.error) + INTEGRAL * error
        self.error = error
        change = max(-LARGEST_CHANGE, min(LARGEST_CHANGE, change))
        self.weight = max(LOWEST, min(HIGHEST, self.weight * math.exp(change)))

    def bound(self) -> int:
        """-1 where lambda stands at its lowest, 1 at its highest, else 0."""
        return (self.weight >= HIGHEST) - (self.weight <= LOWEST)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {name: getattr(self, name) for name in ("weight", "first", "smoothed", "error")}

    def load_state(self, state: ControllerState) -> None:
        """Go on from :meth:`state`."""
        for name, value in asdict(state).items():
            setattr(self, name, value)


class RegularizerSchedule(SpladeRegularizerWeightSchedulerCallback):  # type: ignore[misc]
    """sentence-transformers' quadratic ramp, with T in steps, and controllers beside it.

    Args:
        base_terms: of the texts of a side before the training, where a recipe asks for a multiple.
    """

    def __init__(
        self, loss: Any, options: RegularizerOptions, base_terms: dict[Side, float] | None = None
    ) -> None:
        super().__init__(loss, "quadratic")
        self.ramp_steps = options.ramp_steps
        self.controllers: dict[Side, TermsController] = {}
        for side in SIDES:
            sparse: SideRegularizer = getattr(options, side)
            target = sparse.target_terms
            if sparse.base_terms is not None:
                target = sparse.base_terms * max(1.0, (base_terms or {})[side])
            if target is not None:
                self.controllers[side] = TermsController(target, sparse.weight, self.ramp_steps)

    def weight(self, side: Side, step: int) -> float:
        """Lambda of ``side`` at ``step``."""
        if side in self.controllers:
            return self.controllers[side].weight
        return float(getattr(self, f"max_{side}_regularizer_weight")) * ramp(step, self.ramp_steps)

    def bound(self, side: Side) -> int:
        """Whether the controller of ``side``, if it has one, stands at a bound: -1, 1, or 0."""
        return self.controllers[side].bound() if side in self.controllers else 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing to find out: T is given in steps, not as a share of all."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Set the weights for the step that begins."""
        for side in SIDES:
            weight = self.weight(side, state.global_step)
            setattr(self.loss, f"{side}_regularizer_weight", weight)
            setattr(self, f"_current_{side}_regularizer_weight", weight)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the controllers what the step has shown."""
        for side in SIDES:
            terms = getattr(self.loss, f"{side}_regularizer").take_terms()
            if side in self.controllers and terms is not None:
                self.controllers[side].update(state.global_step, _mean_of_processes(terms))

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing: the trainer logs the weights with everything else."""

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {side: controller.state() for side, controller in self.controllers.items()}

    def load_state(self, file: Path) -> None:
        """Go on from :meth:`state`, which was written to ``file`` as JSON.

        Raises:
            BadInputError: it is damaged, or of other controllers.
        """
        where = Where(
            str(file),
            said="damaged ({}): remove its folder, and the training goes on from the checkpoint "
            "before it, or from its beginning",
        )
        saved = checked(dict[str, ControllerState], json_file(where), where)
        refuse_unknown(saved, self.controllers, where)
        for side, controller in self.controllers.items():
            if side not in saved:
                where.inside(side).fail("is missing")
            state = saved[side]
            if state.weight <= 0 or (state.first is not None and state.first <= 0):
                where.inside(side).fail("weight and first must be above 0")
            if not 0 <= state.smoothed <= MOST_TERMS or (state.first or 0) > MOST_TERMS:
                where.inside(side).fail("first and smoothed must be numbers of terms")
            controller.load_state(state)


def _mean_of_processes(value: torch.Tensor) -> float:
    """The same figure in every process: they would otherwise drift apart."""
    from accelerate.utils import reduce

    return float(reduce(value, "mean"))
