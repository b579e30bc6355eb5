"""Queries in, a run file out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.engines import open_index
from splade_bridge.engines.base import Hits
from splade_bridge.errors import ExternalProgramError
from splade_bridge.files import atomic_writer
from splade_bridge.manifest import check_fit
from splade_bridge.passages import fold_passages, warn_without_passages
from splade_bridge.quantize import warn_if_inexact
from splade_bridge.runs import DEFAULT_TAG, RunFormat, without_document, write_hits
from splade_bridge.topics import Queries
from splade_bridge.vectors import ImpactBatch


@dataclass(frozen=True)
class SearchOptions:
    """One to one with the flags of ``splade-bridge search``.

    Attributes:
        max_passage: rank documents by their best passages; see :mod:`splade_bridge.passages`.
    """

    k: int = 1000
    algorithm: str | None = None
    threads: int = 1
    run_format: RunFormat = "trec"
    tag: str = DEFAULT_TAG
    remove_query: bool = False
    max_passage: bool = False


@dataclass(frozen=True)
class SearchSummary:
    """What a search did; ``without_results`` holds the ids of queries that found nothing."""

    queries: int
    results: int
    without_results: list[str]
    mean_ms: float


def search_to_run(
    index: Path,
    queries: Queries,
    out: Path,
    options: SearchOptions,
    *,
    latencies: Path | None = None,
    watch: Callable[[Iterable[Hits]], Iterator[Hits]] = iter,
) -> SearchSummary:
    """Search ``index`` and write a run, whole or not at all.

    Args:
        latencies: also write ``query id<TAB>milliseconds`` of each retrieval.
        watch: wraps the stream of results, for a progress bar.

    Raises:
        BadInputError: not an index.
        MismatchError: queries and index have nothing in common.
        ExternalProgramError: the engine died, or answered other queries than it was asked.
        UsageError: an algorithm that the engine does not know.
    """
    total_ns, results, without, answered = 0, 0, [], 0
    with open_index(index) as searcher, contextlib.ExitStack() as stack:
        check_fit(searcher.manifest, queries.manifest, str(index))
        if searcher.manifest:
            warn_if_inexact(queries.batch, searcher.manifest.counts.max_impact, str(index))
        batch = queries.aligned(searcher.vocabulary, index)
        # One more, so that k are left when the query's own document is taken out.
        depth = options.k + 1 if options.remove_query else options.k

        def ask(asked: ImpactBatch, deep: int) -> Iterator[Hits]:
            return searcher.search(
                asked, deep, threads=options.threads, algorithm=options.algorithm
            )

        if options.max_passage:
            warn_without_passages(searcher.manifest, index)
            stream = fold_passages(ask, batch, depth)
        else:
            stream = ask(batch, depth)
        run = stack.enter_context(atomic_writer(out))
        times = stack.enter_context(atomic_writer(latencies)) if latencies else None
        for query_id, hits in zip(batch.ids, watch(stream), strict=True):
            if hits.query_id != query_id:
                raise ExternalProgramError(f"{index}: answered {hits.query_id}, not {query_id}")
            if options.remove_query:
                hits = without_document(hits, query_id, options.k)
            write_hits(run, hits, options.run_format, options.tag)
            if times:
                times.write(f"{query_id}\t{hits.nanoseconds / 1e6:.6f}\n".encode())
            answered += 1
            results += len(hits.doc_ids)
            total_ns += hits.nanoseconds
            if not hits.doc_ids:
                without.append(query_id)
    return SearchSummary(answered, results, without, total_ns / 1e6 / max(1, answered))
