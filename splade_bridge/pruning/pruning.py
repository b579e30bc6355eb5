"""Policies applied one after the other to a stream of rows, with an account of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple

import numpy as np

from splade_bridge.data.manifest import Side
from splade_bridge.data.vectors import BoolArray, counted, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import ExternalProgramError
from splade_bridge.pruning.policy import Collection, Policy, PruneOptions, Rule
from splade_bridge.pruning.rows import Batch, Rows, TermOrder, Unit, heaviest

log = logging.getLogger(__name__)


@dataclass
class Step:
    """One policy in one pass, and what it did.

    Attributes:
        before, after: postings.
        emptied: rows that had terms and have none any more.
        restored: postings that ``min_terms`` brought back.
    """

    policy: Policy
    rule: Rule
    options: PruneOptions
    before: int = 0
    after: int = 0
    emptied: int = 0
    restored: int = 0

    def __call__(self, stream: Iterable[Rows[Batch]]) -> Iterator[Rows[Batch]]:
        """The rows with what stays."""
        keep = self.rule.start()
        for rows in stream:
            mask = keep(rows)
            restored = _restored(rows, mask, self.options.min_terms)
            pruned = rows.where(mask | restored)
            self.before += len(mask)
            self.after += len(pruned.batch.indices)
            self.restored += int(restored.sum())
            self.emptied += int(((rows.lengths > 0) & (pruned.lengths == 0)).sum())
            yield pruned

    def entry(self, side: Side, unit: Unit) -> dict[str, Any]:
        """What stands in the manifest."""
        return {
            "method": self.policy.method,
            "value": self.policy.value,
            **self.rule.found,
            "side": side,
            "unit": unit,
            "min_terms": self.options.min_terms,
            "postings_before": self.before,
            "postings_after": self.after,
            "postings_restored": self.restored,
            "rows_emptied": self.emptied,
        }


def _restored(rows: Rows[Any], mask: BoolArray, least: int) -> BoolArray:
    """The heaviest of what ``mask`` drops, where it leaves a row fewer than ``least`` postings.

    Returns:
        bool[nnz].
    """
    batch = rows.batch
    restored = np.zeros(len(mask), dtype=bool)
    kept = counted(mask, batch.indptr)
    missing = np.minimum(rows.lengths, least) - kept
    short = missing > 0
    if short.any():
        dropped = np.flatnonzero(~mask & np.repeat(short, rows.lengths))
        back = heaviest(
            row_pointers(np.where(short, rows.lengths - kept, 0)),
            batch.indices[dropped],
            rows.keys[dropped],
            np.maximum(missing, 0),
            rows.order,
        )
        restored[dropped[back]] = True
    return restored


class _Seen(NamedTuple):
    """What must be the same in every pass."""

    documents: int
    postings: int
    terms: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.documents:,} rows, {self.postings:,} postings and {self.terms:,} terms"


class Pruning(Generic[Batch]):
    """Policies for one collection, each applied to what the one before it left.

    What a policy must know of the collection is gathered once, when rows are first asked for; the
    same decisions then hold for any number of passes.

    Args:
        batches: opens the collection anew; its vocabulary is that of the pass.

    Raises:
        UsageError: a value that cannot be meant for values of this unit.
    """

    def __init__(
        self,
        batches: Callable[[], tuple[Iterator[Batch], Vocabulary]],
        policies: Sequence[Policy],
        unit: Unit,
        options: PruneOptions,
        *,
        scale: float | None = None,
    ) -> None:
        for policy in policies:
            policy.check(unit, scale)
        self.unit = unit
        self._batches: Callable[[], tuple[Iterator[Batch], Vocabulary]] = batches
        self._policies = list(policies)
        self._options = options
        self._rules: list[Rule] = []
        self._seen: _Seen | None = None

    def steps(self) -> list[Step]:
        """A step for each policy, ready for one pass."""
        for policy in self._policies[len(self._rules) :]:
            earlier = list(self._rules)
            collection = Collection(partial(self._rows, earlier), self.unit, self._options)
            self._rules.append(policy.rule(collection))
        return self._made(self._rules)

    def run(
        self, batches: Iterable[Batch], vocabulary: Vocabulary, steps: Iterable[Step]
    ) -> Iterator[Batch]:
        """The pruned batches of a pass; ``steps`` then hold the account.

        Raises:
            ExternalProgramError: the collection is not the one that was read before.
        """
        stream = self._checked(batches, vocabulary)
        for step in steps:
            stream = step(stream)
        for rows in stream:
            yield rows.batch

    def _made(self, rules: list[Rule]) -> list[Step]:
        return [
            Step(p, rule, self._options) for p, rule in zip(self._policies, rules, strict=False)
        ]

    def _rows(self, rules: list[Rule]) -> Iterator[Rows[Batch]]:
        stream = self._checked(*self._batches())
        for step in self._made(rules):
            stream = step(stream)
        return stream

    def _checked(self, batches: Iterable[Batch], vocabulary: Vocabulary) -> Iterator[Rows[Batch]]:
        """The rows, which must be the same in every pass."""
        order = TermOrder(vocabulary)
        documents = postings = 0
        for batch in batches:
            documents += len(batch)
            postings += len(batch.indices)
            if self._seen and len(vocabulary) > self._seen.terms:
                break  # there is no decision for these
            yield Rows(batch, order)
        seen = _Seen(documents, postings, len(vocabulary), vocabulary.sha256())
        if self._seen not in (None, seen):
            raise ExternalProgramError(
                f"the source is not what it was when it was read first: {self._seen} then, {seen} "
                "now; did it change meanwhile?"
            )
        self._seen = seen
