"""Asking again where an engine is busy or away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from splade_bridge.engines.remote.faults import Busy, ServerError

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds that something is asked again for."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 20.0


def patiently(ask: Callable[[], T], patience: float = PATIENCE) -> T:
    """What ``ask`` gives, asked again with growing pauses while the engine is busy.

    Raises:
        ServerError: it is still busy when the patience is at its end.
    """
    until, pause = time.monotonic() + patience, FIRST_WAIT
    while True:
        try:
            return ask()
        except Busy as busy:
            if time.monotonic() + pause > until:
                raise ServerError(f"{busy}; tried for {patience:.0f} seconds") from busy
            log.debug("busy: %s", busy)
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_WAIT)
