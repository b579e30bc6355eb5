"""Addresses of engines: none, wrong, of nobody who answers, and of what is not ours."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from bad_input import Row, ServerRow, made

if TYPE_CHECKING:
    from servers.server import Server

FILES = {"q.tsv": made.TOPICS, "docs.jsonl": made.JSON_LINES}
CORPUS = {
    **FILES,
    "c.jsonl": '{"id": "d1", "text": "a", "year": 1999, "the year": 1, '
    '"tags": ["x"], "mixed": 1}\n'
    '{"id": "d2", "text": "b", "mixed": "one"}\n'
    '{"id": "d3", "text": "c", "year": "no year"}\n',
}
CLOSED = {
    "elasticsearch": "elasticsearch://{at}/p",
    "opensearch": "opensearch://{at}/p",
    "milvus": "milvus://{at}/p",
    "qdrant": "qdrant://{at}/p",
    "postgresql": "postgresql://{at}/db/p",
}
NOWHERE = ("127.0.0.1:1", "port nobody listens at"), ("nosuch.invalid:9", "host of no name")
CLIENTS = {
    "elasticsearch": "elasticsearch", "opensearch": "opensearchpy", "milvus": "pymilvus",
    "qdrant": "qdrant_client", "postgresql": "psycopg",
}  # fmt: skip


def search(title: str, address: str, code: int, *words: str, more: str = "", **rest: object) -> Row:
    """A search at an address."""
    command = f"search '{address}' -q q.tsv -o run{more}"
    return Row(title, command, code, words, FILES, **rest)  # type: ignore[arg-type]


def index(title: str, address: str, code: int, *words: str, more: str = "", **rest: object) -> Row:
    """Vectors loaded into an address."""
    command = f"index docs.jsonl -o '{address}'{more}"
    return Row(title, command, code, words, CORPUS, **rest)  # type: ignore[arg-type]


def why(scheme: str, at: str) -> tuple[str, ...]:
    """Words of the reason; Milvus' client tells none, and resolvers tell it variously."""
    if scheme == "milvus":
        return ()
    return ("refused",) if at.endswith(":1") else ()


ROWS = [
    # No address
    search("an address of an unknown engine", "solr://localhost:8983/p", 2,
           "no engine is called solr", "elasticsearch://"),
    search("an address of an unknown engine with a password", "mysql://me:sesame@localhost/p", 2,
           "no engine is called mysql", without=("sesame",)),
    search("an address in capitals", "Elasticsearch://localhost/p", 2, "no engine is called"),
    search("a password in an address", "elasticsearch://me:sesame@localhost/p", 2,
           "holds a password", "SPLADE_BRIDGE_PASSWORD", without=("sesame",)),
    search("a password with a slash in an address", "postgresql://me:ses/ame@localhost/db/p", 2,
           "postgresql://me:...@", without=("ses", "ame@")),
    search("a password behind a question mark", "opensearch://localhost/p?password=sesame", 2,
           "holds ? or #", "SPLADE_BRIDGE_PASSWORD", without=("sesame",)),
    index("a password in the address of an output", "milvus://root:sesame@localhost/p", 2,
          "holds a password", without=("sesame",)),
    search("an address without an index", "opensearch://localhost:9200", 2,
           "opensearch://HOST:PORT/INDEX"),
    search("an address without a table", "postgresql://localhost/db", 2, "DATABASE/TABLE"),
    search("an address with a word as port", "qdrant://localhost:http/p", 2, "no such port"),
    search("an address with a port beyond all", "milvus://localhost:99999/p", 2, "no such port"),
    search("an address without a host", "elasticsearch:///p", 2, "elasticsearch://HOST:PORT/INDEX"),
    search("an address of a file and an engine that has none", "opensearch:p", 2,
           "opensearch://HOST:PORT/INDEX"),
    search("PostgreSQL by https", "postgresql+https://localhost/db/p", 2, "PGSSLMODE"),
    # Nobody there
    *(
        search(f"{scheme} at a {what}", address.format(at=at), 6,
               f"{scheme}://{at}", "cannot be reached", "does it run there?", *why(scheme, at),
               imports=(CLIENTS[scheme],))
        for scheme, address in CLOSED.items()
        for at, what in NOWHERE
    ),
    index("loading at a port nobody listens at", "opensearch://127.0.0.1:1/p", 6,
          "cannot be reached", imports=("opensearchpy",)),
    # Files and folders
    search("no such file of Milvus Lite", "milvus:none.db", 6, "no such index",
           imports=("milvus_lite",)),
    search("no such folder of Qdrant Edge", "qdrant:none", 6, "no such index",
           imports=("qdrant_edge",)),
    search("a name that Milvus Lite does not take", "milvus:q.tsv", 2, "ends in .db",
           imports=("milvus_lite",)),
    Row("a file that is none of Milvus Lite", "search milvus:x.db -q q.tsv -o run", 4,
        ("is no file of Milvus Lite",), {**FILES, "x.db": "a text"}, imports=("milvus_lite",)),
    search("a file that is no folder of Qdrant Edge", "qdrant:q.tsv", 4, "holds no shard",
           imports=("qdrant_edge",)),
    Row("a folder that is none of Qdrant Edge", "index docs.jsonl -o qdrant:theirs", 2,
        ("not made by splade-bridge",), {**FILES, "theirs/a.txt": "a"}, imports=("qdrant_edge",)),
    # Flags
    Row("a filter for what is no address", "search i -q q.tsv -o run --filter 'year > 3'", 2,
        ("--filter", "where INDEX is no address"), {"i": made.exact, **FILES}),
    index("an engine beside an address", "qdrant:new", 2, "the address says the engine",
          more=" -e exact"),
    index("fields without a corpus", "qdrant:new", 2, "--fields", "without --with-contents",
          more=" --fields year"),
    index("a field that no document has", "qdrant:new", 4, "no document has a field 'month'",
          more=" --with-contents c.jsonl --fields month"),
    index("a field of lists", "qdrant:new", 4, "c.jsonl:1", "'tags' is a list",
          more=" --with-contents c.jsonl --fields tags"),
    index("a field of several types", "qdrant:new", 4, "c.jsonl:2", "say --fields mixed:TYPE",
          more=" --with-contents c.jsonl --fields mixed"),
    index("a field that is not of the type asked for", "qdrant:new", 4,
          "c.jsonl:3", "'no year', which is not an integer",
          more=" --with-contents c.jsonl --fields year:integer"),
    index("a field that is the text", "qdrant:new", 2, "holds the text already",
          more=" --with-contents c.jsonl --fields text"),
    index("a field that stands twice", "qdrant:new", 2, "year stands twice",
          more=" --with-contents c.jsonl --fields year,year"),
    index("a field with the name of Qdrant's id", "qdrant:new", 4, "a stored field named 'id'",
          more=" --with-contents c.jsonl --fields id", imports=("qdrant_edge",)),
    index("a field with a name that Milvus does not take", "milvus:new.db", 4,
          "a stored field named 'the year'",
          more=" --with-contents c.jsonl --fields 'the year'", imports=("milvus_lite",)),
]  # fmt: skip


# At servers that run


def foreign(server: Server) -> None:
    """An index of somebody else, without vectors."""
    request = urllib.request.Request(
        f"{server.url}/theirs",
        json.dumps({"mappings": {"properties": {"title": {"type": "keyword"}}}}).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        if error.code != 400:  # it is there already
            raise


def foreign_table(server: Server) -> None:
    """A table of somebody else, without vectors."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create table if not exists theirs (id text primary key, title text)")


def at_server(server: str, row: Row, **more: object) -> ServerRow:
    """The same at a server that runs; ``{at}`` in its command is where."""
    return ServerRow(**vars(row), server=server, **more)  # type: ignore[arg-type]


SERVER_ROWS = [
    *(
        at_server(server, row, before=foreign)
        for server, scheme in (
            ("elasticsearch9", "elasticsearch"), ("opensearch3", "opensearch"),
        )
        for row in (
            search(f"{scheme}: no such index", f"{scheme}://{{at}}/none", 6, "no such index"),
            search(f"{scheme}: an index without vectors", f"{scheme}://{{at}}/theirs", 4,
                   "no fields of type"),
            index(f"{scheme}: an index of others as output", f"{scheme}://{{at}}/theirs", 2,
                  "was not made by splade-bridge"),
            index(f"{scheme}: a name that no index may have", f"{scheme}://{{at}}/Capitals", 6,
                  "Capitals", "lowercase"),
            search(f"{scheme}: TLS where there is none", f"{scheme}+https://{{at}}/p", 6,
                   "no connection by TLS"),
            search(f"{scheme}: asked for as PostgreSQL", "postgresql://{at}/db/p", 6,
                   "postgresql://"),
            search(f"{scheme}: a filter that is no JSON", f"{scheme}://{{at}}/theirs", 4,
                   "no fields of type", more=" --filter 'year > 3'"),
        )
    ),
    at_server("elasticsearch9", index("Elasticsearch as OpenSearch", "opensearch://{at}/other", 6,
                                      "rank_features")),
    at_server("opensearch3", index("OpenSearch as Elasticsearch", "elasticsearch://{at}/other", 6,
                                   "sparse_vector")),
    *(
        at_server("postgres", row, before=foreign_table)
        for row in (
            search("no such database", "postgresql://postgres@{at}/none/p", 6, "none",
                   "name a database that is there"),
            search("no such user", "postgresql://nobody@{at}/postgres/p", 6, "nobody",
                   "SPLADE_BRIDGE_USER"),
            search("no such table", "postgresql://postgres@{at}/postgres/none", 6,
                   "no such index"),
            search("a table without vectors", "postgresql://postgres@{at}/postgres/theirs", 4,
                   "no columns of type sparsevec"),
            index("a table of others as output", "postgresql://postgres@{at}/postgres/theirs", 4,
                  "no columns of type sparsevec"),
            search("PostgreSQL asked for as Elasticsearch", "elasticsearch://{at}/p", 6,
                   "elasticsearch://"),
        )
    ),
    *(
        at_server("milvus_server", row)
        for row in (
            search("no such collection", "milvus://{at}/none", 6, "no such index"),
            search("Milvus asked for as Qdrant", "qdrant://{at}/p", 6, "qdrant://"),
        )
    ),
]  # fmt: skip
