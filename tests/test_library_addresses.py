"""Indexes behind an address from Python: what the command line gives, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import splade_bridge as sb
from addresses import Documents, documents, file
from command_line import run
from small import write_json_lines
from splade_bridge.data.manifest import Manifest
from splade_bridge.errors import MismatchError, SpladeBridgeError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.retrieval.runs import read_run

QUERIES = {"q1": {"a": 2, "b": 1, "a.b": 1}, "q2": {"c": 3}, "q3": {"##x": 1, "[CLS]": 2}}


def held() -> Documents:
    return documents(1, [f"d{i}" for i in range(30)])


def test_what_is_in_memory_is_loaded_searched_changed_and_read(
    address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, some = str(address), held()
    manifest = sb.index(some, place)
    assert sb.index(iter(some.items()), place) == manifest  # already there, of the same content
    exact = str(tmp_path / "exact")
    sb.index(some, exact, engine="exact")
    with sb.open_index(place) as index:  # which has heard of no term yet
        assert index.search_one({"a": 2, "no such": 1}) == sb.open_index(exact).search_one({"a": 2})
        assert index.search_one({"no such": 1}) == []
    sb.export(some, tmp_path / "full", format="forward")
    again = sb.search(place, QUERIES, k=7, two_step=tmp_path / "full" / "forward")
    assert again == sb.search(exact, QUERIES, k=7)
    assert sb.verify([exact, place], QUERIES).equal
    assert sb.search(place, QUERIES, k=7) == sb.search(exact, QUERIES, k=7)
    with sb.open_index(place) as index, sb.open_index(exact) as oracle:
        assert str(index.path) == place and index.manifest == manifest
        assert sb.verify([oracle, index], QUERIES).equal
        found = index.search_one(QUERIES["q1"], k=3)
        assert found == oracle.search_one(QUERIES["q1"], k=3)
        doc_id = found[0][0]
    ours = [(c.term, c.score) for c in sb.explain(place, QUERIES["q1"], doc_id)]
    assert ours == [(c.term, c.score) for c in sb.explain(exact, QUERIES["q1"], doc_id)]
    fresh = documents(2, [f"d{i}" for i in range(20, 40)])
    sb.index(fresh, place, update=True, check="full")
    done = sb.delete(place, ["d1", "nobody"], missing_ok=True)
    assert (done.deleted, done.missing) == (1, 1)
    assert sb.delete(place, "d2").deleted == 1
    left = {i: v for i, v in (some | fresh).items() if i not in ("d1", "d2")}
    sb.index(left, exact, engine="exact", overwrite=True)
    assert sb.verify([exact, place], QUERIES).equal
    content = sb.convert(place, tmp_path / "back", to="vectors").content
    found_of = sb.inspect(place)
    assert found_of.content is not None and found_of.content.equal
    assert content == found_of.content.computed == sb.inspect(exact).content.computed  # type: ignore[union-attr]
    assert sb.export(place, tmp_path / "x", format="ciff").counts.documents == len(left)
    status, out, _ = run(capfd, "inspect", place, "--json")
    told = json.loads(out)
    assert (status, told["content"]["computed"]) == (0, content)


def test_a_path_is_loaded_as_by_the_command_line(
    address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path / "d.jsonl", held())
    manifest = sb.index(path, str(address))
    status, out, err = run(capfd, "index", path, "-o", address, "--json", "-v")
    assert status == 0 and "already there, of the same source and options" in err
    assert json.loads(out)["counts"]["postings"] == manifest.counts.postings
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        sb.index({"a": {"a": 1}}, str(address))
    assert sb.index({"a": {"a": 1}}, str(address), overwrite=True).counts.documents == 1


def test_an_exact_index_takes_no_approximation(tmp_path: Path) -> None:
    sb.index({"a": {"a": 1}}, tmp_path / "i", engine="exact")
    with pytest.raises(UsageError, match="answers exactly, and can do no other"):
        sb.search(tmp_path / "i", {"q": {"a": 1}}, approximate=True)


WRONG: list[tuple[Callable[[Path], Any], type[Exception], str]] = [
    (lambda p: sb.index({"a": {"a": 1}}, p / "i", engine="exact", update=True), UsageError,
     "update has no effect where output is no address"),
    (lambda p: sb.index({"a": {"a": 1}}, p / "i", engine="exact", shards=2), UsageError, "shards"),
    (lambda p: sb.index({"a": {"a": 1}}, p / "i"), UsageError, "engine is missing"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", engine="exact"), UsageError, "leave engine"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", update=True, alias="a"), UsageError, "alias"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", update=True, overwrite=True), UsageError,
     "overwrite has no effect with update"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", drop_old=True), UsageError, "without alias"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", check="all"), UsageError, "check"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", field="v"), UsageError, "field is for"),
    (lambda p: sb.index({"a": {"a": 1}}, "opensearch://u:p@h/i"), UsageError, "password"),
    (lambda p: sb.delete(p / "i", "a"), UsageError, "made anew"),
    (lambda p: sb.delete("qdrant:q", []), UsageError, "no ids of documents"),
    (lambda p: sb.inspect(p, field="v"), UsageError, "no address"),
    (lambda p: sb.search(p, {"q": {"a": 1}}, field="v"), UsageError, "no address"),
    (lambda p: sb.verify([p, p], {"q": {"a": 1}}, field="v"), UsageError, "there is none"),
    (lambda p: sb.index({"a": {"a": 0.5}}, p / "i", engine="exact", keep_weights=True), UsageError,
     "keep_weights has no effect where output is no address"),
    (lambda p: sb.index({"a": {"a": 1}}, p / "i", engine="exact", approximate=True), UsageError,
     "approximate has no effect where output is no address"),
    (lambda p: sb.index({"a": {"a": 0.5}}, "qdrant:q", keep_weights=True, scale=10), UsageError,
     "one or the other"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", keep_weights=True), UsageError,
     "these are impacts"),
    (lambda p: sb.index(sb.quantize({"a": {"a": 0.5}}), "qdrant:q", keep_weights=True), UsageError,
     "these are impacts"),
    (lambda p: sb.index({"a": {"a": 0.5}}, "qdrant:q", keep_weights=True, update=True), UsageError,
     "keep_weights has no effect with update"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", approximate=True, update=True), UsageError,
     "approximate has no effect with update"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", approximate=True), UsageError,
     "needs one of --qdrant-datatype"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", qdrant_datatype="uint8"), UsageError,
     "makes results approximate"),
    (lambda p: sb.index({"a": {"a": 1}}, "qdrant:q", vocabulary="v"), UsageError,
     "vocabulary is for paths"),
    (lambda p: sb.search("qdrant:q", {"q": {"a": 1}}, milvus_drop_ratio=0.2), UsageError,
     "milvus_drop_ratio has no effect without approximate"),
    (lambda p: sb.search("qdrant:q", {"q": {"a": 1}}, approximate=True, drop=0.2), TypeError,
     r"search\(\) got an unexpected keyword argument 'drop'"),
    (lambda p: sb.open_index("qdrant:q", approximate=True, milvus_drop_ratio=0.2), UsageError,
     "--milvus-drop-ratio is for an address milvus://"),
    (lambda p: sb.open_index("milvus:m", approximate=True, milvus_drop_ratio=1.5), UsageError,
     "milvus_drop_ratio 1.5: is 0 to 0.99"),
    (lambda p: sb.export({"a": {"a": 1}}, "opensearch://me:x@h/i"), UsageError,
     r"opensearch://me:\.\.\.@h/i: is an address, and output takes files here"),
    (lambda p: sb.convert("qdrant:q", "qdrant:r", to="ciff"), UsageError, "output takes files"),
    (lambda p: sb.prune({"a": {"a": 1}}, "qdrant:r", method="top-k", value=1), UsageError,
     "output takes files"),
    (lambda p: sb.encode({"a": "b"}, model="m", output="milvus:r.db"), UsageError,
     "output takes files"),
    (lambda p: sb.dense({"a": "b"}, model="m", output="milvus:r.db"), UsageError,
     "output takes files"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_does_nothing_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Path], Any],
    error: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_float_weights_stay_what_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    floats = {"a": {"a": 0.5, "b": 1.375}, "b": {}, "c": {"b": 0.0625}}
    place = f"qdrant:{tmp_path / 'memory'}"
    manifest = sb.index(floats, place, keep_weights=True)
    assert (manifest.counts.postings, manifest.counts.impact_sum) == (3, 0)
    assert sb.index(iter(floats.items()), place, keep_weights=True) == manifest
    with pytest.raises(UsageError, match="is there already"):
        sb.index(floats, place)
    sb.convert(place, tmp_path / "back", to="vectors")
    store = sb.VectorStore(tmp_path / "back")
    assert dict(store) == floats
    assert sb.search(place, {"q": {"b": 2}}) == {"q": {"a": 2.75, "c": 0.125}}
    again = f"qdrant:{tmp_path / 'store'}"
    assert sb.index(store, again, keep_weights=True).content == manifest.content
    path = write_json_lines(
        tmp_path / "f.jsonl", [{"id": i, "vector": v} for i, v in floats.items()]
    )
    of_path = f"qdrant:{tmp_path / 'path'}"
    assert sb.index(path, of_path, keep_weights=True).content == manifest.content
    status, _, err = run(capfd, "index", path, "-o", of_path, "--keep-weights", "-v")
    assert status == 0 and "already there, of the same source and options" in err


def test_what_is_approximate_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    place = f"qdrant:{tmp_path / 'small'}"
    sb.index(held(), place, qdrant_datatype="float16", approximate=True)
    assert sb.inspect(place).facts["config"]["sparse_vectors"]["vector"]["datatype"] == "float16"
    whole = f"qdrant:{tmp_path / 'whole'}"
    sb.index(held(), whole)
    with pytest.raises(UsageError, match="--approximate"):
        sb.search(whole, QUERIES, approximate=True)


@pytest.mark.long
def test_milvus_answers_approximately(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymilvus", exc_type=ImportError)
    pytest.importorskip("pkg_resources")
    place = f"milvus:{tmp_path / 'm.db'}"
    sb.index(held(), place)
    queries = {i: {"a": 9, "b": 1, "c": 2, "d": 8} | v for i, v in QUERIES.items()}
    found = sb.search(place, queries, k=9, approximate=True, milvus_drop_ratio=0.6)
    assert found != sb.search(place, queries, k=9)
    with sb.open_index(place, approximate=True, milvus_drop_ratio=0.6) as index:
        assert index.search(queries, k=9) == found
    path = write_json_lines(
        tmp_path / "q.jsonl", [{"id": i, "vector": v} for i, v in queries.items()]
    )
    status, _, err = run(
        capfd, "search", place, "-q", path, "-k", 9, "-o", tmp_path / "run", "--approximate",
        "--milvus-drop-ratio", 0.6,
    )  # fmt: skip
    assert status == 0, err
    assert read_run(tmp_path / "run") == found


FILTERS: dict[str, Any] = {
    "elasticsearch": {"range": {"year": {"gt": 5}}},
    "opensearch": {"range": {"year": {"gt": 5}}},
    "postgresql": "year > 5",
    "milvus": "year > 5",
    "qdrant": {"must": [{"key": "year", "range": {"gt": 5}}]},
}


def test_fields_and_filters(address: Address, tmp_path: Path) -> None:
    some = {i: v or {"a": 1} for i, v in held().items()}
    corpus = write_json_lines(
        tmp_path / "c.jsonl",
        [{"id": i, "text": i, "year": n} for n, i in enumerate(some)],
    )
    sb.index(some, str(address), with_contents=corpus, fields=["year:integer"])
    with sb.open_index(str(address)) as index:
        assert index.searcher.stores_texts
        assert {i: index.searcher.stored(i) for i in some} == {i: {"contents": i} for i in some}
        assert index.searcher.stored("nowhere") is None
    left = {i: v for n, (i, v) in enumerate(some.items()) if n > 5}
    sb.index(left, tmp_path / "left", engine="exact")
    only = FILTERS[address.scheme]
    expected = sb.search(tmp_path / "left", QUERIES)
    assert sb.search(str(address), QUERIES, filter=only) == expected
    with sb.open_index(str(address), filter=only) as index:
        assert index.search(QUERIES) == expected
    with pytest.raises(MismatchError, match="year"):
        sb.index({"x": {"a": 1}}, str(address), update=True)
    with pytest.raises(UsageError, match="--fields are fields of the corpus"):
        sb.index({"x": {"a": 1}}, str(address), update=True, fields="year")


def test_another_scale_is_refused(address: Address) -> None:
    floats = {"a": {"a": 0.5}, "b": {"b": 1.25}}
    manifest: Manifest = sb.index(floats, str(address), scale=100)
    assert manifest.quantization is not None and manifest.quantization.scale == 100
    with pytest.raises(MismatchError, match="has scale 50"):
        sb.index({"c": {"a": 0.5}}, str(address), scale=50, update=True)
    assert sb.index({"c": {"a": 0.5}}, str(address), update=True).counts.impact_sum == 225


def test_nothing_is_there(address: Address) -> None:
    for call in (sb.inspect, sb.open_index, lambda a: sb.delete(a, "x")):
        with pytest.raises(SpladeBridgeError, match="no such index"):
            call(str(address))
