"""Processes that die at a chosen moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATH_CHANGES = tuple((Path, name) for name in ("replace", "mkdir", "unlink"))


def killed(change: Callable[[], object], step: int, *more: tuple[Any, str]) -> bool:
    """Do ``change`` in a process that kills itself before its ``step``-th change on the disk.

    Args:
        more: (module, function) that count as changes beside those of ``Path``.

    Returns:
        whether it came to be killed.
    """
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == signal.SIGKILL
    signal.alarm(60)
    left = iter(range(step))

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for holder, name in (*PATH_CHANGES, *more):
        setattr(holder, name, counted(getattr(holder, name)))
    try:
        change()
    finally:
        os._exit(0)
