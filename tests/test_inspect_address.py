"""What ``inspect`` says of an index behind an address, of every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from addresses import Documents, documents, file, loaded
from command_line import run
from documented import faults as undocumented
from loaded import at
from small import write_json_lines
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.conversion.load_index import load_index, update_index
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect
from splade_bridge.engines.remote.load import LoadOptions
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, SpladeBridgeError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.kinds import inspect_path
from splade_bridge.inspection.remote import inspect_place

SAME = ("counts", "distinct_terms", "numbers", "values", "lengths", "longest")


def faults(found: Inspection) -> dict[str, int]:
    return {fault.fault: fault.count for fault in found.faults}


def test_the_figures_are_those_of_the_file_that_was_loaded(
    address: Address, tmp_path: Path
) -> None:
    held: Documents = documents(1, [f"d{i}" for i in range(60)])
    held["empty"] = {}
    manifest = loaded(address, tmp_path, held)
    found, of_file = inspect_place(address), inspect_path(tmp_path / "first.jsonl")
    for name in SAME:
        ours, theirs = getattr(found, name), getattr(of_file, name)
        if name == "counts":
            ours.empty_ids, theirs.empty_ids = sorted(ours.empty_ids), sorted(theirs.empty_ids)
        assert ours == theirs, name
    assert found.content is not None and of_file.content is not None
    assert found.content.computed == of_file.content.computed == manifest.content
    assert found.content.equal is True
    assert (found.kind, found.engine, found.ours) == ("address", address.scheme, True)
    assert found.manifest == manifest
    assert set(faults(found)) == {"documents without a term", "terms with white space"}
    assert found.facts["counted_documents"] == 61
    assert found.facts["server"]
    quick = inspect_place(address, InspectOptions(quick=True))
    assert quick.counts == manifest.counts and quick.values is None
    assert quick.content is not None and quick.content.manifest == manifest.content


def test_settings_that_decide_what_is_found(address: Address, tmp_path: Path) -> None:
    loaded(address, tmp_path, {"a": {"a": 1}})
    facts = inspect_place(address, InspectOptions(quick=True)).facts
    if address.scheme == "elasticsearch":
        assert facts["prunes_unless_it_is_told_not_to"] is False
        assert facts["field"]["vector"]["index_options"] == {"prune": False}
    if address.scheme in ("elasticsearch", "opensearch"):
        assert {"number_of_shards", "number_of_replicas"} <= set(facts)
    if address.scheme == "milvus":
        assert facts["index"]["inverted_index_algo"] == "DAAT_MAXSCORE"
    if address.scheme == "qdrant":
        assert facts["sparse_vectors"]["vector"]["index"]["datatype"] == "float32"
    if address.scheme == "postgresql":
        assert facts["pgvector"] and all("hnsw" not in index for index in facts["indexes"])


def test_what_was_changed_by_others_is_a_fault(address: Address, tmp_path: Path) -> None:
    loaded(address, tmp_path, documents(1, [f"d{i}" for i in range(9)]))
    with connect(address) as index:
        index.delete(["d3"])
    found = inspect_place(address)
    assert faults(found)["content that is not what the manifest says"] == 1
    assert found.content is not None and found.content.equal is False


def test_what_is_not_finished_is_a_fault(address: Address, tmp_path: Path) -> None:
    held = documents(1, [f"d{i}" for i in range(9)])
    loaded(address, tmp_path, held)
    with connect(address) as index:
        state = index.state()
        assert state is not None
        index.keep(State(state.plan, 5))
    found = inspect_place(address)
    assert faults(found)["not finished"] == 1 and found.ours
    assert found.counts is not None and found.counts.documents == 9
    with connect(address) as index:
        index.keep(state)
        kind = type(index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "settle", lambda self, merge: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            update_index(file(tmp_path / "u.jsonl", {"d1": {"a": 1}}), address)
    found = inspect_place(address)
    assert faults(found)["a change that is not finished"] == 1
    assert "content that is not what the manifest says" not in faults(found)


def test_weights_that_the_engine_has_changed(address: Address, tmp_path: Path) -> None:
    loaded(address, tmp_path, {"a": {"a": (1 << 24) + 1}}, allow_loss=True)
    found = inspect_place(address)
    assert found.facts["weights_changed"] == 1 and not found.faults
    assert any("has changed weights" in why for why in found.unknown)


def test_the_command_line(
    address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded(address, tmp_path, {"a": {"a": 2, "b": 1}, "b": {"b": 3}})
    status, out, _ = run(capfd, "inspect", address)
    assert status == 0
    for words in ("an index in ", f"engine          {address.scheme}", "as the manifest says"):
        assert words in out
    corpus = write_json_lines(tmp_path / "c.jsonl", [{"id": "a", "text": "a"}])
    status, out, _ = run(capfd, "inspect", address, "--json", "--corpus", corpus)
    assert status == 0
    assert list(undocumented(json.loads(out), RESULTS["inspect"])) == []
    assert json.loads(out)["expansion"]["documents"] == 1
    status, out, _ = run(
        capfd, "index", file(tmp_path / "u.jsonl", {"c": {"a": 1}}), "-o", address, "--update",
        "--json",
    )  # fmt: skip
    assert list(undocumented(json.loads(out), RESULTS["index"])) == []
    status, out, _ = run(capfd, "delete", address, "--id", "c", "--json")
    assert list(undocumented(json.loads(out), RESULTS["delete"])) == []


def test_nothing_is_there(address: Address) -> None:
    with pytest.raises(SpladeBridgeError, match="no such index"):
        inspect_place(address)


@pytest.mark.parametrize(
    ("place", "options", "words"),
    [
        ("qdrant:q", InspectOptions(source_format="ciff"), "is an address, and --from"),
        ("qdrant:q", InspectOptions(ciff_docids="absolute"), "--ciff-docids are for files"),
        (Path("q"), InspectOptions(field="v"), "is no address, and --field is for those"),
    ],
)
def test_options_that_are_not_for_it(place: Any, options: InspectOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inspect_place(place if isinstance(place, Path) else at(place), options)


def test_a_shard_that_others_made(tmp_path: Path) -> None:
    """Fractions, a dimension twice, quantized storage; numbers of which nobody says the terms."""
    edge = pytest.importorskip("qdrant_edge")
    folder = tmp_path / "others"
    vector = edge.EdgeSparseVectorParams(datatype=edge.VectorStorageDatatype.Float16)
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(sparse_vectors={"lex": vector}))
    points = [
        edge.Point(1, {"lex": edge.SparseVector([0, 1], [0.5, 1.5])}, {}),
        edge.Point(2, {"lex": edge.SparseVector([1, 2], [-2.0, 3.0])}, {}),
    ]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.close()
    address = at(f"qdrant:{folder}")
    found = inspect_place(address)
    assert not found.ours and found.manifest is None and found.numbers == "weights"
    assert faults(found) == {
        "settings that make scores inexact": 1,
        "weights below 0": 1,
        "numbers that are no integers": 2,
    }
    assert found.content is None and any("--vocabulary" in why for why in found.unknown)
    assert [entry.term for entry in found.longest] == ["0", "1", "2"]
    named = inspect_place(address, InspectOptions(vocabulary=Vocabulary(["x", "y"])))
    assert faults(named)["names that no term has"] == 1
    assert named.content is not None and named.content.computed
    assert [entry.term for entry in named.longest] == ["x", "y"]
    with pytest.raises(BadInputError, match="no sparse vector 'nope' of lex"):
        inspect_place(address, InspectOptions(field="nope"))
    with pytest.raises(UsageError, match="changes only its own"):
        update_index(file(tmp_path / "u.jsonl", {"1": {"x": 1}}), address)
    with pytest.raises(UsageError, match="not made by splade-bridge"):
        load_index(file(tmp_path / "u.jsonl", {"1": {"x": 1}}), address, LoadOptions())
