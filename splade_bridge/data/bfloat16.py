"""bfloat16 numbers in numpy, which has no type for them: the upper half of a float32."""

from __future__ import annotations

from typing import Any

import numpy as np

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Marks 16 bits as such a number."""


def numbers(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``values`` as numpy calculates with them: float32 for :data:`BFLOAT16`, else as they are."""
    if values.dtype != BFLOAT16:
        return values
    return (values["bfloat16"].astype(np.uint32) << np.uint32(16)).view(np.float32)
