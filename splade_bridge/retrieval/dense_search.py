"""Queries in, a run file out, where the index is one of dense vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from splade_bridge.data.hits import Hits
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import DenseBatch
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.files.outputs import check_apart
from splade_bridge.retrieval.dense_queries import DenseQueries
from splade_bridge.retrieval.passages import fold_passages
from splade_bridge.retrieval.runs import without_document
from splade_bridge.retrieval.search import (
    KEPT_AT,
    SearchOptions,
    SearchSummary,
    documents_of_run,
    write_results,
)
from splade_bridge.retrieval.two_step import KeptShare


def search_dense_to_run(
    index: DenseIndex,
    queries: DenseQueries,
    out: Path | None,
    options: SearchOptions,
    *,
    latencies: Path | None = None,
    exact_run: Path | None = None,
    check_against: Place | None = None,
    watch: Callable[[Iterable[Hits]], Iterator[Hits]] = iter,
) -> SearchSummary:
    """Search ``index`` and write a run, whole or not at all.

    Args:
        queries, out, latencies, watch: see :func:`.search.search_to_run`; with ``latencies`` each
            query is searched by itself.
        exact_run: a run of the exact results, to tell how much of them was found.
        check_against: the same, but search this dense index for them.

    Raises:
        BadInputError: not a dense index.
        MismatchError: queries and index do not belong together.
        UsageError: an option that a dense index does not have.
    """
    if exact_run is not None and check_against is not None:
        raise UsageError("--exact-run and --check-against: one of them")
    check_apart(path for path in (out, latencies) if path is not None)
    refuse_options(index.path, options)
    exact: list[list[str]] = []
    if exact_run is not None:
        exact = documents_of_run(exact_run, queries.batch.ids)
    elif isinstance(check_against, Address):
        raise UsageError(
            f"{check_against}: is an address, and what is behind one holds no dense vectors: name "
            "an index that dense has made in --check-against"
        )
    elif check_against is not None:
        with DenseIndex(check_against) as other:
            stream = ranked_densely(other, queries, options, ef_search=None)
            exact = [hits.doc_ids for hits in stream]
    share = KeptShare({min(KEPT_AT, options.k), options.k})
    stream = ranked_densely(
        index, queries, options, ef_search=options.ef_search, alone=latencies is not None
    )
    told = write_results(
        watch(stream),
        queries.batch.ids,
        index.path,
        out,
        options,
        latencies=latencies,
        exact=exact,
        share=share,
    )
    return SearchSummary(
        len(queries.batch),
        told.results,
        told.without,
        told.nanoseconds / 1e6 / max(1, len(queries.batch)),
        index.kind,
        None,
        share.result() if exact else None,
    )


def ranked_densely(
    index: DenseIndex,
    queries: DenseQueries,
    options: SearchOptions,
    *,
    ef_search: int | None,
    alone: bool = False,
) -> Iterator[Hits]:
    """The final ranking of each query.

    Raises:
        MismatchError, UsageError: see :func:`search_dense_to_run`.
    """
    # One more, so that k are left when the query's own document is taken out.
    depth = options.k + 1 if options.remove_query else options.k

    if ef_search is not None and index.kind != "hnsw":
        raise UsageError(f"{index.path}: is a flat index, and --ef-search is of graphs")
    if ef_search is not None and ef_search < depth:
        raise UsageError(f"--ef-search {ef_search} cannot give {depth} documents: at least -k")
    queries.check(index)

    def ask(asked: DenseBatch, deep: int) -> Iterator[Hits]:
        candidates = None if ef_search is None else max(ef_search, deep)
        return index.search(asked, deep, threads=options.threads, ef_search=candidates, alone=alone)

    stream = (
        fold_passages(ask, queries.batch, depth)
        if options.max_passage
        else ask(queries.batch, depth)
    )
    if options.remove_query:
        return (without_document(hits, hits.query_id, options.k) for hits in stream)
    return stream


def refuse_options(index: Path, options: SearchOptions) -> None:
    """Raise UsageError for what only an index of impacts has."""
    given = {
        "--algorithm": options.algorithm,
        "--two-step": options.two_step,
        "--memory": options.memory,
        "--field": options.asking.field,
        "--filter": options.asking.only,
        "--vocabulary": options.asking.vocabulary,
        "--approximate": options.asking.approximation,
    }
    for flag, value in given.items():
        if value is not None:
            raise UsageError(
                f"{index}: is an index of dense vectors, and {flag} is of one of impacts: leave "
                "it out"
            )
