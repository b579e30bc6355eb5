"""Queries in, a run file out, where the index is one of dense vectors."""

from __future__ import annotations

from collections.abc import Iterator
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
from splade_bridge.retrieval.search import Beside, SearchOptions, SearchSummary, write_results


def search_dense_to_run(
    index: DenseIndex,
    queries: DenseQueries,
    out: Path | None,
    options: SearchOptions,
    beside: Beside = Beside(),
) -> SearchSummary:
    """What :func:`.search.search_to_run` does, with an index of dense vectors.

    Args:
        beside: with ``latencies`` each query is searched by itself.

    Raises:
        BadInputError: not a dense index.
        MismatchError: queries and index do not belong together.
        UsageError: an option that a dense index does not have.
    """
    check_apart(path for path in (out, beside.latencies) if path is not None)
    refuse_options(index.path, options)
    exact = beside.exact(queries.batch.ids, lambda place: _found_in(place, queries, options))
    alone = beside.latencies is not None
    stream = ranked_densely(index, queries, options, ef_search=options.ef_search, alone=alone)
    return write_results(
        stream, queries.batch.ids, index.path, out, options, beside,
        exact=exact, algorithm=index.kind,
    )  # fmt: skip


def _found_in(place: Place, queries: DenseQueries, options: SearchOptions) -> Iterator[Hits]:
    if isinstance(place, Address):
        raise UsageError(
            f"{place}: is an address, and what is behind one holds no dense vectors: name an index "
            "that dense has made in --check-against"
        )
    with DenseIndex(place) as other:
        yield from ranked_densely(other, queries, options, ef_search=None)


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
    depth = options.depth
    index.check_ef_search(ef_search, depth)
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
