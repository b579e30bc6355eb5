"""Which variants are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Positions of the points that no other point beats, by rising cost.

    One point beats another if it costs no more and gains no less, and is better in one of the two;
    so points that are equal in both are on the front together.
    """
    cost, gain = np.asarray(costs, np.float64), np.asarray(gains, np.float64)
    order = np.lexsort((-gain, cost))
    front: list[int] = []
    for i in order.tolist():
        best = front[-1] if front else None
        if best is None or gain[i] > gain[best] or (gain[i], cost[i]) == (gain[best], cost[best]):
            front.append(i)
    return front
