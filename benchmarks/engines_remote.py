"""Loading and asking through an address, beside the client's own calls; a row an engine.

    .venv/bin/python benchmarks/engines_remote.py DOCS QUERIES ADDRESS...

DOCS is any source of impacts, QUERIES pre-encoded. Each ADDRESS is of an index that does not exist.
It is made and filled in turn by `index --check count` and by the client's own calls
(`helpers.bulk`, Milvus' `insert`, Qdrant Edge's `upsert_points`, `COPY` of text) in blocks of 1,000
with the same settings: once each to warm up, then five times in changing order; and thrown away in
the end. Then each
query is asked for 10 hits through the address and by a bare request of the client, of the same
index and in changing order. All figures are medians. The documents are in memory before any load.
"""

from __future__ import annotations

import abc
import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from machine import describe
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect
from splade_bridge.engines.remote.base import RemoteIndex, RemoteOptions
from splade_bridge.engines.remote.index import RemoteSearcher
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.states import State
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import BatchSource
from splade_bridge.formats.feeds.names import named
from splade_bridge.formats.queries import Queries, read_queries

K = 10
BLOCK = 1000
WARM, ROUNDS = 1, 5


class Bare(abc.ABC):
    """The calls of a client as a user writes them, for an index that is there and empty."""

    def __init__(self, index: RemoteIndex, batches: list[ImpactBatch], terms: Vocabulary) -> None:
        self.index, self.batches = index, batches
        self.names = [named(t, i, index.naming) for i, t in enumerate(terms.terms)]

    def documents(self) -> Iterator[tuple[str, dict[Any, int]]]:
        """Id, and weights by the names of terms."""
        for batch in self.batches:
            for row, doc_id in enumerate(batch.ids):
                indices, impacts = batch.row(row)
                terms = (self.names[t] for t in indices.tolist())
                yield doc_id, dict(zip(terms, impacts.tolist(), strict=True))

    @abc.abstractmethod
    def load(self) -> None:
        """Store all documents."""

    @abc.abstractmethod
    def question(self, query: ImpactBatch) -> Any:
        """One query as :meth:`ask` takes it."""

    @abc.abstractmethod
    def ask(self, question: Any) -> object:
        """The client's answer."""


class BareRest(Bare):
    """elasticsearch-py and opensearch-py."""

    def load(self) -> None:
        if self.index.address.scheme == "opensearch":
            from opensearchpy import helpers
        else:
            from elasticsearch import helpers
        name, field = self.index.address.name, self.index.field
        actions = (
            {"_index": name, "_id": doc_id, "_source": {field: vector}}
            for doc_id, vector in self.documents()
        )
        helpers.bulk(self._client, actions, chunk_size=BLOCK)

    @property
    def _client(self) -> Any:
        return getattr(self.index, "_client")  # noqa: B009

    def question(self, query: ImpactBatch) -> Any:
        feed: Any = getattr(self.index, "feed")  # noqa: B009
        names = [orjson.dumps(self.names[t]) for t in query.indices.tolist()]
        halved = feed.halvings(int(query.impacts.max()))
        weights = [orjson.dumps(w / (1 << halved)) for w in query.impacts.tolist()]
        return orjson.loads(feed.query(list(zip(names, weights, strict=True)), K))

    def ask(self, question: Any) -> object:
        return self._client.search(index=self.index.address.name, body=question)


class BareMilvus(Bare):
    """pymilvus."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.client: Any = getattr(self.index, "_client")  # noqa: B009
        self.name: str = getattr(self.index, "_name")  # noqa: B009

    def load(self) -> None:
        rows = (
            {"id": doc_id, self.index.field: {t: float(w) for t, w in vector.items()}}
            for doc_id, vector in self.documents()
        )
        while block := list(islice(rows, BLOCK)):
            self.client.insert(self.name, block)
        self.client.flush(self.name)

    def question(self, query: ImpactBatch) -> Any:
        return dict(zip(query.indices.tolist(), map(float, query.impacts.tolist()), strict=True))

    def ask(self, question: Any) -> object:
        return self.client.search(
            self.name, [question], limit=K, anns_field=self.index.field, output_fields=["id"]
        )


class BareEdge(Bare):
    """qdrant-edge-py."""

    def __init__(self, *given: Any) -> None:
        import qdrant_edge

        super().__init__(*given)
        self.edge: Any = qdrant_edge

    @property
    def _shard(self) -> Any:
        return getattr(self.index, "_points")._shard  # noqa: B009

    def load(self) -> None:
        edge, field = self.edge, self.index.field
        points = (
            edge.Point(
                self.index.key(doc_id),
                {field: edge.SparseVector(list(vector), list(map(float, vector.values())))},
                {"id": doc_id},
            )
            for doc_id, vector in self.documents()
        )
        while block := list(islice(points, BLOCK)):
            self._shard.update(edge.UpdateOperation.upsert_points(block))
        self._shard.flush()
        self._shard.optimize()

    def question(self, query: ImpactBatch) -> Any:
        edge = self.edge
        vector = edge.SparseVector(query.indices.tolist(), query.impacts.tolist())
        nearest = edge.Query.Nearest(vector, using=self.index.field)
        return edge.QueryRequest(query=nearest, limit=K, with_payload=["id"])

    def ask(self, question: Any) -> object:
        return self._shard.query(question)


class BarePostgres(Bare):
    """psycopg."""

    def __init__(self, *given: Any) -> None:
        import psycopg

        super().__init__(*given)
        at = self.index.address
        self.connection: Any = psycopg.connect(
            host=at.host, port=at.port, dbname=at.names[0], user=at.user, autocommit=True
        )
        self.table = f'"{at.name}"'
        self.size: int = getattr(self.index, "_table")().dimensions  # noqa: B009

    def load(self) -> None:
        into = f"copy {self.table} (id, vector) from stdin"
        with self.connection.cursor() as cursor, cursor.copy(into) as copy:
            for doc_id, vector in self.documents():
                copy.write_row((doc_id, self._literal(vector)))

    def _literal(self, vector: dict[Any, int]) -> str:
        cells = ",".join(f"{term + 1}:{weight}" for term, weight in vector.items())
        return f"{{{cells}}}/{self.size}"

    def question(self, query: ImpactBatch) -> Any:
        return self._literal(dict(zip(query.indices.tolist(), query.impacts.tolist(), strict=True)))

    def ask(self, question: Any) -> object:
        asked = f"select id, vector <#> %s::sparsevec from {self.table} order by 2 limit {K}"
        return self.connection.execute(asked, [question]).fetchall()


BARE: dict[str, type[Bare]] = {
    "elasticsearch": BareRest,
    "opensearch": BareRest,
    "milvus": BareMilvus,
    "qdrant": BareEdge,
    "postgresql": BarePostgres,
}


def beside(address: Address) -> Address:
    """Of another index there."""
    if address.folder is None:
        return address.with_name(f"{address.name}_bare")
    folder = address.folder.with_name(f"bare-{address.folder.name}")
    return Address(address.scheme, "", 0, False, None, (), folder)


def timed(do: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def latencies(searcher: RemoteSearcher, queries: Queries, bare: Bare) -> tuple[float, float]:
    """Medians in ms: through the address, and of the client alone."""
    batch = searcher.aligned(queries)
    if not searcher.knows_terms:  # names that grow with the queries
        bare.names = [
            named(t, i, bare.index.naming) for i, t in enumerate(searcher.vocabulary.terms)
        ]
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(len(batch)):
        one = batch.rows(number, number + 1)
        if not len(one.indices):
            continue
        question = bare.question(one)
        both = [
            (ours, lambda one=one: list(searcher.search(one, K))),
            (theirs, lambda question=question: bare.ask(question)),
        ]
        for repeat in range(3):  # the first is not counted
            for times, ask in both:
                seconds = timed(ask)
                if repeat:
                    times.append(seconds)
            both.reverse()
    return 1000 * statistics.median(ours), 1000 * statistics.median(theirs)


def measured(address: Address, docs: Path, queries: Queries) -> str:
    """A row of the table."""
    source = open_source(docs)
    batches = list(source.batches())
    documents = sum(map(len, batches))
    made = RemoteOptions(terms=len(source.vocabulary))
    opened = lambda: BatchSource(docs, batches, source.vocabulary, source.manifest)  # noqa: E731
    loads: list[float] = []
    bulks: list[float] = []
    with connect(beside(address)) as other, connect(address) as index:
        try:
            for number in range(WARM + ROUNDS):
                if number:
                    other.drop()
                    index.drop()

                def by_hand() -> None:
                    other.create(made, State({}))
                    BARE[address.scheme](other, batches, source.vocabulary).load()
                    other.finish(merge=False)

                both: list[tuple[list[float], Callable[[], object]]] = [
                    (loads, lambda: load(index, opened, LoadOptions(check="count"))),
                    (bulks, by_hand),
                ]
                for times, fill in both if number % 2 else reversed(both):
                    seconds = timed(fill)
                    if number >= WARM:
                        times.append(seconds)
            index.look()
            # Of one index: how many segments a load leaves decides the times of queries, too.
            same = BARE[address.scheme](index, batches, source.vocabulary)
            ours, theirs = latencies(RemoteSearcher(index), queries, same)
        finally:
            other.drop()
            index.drop()
    loaded, bulk = statistics.median(loads), statistics.median(bulks)
    return (
        f"| {index.engine} | {documents / loaded:,.0f} | {documents / bulk:,.0f} | "
        f"{ours:.2f} | {theirs:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("docs", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("addresses", nargs="+")
    told = parser.parse_args()
    print(describe())
    print("| engine | documents/s | client's own | ms a query, k = 10 | bare request |")
    print("|---|---|---|---|---|")
    for text in told.addresses:
        address = place_of(text)
        assert isinstance(address, Address)
        print(measured(address, told.docs, read_queries(told.queries)), flush=True)


if __name__ == "__main__":
    main()
