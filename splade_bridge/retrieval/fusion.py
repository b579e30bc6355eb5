"""Several rankings of the same queries made into one: docs/fusion.md states every convention.

A list is what one run has for one query, best first (score descending, then document id ascending
by code point; a run's rank column is not read), cut to its first ``depth`` documents. With w_i the
weight of list i, r_i(d) the rank of d in it from 1, and n_i(d) its normalized score there,

    rrf      sum_i w_i / (c + r_i(d))      over the lists that hold d
    combsum  sum_i w_i n_i(d)              where n_i(d) of a list without d is its lowest
    combmnz  the same, times the number of lists that hold d

Cormack, Clarke, Büttcher: Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods, SIGIR 2009 (all w_i = 1, c = 60); Fox, Shaw: Combination of multiple searches,
TREC-2, 1994; Montague, Aslam: Relevance score normalization for metasearch, CIKM 2001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splade_bridge.data.choices import check_choice
from splade_bridge.data.hits import best, string_ranks
from splade_bridge.data.vectors import Int64Array
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.writing import atomic_writer
from splade_bridge.retrieval.choices import Fusion, Normalization
from splade_bridge.retrieval.runs import (
    DEFAULT_TAG,
    PackedRun,
    Run,
    check_tag,
    pack,
    read_packed,
    write_ranked,
)

FloatArray = npt.NDArray[np.float64]

DEPTH = 1000
RANK_CONSTANT = 60
MAX_RANK_CONSTANT = 1_000_000
MAX_WEIGHT = 10_000
DIGITS = 13
"""Of a fused score, from the first digit of the greatest that is possible: what is equal but for
the order of additions is equal then, and its documents are in the order of their ids."""


@dataclass(frozen=True)
class FusionOptions:
    """How lists are fused.

    Attributes:
        fusion: ``rrf``, ``combsum`` (a weighted sum, if there are weights) or ``combmnz``.
        normalization: of the scores of a list, for the last two: ``min-max`` maps its lowest to 0
            and its highest to 1, ``z-score`` its mean to 0 and its standard deviation (that of all
            its documents, not of a sample) to 1. A list whose scores are all equal, as of one
            document, has 1 for each by min-max, and 0 by z-score.
        weights: one a list, 0 or from 0.0001 to 10,000; none for 1 each. A list with weight 0 is
            left out.
        rank_constant: the c of ``rrf``.
        depth: documents of each list that count; what lies below is as if it had not been found.
    """

    fusion: Fusion = "rrf"
    normalization: Normalization = "min-max"
    weights: tuple[float, ...] = ()
    rank_constant: int = RANK_CONSTANT
    depth: int = DEPTH

    def __post_init__(self) -> None:
        check_choice("fusion", self.fusion, Fusion)
        check_choice("normalization", self.normalization, Normalization)
        if self.fusion == "combmnz" and self.normalization == "z-score":
            raise UsageError(
                "--fusion combmnz cannot have --normalization z-score: half of the scores are "
                "below 0, and a document would lose by each list that holds it; take min-max"
            )
        if not all(w == 0 or 1 / MAX_WEIGHT <= w <= MAX_WEIGHT for w in self.weights):
            raise UsageError(
                f"--weight must be 0, or from {1 / MAX_WEIGHT:g} to {MAX_WEIGHT:,}: what counts is "
                "how weights compare"
            )
        if self.weights and not any(self.weights):
            raise UsageError("--weight: at least one list needs a weight above 0")
        if not 0 <= self.rank_constant <= MAX_RANK_CONSTANT:
            raise UsageError(
                f"--rank-constant must be from 0 to {MAX_RANK_CONSTANT:,}, "
                f"not {self.rank_constant:,}"
            )
        if self.depth < 1:
            raise UsageError("--depth must be 1 or more")

    def weights_of(self, lists: int) -> tuple[float, ...]:
        """The weights of so many lists.

        Raises:
            UsageError: there are others.
        """
        if self.weights and len(self.weights) != lists:
            raise UsageError(
                f"--weight: {len(self.weights)} weights for {lists} runs; give one for each, in "
                "the order of the runs"
            )
        return self.weights or (1.0,) * lists

    def sentence(self, names: Sequence[str]) -> str:
        """What is done, in words: ``rrf of A and B, constant 60, depth 1000``."""
        weights = self.weights_of(len(names))
        even = len(set(weights)) == 1
        named = [n if even else f"{n} x {w:g}" for n, w in zip(names, weights, strict=True)]
        how = (
            f"constant {self.rank_constant}" if self.fusion == "rrf" else f"by {self.normalization}"
        )
        listed = f"{', '.join(named[:-1])} and {named[-1]}"
        return f"{self.fusion} of {listed}, {how}, depth {self.depth:,}"


class Ranking(NamedTuple):
    """A fused list, best first.

    Attributes:
        doc_ids: at most as many as were asked for.
        scores: float64[len(doc_ids)].
    """

    query_id: str
    doc_ids: list[str]
    scores: FloatArray


class Parts(NamedTuple):
    """What the lists of one query give to its documents, before weights.

    Attributes:
        docs: int64[n], rising; they compare as the ids do.
        shares: float64[lists, n]: reciprocal ranks or normalized scores.
        held: bool[lists, n]: whether the list holds the document.
    """

    docs: Int64Array
    shares: FloatArray
    held: npt.NDArray[np.bool_]


class RunLists:
    """Runs to be fused, held in arrays: see :func:`.runs.read_packed`.

    Args:
        runs: files or runs in memory.
        least: runs that there must be.

    Attributes:
        query_ids: of all runs, in the order in which they come first.

    Raises:
        UsageError: fewer runs than ``least``.
        BadInputError: a broken run, or one that holds no results.
    """

    def __init__(self, runs: Iterable[Path | Run], least: int = 2) -> None:
        numbers: dict[str, int] = {}
        self._runs: list[PackedRun] = []
        for place, run in enumerate(runs, start=1):
            if isinstance(run, Path):
                self._runs.append(read_packed(run, numbers))
            else:
                self._runs.append(pack(run, numbers))
            if not any(len(docs) for docs, _ in self._runs[-1].values()):
                named = str(run) if isinstance(run, Path) else f"run {place}"
                raise BadInputError("the run is empty: no query has found anything", named)
        if len(self._runs) < least:
            raise UsageError("fusing takes two runs or more")
        self.query_ids = list(dict.fromkeys(q for run in self._runs for q in run))
        # From here on a document's number is its place among all ids by code point.
        self._order = string_ranks(numbers)
        self._doc_ids = sorted(numbers)

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, query_id: object) -> bool:
        return any(query_id in run for run in self._runs)

    def names(self, docs: Int64Array) -> list[str]:
        """The ids of documents."""
        return [self._doc_ids[i] for i in docs.tolist()]

    def lists(self, query_id: str, depth: int) -> list[tuple[Int64Array, FloatArray]]:
        """Documents and scores that each run has for a query, best first, at most ``depth``."""
        found = []
        for run in self._runs:
            numbers, scores = run.get(query_id, _NOTHING)
            docs = self._order[numbers]
            places = best(scores, depth, docs.__getitem__)
            found.append((docs[places], scores[places]))
        return found

    def run(self, number: int, query_ids: Iterable[str]) -> Run:
        """What one of the runs has for these queries, as a run in memory."""
        found: Run = {}
        for query_id in query_ids:
            numbers, scores = self._runs[number].get(query_id, _NOTHING)
            names = self.names(self._order[numbers])
            found[query_id] = dict(zip(names, scores.tolist(), strict=True))
        return found


_NOTHING = np.zeros(0, np.uint32), np.zeros(0, np.float64)


def parts_of(lists: Sequence[tuple[Int64Array, FloatArray]], options: FusionOptions) -> Parts:
    """What each list gives to each document that any of them holds.

    Args:
        lists: documents and scores of each, best first, as :meth:`RunLists.lists` has them.
    """
    docs = np.unique(np.concatenate([found for found, _ in lists]))
    shares = np.zeros((len(lists), len(docs)))
    held = np.zeros((len(lists), len(docs)), np.bool_)
    for i, (found, scores) in enumerate(lists):
        if not len(found):  # it gives every document the same: nothing
            continue
        if options.fusion == "rrf":
            share = 1 / (options.rank_constant + np.arange(1.0, len(found) + 1))
        else:
            share = normalized(scores, options.normalization)
            shares[i] = share[-1]
            if options.normalization == "min-max":
                shares[i] = 0  # the lowest that there is, also where all scores are equal
        places = np.searchsorted(docs, found)
        shares[i, places] = share
        held[i, places] = True
    return Parts(docs, shares, held)


def normalized(scores: FloatArray, normalization: Normalization) -> FloatArray:
    """float64[n]: scores of a list on a scale that others can be added to.

    Args:
        scores: float64[n], best first, n >= 1, finite.
    """
    high, low = float(scores[0]), float(scores[-1])
    if high == low:
        return np.full(len(scores), 1.0 if normalization == "min-max" else 0.0)
    if not math.isfinite(high - low):  # beyond float64
        scores, high, low = scores / 2, high / 2, low / 2
    unit = (scores - low) / (high - low)
    if normalization == "min-max":
        return unit
    # Of what min-max has made of them, whose z-scores are the same: nothing overflows.
    return np.asarray((unit - unit.mean()) / unit.std())


def fused_scores(
    parts: Parts, weights: Sequence[float], options: FusionOptions
) -> tuple[Int64Array, FloatArray]:
    """The documents of the lists with a weight above 0, and their scores: int64[n], float64[n]."""
    used = [i for i, w in enumerate(weights) if w > 0]
    there = parts.held[used].any(axis=0)
    total = np.zeros(len(parts.docs))
    for i in used:
        total += weights[i] * parts.shares[i]
    most = math.fsum(weights)
    if options.fusion == "rrf":
        most /= options.rank_constant + 1
    elif options.fusion == "combmnz":
        total *= parts.held[used].sum(axis=0)
    decimals = DIGITS - 1 - math.floor(math.log10(most))
    # No -0.0, which would be written.
    return parts.docs[there], np.asarray(np.round(total[there], decimals) + 0.0)


def fuse_query(
    runs: RunLists, query_id: str, options: FusionOptions, k: int, parts: Parts | None = None
) -> Ranking:
    """The best ``k`` documents of one query, those of equal scores by id ascending.

    Args:
        parts: what :func:`parts_of` gives for this query, if it is known already.
    """
    if parts is None:
        parts = parts_of(runs.lists(query_id, options.depth), options)
    docs, scores = fused_scores(parts, options.weights_of(len(runs)), options)
    places = best(scores, k, docs.__getitem__)
    return Ranking(query_id, runs.names(docs[places]), scores[places])


def fuse(runs: RunLists, options: FusionOptions, k: int) -> Iterator[Ranking]:
    """Each query of any run, in the order of :attr:`RunLists.query_ids`.

    Raises:
        UsageError: another number of weights than of runs, or ``k`` below 1.
    """
    options.weights_of(len(runs))
    if k < 1:
        raise UsageError("--hits must be 1 or more")
    return (fuse_query(runs, query_id, options, k) for query_id in runs.query_ids)


@dataclass(frozen=True)
class FusedSummary:
    """What was written.

    Attributes:
        without_results: queries that only lists with weight 0 have.
    """

    queries: int
    results: int
    without_results: list[str]


def write_fused(
    rankings: Iterable[Ranking],
    out: Path | None,
    tag: str = DEFAULT_TAG,
    *,
    watch: Callable[[Iterable[Ranking]], Iterator[Ranking]] = iter,
) -> FusedSummary:
    """Write a TREC run, whole or not at all.

    Args:
        out: None where nothing is to be written, and ``watch`` takes the rankings.
        watch: wraps the stream, for a progress bar.

    Raises:
        UsageError: ``tag`` is not one word.
        BadInputError: an id that a run cannot hold.
    """
    check_tag(tag)
    queries, results, without = 0, 0, []
    with atomic_writer(out) if out else nullcontext() as run:
        for query_id, doc_ids, scores in watch(rankings):
            if run is not None:
                write_ranked(run, query_id, doc_ids, scores.tolist(), tag=tag)
            queries += 1
            results += len(doc_ids)
            if not doc_ids:
                without.append(query_id)
    return FusedSummary(queries, results, without)
