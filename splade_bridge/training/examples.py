"""What every reader of training data yields, and the account of what it left out."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from splade_bridge.errors import BadInputError

Choice = Literal["random", "first", "hardest"]

SHOWN = 5
KNOWN = "known"
"""The column that tells which documents answer a row's query; see :mod:`.in_batch`."""


class Example(NamedTuple):
    """One row of training data as texts.

    Attributes:
        query: text.
        positive: text of a document that answers it.
        negatives: texts of others; a row holds as many as were asked for.
        scores: of a teacher, the positive's first; None without a teacher.
        place: ``file:line`` or ids, for messages.
        known: keys of the texts of all documents that answer the query, where they were asked for.
    """

    query: str
    positive: str
    negatives: list[str]
    scores: list[float] | None
    place: str
    known: list[int] | None = None


class Candidate(NamedTuple):
    """A negative that may be chosen.

    Attributes:
        key: its id, or its text where there are no ids.
        rank_score: what it is ordered by, higher is harder; None keeps the file's order.
    """

    key: str
    rank_score: float | None = None


def generator(seed: int, *names: str) -> random.Random:
    """A generator that depends on ``seed`` and ``names`` alone, not on what was read before."""
    return random.Random(json.dumps([seed, *names]))


def choose(
    candidates: Sequence[Candidate], count: int, choice: Choice, rng: random.Random
) -> list[str] | None:
    """The keys of ``count`` candidates, or None if there are fewer.

    Args:
        choice: ``random`` draws with ``rng``, without replacement; ``first`` keeps the order of
            the file; ``hardest`` takes the highest scores, ties by key, and is ``first`` where
            the file has no scores.
    """
    if len(candidates) < count:
        return None
    if choice == "random":
        return [c.key for c in rng.sample(candidates, count)]
    if choice == "hardest" and all(c.rank_score is not None for c in candidates):
        candidates = sorted(candidates, key=lambda c: (-(c.rank_score or 0.0), c.key))
    return [c.key for c in candidates[:count]]


@dataclass
class DataCounts:
    """What became of the data: nothing is left out without being counted here.

    Attributes:
        rows: of the data set.
        left_out: reason -> how many; the reasons are sentences for a person.
        examples: reason -> a few of the places or ids concerned.
        unread: fields and columns that are not read -> where the first stands.
    """

    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def leave_out(self, reason: str, place: str, count: int = 1) -> None:
        """Count ``count`` things that were left out for ``reason``, at ``place``."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count
        shown = self.examples.setdefault(reason, [])
        if len(shown) < SHOWN:
            shown.append(place)

    def lines(self) -> list[str]:
        """One line a reason, for the log, and one for what is not read."""
        unread = [f"not read: {', '.join(self.unread_fields())}"] if self.unread else []
        return unread + [
            f"{count:,} {reason}: {', '.join(self.examples[reason])}"
            f"{' ...' if count > len(self.examples[reason]) else ''}"
            for reason, count in sorted(self.left_out.items())
        ]

    def unread_fields(self) -> list[str]:
        """What is not read, with the place where it stands first."""
        return [f"{name} ({place})" for name, place in sorted(self.unread.items())]


def checked_text(value: object, what: str, place: str) -> str:
    """``value`` as a text that is not blank.

    Raises:
        BadInputError: anything else.
    """
    if not isinstance(value, str):
        raise BadInputError(f"{what} is {type(value).__name__}, not a string", place)
    text = value.strip()
    if not text:
        raise BadInputError(f"{what} is empty: give it a text or take the line out", place)
    return text
