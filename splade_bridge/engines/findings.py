"""What ``doctor`` looks for, and how it is told."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from splade_bridge.errors import MissingToolError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        needed_for: what does not work without it.
        found: version or place; None if it is not there.
        remedy: the command that brings it; starts with "optional" where nothing is missing
            without it.
    """

    name: str
    needed_for: str
    found: str | None
    remedy: str


def attempt(look: Callable[[], str]) -> str | None:
    """What ``look`` finds, or None."""
    try:
        return look()
    except MissingToolError:
        return None


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
