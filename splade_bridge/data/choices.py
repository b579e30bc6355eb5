"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Any, Literal, get_args

from splade_bridge.errors import UsageError

Side = Literal["document", "query"]
Rounding = Literal["nearest", "down"]


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse what is none of ``choices``, a Literal; flags are checked before, calls are not.

    Raises:
        UsageError: it is none.
    """
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"--{name} is one of {', '.join(known)}, not {value!r}")
