"""What each engine does to a weight, and an account of it.

Lucene's feature fields, behind ``sparse_vector``, ``rank_features`` and ``neural_sparse``, store a
float32 as a term frequency and keep its sign, its exponent and the 8 highest bits of its fraction
(``org.apache.lucene.document.FeatureField``: ``Float.floatToIntBits(value) >>> 15``). So 9
significant bits of a weight are left, and the rest is cut off, not rounded. The vector databases
keep float32.

All of it is plain arithmetic on arrays, of integers and of float weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Float32Array, ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError

Numbers = npt.NDArray[np.int32] | npt.NDArray[np.float32]

DROPPED_BITS = np.uint32(15)
MOST_NEURAL_SPARSE = 64
"""``FeatureField.newLinearQuery`` takes a weight of a query in (0, 64] and no other."""


def as_float32(weights: Numbers) -> Float32Array:
    """float32[n]: whole numbers from 2^24 on are rounded."""
    return weights.astype(np.float32)


def as_feature(weights: Numbers) -> Float32Array:
    """float32[n]: what a feature field of Lucene keeps of each weight: 9 significant bits."""
    bits = weights.astype(np.float32).view(np.uint32)
    return (bits >> DROPPED_BITS << DROPPED_BITS).view(np.float32)


def halvings(largest: float) -> int:
    """How often a query's weights are halved until the largest is one that neural_sparse takes."""
    times = 0
    while largest > MOST_NEURAL_SPARSE:
        largest, times = largest / 2, times + 1
    return times


@dataclass(frozen=True)
class Kept:
    """What an engine keeps of a weight.

    Attributes:
        words: the same for people.
        stored: the weights that come of weights.
        whole: the number up to which every whole number is kept.
    """

    words: str
    stored: Callable[[Numbers], Float32Array]
    whole: int


FEATURE = Kept("9 significant bits", as_feature, 1 << 9)
SINGLE = Kept("float32", as_float32, 1 << 24)


@dataclass
class WeightAccount:
    """Which weights an engine changes, and by how much.

    Attributes:
        weights: all of them.
        changed: those that it changes.
        largest: the largest weight.
        most_lost: the largest loss, as a part of the weight, in [0, 1).
        doc_id, term, weight, stored: where that was, the weight and what it becomes.
    """

    weights: int = 0
    changed: int = 0
    largest: int = 0
    most_lost: float = 0.0
    doc_id: str | None = None
    term: str | None = None
    weight: int | None = None
    stored: float | None = None

    def add(self, batch: ImpactBatch, vocabulary: Vocabulary, kept: Kept) -> None:
        """Count in the impacts of ``batch``."""
        self.weights += len(batch.impacts)
        if not len(batch.impacts):
            return
        largest = int(batch.impacts.max())
        self.largest = max(self.largest, largest)
        if largest <= kept.whole:
            return
        stored = kept.stored(batch.impacts).astype(np.float64)
        lost = np.abs(batch.impacts - stored) / batch.impacts
        self.changed += int(np.count_nonzero(lost))
        at = int(lost.argmax())
        if lost[at] > self.most_lost:
            row = int(np.searchsorted(batch.indptr, at, side="right")) - 1
            self.most_lost = float(lost[at])
            self.doc_id, self.term = batch.ids[row], vocabulary[int(batch.indices[at])]
            self.weight, self.stored = int(batch.impacts[at]), float(stored[at])

    def told(self) -> str:
        """In words; there must be a change."""
        return (
            f"{self.changed:,} of {self.weights:,} weights, at most by {self.most_lost:.2%} "
            f"({self.weight:,} of term {quoted(self.term)} in document {quoted(self.doc_id)} "
            f"becomes {self.stored:,.0f})"
        )

    def refuse(self, engine: str, kept: Kept, scale: float | None, place: str) -> None:
        """Raise BadInputError if a weight is changed; it names both remedies.

        Args:
            scale: that the impacts were made with, if that is known.
        """
        if not self.changed:
            return
        smaller = f"a smaller --scale (whole numbers up to {kept.whole:,} are all kept"
        if scale is not None:
            fits = scale * kept.whole / (self.largest + 0.5)
            fits = math.floor(fits) if fits >= 1 else math.floor(1000 * fits) / 1000
            smaller += f", and the largest here is {self.largest:,} at {scale:g}: {fits:g} fits"
        raise BadInputError(
            f"{engine} keeps {kept.words} of a weight and would change {self.told()}: use "
            f"{smaller}), or --allow-loss to let it",
            place,
        )
