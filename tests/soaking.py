"""How often something is tried: a few times in the suite, many times by ``scripts/soak``."""

from __future__ import annotations

import os

SOAKING = os.environ.get("SPLADE_BRIDGE_SOAK") == "1"
SEED = int(os.environ.get("SPLADE_BRIDGE_SEED", "7"))


def often(few: int, many: int) -> int:
    """``few`` in the suite, ``many`` where it soaks."""
    return many if SOAKING else few
