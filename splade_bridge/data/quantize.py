"""Float weights to integer impacts, with an account of what was lost.

impact = rint(weight x scale), half to even (``nearest``), or its integer part (``down``); what
becomes 0 is dropped and counted. Nothing is clipped unless asked for. naver/splade, Anserini's
pre-built corpora and this module's default use scale 100.

Scale and rounding belong to float weights. Integers are impacts already: they can be clipped, and
a scale for them is refused, because it would either scale them twice or change what they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from splade_bridge.data.choices import Rounding, check_choice
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, counted, row_pointers
from splade_bridge.errors import BadInputError, UsageError

log = logging.getLogger(__name__)

DEFAULT_SCALE = 100.0
MAX_IMPACT = 2**31 - 1
EXACT_SCORES_BELOW = 2**24
"""Lucene and PISA sum in float32, which holds every integer only up to here."""


@dataclass(frozen=True)
class QuantizeOptions:
    """One to one with --scale, --rounding and --clip; None for what was not said.

    Float weights then take 100 and ``nearest``; integers take none of the two.
    """

    scale: float | None = None
    rounding: Rounding | None = None
    clip: int | None = None


def quantize_options(
    scale: float | None = None, rounding: Rounding | None = None, clip: int | None = None
) -> QuantizeOptions | None:
    """Options from what was asked for; None for nothing."""
    options = QuantizeOptions(scale, rounding, clip)
    return None if options == QuantizeOptions() else options


class Quantizer:
    """Quantizes a stream of batches and keeps the account.

    Attributes:
        scale, rounding, clip: what is done, with defaults for what was not said.
    """

    def __init__(self, options: QuantizeOptions) -> None:
        self.scale = DEFAULT_SCALE if options.scale is None else options.scale
        if not self.scale > 0 or not np.isfinite(self.scale):
            raise BadInputError(f"a scale must be greater than 0, not {self.scale}")
        self.clip = _checked_clip(options.clip)
        self.rounding: Rounding = options.rounding or "nearest"
        check_choice("rounding", self.rounding, Rounding)
        self._dropped = 0
        self._clipped = 0

    def __call__(self, batch: SparseBatch) -> ImpactBatch:
        """The impacts of ``batch``; rows stay, also when they become empty.

        Raises:
            BadInputError: an impact would not fit into int32.
        """
        if fault := self.overflow(batch.weights):
            largest = int(batch.weights.argmax())
            row = int(np.searchsorted(batch.indptr, largest, side="right")) - 1
            raise BadInputError(f"id {batch.ids[row]!r}: {fault}")
        impacts = self._scaled(batch.weights)
        if self.clip is not None:
            self._clipped += int((impacts > self.clip).sum())
            np.minimum(impacts, self.clip, out=impacts)
        keep = impacts >= 1
        self._dropped += int(keep.size - keep.sum())
        return ImpactBatch(
            batch.ids,
            row_pointers(counted(keep, batch.indptr)),
            batch.indices[keep],
            impacts[keep].astype(np.int32),
        )

    def overflow(self, weights: np.ndarray) -> str | None:
        """Why the impact of the largest of ``weights`` would not fit; None where all do."""
        if self.clip is not None or not weights.size:
            return None
        largest = weights.max(keepdims=True)
        if self._scaled(largest)[0] <= MAX_IMPACT:
            return None
        return (
            f"weight {float(largest[0]):g} x {self.scale:g} is over 2^31 - 1: the weights may be "
            "scaled already"
        )

    def _scaled(self, weights: np.ndarray) -> np.ndarray:
        # float64 holds float32 x scale exactly enough that only true halves round to even.
        scaled = weights.astype(np.float64) * self.scale
        return np.rint(scaled) if self.rounding == "nearest" else np.floor(scaled)

    @property
    def info(self) -> QuantizationInfo:
        """The account so far."""
        return QuantizationInfo(self.scale, self.rounding, self.clip, self._dropped, self._clipped)


class Clipper:
    """Cuts impacts to a limit, changes nothing else, and keeps the account.

    Attributes:
        clip: the limit.
        clipped: impacts that were above it, so far.

    Raises:
        BadInputError: a limit that is none.
    """

    def __init__(self, clip: int) -> None:
        self.clip = _checked_clip(clip) or clip
        self.clipped = 0

    def __call__(self, batch: ImpactBatch) -> ImpactBatch:
        """``batch`` with no impact above the limit."""
        self.clipped += int((batch.impacts > self.clip).sum())
        impacts = np.minimum(batch.impacts, np.int32(self.clip))
        return ImpactBatch(batch.ids, batch.indptr, batch.indices, impacts)

    def info(self, known: QuantizationInfo | None) -> QuantizationInfo:
        """How the impacts came about, given how they had come about before: both clips count."""
        if known is None:
            return QuantizationInfo(None, None, self.clip, clipped=self.clipped)
        clip = self.clip if known.clip is None else min(self.clip, known.clip)
        return replace(known, clip=clip, clipped=known.clipped + self.clipped)


def for_integers(
    options: QuantizeOptions | None, place: object, manifest: Manifest | None
) -> Clipper | None:
    """What is done to impacts: they are clipped, if that was asked for.

    Args:
        manifest: of the artefact that they are of, if it has one.

    Raises:
        UsageError: a scale or a rounding was asked for, too.
    """
    if options is None:
        return None
    made = manifest.quantization if manifest else None
    if options.scale is not None and made and made.scale is not None:
        raise UsageError(
            f"{place}: was scaled by {made.scale:g} already, as its manifest says; --scale "
            f"{options.scale:g} would scale it a second time: leave it out"
        )
    said = [f"--scale {options.scale:g}"] if options.scale is not None else []
    said += [f"--rounding {options.rounding}"] if options.rounding is not None else []
    if said:
        raise UsageError(
            f"{place}: holds integers, which are impacts already; {' '.join(said)} is for float "
            "weights: leave it out"
        )
    return None if options.clip is None else Clipper(options.clip)


def for_numbers(
    options: QuantizeOptions | None, place: Path, manifest: Manifest | None
) -> Quantizer | Clipper | None:
    """What is done to numbers that are weights or impacts: a scale says that they are weights.

    Args:
        manifest: of the artefact that they are of, if it has one; then they are impacts.

    Raises:
        UsageError: see :func:`for_integers`; or a rounding without a scale.
    """
    if options is None or manifest is not None:
        return for_integers(options, place, manifest)
    if options.scale is not None:
        return Quantizer(options)
    if options.rounding is not None:
        raise UsageError(
            f"{place}: --rounding {options.rounding} is for float weights, which need --scale "
            "here, and integers are not rounded: add --scale, or leave --rounding out"
        )
    return for_integers(options, place, None)


def refuse_integers(scale: float, place: object) -> NoReturn:
    """Raise UsageError: there was a scale, and then not one float to be scaled."""
    raise UsageError(
        f"{place}: holds integers only, which are impacts already; --scale {scale:g} is for float "
        "weights: leave it out"
    )


def _checked_clip(clip: int | None) -> int | None:
    if clip is not None and not 1 <= clip <= MAX_IMPACT:
        raise BadInputError(f"a clip must be from 1 to 2^31 - 1, not {clip}")
    return clip


def warn_if_inexact(queries: ImpactBatch, max_impact: int, place: str) -> int:
    """The largest score that a query could reach, sum of q x ``max_impact``; warns from 2^24 on."""
    sums = queries.row_sums()
    if not sums.size:
        return 0
    worst = int(sums.argmax())
    bound = int(sums[worst]) * max_impact
    if bound >= EXACT_SCORES_BELOW:
        log.warning(
            "%s: query %s could score up to %d (its weights sum to %d, the largest impact is %d); "
            "from %d on float32 engines round. A smaller --scale keeps scores exact",
            place, queries.ids[worst], bound, int(sums[worst]), max_impact, EXACT_SCORES_BELOW,
        )  # fmt: skip
    return bound
