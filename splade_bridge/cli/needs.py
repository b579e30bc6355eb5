"""What a flag needs beside it, declared beside the flag: a flag that does nothing is refused.

A parameter of a command says it in its annotation, as ``Annotated[int, typer.Option(...),
needs("--model")]``, and ``cli/command.py`` looks when the flag was given. What depends on what a
file holds and not on other flags is refused by the library. ``tests/test_needs.py`` holds that
every flag of every command either says what it needs, or is listed there as one that always acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Given = Mapping[str, Any]
"""The parameters of a command by name, with their defaults."""


@dataclass(frozen=True)
class Needs:
    """A condition without which a flag does nothing.

    Attributes:
        lacking: what is wrong where it does nothing, as ``without --model``.
        remedy: what to do.
        met: whether it does something.
        of: it is asked in commands that have one of these parameters, and none of them that must
            be given anyway; of none, everywhere. So flags that several commands share say all
            that they need in any of them.
    """

    lacking: str
    remedy: str
    met: Callable[[Given], bool]
    of: tuple[str, ...] = ()


def where_there(need: Needs, *others: str) -> Needs:
    """``need``, asked only in commands that have one of ``others``, parameters by name."""
    return replace(need, of=others)


def needs(flag: str, *values: str, name: str | None = None) -> Needs:
    """It does nothing without ``flag``, or without one of its ``values``.

    Args:
        name: of the parameter, where it is not that of the flag.
    """
    words = " or ".join(f"{flag} {value}" for value in values) or flag
    return Needs(f"without {words}", "add that", lambda given: _has(given, flag, name, values))


def unless(flag: str, *values: str, name: str | None = None) -> Needs:
    """It does nothing with ``flag``, or with one of its ``values``; see :func:`needs`."""
    words = " or ".join(f"{flag} {value}" for value in values) or flag
    return Needs(
        f"with {words}", "take that away", lambda given: not _has(given, flag, name, values)
    )


def _has(given: Given, flag: str, name: str | None, values: tuple[str, ...]) -> bool:
    value = given[name or flag.lstrip("-").replace("-", "_")]
    if not values:
        return bool(value)
    held = value if isinstance(value, list | tuple) else [value]
    return any(value in held for value in values)
