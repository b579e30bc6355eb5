"""Documents added to, replaced in and deleted from an index behind an address, in every engine.

The oracle is a dictionary that is changed in the same way, and an index of it that is made anew.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from addresses import IDS, TERMS, Documents, documents, file, loaded
from command_line import run
from loaded import at, command, environment, rows_of
from small import write_json_lines
from splade_bridge.conversion.build_index import build_index
from splade_bridge.conversion.load_index import Given, delete_documents, load_index, update_index
from splade_bridge.data.manifest import EncodingInfo, Manifest, QuantizationInfo, VocabularyInfo
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect, open_index, read_remote
from splade_bridge.engines.remote import change, load
from splade_bridge.engines.remote.base import RemoteIndex, RemoteOptions
from splade_bridge.engines.remote.load import LoadOptions
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MismatchError,
    SpladeBridgeError,
    UsageError,
)
from splade_bridge.files.address import Address
from splade_bridge.formats.base import BatchSource, ImpactSource
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import read_queries


def check_holds(address: Address, wanted: Documents, tmp_path: Path) -> Manifest:
    """All documents, the manifest of an index made anew of them, and what searching finds."""
    source = read_remote(address)
    assert isinstance(source, ImpactSource)
    assert rows_of(source) == wanted
    anew = JsonVectorSource(file(tmp_path / "anew.jsonl", wanted))
    anew.read_all()
    manifest = source.manifest
    assert manifest is not None and manifest.content == str(anew.content)
    ours, theirs = vars(manifest.counts).copy(), vars(anew.counts).copy()
    empty = ours.pop("empty_ids")
    assert len(set(empty)) == len(theirs.pop("empty_ids"))
    assert not any(wanted[doc_id] for doc_id in empty)
    assert ours == theirs
    queries = documents(5, ["q1", "q2", "q3"], largest=5)
    queries = {query_id: vector or {"a": 1} for query_id, vector in queries.items()}
    read = read_queries(file(tmp_path / "q.jsonl", queries))
    with open_index(address) as searcher:
        found = list(searcher.search(searcher.aligned(read), len(wanted) + 9))
    for hits in found:
        asked = queries[hits.query_id]
        scores = {
            doc_id: sum(weight * vector.get(term, 0) for term, weight in asked.items())
            for doc_id, vector in wanted.items()
        }
        ranked = sorted((-score, doc_id) for doc_id, score in scores.items() if score)
        assert list(zip(hits.doc_ids, hits.scores.tolist(), strict=True)) == [
            (doc_id, -score) for score, doc_id in ranked
        ]
    return manifest


def test_a_chain_of_changes_is_as_if_made_anew(address: Address, tmp_path: Path) -> None:
    """New terms come with later documents; the largest impact and empty documents go."""
    held = documents(1, IDS[:30], TERMS[:12])
    held["d3"], held["d4"] = {"a": 500}, {}
    loaded(address, tmp_path, held)
    for step in range(4):
        drawn = random.Random(step)
        fresh = documents(10 + step, drawn.sample(IDS, 12))
        done = update_index(file(tmp_path / f"u{step}.jsonl", fresh), address)
        assert (done.added, done.replaced) == (len(fresh.keys() - held), len(fresh.keys() & held))
        held |= fresh
        check_holds(address, held, tmp_path)
        going = drawn.sample(sorted(held), 5) + ["d3"] * (step == 1 and "d3" in held)
        going = list(dict.fromkeys(going))
        done = delete_documents(address, going)
        assert (done.deleted, done.missing) == (len(going), 0)
        held = {doc_id: vector for doc_id, vector in held.items() if doc_id not in going}
        manifest = check_holds(address, held, tmp_path)
    assert manifest.options["changes"] == 8


def test_a_document_is_replaced_and_not_merged(address: Address, tmp_path: Path) -> None:
    loaded(address, tmp_path, {"a": {"a": 3, "b": 4}, "b": {"a": 1}})
    done = update_index(file(tmp_path / "u.jsonl", {"a": {"c": 5}}), address)
    assert (done.added, done.replaced) == (0, 1)
    check_holds(address, {"a": {"c": 5}, "b": {"a": 1}}, tmp_path)
    again = update_index(tmp_path / "u.jsonl", address)  # the same once more changes nothing
    assert (again.added, again.replaced) == (0, 1)
    check_holds(address, {"a": {"c": 5}, "b": {"a": 1}}, tmp_path)
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        loaded(address, tmp_path, {"a": {"a": 3, "b": 4}, "b": {"a": 1}})


def test_ids_that_are_not_there(address: Address, tmp_path: Path) -> None:
    held = documents(2, IDS[:10])
    loaded(address, tmp_path, held)
    with pytest.raises(BadInputError, match=r"2 of 3 documents are not there \('no', 'nor'\)"):
        delete_documents(address, ["d1", "no", "nor"])
    before = check_holds(address, held, tmp_path)
    done = delete_documents(address, ["no", "nor"], missing_ok=True)
    assert (done.deleted, done.missing, done.manifest) == (0, 2, before)
    done = delete_documents(address, ["d1", "no", "nor"], missing_ok=True)
    assert (done.deleted, done.missing) == (1, 2)
    del held["d1"]
    check_holds(address, held, tmp_path)


def test_from_one_address_to_another(address: Address, tmp_path: Path) -> None:
    """A source that was changed is another one, though it has the same address."""
    pytest.importorskip("qdrant_edge")
    copy = at(f"qdrant:{tmp_path / 'copy'}")
    held = documents(1, IDS[:9])
    loaded(address, tmp_path, held)
    assert load_index(address, copy) == load_index(address, copy)
    update_index(file(tmp_path / "u.jsonl", {"x": {"a": 1}}), address)
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        load_index(address, copy)
    update_index(address, copy)
    check_holds(copy, held | {"x": {"a": 1}}, tmp_path)


def test_all_may_go_and_others_come(address: Address, tmp_path: Path) -> None:
    held = documents(3, IDS[:5])
    loaded(address, tmp_path, held)
    assert delete_documents(address, list(held)).manifest.counts.documents == 0
    with open_index(address) as searcher:
        asked = read_queries(file(tmp_path / "q.jsonl", {"q": {"a": 1}}))
        assert [hits.doc_ids for hits in searcher.search(searcher.aligned(asked), 9)] == [[]]
    with pytest.raises(BadInputError, match="holds no documents"):
        build_index(address, tmp_path / "none", "exact")
    update_index(file(tmp_path / "u.jsonl", {"x": {"a": 2}}), address)
    check_holds(address, {"x": {"a": 2}}, tmp_path)


class Ended(Exception):
    """What ends a command in this process, where a signal would."""


def interrupting(patch: pytest.MonkeyPatch, kind: type[RemoteIndex], calls: int) -> None:
    """Let the ``calls``-th call that changes what an engine holds not come to be, or not return."""
    left = itertools.count(1)
    for name in ("write", "delete", "keep", "keep_vocabulary", "settle"):
        real = getattr(kind, name)

        def called(self: Any, *args: Any, real: Any = real, **given: Any) -> Any:
            number = next(left)
            if number == calls and calls % 2:
                raise Ended
            found = real(self, *args, **given)
            if number == calls:
                raise Ended
            return found

        patch.setattr(kind, name, called)


@pytest.mark.sample(1)
@pytest.mark.parametrize("what", ["update", "delete"])
def test_a_change_that_ended_anywhere_goes_on(
    address: Address, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before or after each step in turn; the same command then does all of it, once."""
    monkeypatch.setattr(load, "KEEP_SECONDS", 0)
    monkeypatch.setattr(change, "AT_ONCE", 4)
    with connect(address) as index:
        kind = type(index)
    held = documents(1, IDS[:20], TERMS[:9])
    loaded(address, tmp_path, held)
    monkeypatch.setattr(kind, "block_rows", 3)
    for calls in itertools.count(1):
        fresh = documents(50 + calls, IDS[15:27])
        fresh["d16"][f"only in {calls}"] = 1  # so that the vocabulary grows each time
        going = sorted(held)[:9]
        path = file(tmp_path / "u.jsonl", fresh)
        if what == "update":
            change_it = partial(update_index, path, address, LoadOptions(in_flight=1))
            after, wanted = held | fresh, (len(fresh.keys() - held), len(fresh.keys() & held), 0)
        else:
            change_it = partial(delete_documents, address, going, missing_ok=True)
            after, wanted = {i: held[i] for i in held.keys() - set(going)}, (0, 0, len(going))
        with pytest.MonkeyPatch.context() as patch:
            interrupting(patch, kind, calls)
            try:
                change_it()
                break
            except Ended:
                pass
        with connect(address) as index:
            state = index.state()
        done = change_it()
        if state is not None and state.change is not None:
            assert (done.added, done.replaced, done.deleted) == wanted
        held = after
        check_holds(address, held, tmp_path)
        if what == "delete":
            held |= (more := documents(80 + calls, IDS[:20], TERMS[:9]))
            update_index(file(tmp_path / "more.jsonl", more), address)
    assert calls > 6


def test_what_is_half_done_is_said(
    address: Address, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = documents(1, IDS[:20])
    loaded(address, tmp_path, held)
    with connect(address) as index:
        kind = type(index)
    path = file(tmp_path / "u.jsonl", documents(2, IDS[10:25]))
    with pytest.MonkeyPatch.context() as patch:
        interrupting(patch, kind, 2)
        with pytest.raises(Ended):
            update_index(path, address)
    with open_index(address):
        assert "is being changed" in caplog.text
    for other in (
        lambda: delete_documents(address, ["d1"]),
        lambda: update_index(file(tmp_path / "other.jsonl", {"x": {"a": 1}}), address),
    ):
        with pytest.raises(MismatchError, match=r"another change \(update\) is at work"):
            other()
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        loaded(address, tmp_path, held)
    loaded(address, tmp_path, held, overwrite=True)
    check_holds(address, held, tmp_path)


# What does not belong together


def source_of(
    batches: ImpactSource, *, vocabulary: Vocabulary | None = None, **more: Any
) -> Callable[[], ImpactSource]:
    """Vectors in memory with a manifest."""
    batches.read_all()
    info = VocabularyInfo.of(vocabulary or batches.vocabulary)
    manifest = Manifest("vectors", info, batches.counts, **more)

    def opened() -> ImpactSource:
        again = type(batches)(batches.path)  # type: ignore[call-arg]
        terms = vocabulary or Vocabulary(observed=True)
        held = []
        for batch in again.batches():
            for term in again.vocabulary.terms:
                terms.add(term)
            held.append(batch.remap(again.vocabulary.mapping(terms)))
        return BatchSource(batches.path, held, terms, manifest)

    return opened


MODEL = EncodingInfo("one", None, "ab" * 32, "document", "max", 256, "float32")
SCALE = QuantizationInfo(100)
MODELS_TERMS = Vocabulary(TERMS)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"encoding": replace(MODEL, sha256="cd" * 32, model="two")}, "has model two"),
        ({"encoding": replace(MODEL, sha256="cd" * 32)}, "has model cdcd"),
        ({"encoding": replace(MODEL, side="query")}, "has side query"),
        ({"encoding": replace(MODEL, pooling="sum")}, "has pooling sum"),
        ({"quantization": QuantizationInfo(50)}, "has scale 50"),
        ({"quantization": QuantizationInfo(100, "down")}, "has rounding down"),
        ({"vocabulary": Vocabulary([*TERMS, "more"])}, "has another vocabulary"),
    ],
)
def test_documents_of_another_kind_are_refused(
    address: Address, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    first = JsonVectorSource(file(tmp_path / "first.jsonl", {"a": {"a": 1}}))
    made: dict[str, Any] = {
        "vocabulary": MODELS_TERMS, "encoding": MODEL, "quantization": SCALE,
    }  # fmt: skip
    with connect(address) as index:
        load.load(index, source_of(first, **made))
    second = JsonVectorSource(file(tmp_path / "second.jsonl", {"b": {"a": 2}}))
    with connect(address) as index:
        with pytest.raises(MismatchError, match=words):
            change.update(index, source_of(second, **made | more))
        assert index.count() == 1
        done = change.update(index, source_of(second, **made))
    assert done.added == 1 and done.manifest.encoding == MODEL
    check_holds(address, {"a": {"a": 1}, "b": {"a": 2}}, tmp_path)


def test_what_cannot_be_compared_is_said(
    address: Address, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Terms of a file that names no model must be those of the index's model where it has one."""
    first = JsonVectorSource(file(tmp_path / "first.jsonl", {"a": {"a": 1}}))
    with connect(address) as index:
        load.load(
            index,
            source_of(first, vocabulary=MODELS_TERMS, encoding=MODEL, quantization=SCALE),
        )
        named = index.naming != "number"
    update_index(file(tmp_path / "u.jsonl", {"b": {"##x": 2}}), address)
    assert "does not say which model made it" in caplog.text
    assert "the scale of it is not known" in caplog.text
    check_holds(address, {"a": {"a": 1}, "b": {"##x": 2}}, tmp_path)
    path = file(tmp_path / "v.jsonl", {"c": {"unknown": 2}})
    with contextlib.nullcontext() if named else pytest.raises(MismatchError, match="'unknown'"):
        update_index(path, address)


def test_what_cannot_be_changed(address: Address, tmp_path: Path) -> None:
    path = file(tmp_path / "u.jsonl", {"a": {"a": 1}})
    for nothing in (
        lambda: update_index(path, address),
        lambda: delete_documents(address, ["a"]),
    ):
        with pytest.raises(SpladeBridgeError, match="no such index"):
            nothing()
    loaded(address, tmp_path, {"a": {"a": 1}, "b": {"b": 1}})
    with connect(address) as index:
        state = index.state()
        assert state is not None
        index.delete(["b"])
        with pytest.raises(MismatchError, match="holds 1 documents, and its manifest says 2"):
            update_index(path, address)
        index.keep(State(state.plan, 1))
    with pytest.raises(BadInputError, match="its loading was interrupted after 1 documents"):
        update_index(path, address)


@pytest.mark.parametrize(
    ("some", "words"),
    [
        ({"x": {"a": (1 << 24) + 1}}, "would change 1 of"),
        ({"x" * 70_000: {"a": 1}}, "bytes"),
        ({"x": {}}, "has a term"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_sent(
    address: Address, tmp_path: Path, some: Documents, words: str
) -> None:
    held = documents(1, IDS[:9])
    loaded(address, tmp_path, held)
    lines = [*documents(2, IDS[5:15]).items(), *some.items()] if "x" * 9 in str(some) else some
    with pytest.raises(BadInputError, match=words):
        update_index(file(tmp_path / "u.jsonl", dict(lines)), address)
    check_holds(address, held, tmp_path)


def test_an_index_of_float_weights_is_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    address = at(f"qdrant:{tmp_path / 's'}")
    floats = write_json_lines(tmp_path / "f.jsonl", [{"id": "a", "vector": {"a": 0.5}}])
    load_index(floats, address, LoadOptions(keep_weights=True))
    for call in (
        lambda: delete_documents(address, ["a"]),
        lambda: update_index(file(tmp_path / "u.jsonl", {"b": {"a": 1}}), address),
    ):
        with pytest.raises(UsageError, match="holds float weights"):
            call()


def test_texts_must_come_again(address: Address, tmp_path: Path) -> None:
    """A document without its text would lose the one that is stored."""
    corpus = write_json_lines(tmp_path / "c.jsonl", [{"id": "a", "text": "one"}])
    first = file(tmp_path / "first.jsonl", {"a": {"a": 1}})
    made = LoadOptions(RemoteOptions(fields=("text",)))
    load_index(first, address, made, Given(with_contents=str(corpus)))
    with pytest.raises(MismatchError, match="are stored with text, and the new ones"):
        update_index(first, address)
    update_index(first, address, made, Given(with_contents=str(corpus)))
    check_holds(address, {"a": {"a": 1}}, tmp_path)


def test_weights_that_the_engine_changes(address: Address, tmp_path: Path) -> None:
    """What it holds then is what is read back of it."""
    held = {"a": {"a": 5}, "b": {"b": 7}}
    loaded(address, tmp_path, held)
    path = file(tmp_path / "u.jsonl", {"a": {"a": (1 << 24) + 1}})
    with pytest.raises(BadInputError, match="would change 1 of"):
        update_index(path, address)
    done = update_index(path, address, LoadOptions(allow_loss=True))
    assert done.manifest.options["weights_changed"] == 1
    read = read_remote(address)
    assert isinstance(read, ImpactSource)
    read.read_all()
    assert done.manifest.content == str(read.content)
    assert done.manifest.counts.impact_sum == read.counts.impact_sum
    again = delete_documents(address, ["b"])
    assert again.manifest.counts.documents == 1


def test_a_check_that_fails_is_told(
    address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = documents(1, IDS[:9], TERMS[:9])
    loaded(address, tmp_path, held)
    with connect(address) as index:
        kind = type(index)
    real = kind.write

    def some(self: RemoteIndex, items: list[Any]) -> None:
        real(self, items[1:])

    monkeypatch.setattr(kind, "write", some)
    path = file(tmp_path / "u.jsonl", documents(3, IDS[2:6], TERMS[:9]))
    for check in ("full", "sample"):
        with pytest.raises(ExternalProgramError, match=r"content|holds another vector"):
            update_index(path, address, LoadOptions(check=check))
    monkeypatch.undo()
    update_index(path, address)
    monkeypatch.setattr(kind, "delete", lambda self, ids: len(ids))
    with pytest.raises(ExternalProgramError, match="still holds document 'd1'"):
        delete_documents(address, ["d1"])


# The command line


def test_the_command_line(
    address: Address,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = documents(1, IDS[:9])
    assert run(capfd, "index", file(tmp_path / "d.jsonl", held), "-o", address)[0] == 0
    fresh = documents(2, IDS[5:15])
    status, out, _ = run(
        capfd, "index", file(tmp_path / "u.jsonl", fresh), "-o", address, "--update", "--json"
    )
    told = json.loads(out)
    assert (status, told["added"], told["replaced"]) == (0, 6, 4)
    assert told["counts"]["documents"] == 15
    status, _, err = run(capfd, "index", tmp_path / "u.jsonl", "-o", address, "--update")
    assert status == 0 and "0 documents added, 10 replaced" in err
    (tmp_path / "ids").write_text("d3\nit's\nd4\n")
    status, _, err = run(capfd, "delete", address, "--ids", tmp_path / "ids")
    assert status == 4 and '1 of 3 documents are not there ("it\'s")' in err
    line = ["delete", address, "--ids", tmp_path / "ids", "--missing-ok", "--json"]
    status, out, _ = run(capfd, *line)
    told = json.loads(out)
    assert (status, told["deleted"], told["not_there"]) == (0, 2, 1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d5\n")))
    status, _, err = run(capfd, "delete", address, "--ids", "-", "--id", "d6", "--id", "d7")
    assert status == 0 and "3 documents deleted; 10 are left" in err
    left = {i: v for i, v in (held | fresh).items() if i not in ("d3", "d4", "d5", "d6", "d7")}
    check_holds(address, left, tmp_path)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("index qdrant:q -o qdrant:q --update", 2, "is read, too; name another output"),
        ("index qdrant:q -o qdrant:q", 2, "is read, too; name another output"),
        ("delete i --id a", 2, "indexes of files are made anew"),
        ("delete qdrant:q", 2, "no ids of documents"),
        ("delete qdrant:q --id a --id a", 4, "number 2: id 'a' was there before"),
        ("delete qdrant:q --ids ids", 4, "ids:3: id 'b c' is empty or holds white space"),
        ("delete qdrant:q --ids none", 4, "none"),
        ("index d -o i -e exact --update", 2, "where --output is a folder, since indexes of"),
        ("index d -o opensearch://h/i --update --opensearch-query neural_sparse", 2,
         "are of a new index"),
    ],
)  # fmt: skip
def test_what_is_no_change(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids").write_text("a\n\nb c\n")
    found, _, err = run(capfd, *line.split())
    assert (found, words in err) == (status, True), err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids"]


@pytest.mark.long
def test_an_update_is_killed_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    address = at(f"qdrant:{tmp_path / 's'}")
    held = documents(1, [f"d{i}" for i in range(1500)])
    loaded(address, tmp_path, held)
    fresh = documents(2, [f"d{i}" for i in range(500, 2500)])
    line = command("index", file(tmp_path / "u.jsonl", fresh), "-o", address, "--update")
    state = tmp_path / "s" / "splade_bridge" / "state.json"
    for pause in (0.0, 0.05):
        process = subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if orjson.loads(state.read_bytes())["change"]:
                break
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "1,000 documents added, 1,000 replaced" in done.stderr
    check_holds(address, held | fresh, tmp_path)
