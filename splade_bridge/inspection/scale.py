"""What weights were multiplied with, seen from the numbers alone.

Quantized weights that were divided again are multiples of 1 / scale, so that weight x scale is
nearly an integer for all of them, which chance does for one in 500. Integers keep less: a largest
value, a common step, a heap at the largest where they were clipped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splade_bridge.inspection.found import Numbers, Scale

NEAR = 1e-3
"""How near is nearly an integer: a float32 of 4 digits before the point is told apart still."""
CANDIDATES = (1.0, 10.0, 51.2, 100.0, 1000.0, *(2.0**n for n in range(1, 13)))
ENOUGH = 0.999
AT_LEAST = 20
"""Weights from which their being near integers means something."""
USUAL = (
    (100.0, "naver/splade and Anserini's corpora scale by it"),
    (51.2, "uniCOIL's weights up to 5 take 256 steps so"),
    (1000.0, "a usual one"),
)
SMALLEST_TOP, LARGEST_TOP = 1.2, 5.5
"""Between these lies the largest weight of SPLADE models: 1.8 in SPLADE-v3's NFCorpus, and
log(1 + x) gives more than 5.5 for logits above 240 only."""


class ScaleEvidence:
    """What is counted while the numbers pass."""

    def __init__(self) -> None:
        self.count = 0
        self.near = dict.fromkeys(CANDIDATES, 0)
        self.step = 0
        self.most = 0.0
        self.at_most = 0

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count in integers or float32."""
        if not len(values):
            return
        self.count += len(values)
        most = float(values.max())
        if most > self.most:
            self.most, self.at_most = most, 0
        if most == self.most:
            self.at_most += int((values == values.max()).sum())
        if values.dtype.kind == "f":
            exact = values.astype(np.float64)
            for scale in CANDIDATES:
                scaled = exact * scale
                whole = np.rint(scaled)
                self.near[scale] += int(((np.abs(scaled - whole) < NEAR) & (whole > 0)).sum())
        elif self.step != 1:
            self.step = int(np.gcd.reduce(np.append(values, self.step)))

    def guess(self, numbers: Numbers, known: float | None) -> Scale:
        """The scale, and why.

        Args:
            known: what the manifest says.
        """
        if known is not None:
            return Scale(known, "manifest", "its manifest says so")
        if numbers == "frequencies":
            return Scale(None, "unknown", "these are counts of words, and not scaled weights")
        if not self.count:
            return Scale(None, "unknown", "there are no numbers")
        if numbers == "weights":
            return self._of_weights()
        return self._of_impacts()

    def _of_weights(self) -> Scale:
        shares = {scale: near / self.count for scale, near in self.near.items()}
        fitting = sorted(scale for scale, share in shares.items() if share >= ENOUGH)
        if fitting and self.count >= AT_LEAST:
            scale = fitting[0]
            return Scale(
                scale,
                "guess",
                f"{shares[scale]:.2%} of the weights x {scale:g} are integers, nearly: they were "
                "quantized with it, and divided again",
            )
        if self.count < AT_LEAST:
            return Scale(None, "unknown", f"{self.count} weights are too few to tell")
        best = max(shares, key=lambda scale: shares[scale])
        return Scale(
            None,
            "unknown",
            f"weights as a model gives them: of x 10, x 51.2, x 100, x 1000 and powers of 2, "
            f"x {best:g} makes most integers of them, {shares[best]:.1%}",
        )

    def _of_impacts(self) -> Scale:
        most = int(self.most)
        notes = [f"the largest impact is {most:,}"]
        if self.step > 1:
            notes.append(f"all are multiples of {self.step:,}")
        heaped = self.at_most > max(1, self.count // 1000)
        if heaped:
            notes.append(
                f"{self.at_most:,} impacts are as large as that: clipped, or few values in all"
            )
        if most in (255, 256):
            return Scale(
                51.2,
                "guess",
                f"{', '.join(notes)}: 8 bits, as uniCOIL's weights up to 5 in 256 steps; clipped "
                "impacts of another scale look alike",
            )
        fitting = [
            (scale, why)
            for scale, why in USUAL
            if SMALLEST_TOP <= most / scale <= LARGEST_TOP and not heaped
        ]
        if fitting:
            scale, why = fitting[0]
            near = [
                f"x {2**n:g}" for n in range(1, 21) if SMALLEST_TOP <= most / 2**n <= LARGEST_TOP
            ]
            also = [f"x {other:g}" for other, _ in fitting[1:]] + near
            return Scale(
                scale,
                "guess",
                f"{', '.join(notes)}: the largest weight would be {most / scale:.2f}, as SPLADE "
                f"models have it; {why}. {' or '.join(also)} would fit as well",
            )
        return Scale(
            None,
            "unknown",
            f"{', '.join(notes)}: no usual scale gives a largest weight from {SMALLEST_TOP:g} to "
            f"{LARGEST_TOP:g}, as SPLADE models have it",
        )
