"""Float weights to integer impacts, with an account of what was lost.

impact = rint(weight x scale), half to even (``nearest``), or its integer part (``down``); what
becomes 0 is dropped and counted. Nothing is clipped unless asked for. naver/splade, Anserini's
pre-built corpora and this module's default use scale 100.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from splade_bridge.data.choices import Rounding, check_choice
from splade_bridge.data.manifest import QuantizationInfo
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, counted, row_pointers
from splade_bridge.errors import BadInputError

log = logging.getLogger(__name__)

DEFAULT_SCALE = 100.0
MAX_IMPACT = 2**31 - 1
EXACT_SCORES_BELOW = 2**24
"""Lucene and PISA sum in float32, which holds every integer only up to here."""


@dataclass(frozen=True)
class QuantizeOptions:
    """One to one with --scale, --rounding and --clip."""

    scale: float = DEFAULT_SCALE
    rounding: Rounding = "nearest"
    clip: int | None = None


def quantize_options(
    scale: float | None = None, rounding: Rounding = "nearest", clip: int | None = None
) -> QuantizeOptions | None:
    """Options from what was asked for; None for nothing, so that each source takes its default.

    Args:
        scale: None for the default.
    """
    if (scale, rounding, clip) == (None, "nearest", None):
        return None
    return QuantizeOptions(DEFAULT_SCALE if scale is None else scale, rounding, clip)


class Quantizer:
    """Quantizes a stream of batches and keeps the account."""

    def __init__(self, options: QuantizeOptions) -> None:
        if not options.scale > 0 or not np.isfinite(options.scale):
            raise BadInputError(f"a scale must be greater than 0, not {options.scale}")
        if options.clip is not None and not 1 <= options.clip <= MAX_IMPACT:
            raise BadInputError(f"a clip must be from 1 to 2^31 - 1, not {options.clip}")
        check_choice("rounding", options.rounding, Rounding)
        self.options = options
        self._dropped = 0
        self._clipped = 0

    def __call__(self, batch: SparseBatch) -> ImpactBatch:
        """The impacts of ``batch``; rows stay, also when they become empty.

        Raises:
            BadInputError: an impact would not fit into int32.
        """
        # float64 holds float32 x scale exactly enough that only true halves round to even.
        scaled = batch.weights.astype(np.float64) * self.options.scale
        impacts = np.rint(scaled) if self.options.rounding == "nearest" else np.floor(scaled)
        if impacts.size and impacts.max() > MAX_IMPACT and self.options.clip is None:
            row = int(np.searchsorted(batch.indptr, int(impacts.argmax()), side="right")) - 1
            raise BadInputError(
                f"id {batch.ids[row]!r}: weight {float(batch.weights[impacts.argmax()]):g} x "
                f"{self.options.scale:g} is over 2^31 - 1: the weights may be scaled already"
            )
        if self.options.clip is not None:
            self._clipped += int((impacts > self.options.clip).sum())
            np.minimum(impacts, self.options.clip, out=impacts)
        keep = impacts >= 1
        self._dropped += int(keep.size - keep.sum())
        return ImpactBatch(
            batch.ids,
            row_pointers(counted(keep, batch.indptr)),
            batch.indices[keep],
            impacts[keep].astype(np.int32),
        )

    @property
    def info(self) -> QuantizationInfo:
        """The account so far."""
        options = self.options
        return QuantizationInfo(
            options.scale, options.rounding, options.clip, self._dropped, self._clipped
        )


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
