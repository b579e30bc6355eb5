"""What a pruning policy is, and what it may ask of a collection before it decides."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.quantize import DEFAULT_SCALE
from splade_bridge.data.vectors import BoolArray
from splade_bridge.errors import UsageError
from splade_bridge.pruning.rows import Batch, Rows, Unit

Keep = Callable[[Rows[Any]], BoolArray]
"""Which postings of some rows stay: bool[nnz]."""


@dataclass(frozen=True)
class Rule:
    """A policy's decision for one collection.

    Attributes:
        start: called at the beginning of a pass; what it returns sees all rows once, in order.
        found: what the policy found out, for the manifest.
    """

    start: Callable[[], Keep]
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PruneOptions:
    """What holds for all steps; one to one with flags of ``splade-bridge prune``.

    Attributes:
        min_terms: a row keeps so many terms, or all of fewer: where a policy leaves less, the
            heaviest that it dropped come back (of equal ones the smaller terms).
        memory: budget in bytes of the pass that gathers statistics.
        temporary: folder for what does not fit into it; the system's, if None.
        scale: impact = weight x scale where weights must be counted in bytes.
    """

    min_terms: int = 1
    memory: int = DEFAULT_MEMORY
    temporary: Path | None = None
    scale: float = DEFAULT_SCALE

    def __post_init__(self) -> None:
        if self.min_terms < 0:
            raise UsageError(f"--min-terms must be 0 or more, not {self.min_terms}")


@dataclass(frozen=True)
class Collection:
    """What a policy is decided for.

    Attributes:
        rows: opens the rows anew, from the first to the last.
        unit: whether values are weights or impacts.
    """

    rows: Callable[[], Iterator[Rows[Any]]]
    unit: Unit
    options: PruneOptions = PruneOptions()


class Policy(abc.ABC):
    """Decides which postings stay. A frozen dataclass; its first field is the value."""

    method: ClassVar[str]

    @classmethod
    def of(cls, value: float | str) -> Policy:
        """The policy with a value as it stands in a flag or a TOML file.

        Raises:
            UsageError: the value is not of the right kind or out of range.
        """
        return cls(number(value, cls.method))  # type: ignore[call-arg]

    @property
    def value(self) -> float | str:
        """The value, for the manifest."""
        return getattr(self, fields(self)[0].name)  # type: ignore[arg-type,no-any-return]

    def check(self, unit: Unit, scale: float | None) -> None:  # noqa: B027 - most fit both
        """Raise UsageError if the value cannot be meant for values of this unit."""

    @abc.abstractmethod
    def rule(self, collection: Collection) -> Rule:
        """The decision, for which the collection may be read."""


class RowPolicy(Policy):
    """A policy that needs to see no more than the row."""

    def rule(self, collection: Collection) -> Rule:
        """The policy itself; nothing is read."""
        unit = collection.unit
        return Rule(lambda: lambda rows: self.keep(rows, unit))

    @abc.abstractmethod
    def keep(self, rows: Rows[Batch], unit: Unit) -> BoolArray:
        """bool[nnz]: what stays."""


def number(value: object, method: str) -> float:
    """A number, an int where it is whole.

    Raises:
        UsageError: it is none.
    """
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):  # a whole number of 400 digits is beyond any float
        found = math.nan
    if not math.isfinite(found) or isinstance(value, bool):
        raise UsageError(f"{method}: {str(value)[:40]!r} is not a number")
    return int(found) if found.is_integer() else found


def whole_number(value: float | str, method: str) -> int:
    """A whole number, perhaps as 500K, 2M or 1.5G.

    Raises:
        UsageError: it is none.
    """
    text = str(value).strip().upper()
    unit = {"K": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:])
    found = number(text[:-1], method) * unit if unit else number(value, method)
    if found != int(found):
        raise UsageError(f"{method}: {value!r} is not a whole number")
    return int(found)


def check_whole(value: float, method: str) -> None:
    """Raise UsageError unless ``value`` is a whole number of 1 or more."""
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{method}: must be a whole number of 1 or more, not {value!r}")


def check_share(value: float, method: str) -> None:
    """Raise UsageError unless 0 < ``value`` <= 1."""
    if not 0 < value <= 1:
        raise UsageError(f"{method}: must be above 0 and at most 1, not {value!r}")
