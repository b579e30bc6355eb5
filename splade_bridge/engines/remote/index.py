"""An index behind an address as what every command takes: a searcher, and a source."""

from __future__ import annotations

import copy
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from splade_bridge.data.hits import Hits, best, string_ranks
from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.store import VALUES
from splade_bridge.data.vectors import (
    Float32Array,
    ImpactBatch,
    Int32Array,
    Int64Array,
)
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import Searcher
from splade_bridge.engines.remote.base import Float64Array, RemoteIndex, Row
from splade_bridge.engines.remote.choices import Approximation
from splade_bridge.engines.remote.faults import Busy, ServerError
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.formats.feeds.names import named, reader_of
from splade_bridge.formats.queries import Queries
from splade_bridge.formats.records import RecordImpacts, Records, RecordWeights, VectorRecord

log = logging.getLogger(__name__)

MORE = 50
"""One in so many hits is asked for beyond k, to see whether the last score goes on there."""
LOOKED_AT = 1000
"""Documents that tell whether numbers are weights."""
TEXT = "text"
"""The field that --with-contents stores texts in."""
SECONDS_ASKED = 60.0
"""That a search waits for a busy engine."""


class RemoteSearcher(Searcher):
    """Asks the engine, and puts equal scores into the one order that all rankings have.


    Scores are whole numbers where all of an answer are: float weights of others, and storage that
    is not exact, give fractions, in float32.

    Args:
        only: a filter of the engine's own.
        vocabulary: see :func:`vocabulary_of`.
        approximation: None for exact answers.
    """

    def __init__(
        self,
        index: RemoteIndex,
        only: object = None,
        vocabulary: Vocabulary | None = None,
        approximation: Approximation | None = None,
    ) -> None:
        super().__init__(index.address, _manifest(index), vocabulary_of(index, vocabulary))
        self.index = index
        self._others: list[RemoteIndex] = []
        self.approximate = approximation is not None
        self.exact_scores = approximation is None
        if approximation is not None:
            own = approximation.own(index.address.scheme)
            patiently(lambda: index.approximate(own), SECONDS_ASKED)
        self.only = only
        self.algorithms = (index.algorithm,)
        self.knows_terms = index.naming == "number"

    def close(self) -> None:
        """End the connection, and those that were made beside it."""
        for other in self._others:
            other.close()
        self._others.clear()
        self.index.close()

    def exact(self) -> Searcher:
        """See :class:`Searcher`: the same engine, asked for exact answers over a new connection."""
        return self._beside(None) if self.approximate else self

    def approximated(self, own: Mapping[str, Any]) -> RemoteSearcher:
        """See :class:`Searcher`: over a new connection."""
        return self._beside(own)

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`Searcher`."""
        return patiently(self.index.approximations, SECONDS_ASKED)

    def _beside(self, own: Mapping[str, Any] | None) -> RemoteSearcher:
        index = type(self.index)(self.index.address, self.index.secrets)
        self._others.append(index)
        patiently(lambda: index.look(self.index.field), SECONDS_ASKED)
        if own is not None:
            patiently(lambda: index.approximate(own), SECONDS_ASKED)
        other = copy.copy(self)
        other.index, other.algorithms = index, (index.algorithm,)
        other.approximate, other.exact_scores = own is not None, own is None
        return other

    def meet(self, vocabulary: Vocabulary) -> None:
        """See :class:`Searcher`: where terms are names, the engine takes any."""
        if not self.knows_terms:
            for term in vocabulary.terms:
                self.vocabulary.add(term)

    def aligned(self, queries: Queries) -> ImpactBatch:
        """See :class:`Searcher`."""
        self.meet(queries.vocabulary)
        return super().aligned(queries)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def one(number: int) -> Hits:
            indices, weights = queries.row(number)
            started = time.perf_counter_ns()
            ids, scores = self._ranked(indices, weights, k) if len(indices) else ([], NO_SCORES)
            return Hits(queries.ids[number], ids, scores, time.perf_counter_ns() - started)

        if threads == 1:
            yield from map(one, range(len(queries)))
            return
        with ThreadPoolExecutor(threads, "search") as pool:
            yield from pool.map(one, range(len(queries)))

    def _ranked(
        self, indices: Int32Array, weights: Int32Array, k: int
    ) -> tuple[list[str], Int64Array | Float32Array]:
        """The best k, once every document of the k-th score is known, if it is to be exact.

        Raises:
            BadInputError: the engine does not give so many.
        """
        index = self.index
        most = sys.maxsize if index.pages else index.most_hits
        if k > most:
            raise BadInputError(
                f"{index.engine} gives {most:,} hits of a query at most, so -k {k:,} cannot be had",
                str(index.address),
            )
        names = [named(self.vocabulary[t], t, index.naming) for t in indices.tolist()]
        n = min(k + 1 + k // MORE, most) if not self.approximate else k
        while True:
            ids, scores = self._asked(names, weights, n)
            if self.approximate or len(ids) < n or scores[k - 1] > scores[-1]:
                break
            if n == most:
                raise BadInputError(
                    f"{index.engine} gives {most:,} hits of a query at most, and documents of the "
                    f"same score as hit {k:,} ({scores[k - 1]:g}) may go on beyond them: which of "
                    "them come first by their ids cannot be known; use a smaller -k",
                    str(index.address),
                )
            n = min(2 * n, most)
        found: Int64Array | Float32Array = scores.astype(np.int64)
        if not np.array_equal(found, scores):
            found = scores.astype(np.float32)
        order = best(found, k, lambda places: string_ranks(ids[i] for i in places.tolist()))
        return [ids[i] for i in order.tolist()], found[order]

    def _asked(
        self, names: list[str | int], weights: Int32Array, n: int
    ) -> tuple[list[str], Float64Array]:
        return patiently(lambda: self.index.top(names, weights, n, self.only))

    @cached_property
    def stores_texts(self) -> bool:
        """Of an index of ours, where its texts were loaded, too."""
        return self.manifest is not None and TEXT in (self.manifest.options.get("fields") or ())

    def stored(self, doc_id: str) -> Mapping[str, str] | None:
        """See :class:`Searcher`: the text, as ``contents``."""
        if not self.stores_texts:
            return None
        found = patiently(lambda: self.index.stored_text(doc_id, TEXT), SECONDS_ASKED)
        return None if found is None else {"contents": found}

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> Sequence[float] | None:
        """See :class:`Searcher`."""
        found = patiently(lambda: self.index.get([doc_id]), SECONDS_ASKED)
        if not found:
            return None
        held = dict(zip(found[0].names, found[0].weights, strict=True))
        asked = [named(self.vocabulary[t], t, self.index.naming) for t in term_ids]
        return [held.get(name, 0) for name in asked]


def vocabulary_of(index: RemoteIndex, given: Vocabulary | None = None) -> Vocabulary:
    """What the terms of an index are called.

    Args:
        given: what its dimensions stand for, where they are numbers and nothing beside them says.

    Raises:
        BadInputError: nothing says it.
        MismatchError: ``given`` has other terms than are kept beside it, or more than there are
            dimensions.
        UsageError: ``given`` for an index in which terms are names.
    """
    place = str(index.address)
    if given is not None and index.naming != "number":
        raise UsageError(
            f"{place}: {index.engine} holds terms by their names, and --vocabulary is for "
            "dimensions that are numbers: leave it out"
        )
    kept = patiently(index.vocabulary, SECONDS_ASKED)
    if given is None:
        if kept is None:
            raise BadInputError(
                "its dimensions are numbers, and nothing beside it says which terms they stand "
                "for: give --vocabulary, vocab.txt or the folder of the model's tokenizer",
                place,
            )
        return kept
    if kept is None:
        patiently(lambda: index.check_vocabulary(given), SECONDS_ASKED)
    elif list(kept.terms) != list(given.terms):
        raise MismatchError(
            f"{place}: its own vocabulary is kept beside it, and --vocabulary is another one: "
            "leave that out"
        )
    return given if kept is None else kept


def _manifest(index: RemoteIndex) -> Manifest | None:
    """That of an index; None for one that others made.

    Raises:
        BadInputError: it is not whole yet.
        ServerError: there is none.
    """
    if not patiently(index.exists, SECONDS_ASKED):
        raise index.missing()
    state = patiently(index.state, SECONDS_ASKED)
    if state is not None and state.manifest is None:
        raise BadInputError(
            f"is being loaded, or its loading was interrupted after {state.loaded:,} documents: "
            "give the command that began it",
            str(index.address),
        )
    if state is not None and state.change is not None:
        log.warning(
            "%s: is being changed, or a change of it was interrupted: what it holds is neither of "
            "before nor of after", index.address
        )  # fmt: skip
    return state.manifest if state else None


NO_SCORES: Int64Array = np.zeros(0, dtype=np.int64)


class RemoteDocuments(Records):
    """All documents of an index, as the engine gives them back.

    Args:
        vocabulary: what numbers of terms stand for; None for what is kept beside the index.
    """

    def __init__(self, index: RemoteIndex, vocabulary: Vocabulary | None = None) -> None:
        super().__init__(index.address, vocabulary_of(index, vocabulary))
        self._index = index

    def records(self) -> Iterator[VectorRecord]:
        """See :class:`Records` and :func:`records`."""
        return records(self._index, self.vocabulary)


def remote_source(
    index: RemoteIndex,
    *,
    weights: bool,
    vocabulary: Vocabulary | None = None,
    finished: bool = True,
) -> RecordImpacts | RecordWeights:
    """All documents of an index, read back from the engine.

    Args:
        weights: they are float weights, given as the engine gives them back.
        vocabulary: see :class:`RemoteDocuments`.
        finished: refuse an index of ours that is not whole yet.

    Raises:
        BadInputError: it is not whole; when read, weights that are no impacts, terms twice in a
            document.
    """
    documents = RemoteDocuments(index, vocabulary)
    manifest = _manifest(index) if finished else None
    return (RecordWeights if weights else RecordImpacts)(documents, manifest)


def holds_weights(state: State) -> bool:
    """Whether an index of ours was loaded with float weights."""
    return state.manifest is not None and state.manifest.options.get(VALUES) == "weights"


def holds_fractions(index: RemoteIndex) -> bool:
    """Whether the first documents that the engine gives have a weight that is not whole."""
    return any(weight % 1 for row in islice(index.rows(), LOOKED_AT) for weight in row.weights)


def records(
    index: RemoteIndex, vocabulary: Vocabulary, rows: Iterable[Row] | None = None
) -> Iterator[VectorRecord]:
    """The documents of an index, their terms as strings.

    Args:
        rows: some that the engine gave; None for all.

    Raises:
        BadInputError: an id that no run can hold, a name that stands for no term, one twice.
        ServerError: the engine went away in the middle.
    """
    term_of = reader_of(index.naming, vocabulary)
    place = str(index.address)
    try:
        for doc_id, names, weights in index.rows() if rows is None else rows:
            terms = [term_of(name, place) for name in names]
            if len(set(terms)) != len(terms):
                raise BadInputError(f"document {quoted(doc_id)}: a term stands twice in it", place)
            yield VectorRecord(checked_id(doc_id, place), terms, list(weights), place)
    except Busy as busy:  # of one state of the index, which a second reading would not have
        raise ServerError(
            f"{busy}, while its documents were read: give the command again"
        ) from busy
