"""Qdrant: Edge, its shard in this process, against a dense product of integers.

No Qdrant server can be had here; what is sent to one is tried on the imitation of qdrant-client.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("qdrant_edge", exc_type=ImportError)

from command_line import run
from loaded import (
    AWKWARD_IDS,
    TERMS,
    at,
    check_all,
    check_missing_client,
    check_read,
    check_searches,
    command,
    environment,
    impacts_of,
    loaded,
    world,
)
from small import MemorySource
from splade_bridge.conversion.load_index import Texts
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect, open_index, read_remote
from splade_bridge.engines.remote import qdrant_folder
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.numbered import newest, pieces
from splade_bridge.engines.remote.qdrant import Qdrant, inexact
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.formats.feeds.qdrant import NAMESPACE, point_id


def test_a_shard_is_one_for_qdrant_edge_too(tmp_path: Path) -> None:
    import qdrant_edge

    matrix, ids, _ = world(1, 30, 9)
    loaded(at(f"qdrant:{tmp_path / 's'}"), matrix, ids)
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "s"))
    assert shard.count(qdrant_edge.CountRequest(exact=True)) == 30
    (record,) = shard.retrieve([point_id(ids[2])], True, True)
    assert record.payload == {"id": ids[2]}
    assert list(record.vector["vector"].indices) == np.flatnonzero(matrix[2]).tolist()
    shard.close()


def test_settings_are_set_and_told(tmp_path: Path) -> None:
    address = at(f"qdrant:{tmp_path / 's'}")
    loaded(address, *world(1, 30, 9)[:2])
    with connect(address) as index:
        told = index.told()
        assert told["sparse_vectors"]["vector"]["index"]["datatype"] == "float32"
        assert "notes" not in told
        assert index.creation(RemoteOptions()) == {
            "sparse_vectors": {"vector": {"datatype": "float32", "memory": "cached"}},
            "optimizers": {"max_segment_size": 100_000, "default_segment_number": 32},
        }
        config = told["config"]
        assert config["sparse_vectors"]["vector"] == {"datatype": "float32", "memory": "cached"}
        assert config["optimizers"]["max_segment_size"] == 100_000
        assert config["optimizers"]["default_segment_number"] == 32


def test_a_load_that_goes_on_does_not_look_at_all_weights_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were looked at before the index was begun, unless some may change, which are counted."""
    address = at(f"qdrant:{tmp_path / 's'}")
    matrix, ids, _ = world(1, 150, 300)
    real, calls = qdrant_folder.FolderStore.upsert, iter(range(99))

    def some(self: qdrant_folder.FolderStore, *given: Any) -> None:
        if next(calls) >= 1:
            raise KeyboardInterrupt
        real(self, *given)

    monkeypatch.setattr(Qdrant, "block_rows", 20)
    for allow_loss, opened in ((True, 2), (False, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(qdrant_folder.FolderStore, "upsert", some)
            with pytest.raises(KeyboardInterrupt):
                loaded(address, matrix, ids, allow_loss=allow_loss)
        assert len(loaded(address, matrix, ids, allow_loss=allow_loss)) == opened
        check_read(address, matrix, ids)
        with connect(address) as index:
            index.drop()
        calls = iter(range(99))


def test_what_is_loaded_goes_into_files_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edge would hold an index of all of it in memory; what is found does not change by it."""
    monkeypatch.setattr(qdrant_folder, "POSTINGS_IN_MEMORY", 40)
    address = at(f"qdrant:{tmp_path / 's'}")
    matrix, ids, _ = world(1, 150, 300)
    loaded(address, matrix, ids)
    check_searches(address, matrix, ids)
    check_read(address, matrix, ids)
    check_all(at(f"qdrant:{tmp_path / 't'}"), 300)


def test_points_are_written_by_the_thread_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edge lets no other thread of Python work meanwhile: several would only take turns."""
    real, by = qdrant_folder.FolderStore.upsert, list[int]()

    def noted(store: qdrant_folder.FolderStore, *given: Any) -> None:
        by.append(threading.get_ident())
        real(store, *given)

    monkeypatch.setattr(qdrant_folder.FolderStore, "upsert", noted)
    monkeypatch.setattr(Qdrant, "block_rows", 20)
    loaded(at(f"qdrant:{tmp_path / 's'}"), *world(1, 90, 9)[:2])
    assert by == 5 * [threading.get_ident()]


def test_the_key_of_a_point_is_a_uuid_of_version_5() -> None:
    for doc_id in (*AWKWARD_IDS, *map(str, range(1000))):
        assert point_id(doc_id) == str(uuid.uuid5(NAMESPACE, doc_id))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"index": {"datatype": "float32"}}, None),
        ({}, None),
        ({"datatype": "uint8"}, "uint8"),
        ({"index": {"datatype": "float16"}}, "float16"),
        ({"modifier": "none"}, None),
        ({"modifier": "idf"}, "idf"),
    ],
)
def test_what_is_not_exact_is_said(settings: dict[str, Any], problem: str | None) -> None:
    found = inexact(settings)
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A shard that others made, with numbers as ids and quantized weights."""
    import qdrant_edge as edge

    folder = tmp_path / "others"
    vector = edge.EdgeSparseVectorParams(datatype=edge.VectorStorageDatatype.Uint8)
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(sparse_vectors={"lex": vector}))
    points = [
        edge.Point(1 + i, {"lex": edge.SparseVector([0, i % 3 + 1], [1.0, 2.0 + i])}, {"n": i})
        for i in range(9)
    ]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.close()
    return folder


def test_a_shard_of_others(others: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = at(f"qdrant:{others}")
    with pytest.raises(BadInputError, match="--vocabulary"):
        read_remote(address)
    source = read_remote(address, Vocabulary(["a", "b", "c", "d"]))
    assert "uint8" in caplog.text and "approximate" in caplog.text
    assert impacts_of(source) == {str(1 + i): [1, 2 + i] for i in range(9)}
    with connect(address) as index:
        index.look()
        assert "uint8" in index.told()["notes"][0]
        assert [row.doc_id for row in index.get(["3", "it's", "99"])] == ["3"]
        assert index.delete(["3", "it's"]) == 1 and index.count() == 8
        with pytest.raises(BadInputError, match="no sparse vector 'nope' of lex"):
            index.look("nope")
    with connect(address) as index, pytest.raises(UsageError, match="not made by splade-bridge"):
        load(index, lambda: MemorySource(*world(1, 9, 9)))


def test_a_term_id_beyond_the_vocabulary_is_refused(others: Path) -> None:
    source = read_remote(at(f"qdrant:{others}"), Vocabulary(["a", "b"]))
    with pytest.raises(BadInputError, match="dimension 2"):
        list(source.batches())


@pytest.mark.parametrize("between", ["b", "bcdefghi"])
def test_ids_that_have_one_number_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    """UUIDs of version 5 do not collide by chance, so two are made to: of a batch, and of two."""
    monkeypatch.setattr(Qdrant, "key", lambda self, doc_id: point_id(doc_id[:1]))
    ids = ["aa", *between, "ab"]
    matrix, _, _ = world(1, len(ids), 9)
    with pytest.raises(BadInputError, match=r"document 'ab'.* was there before"):
        loaded(at(f"qdrant:{tmp_path / 's'}"), matrix, ids)


def test_who_holds_the_folder_is_said(tmp_path: Path) -> None:
    address = at(f"qdrant:{tmp_path / 's'}")
    loaded(address, *world(1, 30, 9)[:2])
    holds = (
        "import sys, qdrant_edge\ns = qdrant_edge.EdgeShard.load(sys.argv[1])\n"
        "print('open', flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [command()[0], "-c", holds, tmp_path / "s"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        with pytest.raises(ServerError, match=f"is held by process {child.pid} "):
            open_index(address)
    finally:
        child.communicate()
    check_searches(address, *world(1, 30, 9)[:2])


DAMAGES = {
    "version.info": "unlink", "mutable_id_tracker.mappings": "cut", "segment.json": "cut",
    "edge_config.json": "cut", "bitmask.dat": "unlink", "status.dat": "cut", "state.json": "cut",
    "vocabulary.json": "cut", "segments": "rmtree",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Edge opens some of these and says nothing of the documents it lacks."""
    loaded(at(f"qdrant:{tmp_path / 's'}"), *world(1, 300, 9)[:2])
    for log in (tmp_path / "s" / "wal").glob("open-*"):
        log.unlink()  # Edge would mend some of it from there
    file = next((tmp_path / "s").rglob(name))
    if DAMAGES[name] == "rmtree":
        shutil.rmtree(file)
    elif DAMAGES[name] == "unlink":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": "q", "vector": {".": 1}}) + "\n")
    status, _, told = run(
        capfd,
        "search",
        f"qdrant:{tmp_path / 's'}",
        "-q",
        tmp_path / "q.jsonl",
        "-o",
        tmp_path / "r",
    )
    assert status in (4, 6), told
    assert f"qdrant:{tmp_path / 's'}" in told or str(file) in told
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("what", ["missing", "empty folder", "folder", "file"])
def test_what_is_no_shard(tmp_path: Path, what: str) -> None:
    place = tmp_path / "s"
    if what == "file":
        place.write_text("x")
    elif what != "missing":
        place.mkdir()
        if what == "folder":
            (place / "x").write_text("x")
    address = at(f"qdrant:{place}")
    with pytest.raises(
        (ServerError, BadInputError), match=r"no such index|no shard|sparse vectors"
    ):
        open_index(address)
    matrix, ids, _ = world(1, 9, 9)
    if what in ("missing", "empty folder"):
        loaded(address, matrix, ids)
        check_searches(address, matrix, ids)
    else:
        with pytest.raises(UsageError, match="not made by splade-bridge"):
            loaded(address, matrix, ids)


def test_a_filter_of_qdrant(tmp_path: Path) -> None:
    matrix, ids, _ = world(1, 30, 9)
    texts = lambda some: [{"text": f"part {ids.index(i) % 3}"} for i in some]  # noqa: E731
    address = at(f"qdrant:{tmp_path / 's'}")
    with connect(address) as index:
        made = LoadOptions(RemoteOptions(fields=("text",)))
        load(index, lambda: MemorySource(matrix, ids, TERMS), made, texts=texts)
        names = np.flatnonzero(matrix.sum(axis=0)).tolist()
        ones = np.ones(len(names), np.int32)
        only = {"must": [{"key": "text", "match": {"value": "part 1"}}]}
        left = {d for i, d in enumerate(ids) if i % 3 == 1 and matrix[i].any()}
        found, scores = index.top(names, ones, 100, only)
        assert set(found) == left and len(found) == len(left)
        assert scores.tolist() == [matrix[ids.index(i)].sum() for i in found]
        others = {"must_not": [only["must"][0], {"has_id": [point_id(ids[2])]}]}
        found, _ = index.top(names, ones, 100, others)
        assert set(found) == {d for i, d in enumerate(ids) if matrix[i].any()} - left - {ids[2]}
        for wrong in ({"nope": []}, {"must": [{"key": "a"}]}, [], "x"):
            with pytest.raises(BadInputError, match="the filter holds"):
                index.top(names, ones, 5, wrong)


def test_without_the_client(tmp_path: Path) -> None:
    check_missing_client(at(f"qdrant:{tmp_path / 's'}"), {"qdrant_edge"}, "qdrant", tmp_path)
    check_missing_client(at("qdrant://localhost/x"), {"qdrant_client"}, "qdrant", tmp_path)


@pytest.mark.parametrize("size", [0, 1, 14_999, 15_000, 15_001, 60_000])
def test_pieces_are_whole_again_or_not_taken(size: int) -> None:
    old, new = json.dumps("é" * 3).encode(), json.dumps("漢" * size, ensure_ascii=False).encode()
    first, second = pieces("a", 1, old), pieces("a", 2, new)
    assert max(len(piece["text"].encode()) for piece in second) <= 60_000
    assert newest([*second[::-1], *first]) == (2, new)
    assert newest([*first, *second[:-1]]) == ((2 if second[:-1] else 1), old)
    assert newest(second[1:])[1] is None
    assert newest([]) == (0, None)


# A server, which cannot be had: what it is asked


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own collections in memory in place of a server; they are of one test."""
    qdrant_client = pytest.importorskip("qdrant_client")
    real, kept = qdrant_client.QdrantClient, {}

    def local(**given: Any) -> Any:
        assert set(given) <= {"url", "api_key", "timeout", "check_compatibility", "verify"}
        return kept.setdefault("one", real(":memory:"))

    monkeypatch.setattr(real, "close", lambda self: None)
    monkeypatch.setattr(qdrant_client, "QdrantClient", local)


@pytest.mark.usefixtures("imitated")
def test_a_server_as_its_client_imitates_it() -> None:
    address = at("qdrant://localhost/passages")
    check_all(address, 400)
    matrix, ids, _ = world(1, 20, 9)
    second = at("qdrant://localhost/second")
    loaded(second, matrix, ids, alias="current")
    loaded(at("qdrant://localhost/third"), matrix[:9], ids[:9], alias="current", drop_old=True)
    current = at("qdrant://localhost/current")
    check_searches(current, matrix[:9], ids[:9])
    check_read(current, matrix[:9], ids[:9])
    with connect(second) as index:
        assert not index.exists() and index.aliased("current") == "third"


def test_what_a_server_is_asked_to_make() -> None:
    pytest.importorskip("qdrant_client")
    from qdrant_client import models

    with Qdrant(at("qdrant://localhost/x"), _nothing()) as index:
        made = index.creation(RemoteOptions(shards=3, replicas=1))
    assert made == {
        "vectors": {}, "sparse_vectors": {"vector": {"index": {"datatype": "float32"}}},
        "shard_number": 3, "replication_factor": 2, "write_consistency_factor": 2,
    }  # fmt: skip
    models.CreateCollection.model_validate(made)


@pytest.mark.long
def test_a_server_that_is_not_there(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client")
    (tmp_path / "q.jsonl").write_text('{"id": "q", "vector": {"a": 1}}\n')
    done = subprocess.run(
        command("search", "qdrant://127.0.0.1:9/x", "-q", tmp_path / "q.jsonl", "-o", "r"),
        cwd=tmp_path,
        env=environment() | {"SPLADE_BRIDGE_API_KEY": "geheim"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "cannot be reached" in done.stderr and "geheim" not in done.stderr


def _nothing() -> Any:
    from splade_bridge.engines.remote.secrets import Secrets

    return Secrets()


def test_a_load_with_texts_goes_on_beside_its_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts come in the order of all documents, those that are stored already included."""
    matrix, ids, terms = world(4, 40, 9)
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"id": doc_id, "text": f"text {doc_id}"}) for doc_id in ids]
    monkeypatch.setattr("splade_bridge.engines.remote.load.KEEP_SECONDS", 0)
    monkeypatch.setattr(Qdrant, "block_rows", 5)
    options = LoadOptions(RemoteOptions(fields=("text",)), in_flight=1)
    for there in (30, 40):  # the corpus ends early at first
        corpus.write_text("".join(line + "\n" for line in lines[:there]))
        with connect(at(f"qdrant:{tmp_path / 's'}")) as index:
            early = pytest.raises(MismatchError, match="ends before")
            ended = nullcontext() if there == 40 else early
            with ended:
                load(
                    index, lambda: MemorySource(matrix, ids, terms), options,
                    texts=Texts(str(corpus)),
                )  # fmt: skip
            state = index.state()
            assert state is not None and (state.manifest is not None) == (there == 40)
            assert there == 40 or 0 < state.loaded < 30
