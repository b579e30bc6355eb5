"""What a request may say: each parameter declared once, for reading it and for OpenAPI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.errors import UsageError

MOST_HITS = 1000
MOST_TEXT = 2000
MOST_TERMS = 1000
MOST_WEIGHT = 1_000_000
MOST_JSON = 40_000
MOST_INDEXES = 8

Kind = Literal["text", "number", "flag", "weights"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a request.

    Attributes:
        kind: ``weights`` is JSON, ``{"term": weight}``.
        default: None for none.
        least, most: of a number.
        longest: characters of a text.
        many: how often it may be given.
    """

    name: str
    kind: Kind
    meaning: str
    default: Any = None
    required: bool = False
    least: int = 0
    most: int = 0
    longest: int = MOST_TEXT
    many: int = 1

    def read(self, given: str) -> Any:
        """Its value.

        Raises:
            UsageError: it is none, or beyond its bounds.
        """
        if self.kind == "number":
            return self._number(given)
        if self.kind == "flag":
            if given not in ("true", "false"):
                raise UsageError(f"{self.name} is true or false, not {quoted(given)}")
            return given == "true"
        longest = MOST_JSON if self.kind == "weights" else self.longest
        if len(given) > longest:
            raise UsageError(f"{self.name} has {len(given):,} characters: {longest:,} at most")
        if self.kind == "weights":
            return _weights(self.name, given)
        if not _is_unicode(given):
            raise UsageError(f"{self.name} is not valid Unicode")
        return given

    def _number(self, given: str) -> int:
        digits = given.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
            raise UsageError(f"{self.name} is a whole number, not {quoted(given)}")
        if not self.least <= int(given) <= self.most:
            raise UsageError(
                f"{self.name} is a whole number from {self.least:,} to {self.most:,}, not {given}"
            )
        return int(given)


def _weights(name: str, given: str) -> dict[str, int]:
    """Weights of terms, from JSON."""
    try:
        found = orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise UsageError(f'{name} is JSON as {{"term": 12}}, and this is none: {error}') from None
    if not isinstance(found, dict) or len(found) > MOST_TERMS:
        raise UsageError(f'{name} is an object as {{"term": 12}} of {MOST_TERMS:,} terms at most')
    for term, weight in found.items():
        if type(weight) is not int or not 0 <= weight <= MOST_WEIGHT or not term:
            raise UsageError(
                f"{name}: the weight of {quoted(term)} must be a whole number from 0 (off) to "
                f"{MOST_WEIGHT:,}, not {quoted(weight)}"
            )
    return found


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_parameters(known: Sequence[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Values by name; of one that may be given more than once a list.

    Raises:
        UsageError: one is unknown, is given too often, lacks, or has no such value.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values: dict[str, list[Any]] = {}
    for name, value in given:
        if name not in by_name:
            raise UsageError(
                f"no parameter {quoted(name)}; there are {', '.join(by_name) or 'none'}"
            )
        held = values.setdefault(name, [])
        held.append(by_name[name].read(value))
        if len(held) > by_name[name].many:
            raise UsageError(f"{name} is given {len(held)} times: {by_name[name].many} at most")
    if lacking := [p.name for p in known if p.required and p.name not in values]:
        raise UsageError(f"{', '.join(lacking)} must be given")
    return {
        p.name: (values.get(p.name) or p.default)
        if p.many > 1
        else values[p.name][0]
        if p.name in values
        else p.default
        for p in known
    }
