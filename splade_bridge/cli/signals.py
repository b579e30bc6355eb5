"""Ctrl-C and SIGTERM: both stop a command in the same way, and only the exit code differs.

This module loads nothing, so that it can be asked before anything is loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

_received: list[int] = []
_begun = False


def catch() -> None:
    """Let SIGTERM stop the program as Ctrl-C does; what our caller has us ignore stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def begin() -> None:
    """From now on there may be something to clean up: the command is called."""
    global _begun
    _begun = True


def _stop(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if not _begun:
        # Python makes other errors of one that is raised inside an import (a SyntaxError, even).
        with contextlib.suppress(OSError):
            os.write(2, b"error: interrupted\n")
        os._exit(128 + number)
    raise KeyboardInterrupt


def status() -> int | None:
    """The exit code that the first signal asks for, 130 or 143; None where none came."""
    return 128 + _received[0] if _received else None


def times() -> int:
    """How many came: from the second on, cleaning up may have been cut short."""
    return len(_received)


def let_go() -> None:
    """Let the next signal end the process at once: there is nothing left to clean up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)
