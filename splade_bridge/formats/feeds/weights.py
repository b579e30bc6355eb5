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
from splade_bridge.data.vectors import Float32Array, ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError

Numbers = npt.NDArray[np.int32] | npt.NDArray[np.float32]

DROPPED_BITS = np.uint32(15)
MOST_NEURAL_SPARSE = 64
"""``FeatureField.newLinearQuery`` takes a weight of a query in (0, 64] and no other."""


def weights_of(batch: ImpactBatch | SparseBatch) -> Numbers:
    """The numbers of a batch: its impacts, or its float weights."""
    return batch.impacts if isinstance(batch, ImpactBatch) else batch.weights


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


LEAST_FEATURE = float(np.finfo(np.float32).tiny)
"""A feature field takes no weight below the smallest normal float32, 2^-126."""


@dataclass(frozen=True)
class Kept:
    """What an engine keeps of a weight.

    Attributes:
        words: the same for people.
        stored: the weights that come of weights.
        whole: the number up to which every whole number is kept.
        least: the smallest weight that it takes.
    """

    words: str
    stored: Callable[[Numbers], Float32Array]
    whole: int
    least: float = 0.0


FEATURE = Kept("9 significant bits", as_feature, 1 << 9, LEAST_FEATURE)
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
        floats: whether they are float weights, and no impacts.
    """

    weights: int = 0
    changed: int = 0
    largest: float = 0
    most_lost: float = 0.0
    doc_id: str | None = None
    term: str | None = None
    weight: float | None = None
    stored: float | None = None
    floats: bool = False

    def add(self, batch: ImpactBatch | SparseBatch, vocabulary: Vocabulary, kept: Kept) -> None:
        """Count in the numbers of ``batch``.

        Raises:
            BadInputError: one is below what is taken.
        """
        numbers = weights_of(batch)
        self.floats = isinstance(batch, SparseBatch)
        self.weights += len(numbers)
        if not len(numbers):
            return
        if float(numbers.min()) < kept.least:
            doc_id, term = _place(batch, int(numbers.argmin()), vocabulary)
            raise BadInputError(
                f"document {quoted(doc_id)}: a weight of {float(numbers.min()):g} for the term "
                f"{quoted(term)}, and the least that is taken is {kept.least:.3g}: prune it"
            )
        largest = numbers.max().item()
        self.largest = max(self.largest, largest)
        if not self.floats and largest <= kept.whole:
            return
        stored = kept.stored(numbers).astype(np.float64)
        lost = np.abs(numbers - stored) / numbers
        self.changed += int(np.count_nonzero(lost))
        at = int(lost.argmax())
        if lost[at] > self.most_lost:
            self.most_lost = float(lost[at])
            self.doc_id, self.term = _place(batch, at, vocabulary)
            self.weight = numbers[at].item()
            self.stored = float(stored[at])

    def told(self) -> str:
        """In words; there must be a change."""
        return (
            f"{self.changed:,} of {self.weights:,} weights, at most by {self.most_lost:.2%} "
            f"({self._number(self.weight)} of term {quoted(self.term)} in document "
            f"{quoted(self.doc_id)} becomes {self._number(self.stored)})"
        )

    def _number(self, value: float | None) -> str:
        assert value is not None
        return f"{value:.9g}" if self.floats else f"{value:,.0f}"

    def refuse(self, engine: str, kept: Kept, scale: float | None, place: str) -> None:
        """Raise BadInputError if a weight is changed; it names both remedies.

        Args:
            scale: that the impacts were made with, if that is known.
        """
        if not self.changed:
            return
        smaller = f"a smaller --scale (whole numbers up to {kept.whole:,} are all kept"
        if self.floats:
            fits = _fitting(kept.whole / self.largest)
            smaller = (
                f"--scale, which makes whole numbers of them (up to {kept.whole:,} all are kept, "
                f"and the largest weight is {self.largest:.9g}: {fits:g} fits"
            )
        elif scale is not None:
            fits = _fitting(scale * kept.whole / (self.largest + 0.5))
            smaller += f", and the largest here is {self.largest:,} at {scale:g}: {fits:g} fits"
        raise BadInputError(
            f"{engine} keeps {kept.words} of a weight and would change {self.told()}: use "
            f"{smaller}), or --allow-loss to let it",
            place,
        )


def _fitting(most: float) -> float:
    """A scale below ``most`` that is easy to write."""
    return math.floor(most) if most >= 1 else math.floor(1000 * most) / 1000


def _place(
    batch: ImpactBatch | SparseBatch, posting: int, vocabulary: Vocabulary
) -> tuple[str, str]:
    """The document and the term of a posting."""
    row = int(np.searchsorted(batch.indptr, posting, side="right")) - 1
    return batch.ids[row], vocabulary[int(batch.indices[posting])]
