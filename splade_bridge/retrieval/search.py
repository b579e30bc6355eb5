"""Queries in, a run file out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splade_bridge.data.choices import check_choice
from splade_bridge.data.hits import Hits, by_score
from splade_bridge.data.quantize import warn_if_inexact
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.engines.base import Searcher, limit_memory
from splade_bridge.engines.registry import open_index
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import ExternalProgramError, MismatchError, UsageError
from splade_bridge.files.address import Place
from splade_bridge.files.outputs import check_apart
from splade_bridge.files.writing import atomic_writers
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.passages import fold_passages, warn_without_passages
from splade_bridge.retrieval.runs import (
    DEFAULT_TAG,
    RunFormat,
    check_tag,
    read_run,
    without_document,
    write_hits,
)
from splade_bridge.retrieval.two_step import (
    Kept,
    KeptShare,
    TwoStepOptions,
    TwoStepSearcher,
    sample_of,
)

KEPT_AT = 10
"""The share of the exact ranking that was kept is told at this rank, and at k."""


@dataclass(frozen=True)
class SearchOptions:
    """One to one with the flags of ``splade-bridge search``.

    Attributes:
        algorithm: None for the engine's default, ``auto`` for the fastest here.
        max_passage: rank documents by their best passages; see ``passages``.
        two_step: forward store whose full vectors score what the index found.
        tag: last column of a TREC run, one word.
        first_query_terms: see :class:`.two_step.TwoStepOptions`; for ``two_step`` only.
        candidates: of the first of two steps; 1000 if None, or k if that is more.
        memory: bytes of the heap of the JVM that a Lucene index is open in; None for 1 GiB.
        ef_search: of a graph of dense vectors; see :meth:`.embeddings.index.DenseIndex.search`.
        asking: how an index is asked that an engine holds; of none else.
    """

    k: int = 1000
    algorithm: str | None = None
    threads: int = 1
    run_format: RunFormat = "trec"
    tag: str = DEFAULT_TAG
    remove_query: bool = False
    max_passage: bool = False
    two_step: Path | None = None
    first_query_terms: int | None = None
    candidates: int | None = None
    memory: int | None = None
    ef_search: int | None = None
    asking: Asking = Asking()

    def __post_init__(self) -> None:
        check_choice("output-format", self.run_format, RunFormat)
        check_tag(self.tag)
        if self.tag != DEFAULT_TAG and self.run_format != "trec":
            raise UsageError("--tag has no effect without --output-format trec: leave it out")
        if self.two_step is None and (self.first_query_terms, self.candidates) != (None, None):
            raise UsageError("--first-query-terms and --candidates need --two-step FORWARD")
        TwoStepOptions.of(self.k, self.candidates, self.first_query_terms)

    @property
    def depth(self) -> int:
        """Documents to ask for, so that k are left when the query's own one is taken out."""
        return self.k + 1 if self.remove_query else self.k


@dataclass(frozen=True)
class SearchSummary:
    """What a search did.

    Attributes:
        without_results: ids of the queries that found nothing.
        algorithm: the one that was used.
        qd_flops: expected number of terms that a query shares with a document (of the first of
            two steps), where the engine tells its document frequencies.
        kept: the share of the exact ranking that was found, where that was asked for.
    """

    queries: int
    results: int
    without_results: list[str]
    mean_ms: float
    algorithm: str
    qd_flops: float | None = None
    kept: Kept | None = None


def open_searcher(index: Place, options: SearchOptions) -> Searcher:
    """The searcher for ``index``; one of two steps, if ``options`` name a forward store.

    Raises:
        BadInputError: not an index, or not a forward store.
        MismatchError: the two do not belong together.
        UsageError: ``options`` say how much memory an engine may take that takes no such limit.
    """
    if options.ef_search is not None:
        raise UsageError(f"{index}: is no graph of dense vectors, and --ef-search is of these")
    searcher = _opened(index, options)
    try:
        limit_memory([searcher], options.memory)
    except BaseException:
        searcher.close()
        raise
    return searcher


def _opened(index: Place, options: SearchOptions) -> Searcher:
    if options.two_step is None:
        return open_index(index, options.asking)
    forward = ForwardStore(options.two_step)
    first = open_index(index, options.asking)
    try:
        chosen = TwoStepOptions.of(options.k, options.candidates, options.first_query_terms)
        return TwoStepSearcher(first, forward, chosen)
    except BaseException:
        first.close()
        raise


@dataclass(frozen=True)
class Beside:
    """What a search does beside writing its run.

    Attributes:
        latencies: also write ``query id<TAB>milliseconds`` of each retrieval.
        exact_run: a run of the exact results, to tell how much of them was found.
        check_against: the same, but search this index of the full vectors for them.
        watch: wraps the stream of results, for a progress bar.
        recall: where neither of these is given, tell how much an approximate engine finds, by its
            own exact answers to some of the queries. Of two steps it is told where that is asked.

    Raises:
        UsageError: both a run and an index of exact results.
    """

    latencies: Path | None = None
    exact_run: Path | None = None
    check_against: Place | None = None
    watch: Callable[[Iterable[Hits]], Iterator[Hits]] = iter
    recall: bool = False

    def __post_init__(self) -> None:
        if self.exact_run is not None and self.check_against is not None:
            raise UsageError("--exact-run and --check-against: one of them")

    def exact(
        self, query_ids: Sequence[str], found_in: Callable[[Place], Iterable[Hits]]
    ) -> list[list[str]]:
        """The exact ranking of each query, if there is one to compare with.

        Args:
            found_in: searches the index of :attr:`check_against`.

        Raises:
            MismatchError: the run holds none of the queries.
        """
        if self.exact_run is not None:
            run = read_run(self.exact_run)
            if not any(query_id in run for query_id in query_ids):
                raise MismatchError(f"{self.exact_run}: holds none of the queries")
            return [by_score(run.get(query_id, {})) for query_id in query_ids]
        if self.check_against is None:
            return []
        once: dict[str, str] = {}  # a document's id is held once, however many queries find it
        found = found_in(self.check_against)
        return [[once.setdefault(d, d) for d in hits.doc_ids] for hits in found]


def search_to_run(
    index: Place | Searcher,
    queries: Queries,
    out: Path | None,
    options: SearchOptions,
    beside: Beside = Beside(),
) -> SearchSummary:
    """Search ``index`` and write a run, whole or not at all.

    Args:
        index: a path, or an open index, which stays open.
        out: None where nothing is to be written, and ``beside.watch`` takes the results.

    Raises:
        BadInputError: not an index.
        MismatchError: queries and index have nothing in common.
        ExternalProgramError: the engine died, or answered other queries than it was asked.
        UsageError: an algorithm that the engine does not know.
    """
    if options.asking.only is not None and beside.check_against is not None:
        raise UsageError(
            "--check-against searches all documents, and --filter leaves some: search the other "
            "index by itself with a filter of its own, and give its run as --exact-run"
        )
    check_apart(path for path in (out, beside.latencies) if path is not None)
    with contextlib.ExitStack() as stack:
        if isinstance(index, Searcher):
            searcher = index
        else:
            searcher = stack.enter_context(open_searcher(index, options))
        # First, and to its end: a second search beside the one that is timed would slow it.
        exact = beside.exact(queries.batch.ids, lambda place: _found_in(place, queries, options))
        algorithm, batch, stream = ranked(searcher, queries, options, options.algorithm)
        if beside.recall and searcher.approximate and options.two_step is None and not exact:
            exact = _exact_sample(searcher, batch, options)
        return write_results(
            stream, queries.batch.ids, searcher.path, out, options, beside,
            exact=exact, algorithm=algorithm, qd_flops=searcher.matching_terms(batch),
        )  # fmt: skip


def write_results(
    stream: Iterable[Hits],
    query_ids: Sequence[str],
    index: Place,
    out: Path | None,
    options: SearchOptions,
    beside: Beside,
    *,
    exact: Sequence[list[str]],
    algorithm: str,
    qd_flops: float | None = None,
) -> SearchSummary:
    """Write a run, whole or not at all, as its results come.

    Args:
        stream: the ranking of each query.
        query_ids: those that were asked, in order.
        exact: see :meth:`Beside.exact`.
        algorithm, qd_flops: for the summary.

    Raises:
        ExternalProgramError: the results are of other queries, or a file cannot be written.
    """
    nanoseconds, results, without = 0, 0, []
    share = KeptShare({min(KEPT_AT, options.k), options.k})
    latencies = beside.latencies
    with atomic_writers([path for path in (out, latencies) if path]) as streams:
        run = streams[0] if out else None
        times = streams[-1] if latencies else None
        hits_of_each = zip(query_ids, beside.watch(stream), strict=True)
        for number, (query_id, hits) in enumerate(hits_of_each):
            if hits.query_id != query_id:
                raise ExternalProgramError(f"{index}: answered {hits.query_id}, not {query_id}")
            if run:
                write_hits(run, hits, options.run_format, options.tag)
            if times:
                times.write(f"{query_id}\t{hits.nanoseconds / 1e6:.6f}\n".encode())
            if exact:
                share.add(hits.doc_ids, exact[number])
            results += len(hits.doc_ids)
            nanoseconds += hits.nanoseconds
            if not hits.doc_ids:
                without.append(query_id)
    return SearchSummary(
        len(query_ids),
        results,
        without,
        nanoseconds / 1e6 / max(1, len(query_ids)),
        algorithm,
        qd_flops,
        share.result() if exact else None,
    )


def ranked(
    searcher: Searcher, queries: Queries, options: SearchOptions, algorithm: str | None
) -> tuple[str, ImpactBatch, Iterator[Hits]]:
    """The algorithm, the queries as the index is asked them, and the final ranking of each.

    Raises:
        MismatchError, ExternalProgramError, UsageError: see :func:`search_to_run`.
    """
    if options.threads > 1 and not searcher.uses_threads:
        raise UsageError(
            f"{searcher.path}: --threads {options.threads} has no effect: this engine searches in "
            "one thread; leave it out"
        )
    check_queries(searcher, queries)
    if searcher.manifest:
        warn_if_inexact(queries.batch, searcher.manifest.counts.max_impact, str(searcher.path))
    batch = searcher.aligned(queries)
    depth = options.depth
    chosen = searcher.algorithm_for(batch, depth, algorithm)

    if options.max_passage:
        warn_without_passages(searcher.manifest, searcher.path)
    return chosen, batch, _final(searcher, batch, options, chosen)


def _final(
    searcher: Searcher, batch: ImpactBatch, options: SearchOptions, algorithm: str
) -> Iterator[Hits]:
    """The ranking of each query as it is written."""

    def ask(asked: ImpactBatch, deep: int) -> Iterator[Hits]:
        return searcher.search(asked, deep, threads=options.threads, algorithm=algorithm)

    if options.max_passage:
        stream = fold_passages(ask, batch, options.depth)
    else:
        stream = ask(batch, options.depth)
    if options.remove_query:
        stream = (without_document(hits, hits.query_id, options.k) for hits in stream)
    return stream


def _exact_sample(
    searcher: Searcher, batch: ImpactBatch, options: SearchOptions
) -> list[list[str]]:
    """The exact ranking of some queries, where an approximate index can tell it; others have none.

    They tell the recall of what is searched, which nobody need ask for.
    """
    exact = searcher.exact()
    found: list[list[str]] = [[] for _ in range(len(batch))]
    if exact.approximate:
        return found
    asked = sample_of(len(batch))
    alone = replace(options, threads=1)
    hits = _final(exact, batch.take(asked), alone, exact.default_algorithm(options.depth))
    for number, ranking in zip(asked.tolist(), hits, strict=True):
        found[number] = ranking.doc_ids
    return found


def _found_in(place: Place, queries: Queries, options: SearchOptions) -> Iterator[Hits]:
    """What the index at ``place`` ranks for each query."""
    with open_index(place) as searcher:
        if options.memory is not None:
            searcher.use_memory(options.memory)
        *_, stream = ranked(searcher, queries, options, None)
        yield from stream
