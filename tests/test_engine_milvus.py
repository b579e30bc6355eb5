"""Milvus' core: of a file by Milvus Lite 2.5, and its TCP server, against a product of integers."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymilvus", exc_type=ImportError)

from loaded import (
    TERMS,
    at,
    check_all,
    check_missing_client,
    check_searches,
    command,
    impacts_of,
    loaded,
    needs_milvus_lite,
    world,
)
from servers.server import Server
from small import MemorySource, queries_of
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect, open_index, read_remote
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.milvus import (
    EXACT,
    Milvus,
    escaped_id,
    inexact,
    unescaped_id,
)
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, MissingToolError, UsageError


@pytest.fixture(autouse=True)
def lite() -> None:
    needs_milvus_lite()


@pytest.mark.server
def test_its_server(milvus_server: Server) -> None:
    address = at(f"milvus://{milvus_server.host}:{milvus_server.port}/all_of_it")
    check_all(address, 400)
    for name in ("shards", "replicas"):
        other = address.with_name(f"no_{name}")
        with pytest.raises(UsageError, match=f"no {name}"):
            loaded(other, *world(1, 9, 9)[:2], made=RemoteOptions(**{name: 1}))
    with pytest.raises(BadInputError, match="no aliases"):
        loaded(address.with_name("no_alias"), *world(1, 9, 9)[:2], alias="other")
    with connect(address) as index:
        index.drop()
        assert not index.exists()
    with pytest.raises(ServerError, match="no such index"):
        open_index(address)


@pytest.mark.parametrize("doc_id", ["d1", "it's", "%27", "%", "a\\b", '"', "é漢", "%2527"])
def test_ids_are_escaped_reversibly(doc_id: str) -> None:
    key = escaped_id(doc_id)
    assert not set("'\"\\") & set(key)
    assert unescaped_id(key, "here") == doc_id


@pytest.mark.parametrize("key", ["it's", "%", "%2", "%41", "a%5c"])
def test_a_key_that_no_id_has(key: str) -> None:
    with pytest.raises(BadInputError, match="is no id as it is escaped here"):
        unescaped_id(key, "here")


def test_settings_are_set_and_told(tmp_path: Path) -> None:
    address = at(f"milvus:{tmp_path / 'm.db'}")
    loaded(address, *world(1, 30, 9)[:2])
    with connect(address) as index:
        told = index.told()
        made = index.creation(RemoteOptions())["indexParams"][0]
    assert told["consistency"] == "Strong" and "notes" not in told
    assert told["index"]["index_type"] == made["params"]["index_type"] == "SPARSE_INVERTED_INDEX"
    assert told["index"]["inverted_index_algo"] == "DAAT_MAXSCORE" == EXACT["inverted_index_algo"]
    assert told["index"]["metric_type"] == made["metricType"] == "IP"


def test_its_logs_are_not_left_behind(tmp_path: Path) -> None:
    """The core writes three of them into the folder of temporary files at each start."""
    address, temporary = at(f"milvus:{tmp_path / 'm.db'}"), tmp_path / "temporary"
    temporary.mkdir()
    loaded(address, *world(1, 30, 9)[:2])
    run = subprocess.run(
        command("inspect", address),
        env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert not list(temporary.iterdir())


@pytest.mark.long
def test_a_process_that_ended_before_the_index_was_made_has_made_nothing(tmp_path: Path) -> None:
    """A collection comes first, then its index: a load that was killed between begins anew."""
    address = at(f"milvus:{tmp_path / 'm.db'}")
    with connect(address) as index:
        assert isinstance(index, Milvus)
        index.create(RemoteOptions(), State({}))
        assert index.exists()
        for method, *more in (("release_collection",), ("drop_index", index.field)):
            index._ask(method, "passages", *more)
        assert not index.exists()
    loaded(address, *world(1, 30, 9)[:2])
    there = read_remote(address)
    there.read_all()
    assert there.counts.documents == 30


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, None),
        ({"inverted_index_algo": "DAAT_WAND"}, None),
        ({"drop_ratio_build": "0.2"}, "drop_ratio_build 0.2"),
        ({"inverted_index_algo": "BLOCK_MAX_GUESS"}, "BLOCK_MAX_GUESS"),
        ({"metric_type": "BM25"}, "BM25"),
        ({"index_type": "HNSW"}, "HNSW"),
    ],
)
def test_what_is_not_exact_is_said(more: dict[str, Any], problem: str | None) -> None:
    found = inexact({"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"} | more)
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def client_of(path: Path) -> Any:
    import pymilvus

    return pymilvus.MilvusClient(str(path))


def made_by_others(path: Path, names: tuple[str, ...] = ("theirs",)) -> None:
    """Collections with numbers as ids, and one that drops weights when it is built."""
    import pymilvus
    from milvus_lite.server_manager import server_manager_instance

    client = client_of(path)
    for name in names:
        schema = client.create_schema(auto_id=False)
        schema.add_field("number", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("lex", pymilvus.DataType.SPARSE_FLOAT_VECTOR)
        index = client.prepare_index_params()
        index.add_index(
            "lex", index_type="SPARSE_INVERTED_INDEX", metric_type="IP",
            params={"drop_ratio_build": 0.2},
        )  # fmt: skip
        client.create_collection(name, schema=schema, index_params=index)
        rows = [{"number": 1 + i, "lex": {0: 1.0, i % 3 + 1: 2.0 + i}} for i in range(9)]
        client.insert(name, rows)
    client.close()
    server_manager_instance.release_server(str(path))


def test_a_collection_of_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_by_others(tmp_path / "m.db")
    address = at(f"milvus:{tmp_path / 'm.db'}")
    with pytest.raises(BadInputError, match="--vocabulary"):
        read_remote(address)
    source = read_remote(address, Vocabulary(["a", "b", "c", "d"]))
    assert "drop_ratio_build" in caplog.text
    assert impacts_of(source) == {str(1 + i): [1, 2 + i] for i in range(9)}
    with connect(address) as index:
        index.look()
        assert [row.doc_id for row in index.get(["3", "it's", "99"])] == ["3"]
        assert index.delete(["3", "it's"]) == 1 and index.count() == 8
        with pytest.raises(BadInputError, match="no sparse vector 'nope' of lex"):
            index.look("nope")
        with pytest.raises(UsageError, match="not made by splade-bridge"):
            load(index, lambda: MemorySource(*world(1, 9, 9)))


def test_several_collections_of_others(tmp_path: Path) -> None:
    made_by_others(tmp_path / "m.db", ("one", "two"))
    with pytest.raises(BadInputError, match=r"holds 2 collections .*one, two"):
        open_index(at(f"milvus:{tmp_path / 'm.db'}"))


def test_a_text_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    def texts(ids: Any) -> list[dict[str, str]]:
        return [{"text": "é" * 32_768} for _ in ids]

    with connect(at(f"milvus:{tmp_path / 'm.db'}")) as index:
        made = LoadOptions(RemoteOptions(fields=("text",)))
        with pytest.raises(BadInputError, match="has 65,536 bytes, and Milvus takes 65,535"):
            load(index, lambda: MemorySource(*world(1, 9, 9)), made, texts=texts)


def test_a_filter_of_milvus(tmp_path: Path) -> None:
    matrix, ids, _ = world(1, 30, 9)

    def texts(some: Any) -> list[dict[str, str]]:
        return [{"text": f"part {ids.index(i) % 3}"} for i in some]

    with connect(at(f"milvus:{tmp_path / 'm.db'}")) as index:
        made = LoadOptions(RemoteOptions(fields=("text",)))
        load(index, lambda: MemorySource(matrix, ids, TERMS), made, texts=texts)
        names = np.flatnonzero(matrix.sum(axis=0)).tolist()
        found, scores = index.top(names, np.ones(len(names), np.int32), 100, 'text == "part 1"')
        assert set(found) == {d for i, d in enumerate(ids) if i % 3 == 1 and matrix[i].any()}
        assert scores.tolist() == [matrix[ids.index(i)].sum() for i in found]


@pytest.mark.long
def test_hits_end_at_16384(tmp_path: Path) -> None:
    rows = 16_500
    matrix = np.ones((rows, 1), np.int64)
    matrix[:100] = 2
    ids = [f"d{i:05}" for i in range(rows)]
    address = at(f"milvus:{tmp_path / 'm.db'}")
    with connect(address) as index:
        load(index, lambda: MemorySource(matrix, ids, ["a"]), LoadOptions(check="count"))
    with open_index(address) as searcher:
        asked = searcher.aligned(queries_of(np.ones((1, 1), np.int64), ["a"]))
        (found,) = searcher.search(asked, 100)
        assert found.doc_ids == ids[:100]
        with pytest.raises(BadInputError, match=r"16,384 hits of a query at most, and documents"):
            list(searcher.search(asked, 200))
        with pytest.raises(BadInputError, match=r"16,384 hits of a query at most, so -k 16,385"):
            list(searcher.search(asked, 16_385))


@pytest.mark.long
def test_who_holds_the_file_is_said(tmp_path: Path) -> None:
    place = tmp_path / "m.db"
    loaded(at(f"milvus:{place}"), *world(1, 30, 9)[:2])
    holds = (
        "import sys, pymilvus\nc = pymilvus.MilvusClient(sys.argv[1])\n"
        "print('open', flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [command()[0], "-W", "ignore", "-c", holds, place],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        with pytest.raises(ServerError, match=f"is held by process {child.pid} "):
            open_index(at(f"milvus:{place}"))
    finally:
        child.communicate()
    check_searches(at(f"milvus:{place}"), *world(1, 30, 9)[:2])


@pytest.mark.parametrize(
    ("name", "made", "error", "words"),
    [
        ("m.db", lambda p: p.write_bytes(b"nonsense" * 99), BadInputError, "no file of Milvus"),
        ("m.db", lambda p: p.mkdir(), BadInputError, "is a folder"),
        ("m.db", None, ServerError, "no such index"),
        ("m", None, UsageError, "ends in .db"),
        ("a b.db", None, UsageError, "36 characters"),
        ("x" * 34 + ".db", None, UsageError, "36 characters"),
    ],
)
def test_what_is_no_file_of_milvus_lite(
    tmp_path: Path,
    name: str,
    made: Callable[[Path], object] | None,
    error: type[Exception],
    words: str,
) -> None:
    place = tmp_path / name
    if made is not None:
        made(place)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=words):
        open_index(at(f"milvus:{place}"))
    assert sorted(tmp_path.iterdir()) == there


def test_the_imitation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.1.0")
    with pytest.raises(MissingToolError, match=r"milvus-lite 3\.1\.0 .* milvus-lite==2\.5\.1"):
        connect(at(f"milvus:{tmp_path / 'm.db'}"))


@pytest.mark.long
def test_without_the_client(tmp_path: Path) -> None:
    address = at(f"milvus:{tmp_path / 'm.db'}")
    for blocked in ({"pymilvus"}, {"milvus_lite"}, {"pkg_resources"}):
        check_missing_client(address, blocked, "milvus", tmp_path)
