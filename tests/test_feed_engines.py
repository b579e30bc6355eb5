"""Feeds in the engines themselves: loaded by the commands of load.md, searched, and read back.

Elasticsearch and OpenSearch are those of tests/servers; $SPLADE_BRIDGE_ELASTICSEARCH,
$SPLADE_BRIDGE_OPENSEARCH and $SPLADE_BRIDGE_NEURAL_SPARSE (an OpenSearch with the plugin
neural-search) name others, as http://127.0.0.1:9200. Vespa's own parser reads its feed:
$SPLADE_BRIDGE_VESPALIB is a class path with com.yahoo.vespa:vespajlib, guava and jackson-databind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from servers.server import Server
from small import MemorySource, random_matrix
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vector_set import VectorsInMemory
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.base import ImpactSource, StoreWeights
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.source import FeedFiles
from splade_bridge.formats.feeds.write import write_feed
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.formats.records import RecordImpacts, RecordWeights
from strategies import AWKWARD_TERMS, as_dictionaries

pytestmark = pytest.mark.server

K = 100
INDEX = f"feed_test_{os.getpid()}"  # processes of a run share servers
SERVERS: dict[str, tuple[FeedTarget, str]] = {
    "elasticsearch8": ("elasticsearch", "ELASTICSEARCH"),
    "elasticsearch9": ("elasticsearch", "ELASTICSEARCH"),
    "opensearch2": ("opensearch", "OPENSEARCH"),
    "opensearch3": ("opensearch", "OPENSEARCH"),
    "opensearch_neural": ("opensearch-neural-sparse", "NEURAL_SPARSE"),
}


class World(NamedTuple):
    """Documents, queries, and the scores that all queries must give, int64[queries, documents]."""

    open: Callable[[], ImpactSource]
    queries: Queries
    ids: list[str]
    scores: np.ndarray


def awkward() -> World:
    terms = [*AWKWARD_TERMS, ".", "%", "a.b", "%2E", "%25", "..", "cells", "values", "x" * 300]
    documents = random_matrix(3, 120, len(terms), 0.2, 400)
    asked = random_matrix(4, 30, len(terms), 0.2, 300)
    ids = [f"d/{i}'é" for i in range(len(documents))]
    rows, columns = np.nonzero(asked)
    batch = ImpactBatch(
        [f"q{i}" for i in range(len(asked))],
        np.searchsorted(rows, np.arange(len(asked) + 1)).astype(np.int64),
        columns.astype(np.int32),
        asked[rows, columns].astype(np.int32),
    )
    queries = Queries(Path("queries"), batch, Vocabulary(terms))
    return World(lambda: MemorySource(documents, ids, terms), queries, ids, asked @ documents.T)


def nfcorpus(folder: Path) -> World:
    from scipy import sparse

    def opened() -> ImpactSource:
        return JsonVectorSource(folder / "docs.jsonl.gz")

    source = opened()
    read = ImpactBatch.concat(source.batches())
    queries = read_queries(folder / "topics.nfcorpus.test.splade-v3.tsv.gz")
    asked = queries.aligned(source.vocabulary, folder)
    one, other = (
        sparse.csr_array(
            (b.impacts.astype(np.int64), b.indices, b.indptr), (len(b), len(source.vocabulary))
        )
        for b in (asked, read)
    )
    return World(opened, queries, read.ids, (one @ other.T).toarray())


@pytest.fixture(params=["awkward", pytest.param("nfcorpus", marks=pytest.mark.shared)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "awkward":
        return awkward()
    return nfcorpus(request.getfixturevalue("shared") / "splade-v3-nfcorpus")


def made(world: World, folder: Path, target: FeedTarget, **more: Any) -> Manifest:
    folder.mkdir()
    source = world.open()
    _, account = write_feed(target, source, folder, queries=world.queries, k=K, index=INDEX, **more)
    return source.described("feed", options=account.options()).save(folder)


def block(folder: Path, language: str) -> str:
    """The commands of load.md."""
    found = re.search(rf"```{language}\n(.*?)```", (folder / "load.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def check(world: World, answers: dict[str, list[tuple[str, float]]], factor: int = 1) -> None:
    """Every score is exact, and the best ``K`` are found; equal scores may come in any order."""
    number = {doc_id: i for i, doc_id in enumerate(world.ids)}
    for query, scores in zip(world.queries.batch.ids, world.scores, strict=True):
        found = answers[query]
        assert [score * factor for _, score in found] == [scores[number[d]] for d, _ in found]
        best = np.sort(scores)[::-1][:K]
        assert [score * factor for _, score in found] == best[best > 0].tolist()


def content_of(rows: list[dict[str, Any]], folder: Path, read: Path, target: FeedTarget) -> str:
    """The hash of what an engine gave back, read as a feed."""
    read.mkdir()
    (read / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(folder / "vocabulary.json", read)
    source = RecordImpacts(FeedFiles(read / "rows.jsonl", target=target))
    for _ in source.batches():
        pass
    return str(source.content)


# Elasticsearch and OpenSearch


def ask(url: str, body: object = None, method: str | None = None) -> Any:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, server_of: Callable[[str], Server]
) -> Iterator[tuple[FeedTarget, str]]:
    target, variable = SERVERS[request.param]
    url = os.environ.get(f"SPLADE_BRIDGE_{variable}") or server_of(request.param).url
    yield target, url
    try:
        ask(f"{url}/{INDEX}", method="DELETE")
    except urllib.error.HTTPError:
        pass


@pytest.mark.parametrize("gz", [False, True])
def test_a_search_server(
    world: World,
    server: tuple[FeedTarget, str],
    tmp_path: Path,
    gz: bool,
    request: pytest.FixtureRequest,
) -> None:
    target, url = server
    folder = tmp_path / "feed"
    manifest = made(world, folder, target, gzip=gz, part_bytes=1 << 20)
    commands = block(folder, "sh").replace("http://localhost:9200", url)
    for _ in range(2):  # the second time as after a stopped load: everything is there already
        done = subprocess.run(["bash", "-c", commands], cwd=folder, capture_output=True, text=True)
        commands = commands.replace(commands[commands.index("curl") : commands.index("for")], "")
        assert done.returncode == 0, done.stderr
        assert f'"count":{manifest.counts.documents}' in done.stdout
    answers = {}
    for line in (folder / "queries.ndjson").read_text().rstrip("\n").split("\n"):
        query = json.loads(line)
        found = ask(f"{url}/{INDEX}/_search", query["body"])["hits"]["hits"]
        answers[query["id"]] = [(hit["_id"], hit["_score"]) for hit in found]
    halved = manifest.options["queries"]["halved"]
    check(world, answers, 1 << halved)
    everything: dict[str, object] = {"size": 10_000}
    if "elasticsearch9" in request.node.callspec.id:  # it leaves vectors out of _source
        everything["_source"] = {"exclude_vectors": False}
    hits = ask(f"{url}/{INDEX}/_search", everything)["hits"]["hits"]
    assert content_of(hits, folder, tmp_path / "read", target) == manifest.content


# Milvus and Qdrant Edge, asked from a process of their own


def run(package: str, code: str, folder: Path) -> dict[str, Any]:
    """Run ``code``, which needs ``package`` and leaves its findings in ``found``."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    code += "\nimport json\njson.dump(found, open('found.json', 'w'))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


IN_MILVUS = f"""
found = {{"answers": {{}}}}
for line in open("queries.ndjson", encoding="utf-8"):
    query = json.loads(line)
    body = query["body"]
    vector = body["data"][0]
    vector = dict(zip(vector["indices"], map(float, vector["values"])))
    hits = client.search(
        body["collectionName"], [vector], limit=body["limit"], anns_field=body["annsField"],
        output_fields=body["outputFields"], consistency_level="Strong",
        search_params={{"metric_type": body["searchParams"]["metricType"]}},
    )[0] if vector else []
    found["answers"][query["id"]] = [[hit["entity"]["id"], hit["distance"]] for hit in hits]
rows, walk = [], client.query_iterator({INDEX!r}, batch_size=500, output_fields=["id", "vector"])
while block := walk.next():
    for row in block:
        values = dict(row["vector"])
        row["vector"] = {{"indices": [int(i) for i in values],
                         "values": [int(v) for v in values.values()]}}
        rows.append({{"id": row["id"], "vector": row["vector"]}})
found["rows"] = rows
client.drop_collection({INDEX!r})
"""


@pytest.mark.parametrize("gz", [False, True])
def test_milvus(world: World, milvus_server: Server, tmp_path: Path, gz: bool) -> None:
    folder = tmp_path / "feed"
    manifest = made(world, folder, "milvus", gzip=gz, part_bytes=1 << 20)
    code = block(folder, "python").replace("http://localhost:19530", milvus_server.url)
    if any("'" in doc_id for doc_id in world.ids):
        code = code.replace("client.upsert(", "client.insert(")
    found = run("pymilvus", code + IN_MILVUS, folder)
    check(world, found["answers"])
    assert content_of(found["rows"], folder, tmp_path / "read", "milvus") == manifest.content


IN_QDRANT = """
import glob, itertools, json
from qdrant_edge import *

told = json.load(open("collection.json"))
assert told == {"sparse_vectors": {"vector": {"index": {"datatype": "float32"}}}}
shard = EdgeShard.create(PLACE, EdgeConfig(sparse_vectors={"vector": EdgeSparseVectorParams()}))
def point(line):
    row = json.loads(line)
    vector = row["vector"]["vector"]
    return Point(row["id"], {"vector": SparseVector(**vector)}, row["payload"])
for part in [*sorted(glob.glob("points-*.jsonl"))] * 2:
    lines = open(part, encoding="utf-8")
    while block := [point(line) for line in itertools.islice(lines, 500)]:
        shard.update(UpdateOperation.upsert_points(block))
shard.flush()
shard.optimize()
found = {"answers": {}, "rows": []}
for line in open("queries.ndjson", encoding="utf-8"):
    query = json.loads(line)
    body = query["body"]
    vector = SparseVector(**body["query"])
    hits = shard.query(QueryRequest(
        query=Query.Nearest(vector, using=body["using"]), limit=body["limit"],
        with_payload=body["with_payload"],
    ))
    found["answers"][query["id"]] = [[hit.payload["id"], hit.score] for hit in hits]
offset = None
while True:
    records, offset = shard.scroll(ScrollRequest(
        limit=500, offset=offset, with_vector=True, with_payload=True))
    for record in records:
        vector = record.vector["vector"]
        found["rows"].append({"id": str(record.id), "payload": record.payload, "vector": {"vector":
            {"indices": list(vector.indices), "values": [int(v) for v in vector.values]}}})
    if offset is None:
        break
"""


def test_qdrant(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "feed"
    manifest = made(world, folder, "qdrant", part_bytes=1 << 20)
    place = tmp_path / "shard"
    place.mkdir()
    found = run("qdrant_edge", IN_QDRANT.replace("PLACE", repr(str(place))), folder)
    check(world, found["answers"])
    assert content_of(found["rows"], folder, tmp_path / "read", "qdrant") == manifest.content


# Float weights

FLOATS = {"milvus": IN_MILVUS, "qdrant": IN_QDRANT}


@pytest.mark.parametrize("target", FLOATS)
def test_float_weights_are_kept_as_they_are(
    tmp_path: Path, target: FeedTarget, request: pytest.FixtureRequest
) -> None:
    """What is read back has the content of the source, and scores are the float32 sums of it."""
    world = awkward()
    weights = world.open()
    batches = [
        SparseBatch(b.ids, b.indptr, b.indices, b.impacts.astype(np.float32) * np.float32(0.0137))
        for b in weights.batches()
    ]
    source = StoreWeights(VectorsInMemory(batches, weights.vocabulary))
    folder = tmp_path / "feed"
    folder.mkdir()
    write_feed(target, source, folder, queries=world.queries, k=K, index=INDEX)
    place = tmp_path / "place"
    if target == "milvus":
        url = request.getfixturevalue("milvus_server").url
        code = block(folder, "python").replace("http://localhost:19530", url)
        code = code.replace("client.upsert(", "client.insert(")
    else:
        place.mkdir()
        code = ""
    code += FLOATS[target].replace("PLACE", repr(str(place))).replace("int(v)", "float(v)")
    found = run("pymilvus" if target == "milvus" else "qdrant_edge", code, folder)
    (tmp_path / "read").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in found["rows"])
    (tmp_path / "read" / "rows.jsonl").write_text(lines)
    shutil.copy(folder / "vocabulary.json", tmp_path / "read")
    read = RecordWeights(FeedFiles(tmp_path / "read" / "rows.jsonl", target=target))
    assert sum(len(batch) for batch in read.batches()) == len(world.ids)
    assert str(read.content) == str(source.content)
    number = {doc_id: i for i, doc_id in enumerate(world.ids)}
    for query, scores in zip(world.queries.batch.ids, world.scores * 0.0137, strict=True):
        answers = found["answers"][query]
        expected = [scores[number[doc_id]] for doc_id, _ in answers]
        assert [score for _, score in answers] == pytest.approx(expected, rel=1e-6)


# Vespa


def test_vespas_parser_reads_documents_and_queries(tmp_path: Path) -> None:
    class_path = os.environ.get("SPLADE_BRIDGE_VESPALIB")
    if not class_path:
        pytest.skip("SPLADE_BRIDGE_VESPALIB names no class path of vespajlib")
    world = awkward()
    terms = [t for t in world.queries.vocabulary.terms if t not in ("\0", "\uffff")]
    documents = random_matrix(5, 60, len(terms), 0.3, 1 << 24)
    source = MemorySource(documents, [f"d{i}" for i in range(60)], terms)
    asked = MemorySource(documents[:9], [f"q{i}" for i in range(9)], terms)
    queries = Queries(Path("q"), ImpactBatch.concat(asked.batches()), asked.vocabulary)
    folder = tmp_path / "feed"
    folder.mkdir()
    write_feed("vespa", source, folder, queries=queries)
    # As Vespa's handler of queries does: what stands at input.query(q) is parsed as it is.
    bodies = [
        json.loads(line)["body"]["input.query(q)"]
        for line in (folder / "queries.ndjson").read_text().rstrip("\n").split("\n")
    ]
    fields = [
        json.loads(line)["fields"]["vector"]
        for line in (folder / "feed-00000.jsonl").read_text().rstrip("\n").split("\n")
    ]
    lines = "".join(
        f"{kind}\t{json.dumps(found, ensure_ascii=False, separators=(',', ':'))}\n"
        for kind, rows in (("document", fields), ("query", bodies))
        for found in rows
    )
    done = subprocess.run(
        ["java", "-cp", class_path, Path(__file__).with_name("Tensors.java")],
        input=lines.encode(), capture_output=True, check=True,
    )  # fmt: skip
    read = [json.loads(line) for line in done.stdout.decode().splitlines()]
    expected = [row for _, row in as_dictionaries(list(source.batches()), source.vocabulary)]
    assert read == [*expected, *expected[:9]]
