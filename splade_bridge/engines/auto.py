"""``--algorithm auto``: which algorithm is fastest here is measured, and remembered in the index.

What the literature reports for one collection does not hold for the next: on learned weights
dynamic pruning skips less than on BM25 (Mackenzie, Trotman and Lin, arXiv 2110.11540), and how much
less depends on index, k and queries. All algorithms give the same results; only time is at stake.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.errors import BadInputError, ExternalProgramError
from splade_bridge.files.typed import Where, json_file, typed
from splade_bridge.files.writing import atomic_writer

if TYPE_CHECKING:
    from splade_bridge.engines.base import Searcher

log = logging.getLogger(__name__)

FILE_NAME = "algorithms.json"
"""Not a part of the artefact: it appears later, and the manifest does not list it."""

SECONDS = 3.0
ROUNDS = 3
FIRST_LOOK = 4
"""Queries that tell how long the sample may be, and which algorithms are out of the race."""
HOPELESS = 3.0
MOST_QUERIES = 64
OTHER_LENGTH = 1.5
"""A choice holds for queries up to so many times as long or short as those it was measured on."""


@dataclass(frozen=True)
class Choice:
    """The outcome of one race.

    Attributes:
        k: documents a query.
        terms: mean terms a query of the sample.
        algorithm: the fastest.
        milliseconds: mean of the sample's best times, by algorithm; those that were hopeless are
            timed on a few queries only.
        queries: size of the sample.
    """

    k: int
    terms: float
    algorithm: str
    milliseconds: dict[str, float]
    queries: int


@dataclass(frozen=True)
class _Memory:
    """What is in the file."""

    choices: list[Choice]


def best_algorithm(searcher: Searcher, queries: ImpactBatch, k: int) -> str:
    """The fastest algorithm for an index, a ``k`` and queries like these.

    Measured on a sample of ``queries`` in some seconds, or remembered from an earlier time.
    """
    if len(searcher.algorithms) == 1:
        return searcher.algorithms[0]
    there = np.flatnonzero(queries.lengths)
    if not len(there):
        return searcher.algorithms[0]
    sample = queries.take(there[:: max(1, len(there) // MOST_QUERIES)][:MOST_QUERIES])
    terms = len(sample.indices) / len(sample)
    known = _remembered(searcher.path) if isinstance(searcher.path, Path) else []
    for choice in known:
        if choice.algorithm in searcher.algorithms and _holds(choice, k, terms):
            log.info("%s: %s at k = %d, as measured before", searcher.path, choice.algorithm, k)
            return choice.algorithm
    choice = measure(searcher, sample, k)
    log.info("%s: %s at k = %d: %s", searcher.path, choice.algorithm, k, choice.milliseconds)
    if searcher.manifest is None or not isinstance(searcher.path, Path):
        log.warning("%s: not ours, so its best algorithm is not remembered in it", searcher.path)
    else:
        _remember(searcher.path, [*(c for c in known if not _holds(c, k, terms)), choice])
    return choice.algorithm


def measure(searcher: Searcher, sample: ImpactBatch, k: int) -> Choice:
    """Race all algorithms on ``sample``, in turns.

    The best of a query's times counts, so neither a cold start nor a busy moment decides.
    """
    first = _race(searcher, sample.rows(0, min(FIRST_LOOK, len(sample))), k)
    # Medians: a busy moment must not put the fastest out of the race.
    means = {name: float(np.median(times)) for name, times in first.items()}
    fastest = min(means.values())
    racing = [name for name in means if means[name] <= HOPELESS * fastest]
    a_query = sum(means[name] for name in racing) * ROUNDS / 1e9
    size = max(FIRST_LOOK, min(len(sample), int(SECONDS / a_query)))
    chosen = sample.take(np.linspace(0, len(sample) - 1, min(size, len(sample))).astype(int))
    for name, times in _race(searcher, chosen, k, racing).items():
        means[name] = float(times.mean())
    winner = min(racing, key=means.__getitem__)
    milliseconds = {name: round(mean / 1e6, 4) for name, mean in means.items()}
    return Choice(k, round(len(sample.indices) / len(sample), 2), winner, milliseconds, len(chosen))


def _race(
    searcher: Searcher,
    sample: ImpactBatch,
    k: int,
    algorithms: Sequence[str] | None = None,
) -> dict[str, Int64Array]:
    """The least nanoseconds of each query, by algorithm."""
    names = algorithms or searcher.algorithms
    best = {name: np.full(len(sample), np.iinfo(np.int64).max) for name in names}
    for _ in range(ROUNDS):
        for name in names:
            hits = searcher.search(sample, k, algorithm=name)
            best[name] = np.minimum(best[name], [h.nanoseconds for h in hits])
    return best


def _holds(choice: Choice, k: int, terms: float) -> bool:
    shorter, longer = sorted((terms, choice.terms))
    return choice.k == k and longer <= OTHER_LENGTH * shorter


def _remembered(index: Path) -> list[Choice]:
    where = Where(str(index / FILE_NAME))
    try:
        return typed(_Memory, json_file(where), where).choices
    except BadInputError:
        return []  # none yet, or damaged: it is measured again


def _remember(index: Path, choices: list[Choice]) -> None:
    content = {"choices": [asdict(c) for c in sorted(choices, key=lambda c: (c.k, c.terms))]}
    try:
        with atomic_writer(index / FILE_NAME) as out:
            out.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    except ExternalProgramError as error:
        log.warning("the best algorithm is not remembered: %s", error)
