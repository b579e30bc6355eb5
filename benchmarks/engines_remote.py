"""Loading and asking through an address, beside the client's own calls; a row an engine.

    .venv/bin/python benchmarks/engines_remote.py DOCS QUERIES ADDRESS...

DOCS is any source of impacts, QUERIES pre-encoded. Each ADDRESS is of an index that does not exist;
it is made, and thrown away in the end, twice: by ``index`` without its checks (``--check count``), and
by the client's own ``helpers.bulk`` in blocks of 1,000 with the same mapping. Then each query is asked
for 10 hits, once through the address and once by a bare request of the client, in turn, one at a time;
medians of the times. The documents are in memory before either load begins.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from machine import describe
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect
from splade_bridge.engines.remote.base import RemoteOptions, State
from splade_bridge.engines.remote.index import RemoteSearcher
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.rest import RestIndex
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import BatchSource
from splade_bridge.formats.feeds.names import Names, named
from splade_bridge.formats.queries import Queries, read_queries

K = 10
BLOCK = 1000


def by_bulk(
    index: RestIndex, batches: list[ImpactBatch], vocabulary: Vocabulary
) -> tuple[float, Callable[[dict[str, Any]], Any]]:
    """Seconds of ``helpers.bulk``, and what asks a body of the client."""
    client = getattr(index, "_client")  # noqa: B009
    if index.address.scheme == "opensearch":
        from opensearchpy import helpers
    else:
        from elasticsearch import helpers
    names = [str(named(t, i, index.naming)) for i, t in enumerate(vocabulary.terms)]
    name = index.address.name

    def actions() -> Iterator[dict[str, Any]]:
        for batch in batches:
            for row, doc_id in enumerate(batch.ids):
                indices, impacts = batch.row(row)
                terms = (names[t] for t in indices.tolist())
                yield {
                    "_index": name,
                    "_id": doc_id,
                    "_source": {index.field: dict(zip(terms, impacts.tolist(), strict=True))},
                }

    index.create(RemoteOptions(), State({}))
    started = time.perf_counter()
    helpers.bulk(client, actions(), chunk_size=BLOCK)
    index.finish(merge=False)
    return time.perf_counter() - started, lambda body: client.search(index=name, body=body)


def latencies(
    index: RestIndex, queries: Queries, bare: Callable[[dict[str, Any]], Any]
) -> tuple[float, float]:
    """Medians in ms: through the address, and of the client alone."""
    searcher = RemoteSearcher(index)
    batch = searcher.aligned(queries)
    names = Names(searcher.vocabulary, index.naming)
    ours, theirs = [], []
    for number in range(len(batch)):
        one = batch.rows(number, number + 1)
        if not len(one.indices):
            continue
        halved = index.feed.halvings(int(one.impacts.max()))
        weights = [orjson.dumps(w / (1 << halved)) for w in one.impacts.tolist()]
        body = orjson.loads(
            index.feed.query(list(zip(names(one.indices), weights, strict=True)), K)
        )
        for repeat in range(3):  # the first is not counted
            started = time.perf_counter()
            list(searcher.search(one, K))
            middle = time.perf_counter()
            bare(body)
            ended = time.perf_counter()
            if repeat:
                ours.append(middle - started)
                theirs.append(ended - middle)
    return 1000 * statistics.median(ours), 1000 * statistics.median(theirs)


def measured(address: Address, docs: Path, queries: Queries) -> str:
    source = open_source(docs)
    batches = list(source.batches())
    documents = sum(map(len, batches))
    again = address.with_name(f"{address.name}-bulk")
    with connect(again) as other, connect(address) as index:
        assert isinstance(other, RestIndex) and isinstance(index, RestIndex)
        try:
            bulk, bare = by_bulk(other, batches, source.vocabulary)
            started = time.perf_counter()
            opened = lambda: BatchSource(docs, batches, source.vocabulary, source.manifest)  # noqa: E731
            load(index, opened, LoadOptions(check="count"))
            loaded = time.perf_counter() - started
            ours, theirs = latencies(index, queries, bare)
        finally:
            other.drop()
            index.drop()
    return (
        f"| {address.scheme} | {documents / loaded:,.0f} | {documents / bulk:,.0f} | {ours:.2f} | "
        f"{theirs:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("docs", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("addresses", nargs="+")
    told = parser.parse_args()
    print(describe())
    print("| engine | documents/s | helpers.bulk | ms a query, k = 10 | bare request |")
    print("|---|---|---|---|---|")
    for text in told.addresses:
        address = place_of(text)
        assert isinstance(address, Address)
        print(measured(address, told.docs, read_queries(told.queries)), flush=True)


if __name__ == "__main__":
    main()
