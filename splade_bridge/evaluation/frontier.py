"""How much recall a millisecond buys: an index under all options of approximation, timed in turns.

The best k documents of an exact index are what recall is measured against. An index that answers
exactly, and of all of the documents, has a recall of 1 and is a line that the others must beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from splade_bridge.engines.base import Searcher
from splade_bridge.errors import UsageError
from splade_bridge.evaluation.bench import (
    BenchOptions,
    BenchRow,
    Case,
    algorithms_of,
    kept_shares,
    measure,
    row_of,
)
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.two_step import TwoStepOptions, TwoStepSearcher

FIRST_TERMS: tuple[int | None, ...] = (2, 3, 4, 6, 8, 12, None)
"""Query terms of a first step."""
CANDIDATES = (1, 2, 4, 8, 16, 32)
"""Documents of a first step, as so many times k."""
DEFAULT_K = 10


@dataclass(frozen=True)
class FrontierPoint:
    """One way of asking, with what it costs and what it finds.

    Attributes:
        of: what is asked so, in words: an index, and whether as a first step.
        setting: options by their names; none for an index as it is.
        exact: it finds all that is to be found.
        row: the figures; :attr:`.BenchRow.kept` is the recall, :attr:`.BenchRow.timing` the cost.
    """

    of: str
    setting: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    row: BenchRow = field(kw_only=True)

    @property
    def recall(self) -> float:
        """The mean share of the exact top k that is found."""
        return 0.0 if self.row.kept is None else self.row.kept

    @property
    def milliseconds(self) -> float:
        """Of a query, in the mean."""
        return self.row.timing.latency.mean


def frontier(
    searchers: Sequence[Searcher],
    queries: Queries,
    options: BenchOptions,
    *,
    forward: ForwardStore | None = None,
    exact: Searcher | None = None,
) -> list[FrontierPoint]:
    """Time every index as it is and under each of its options, and tell what each finds.

    Args:
        searchers: pruned ones, too: less in an index is an option like another.
        options: with one k.
        forward: full vectors; each exact index is then a first step, too.
        exact: what recall is measured against; the first of ``searchers`` that answers exactly if
            None, or what the first knows of itself.

    Raises:
        MismatchError: queries and an index have nothing in common.
        UsageError: more than one k; nothing that could be told from exact answers.
        ExternalProgramError: an engine died.
    """
    if len(options.k) != 1:
        raise UsageError("a frontier is drawn for one -k: name one")
    (k,) = options.k
    if exact is None:
        exact = next((s for s in searchers if not s.approximate), searchers[0].exact())
    told: list[tuple[str, dict[str, Any]]] = []
    cases: list[Case] = []
    for searcher in searchers:
        check_queries(searcher, queries)
        for of, setting, asked in _ways(searcher, k, forward):
            batch = asked.aligned(queries)
            for algorithm in algorithms_of(asked, batch, k, options.algorithms):
                cases.append(Case(asked, batch, k, algorithm))
                told.append((of, setting))
    if len(cases) == 1:
        raise UsageError(
            f"{searchers[0].path}: has no options of approximation, so there is no frontier: name "
            "several indexes, or a first step with --two-step"
        )
    timings = measure(cases, repeat=options.repeat, threads=options.threads)
    kept = kept_shares(cases, exact, queries)
    return [
        FrontierPoint(
            of,
            setting,
            exact=not case.searcher.approximate and share == 1,
            row=row_of(case, timing, share),
        )
        for (of, setting), case, timing, share in zip(told, cases, timings, kept, strict=True)
    ]


def _ways(
    searcher: Searcher, k: int, forward: ForwardStore | None
) -> Iterator[tuple[str, dict[str, Any], Searcher]]:
    """What is asked, its options, and the searcher that asks so."""
    name = str(searcher.path)
    ranges = searcher.approximations()
    if not (searcher.approximate and ranges):
        yield name, {}, searcher
    for setting in ranges:
        yield f"{name}, approximate", setting, searcher.approximated(setting)
    if forward is None or searcher.approximate:
        return
    for terms in FIRST_TERMS:
        for times in CANDIDATES:
            chosen = TwoStepOptions(times * k, terms)
            setting = {"first_query_terms": terms, "candidates": chosen.candidates}
            yield f"{name}, a first step", setting, TwoStepSearcher(searcher, forward, chosen)
