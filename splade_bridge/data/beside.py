"""A second thread for what need not be waited for: numpy lets go of the interpreter meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

from splade_bridge.data.closing import Closing

P = ParamSpec("P")
WAITING = 2
"""Calls that may wait: what they are given takes memory."""


class Beside(Closing):
    """Calls that a thread does in their order while their caller goes on.

    An error of one is raised at the latest by :meth:`finish`; closing drops what waits.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[object]] = deque()

    def call(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Have ``work`` done; waits where it is behind.

        Raises:
            Exception: what an earlier call has raised.
        """
        self._waiting.append(self._pool.submit(work, *args, **kwargs))
        while len(self._waiting) > WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: what a call has raised.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Do no more."""
        self._pool.shutdown(cancel_futures=True)
