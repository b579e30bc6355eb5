"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Any, Literal, get_args

from splade_bridge.errors import UsageError

Side = Literal["document", "query"]
Rounding = Literal["nearest", "down"]


MOST_THREADS = 1024
"""Of anything that is told how many to use: each may be a process, or ask for memory of its own."""


def check_threads(threads: int | None) -> None:
    """Refuse numbers of threads that no machine has; None stands for a default.

    Raises:
        UsageError: below 1, or above :data:`MOST_THREADS`.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads {threads}: from 1 to {MOST_THREADS:,}")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse what is none of ``choices``, a Literal; flags are checked before, calls are not.

    Raises:
        UsageError: it is none.
    """
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"--{name} is one of {', '.join(known)}, not {value!r}")
