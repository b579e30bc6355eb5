"""Elasticsearch and OpenSearch behind an address: loaded, searched, read back, refusing.

The servers are those of tests/servers, the oracle is a product of dense matrices.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest

import command_line
from ranked import as_pairs, brute_force
from servers.kinds import SEARCH_SERVERS as SERVERS
from servers.server import Server
from small import MemorySource, queries_of, random_matrix, shuffled_ids, write_json_lines
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import SourceOptions, open_source, open_vectors
from splade_bridge.conversion.load_index import load_index
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import registry
from splade_bridge.engines.registry import connect, open_index
from splade_bridge.engines.remote.base import RemoteIndex, RemoteOptions
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.engines.remote.rest import inferred, vector_fields
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.feeds.names import Names
from splade_bridge.formats.feeds.weights import as_feature
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import Queries, read_queries
from strategies import AWKWARD_TERMS

pytestmark = pytest.mark.server

NEWEST = ("elasticsearch9", "opensearch3")
"""One of each client, for what is the client's or the loader's and takes long."""
OTHERS_LONG = [
    name if name in NEWEST else pytest.param(name, marks=pytest.mark.long) for name in SERVERS
]
TERMS = [*AWKWARD_TERMS, ".", "%", "a.b", "%2E", "%25", "..", ".x", "x.", "U.S.", "x" * 1000]


class Engine(NamedTuple):
    """A server, and what an index in it is made with."""

    server: Server
    scheme: str
    own: Mapping[str, Any]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer of the server, without a client."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        request = urllib.request.Request(
            f"{self.server.url}{path}", data, {"Content-Type": kind}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def address(self, name: str) -> Address:
        found = place_of(f"{self.scheme}://127.0.0.1:{self.server.port}/{name}")
        assert isinstance(found, Address)
        return found

    @property
    def options(self) -> LoadOptions:
        return LoadOptions(RemoteOptions(own=self.own))

    def load(self, address: Address, source: Callable[[], ImpactSource], **changed: Any) -> None:
        more = {k: changed.pop(k) for k in ("texts", "plan") if k in changed}
        with connect(address) as index:
            load(index, source, replace(self.options, **changed), **more)


@pytest.fixture(params=SERVERS)
def engine(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Engine:
    return engine_of(request.param, server_of)


def engine_of(name: str, server_of: Callable[[str], Server]) -> Engine:
    own = {"query": "neural_sparse"} if name == "opensearch_neural" else {}
    return Engine(server_of(name), SERVERS[name], own)


@pytest.fixture
def address(engine: Engine) -> Address:
    """Of an index that no other test has."""
    return engine.address(f"t{uuid.uuid4().hex}")


def content(source: ImpactSource | WeightSource) -> str:
    for _ in source.batches():
        pass
    return str(source.content)


def rankings(address: Address, queries: Queries, k: int) -> list[list[tuple[str, int]]]:
    with open_index(address) as searcher:
        return [as_pairs(hits) for hits in searcher.search(searcher.aligned(queries), k, threads=2)]


def awkward_ids(n: int) -> list[str]:
    return [*shuffled_ids(n - 4, 1), "i" * 512, "a/b?c#d&e=%2F+", '"\\', "_id"]


def small_source() -> ImpactSource:
    return MemorySource(random_matrix(3, 40, 12, 0.3, 90), shuffled_ids(40, 2), TERMS[:12])


# What is declared


@pytest.mark.parametrize("shards", [None, 3])
def test_awkward_vectors_come_back_and_are_ranked_exactly(
    engine: Engine, address: Address, shards: int | None
) -> None:
    documents = random_matrix(5, 400, len(TERMS), 0.2, 6)  # many equal scores
    documents[documents == 6] = 512
    documents[documents == 5] = 1022  # 9 significant bits
    documents[17] = 0
    asked = random_matrix(6, 30, len(TERMS), 0.3, 300)
    asked[3] = 0
    ids = awkward_ids(len(documents))
    made = RemoteOptions(shards, 0, own=engine.own)
    engine.load(address, lambda: MemorySource(documents, ids, TERMS), made=made, merge=True)
    assert content(open_source(address)) == content(MemorySource(documents, ids, TERMS))
    for k in (1, 10, 400):
        found = rankings(address, queries_of(asked, TERMS), k)
        assert found == [brute_force(documents, ids, query, k) for query in asked]
        assert found[3] == []
    with open_index(address) as searcher:
        term_ids = [searcher.vocabulary.add(term) for term in TERMS]
        for row in (0, 17, 99):
            assert searcher.impacts(ids[row], term_ids) == documents[row].tolist()
        assert searcher.impacts("no such document", term_ids) is None
    with connect(address) as index:
        told = index.told()
        assert told["number_of_shards"] == str(shards or 1)
        with pytest.raises(BadInputError, match="no field 'other'"):
            index.look("other")


def test_what_is_not_declared_is_refused_before_anything_is_sent(
    engine: Engine, address: Address
) -> None:
    good = random_matrix(7, 9, 3, 0.5, 400)
    good[0, 0] = 513
    ids, terms = [f"d{i}" for i in range(9)], ["a", "b", "c"]
    with pytest.raises(BadInputError, match=r"would change 1 of .*\(513 of .* becomes 512"):
        engine.load(address, lambda: MemorySource(good, ids, terms))
    good[0, 0] = 514
    with pytest.raises(BadInputError, match="an id of 513 bytes"):
        engine.load(address, lambda: MemorySource(good, ["ü" * 256 + "x", *ids[1:]], terms))
    with connect(address) as index:
        assert index.exists() and index.count() == 0
    terms = ["a" * 32_766, "b", "c"]
    with contextlib.suppress(UsageError), connect(address) as index:
        index.drop()
    engine.load(address, lambda: MemorySource(good, ids, terms))
    assert content(open_source(address)) == content(MemorySource(good, ids, terms))
    with pytest.raises(BadInputError, match="32,767 bytes"):
        source = MemorySource(good, ids, ["a" * 32_767, "b", "c"])
        engine.load(engine.address(f"{address.name}-2"), lambda: source)


def test_a_loss_that_is_allowed_is_counted(engine: Engine, address: Address) -> None:
    documents = np.array([[513, 2], [1023, 0]])
    engine.load(address, lambda: MemorySource(documents, ["a", "b"], ["x", "y"]), allow_loss=True)
    with open_index(address) as searcher:
        assert searcher.manifest is not None
        assert searcher.manifest.options["weights_changed"] == 2
    found = rankings(address, queries_of(np.array([[1, 0]]), ["x", "y"]), 10)
    assert found == [[("b", 1022), ("a", 512)]]


@pytest.mark.parametrize("engine", OTHERS_LONG, indirect=True)
def test_ties_go_on_beyond_what_one_request_gives(engine: Engine, address: Address) -> None:
    n = 12_000
    documents = np.ones((n, 1), dtype=np.int64)
    documents[:1000] = 2
    ids = [f"d{i:05}" for i in np.random.default_rng(1).permutation(n)]
    engine.load(address, lambda: MemorySource(documents, ids, ["."]))
    (query,) = asked = np.array([[3]])
    for k in (20, 1500, 10_500):
        found = rankings(address, queries_of(asked, ["."]), k)
        assert found == [brute_force(documents, ids, query, k)]


def test_many_terms_in_a_query(engine: Engine, address: Address) -> None:
    terms = [f"t{i}" for i in range(1100)]
    documents = random_matrix(8, 20, 1100, 0.5, 100)
    ids = [f"d{i}" for i in range(20)]
    engine.load(address, lambda: MemorySource(documents, ids, terms))
    asked = np.ones((1, 1100), dtype=np.int64)
    asked[0, 1000:] = 0
    expected = [brute_force(documents, ids, asked[0], 5)]
    assert rankings(address, queries_of(asked, terms), 5) == expected
    asked[:] = 1
    if engine.scheme == "elasticsearch":
        expected = [brute_force(documents, ids, asked[0], 5)]
        assert rankings(address, queries_of(asked, terms), 5) == expected
    else:
        with pytest.raises(ServerError, match=r"1,100 terms, .* 1,024 clauses: PUT /_cl"):
            rankings(address, queries_of(asked, terms), 5)


# Loading


def test_the_same_load_is_already_there_and_another_is_refused(
    engine: Engine, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    engine.load(address, small_source)
    with caplog.at_level(logging.INFO, "splade_bridge"):
        engine.load(address, small_source)
    assert "already there" in caplog.text
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        engine.load(address, small_source, plan={"source": "another"})
    half = engine.address(f"{address.name}-half")
    with connect(half) as index, pytest.raises(ZeroDivisionError):
        load(index, interrupted(fail), engine.options)
    with pytest.raises(BadInputError, match="give the command that began it"):
        open_index(half)
    with pytest.raises(MismatchError, match="is being loaded"):
        engine.load(half, small_source, plan={"source": "another"})
    engine.load(half, small_source, plan={"source": "another"}, overwrite=True)
    assert content(open_source(half)) == content(small_source())
    if engine.scheme == "opensearch" and engine.own:
        with pytest.raises(UsageError, match="is there already"), connect(address) as index:
            load(index, small_source, LoadOptions())


def test_a_document_that_fails_is_named_and_its_neighbours_are_stored(
    engine: Engine, address: Address
) -> None:
    bad = small_source_ids()[7]

    def texts(ids: Sequence[str]) -> list[dict[str, str]]:
        return [{"unknown": "x"} if doc_id == bad else {} for doc_id in ids]

    with pytest.raises(BadInputError, match=rf"refuses document '{bad}': strict_dynamic_mapping"):
        engine.load(address, small_source, texts=texts)
    engine.ask("POST", f"/{address.name}/_refresh")
    assert engine.ask("GET", f"/{address.name}/_count")["count"] == 39
    engine.load(address, small_source)
    assert content(open_source(address)) == content(small_source())


def small_source_ids() -> list[str]:
    return shuffled_ids(40, 2)


def test_a_document_that_is_sent_again_is_replaced_whole(engine: Engine, address: Address) -> None:
    terms = ["a", "b"]
    engine.load(address, lambda: MemorySource(np.array([[1, 2], [3, 0]]), ["x", "y"], terms))
    with connect(address) as index:
        source = MemorySource(np.array([[0, 5]]), ["x"], terms)
        batch = next(iter(source.batches()))
        names = Names(source.vocabulary, index.naming)
        index.write([item for item, _ in index.items(batch, names, None)])
        index.finish(merge=False)
        (row,) = index.get(["x"])
        assert (list(row.names), list(row.weights)) == (["b"], [5])
        assert index.delete(["y", "no such"]) == 1
        assert index.count() == 1


def test_an_alias_is_switched_when_the_index_is_whole_and_not_before(
    engine: Engine, address: Address
) -> None:
    alias = f"{address.name}-alias"
    second, third = (engine.address(f"{address.name}-{i}") for i in (2, 3))
    engine.load(address, small_source, alias=alias)
    assert content(open_source(engine.address(alias))) == content(small_source())
    with connect(second) as index, pytest.raises(ZeroDivisionError):
        options = replace(engine.options, alias=alias, drop_old=True)
        load(index, interrupted(fail), options)
    with connect(address) as index:
        assert index.aliased(alias) == address.name
    engine.load(second, interrupted(), alias=alias)
    with connect(second) as index:
        assert index.aliased(alias) == second.name
    engine.load(third, small_source, alias=alias, drop_old=True)
    with connect(second) as index:
        assert not index.exists()
    with connect(address) as index:
        assert index.exists() and index.aliased(alias) == third.name
        assert index.aliased("no-such-alias") is None
    fourth = engine.address(f"{address.name}-4")
    with pytest.raises(BadInputError, match="is an index, and no alias"):
        engine.load(fourth, small_source, alias=address.name)
    with connect(fourth) as index:
        assert not index.exists()


def test_an_alias_is_switched_while_other_indexes_go(engine: Engine, address: Address) -> None:
    """The server finds all indexes first, and then lacks one of them: three times of 150 here."""
    alias = f"{address.name}-alias"
    engine.load(address, small_source)
    switched = threading.Event()
    gone: list[str] = []

    def others() -> None:
        while not switched.is_set():
            name = f"{address.name}-{len(gone)}"
            engine.ask("PUT", f"/{name}", {})
            engine.ask("DELETE", f"/{name}")
            gone.append(name)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        with connect(address) as index:
            for _ in range(150):
                patiently(partial(index.point, alias))
            assert index.aliased(alias) == address.name
    finally:
        switched.set()
        thread.join()
    assert gone
    with connect(engine.address(gone[0])) as index, pytest.raises(ServerError, match="no such"):
        index.point(alias)


def interrupted(event: Callable[[], object] = lambda: None) -> Callable[[], ImpactSource]:
    """Gives 2,000 documents; ``event`` happens before the last 800 of the first source.

    That one is loaded; one that is opened later looks weights through before.
    """
    events = iter([event])
    matrix = random_matrix(9, 2000, 60, 0.4, 300)
    terms = [f"t{i}" for i in range(60)]
    ids = [f"d{i}" for i in range(2000)]
    return lambda: Interrupted(matrix, ids, terms, next(events, lambda: None))


class Interrupted(MemorySource):
    """Something happens in the middle."""

    def __init__(self, matrix: Any, ids: Any, terms: Any, event: Callable[[], object]) -> None:
        super().__init__(matrix, ids, terms)
        self._event = event

    def _read(self) -> Iterator[ImpactBatch]:
        seen = 0
        for batch in super()._read():
            if seen <= 1200 < seen + len(batch):
                self._event()
            seen += len(batch)
            yield batch


def fail() -> None:
    raise ZeroDivisionError


def test_an_index_that_may_not_be_written_is_told(engine: Engine, address: Address) -> None:
    def block(on: bool | None) -> None:
        body = {"index.blocks.read_only_allow_delete": on}
        engine.ask("PUT", f"/{address.name}/_settings", body)

    with pytest.raises(ServerError, match=r"does not let anything be written .*disk"):
        engine.load(address, interrupted(lambda: block(True)))
    block(None)
    engine.load(address, interrupted())
    assert content(open_source(address)) == content(interrupted()())


@pytest.mark.parametrize("engine", NEWEST, indirect=True)
@pytest.mark.server(alone=True)
def test_a_server_that_dies_and_comes_back_in_the_middle(engine: Engine, address: Address) -> None:
    def die() -> None:
        engine.server.kill()
        threading.Timer(1, engine.server.start).start()

    engine.load(address, interrupted(die))
    assert content(open_source(address)) == content(interrupted()())


KILLS = 2


@pytest.mark.parametrize("engine", NEWEST, indirect=True)
def test_a_load_that_is_killed_goes_on(engine: Engine, address: Address, tmp_path: Path) -> None:
    matrix = random_matrix(10, 2000, 400, 0.5, 300)
    ids = [f"d{i}" for i in range(2000)]
    records = (
        {"id": doc_id, "vector": {f"t{t}": int(row[t]) for t in np.flatnonzero(row)}}
        for doc_id, row in zip(ids, matrix, strict=True)
    )
    docs = write_json_lines(tmp_path / "docs.jsonl", records)
    own = ["--opensearch-query", engine.own["query"]] if engine.own else []
    command = [sys.executable, "-m", "splade_bridge", "index", docs, "-o", address, *own]
    for kill in range(KILLS):
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE)
        while process.poll() is None and written(engine, address.name) <= 900 * kill:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        _, told = process.communicate()
        assert process.returncode == -signal.SIGKILL, told
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2,000 documents" in done.stderr
    assert content(open_source(address)) == content(JsonVectorSource(docs))
    with connect(address) as index:
        assert index.count() == 2000


def written(engine: Engine, name: str) -> int:
    """Documents that the server has taken, found or not; -1 without an index."""
    try:
        told = engine.ask("GET", f"/{name}/_stats/indexing")
    except urllib.error.HTTPError:
        return -1
    return int(told["_all"]["primaries"].get("indexing", {}).get("index_total", -1))


# What is wrong with an address


def test_no_server_no_index_no_field(
    engine: Engine,
    address: Address,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    queries = tmp_path / "queries.tsv"
    queries.write_text('q1\t{"a": 1}\n')
    search = ("-q", queries, "-o", tmp_path / "run")
    monkeypatch.setattr(registry, "FIRST_ANSWER", 0.5)
    status, _, told = command_line.run(capfd, "search", f"{engine.scheme}://127.0.0.1:1/x", *search)
    assert status == 6 and "cannot be reached" in told and "does it run there?" in told
    status, _, told = command_line.run(capfd, "search", address, *search)
    assert status == 6 and "no such index" in told
    secure = str(address).replace("://", "+https://")
    status, _, told = command_line.run(capfd, "search", secure, *search)
    assert status == 6 and "no connection by TLS" in told
    engine.ask("PUT", f"/{address.name}", {"mappings": {"properties": {"a": {"type": "keyword"}}}})
    status, _, told = command_line.run(capfd, "search", address, *search)
    assert status == 4 and "no fields of type" in told
    docs = write_json_lines(tmp_path / "docs.jsonl", [{"id": "a", "vector": {"b": 1}}])
    status, _, told = command_line.run(capfd, "index", docs, "-o", address)
    assert status == 2 and "was not made by splade-bridge" in told
    assert not (tmp_path / "run").exists()


PASSWORD, KEY = "pass word/ü", "c2VjcmV0OmtleQ=="


@contextlib.contextmanager
def guarded(server: Server, folder: Path, *, tls: bool = False) -> Iterator[tuple[int, Path]]:
    """A proxy before a server that lets those in who say the password or the key; its port."""
    login = b64encode(f"indexer:{PASSWORD}".encode()).decode()
    allowed = {f"Basic {login}", f"ApiKey {KEY}"}
    upstream = urlsplit(server.url)

    class Guard(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") not in allowed:
                status, kind, answer = 401, "application/json", b'{"error":"not you"}'
            else:
                ahead = http.client.HTTPConnection(str(upstream.hostname), upstream.port)
                kept = {k: v for k, v in self.headers.items() if k.lower() in KEPT}
                ahead.request(self.command, self.path, body, kept)
                came = ahead.getresponse()
                status, kind, answer = came.status, came.headers["Content-Type"], came.read()
                ahead.close()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    certificate = folder / "certificate.pem"
    if tls:
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-keyout", folder / "key.pem", "-out", certificate],
            capture_output=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, folder / "key.pem")
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield proxy.server_port, certificate
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


KEPT = ("content-type", "accept")


@pytest.mark.parametrize("engine", NEWEST, indirect=True)
@pytest.mark.parametrize("tls", [False, True])
def test_rights_and_certificates(
    engine: Engine,
    address: Address,
    tls: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("USER", "PASSWORD", "API_KEY", "CA", "SECRETS"):
        monkeypatch.delenv(f"SPLADE_BRIDGE_{name}", raising=False)
    monkeypatch.setattr(registry, "FIRST_ANSWER", 0.5)
    caplog.set_level(logging.DEBUG)
    errors: list[str] = []
    with guarded(engine.server, tmp_path, tls=tls) as (port, certificate):
        scheme = f"{engine.scheme}+https" if tls else engine.scheme
        behind = place_of(f"{scheme}://127.0.0.1:{port}/{address.name}")
        assert isinstance(behind, Address)
        if tls:
            with pytest.raises(ServerError, match="no connection by TLS") as failed:
                connect(behind)
            errors.append(str(failed.value))
            monkeypatch.setenv("SPLADE_BRIDGE_CA", str(certificate))
        with pytest.raises(ServerError, match=r"does not let us .*SPLADE_BRIDGE_USER") as failed:
            connect(behind)
        errors.append(str(failed.value))
        monkeypatch.setenv("SPLADE_BRIDGE_USER", "indexer")
        monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", PASSWORD + "x")
        with pytest.raises(ServerError, match="does not let us") as failed:
            connect(behind)
        errors.append(str(failed.value))
        monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", PASSWORD)
        engine.load(behind, small_source)
        assert content(open_source(behind)) == content(small_source())
        with open_index(behind) as searcher:
            assert searcher.manifest is not None
            kept = str(searcher.manifest) + json.dumps(engine.ask("GET", f"/{address.name}"))
        monkeypatch.delenv("SPLADE_BRIDGE_PASSWORD")
        monkeypatch.setenv("SPLADE_BRIDGE_API_KEY", KEY)
        if engine.scheme == "elasticsearch":
            assert content(open_source(behind)) == content(small_source())
        else:
            with pytest.raises(UsageError, match="OpenSearch takes no API key") as refused:
                connect(behind)
            errors.append(str(refused.value))
    for said in (*errors, kept, caplog.text):
        assert PASSWORD not in said and KEY not in said
        assert b64encode(f"indexer:{PASSWORD}".encode()).decode() not in said


# Indexes that others made

FLOATS = {
    "d1": {"a": 0.5, "b": 1.2345678, "##c": 2.75},
    "d2": {"a": 3.25},
    "d3": {},
    "d4": {"z": 0.0001234},
}


def put(engine: Engine, name: str, made: Mapping[str, Any], documents: Mapping[str, Any]) -> None:
    """An index as others make it."""
    engine.ask("PUT", f"/{name}", made)
    lines = []
    for doc_id, source in documents.items():
        lines += [json.dumps({"index": {"_id": doc_id}}), json.dumps(source)]
    answer = engine.ask("POST", f"/{name}/_bulk?refresh=true", "\n".join([*lines, ""]).encode())
    assert not answer["errors"], answer


def field_type(engine: Engine) -> dict[str, str]:
    return {"type": "rank_features" if engine.scheme == "opensearch" else "sparse_vector"}


def keeping(engine: Engine) -> dict[str, Any]:
    """What makes Elasticsearch 9 keep vectors in _source."""
    if engine.server.name != "elasticsearch9":
        return {}
    return {"settings": {"index.mapping.exclude_source_vectors": False}}


def weights_of(source: ImpactSource | WeightSource) -> dict[str, dict[str, float]]:
    assert isinstance(source, WeightSource)
    found: dict[str, dict[str, float]] = {}
    for batch in source.batches():
        assert isinstance(batch, SparseBatch)
        for row, doc_id in enumerate(batch.ids):
            cells = slice(batch.indptr[row], batch.indptr[row + 1])
            terms = (source.vocabulary[t] for t in batch.indices[cells].tolist())
            found[doc_id] = dict(zip(terms, batch.weights[cells].tolist(), strict=True))
    return found


def singles(documents: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The same in float32."""
    return {
        doc_id: {term: float(np.float32(weight)) for term, weight in vector.items()}
        for doc_id, vector in documents.items()
    }


def test_float_weights_of_others_come_out_as_weights(
    engine: Engine, address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = {
        **keeping(engine),
        "mappings": {"properties": {"ml": {"properties": {"tokens": field_type(engine)}}}},
    }
    documents = {doc_id: {"ml": {"tokens": vector}} for doc_id, vector in FLOATS.items()}
    documents["d5"] = {"title": "without a vector"}  # type: ignore[dict-item]
    put(engine, address.name, made, documents)
    expected = {**singles(FLOATS), "d5": {}}
    assert weights_of(open_vectors(address, weights=True)) == expected
    with pytest.raises(BadInputError, match="holds float weights; give --scale"):
        open_source(address)
    status, _, told = command_line.run(
        capfd, "convert", address, tmp_path / "out", "--to", "vectors"
    )
    assert status == 0, told
    assert weights_of(open_vectors(tmp_path / "out", weights=True)) == expected
    found = rankings(address, queries_of(np.array([[4, 0], [0, 3]]), ["a", "##c"]), 10)
    assert found == [[("d2", 13), ("d1", 2)], [("d1", 8.25)]]


def test_chunks_of_nested_fields_are_passages(
    engine: Engine, address: Address, tmp_path: Path
) -> None:
    """As ``semantic_text`` keeps them, and OpenSearch's chunking processors."""
    chunks = {"type": "nested", "properties": {"embeddings": field_type(engine)}}
    made = {
        **keeping(engine),
        "mappings": {
            "properties": {
                "text": {"properties": {"inference": {"properties": {"chunks": chunks}}}},
                "title_tokens": field_type(engine),
            }
        },
    }
    documents = {
        "one": [{"a": 0.5, "b": 2.5}, {"a": 3.5}],
        "two": [{"b": 1.5}],
        "none": [],
    }
    put(
        engine, address.name, made,
        {
            doc_id: {
                "text": {"inference": {"chunks": [{"embeddings": v} for v in vectors]}},
                "title_tokens": {"t": 1},
            }
            for doc_id, vectors in documents.items()
        },
    )  # fmt: skip
    field = "text.inference.chunks.embeddings"
    with pytest.raises(BadInputError, match=rf"2 fields .*{field}, title_tokens: say --field NAME"):
        open_source(address)
    with pytest.raises(BadInputError, match="no field 'other'"):
        open_source(address, SourceOptions(field="other"))
    assert weights_of(open_vectors(address, SourceOptions(field=field), weights=True)) == {
        "one#0": {"a": 0.5, "b": 2.5}, "one#1": {"a": 3.5}, "two#0": {"b": 1.5}, "none": {},
    }  # fmt: skip
    titles = open_source(address, SourceOptions(field="title_tokens"))
    assert content(titles) and titles.counts.documents == 3
    with open_index(address, Asking(field)) as searcher:
        queries = searcher.aligned(queries_of(np.array([[2, 2]]), ["a", "b"]))
        (hits,) = searcher.search(queries, 10)
        assert as_pairs(hits) == [("one", 7), ("two", 3)]  # of the best chunk
        assert isinstance(index := getattr(searcher, "index"), RemoteIndex)  # noqa: B009
        assert [list(row.weights) for row in index.get(["one#1"])] == [[3.5]]


@pytest.mark.parametrize("server_name", ["opensearch3"])
def test_documents_on_their_way_take_little_memory(
    server_name: str, server_of: Callable[[str], Server]
) -> None:
    """400,000 numbers as JSON: each lay in 4 KB of memory as long as it was kept."""
    address = engine_of(server_name, server_of).address(f"t{uuid.uuid4().hex}")
    rows, terms = 2048, 200
    indptr = np.arange(rows + 1, dtype=np.int64) * terms
    indices = np.tile(np.arange(terms, dtype=np.int32), rows)
    impacts = np.random.default_rng(0).integers(1, 500, rows * terms, dtype=np.int32)
    batch = ImpactBatch([f"d{i}" for i in range(rows)], indptr, indices, impacts)
    vocabulary = Vocabulary(f"t{i}" for i in range(terms))
    with connect(address) as index:
        before, most = private_memory(), 0
        for number, _ in enumerate(index.items(batch, Names(vocabulary, index.naming), None)):
            if number % 100 == 0:
                most = max(most, private_memory())
    assert most - before < 200 << 20


def private_memory() -> int:
    """Bytes that are this process's own."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10


def test_impacts_that_a_vector_store_holds_are_looked_at(address: Address, tmp_path: Path) -> None:
    """Its manifest counts weights, and does not know the largest impact."""
    lines = '{"id": "a", "vector": {"x": 513, "y": 512}}\n'
    (tmp_path / "docs.jsonl").write_text(lines)
    convert(tmp_path / "docs.jsonl", tmp_path / "store", "vectors")
    with pytest.raises(BadInputError, match="would change 1 of 2"):
        load_index(tmp_path / "store", address)
    with connect(address) as index:
        assert not index.exists()


@pytest.mark.parametrize("layout", ["older", "newer"])
def test_both_layouts_of_semantic_text_are_read(
    engine: Engine, address: Address, layout: str
) -> None:
    """No server here has the field type; documents and mapping are as its reference shows them.

    What is in ``_inference_fields`` is kept here as any other object is, beside chunks that are
    mapped as the field type maps them.
    """
    if engine.scheme != "elasticsearch":
        pytest.skip("semantic_text is Elasticsearch's")
    chunks = {"type": "nested", "properties": {"embeddings": field_type(engine)}}
    made = {
        **keeping(engine),
        "mappings": {
            "properties": {
                "a.text": {"properties": {"inference": {"properties": {"chunks": chunks}}}},
                "_inference_fields": {"type": "object", "enabled": False},
            }
        },
    }
    vectors = {
        "one": {"a.text": [{"a": 0.5, "b": 2.5}, {"a": 3.5}], "title": [{"t": 1.5}]},
        "two": {"a.text": [{"b": 1.5}]},
        "none": {},
    }

    def document(of: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
        cells = {
            name: [{"start_offset": 0, "end_offset": 9, "embeddings": v} for v in several]
            for name, several in of.items()
        }
        if layout == "older":
            flat = [cell for several in cells.values() for cell in several]
            return {"a": {"text": {"text": "...", "inference": {"chunks": flat}}}}
        told = {"inference_id": "x", "model_settings": {}, "chunks": cells}
        return {"_inference_fields": {"a.text": {"inference": told}} if cells else {}}

    put(engine, address.name, made, {i: document(v) for i, v in vectors.items()})
    expected = {
        "one#0": {"a": 0.5, "b": 2.5}, "one#1": {"a": 3.5}, "one#2": {"t": 1.5},
        "two#0": {"b": 1.5}, "none": {},
    }  # fmt: skip
    assert weights_of(open_vectors(address, weights=True)) == expected
    with open_index(address) as searcher:
        assert isinstance(index := getattr(searcher, "index"), RemoteIndex)  # noqa: B009
        assert [list(row.weights) for row in index.get(["one#1", "two#0"])] == [[3.5], [1.5]]


def test_a_mapping_of_semantic_text_names_its_chunks() -> None:
    """Of a sparse model; one of a dense model has no such vectors."""
    properties = {
        "text": {"type": "semantic_text", "model_settings": {"task_type": "sparse_embedding"}},
        "other": {"type": "semantic_text", "model_settings": {"task_type": "text_embedding"}},
        "fresh": {"type": "semantic_text", "inference_id": "x"},
    }
    (found,) = vector_fields(properties, ["sparse_vector"])
    assert found[:2] == ("text.inference.chunks.embeddings", "text.inference.chunks")
    chunks = {"t": [{"embeddings": {"a": 1}}], "u": [{"embeddings": {"b": 2}}]}
    source = {"_inference_fields": {"text": {"inference": {"chunks": chunks}}}}
    assert list(inferred(source, found.path)) == [{"a": 1}, {"b": 2}]
    assert list(inferred({"text": "a"}, found.path)) == []


@pytest.mark.parametrize("server_name", ["opensearch2", "opensearch3", "opensearch_neural"])
def test_plain_tokens_of_others_are_found_or_said_not_to_be(
    server_name: str, server_of: Callable[[str], Server]
) -> None:
    engine = engine_of(server_name, server_of)
    address = engine.address(f"t{uuid.uuid4().hex}")
    made = {"mappings": {"properties": {"v": {"type": "rank_features"}}}}
    put(engine, address.name, made, {"d": {"v": {"a": 2, ".": 3, "x": None}}, "e": {"v": {"a": 1}}})
    source = open_source(address)
    assert content(source) and sorted(source.vocabulary.terms) == [".", "a"]
    assert rankings(address, queries_of(np.array([[2]]), ["a"]), 9) == [[("d", 4), ("e", 2)]]
    dotted = queries_of(np.array([[100, 1]]), [".", "a"])
    if server_name == "opensearch_neural":
        assert rankings(address, dotted, 9) == [[("d", 302), ("e", 1)]]
    else:
        with pytest.raises(BadInputError, match="hold dots"):
            rankings(address, dotted, 9)
        with connect(engine.address(f"{address.name}-2")) as index:
            options = LoadOptions(RemoteOptions(own={"query": "neural_sparse"}))
            with pytest.raises(ServerError, match="has no plugin neural-search"):
                load(index, small_source, options)
            assert not index.exists()


def test_vectors_that_source_leaves_out(
    engine: Engine, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    properties = {"v": field_type(engine)}
    documents = {doc_id: {"v": vector} for doc_id, vector in FLOATS.items() if vector}
    if engine.server.name == "elasticsearch9":
        put(engine, address.name, {"mappings": {"properties": properties}}, documents)
        found = weights_of(open_vectors(address, weights=True))
        assert found == {
            doc_id: {t: float(as_feature(np.float32([w]))[0]) for t, w in vector.items()}
            for doc_id, vector in FLOATS.items()
            if vector
        }
        assert "9 significant bits of what was stored" in caplog.text
    for number, left in enumerate([{"excludes": ["v"]}, {"excludes": ["*"]}, {"includes": ["x"]}]):
        other = engine.address(f"{address.name}-{number}")
        made = {"mappings": {"_source": left, "properties": properties}}
        try:
            put(engine, other.name, made, documents)
        except urllib.error.HTTPError as error:
            assert engine.scheme == "elasticsearch", error.read()
            continue
        with pytest.raises(BadInputError, match="leaves the field 'v' out of _source"):
            open_source(other)
        assert rankings(other, queries_of(np.array([[4]]), ["a"]), 1) == [[("d2", 13)]]


# Real vectors


@pytest.fixture(scope="session")
def nfcorpus(shared: Path) -> Path:
    return shared / "splade-v3-nfcorpus"


@pytest.fixture(scope="session")
def exact(nfcorpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elastic") / "exact"
    registry.engine("exact").build(open_source(nfcorpus / "docs.jsonl.gz"), folder)
    return folder


@pytest.mark.parametrize("engine", OTHERS_LONG, indirect=True)
@pytest.mark.shared
def test_nfcorpus(
    engine: Engine, address: Address, nfcorpus: Path, exact: Path, tmp_path: Path
) -> None:
    from splade_bridge.evaluation.evaluate import evaluate
    from splade_bridge.evaluation.qrels import read_qrels
    from splade_bridge.evaluation.verify import verify
    from splade_bridge.retrieval.runs import read_run
    from splade_bridge.retrieval.search import SearchOptions, search_to_run

    docs = nfcorpus / "docs.jsonl.gz"
    engine.load(address, lambda: open_source(docs))
    assert content(open_source(address)) == content(open_source(docs))
    queries = read_queries(nfcorpus / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(exact) as ours, open_index(address) as theirs:
        compared = verify([ours, theirs], queries, 1000)
        assert compared.equal and compared.queries == 323 and compared.results > 300_000
    options = SearchOptions(k=100, remove_query=True)
    search_to_run(address, queries, tmp_path / "run", options)
    found = evaluate(
        read_qrels(nfcorpus / "qrels.nfcorpus.test.trec"),
        read_run(tmp_path / "run"),
        ("ndcg_cut_10",),
        missing="skip",
    )
    assert round(found.means["ndcg_cut_10"], 4) == 0.3624
    assert os.environ.get("SPLADE_BRIDGE_PASSWORD") is None
