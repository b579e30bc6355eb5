"""What ``inspect`` says of vectors in the files of others, and of feeds: the same as of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

import command_line
from bad_input import made
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import SourceOptions, open_vectors
from splade_bridge.errors import BadInputError
from splade_bridge.formats.choices import ConvertFormat, FeedTarget, SourceFormat
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.kinds import KINDS, inspect_path

FEEDS = get_args(FeedTarget)
PLACES: dict[str, str] = {
    "vectors": "", "jsonvector": "jsonvector", "ciff": "index.ciff", "forward": "forward",
    "pisa-canonical": "pisa", "npz": "npz", "seismic": "seismic", "hf": "hf",
}  # fmt: skip
"""Where ``convert`` puts a format inside of what it makes."""


def faults(found: Inspection) -> dict[str, int]:
    return {fault.fault: fault.count for fault in found.faults}


def as_made(found: Inspection) -> None:
    """The figures are those of the documents of ``made.source()``."""
    source = made.source()
    for _ in source.batches():
        pass
    assert found.counts == source.counts
    assert found.content is not None and found.content.computed == str(source.content)
    assert found.values is not None and (found.values.least, found.values.most) == (1, 300)
    assert found.lengths is not None and found.distinct_terms == 4
    assert found.numbers == "impacts"
    assert [x.term for x in found.longest] == ["alpha", "beta", "delta", "gamma"]
    assert faults(found) == {}


@pytest.mark.parametrize("to", get_args(ConvertFormat))
def test_everything_that_convert_makes_is_told_with_the_same_figures(
    to: ConvertFormat, tmp_path: Path
) -> None:
    (tmp_path / "docs.jsonl").write_text(made.JSON_LINES)
    convert(tmp_path / "docs.jsonl", tmp_path / "out", to)
    found = inspect_path(tmp_path / "out")
    assert found.ours
    assert found.kind == ("feed" if to in FEEDS else "vectors" if to == "vectors" else "export")
    assert found.content is not None and found.content.equal is True
    if to != "vectors":  # whose impacts are stored as floats, and told as impacts all the same
        as_made(found)
    if to in FEEDS:
        assert found.facts["target"] == to and found.facts["weights_that_the_engine_changes"] == 0
        quickly = inspect_path(tmp_path / "out", InspectOptions(quick=True))
        assert quickly.counts == found.counts and quickly.values is None
    elif PLACES[to]:
        inside = inspect_path(tmp_path / "out" / PLACES[to])
        assert inside.kind == to
        as_made(inside)


@pytest.mark.parametrize("to", ["jsonvector", "npz", "seismic", "hf", *FEEDS])
def test_weights_are_told_as_weights(to: ConvertFormat, tmp_path: Path) -> None:
    made.vectors(tmp_path / "v")
    expected = inspect_path(tmp_path / "v")
    convert(tmp_path / "v", tmp_path / "out", to, allow_loss=to in FEEDS)
    found = inspect_path(tmp_path / "out")
    assert found.numbers == "weights"
    assert found.content == expected.content
    assert (found.counts, found.values, found.longest) == (
        expected.counts, expected.values, expected.longest,
    )  # fmt: skip


OTHERS = {"elasticsearch": "elasticsearch", "qdrant": "qdrant", "milvus": "milvus",
          "vespa": "vespa", "opensearch": "elasticsearch"}  # fmt: skip
"""A feed, and what its files are taken for without a manifest."""


@pytest.mark.parametrize("target", FEEDS)
def test_documents_of_an_engine_are_known_without_a_manifest(
    target: FeedTarget, tmp_path: Path
) -> None:
    (tmp_path / "docs.jsonl").write_text(made.JSON_LINES)
    convert(tmp_path / "docs.jsonl", tmp_path / "f", target)
    (tmp_path / "f" / "manifest.json").unlink()
    (part,) = (tmp_path / "f").glob("*-00000*")
    for path in (part, tmp_path / "f"):
        told = inspect_path(path, InspectOptions(source_format=target))
        assert (told.kind, told.ours) == (target, False)
        as_made(told)
    assert inspect_path(part).kind == OTHERS.get(target, "elasticsearch")


def test_hits_of_elasticsearch_are_told(tmp_path: Path) -> None:
    hits = [
        {"_index": "x", "_id": f"d{i}", "_source": {"vector": {"a.b": 1.5, "c": 0.25 * (i + 1)}}}
        for i in range(3)
    ]
    path = tmp_path / "hits.jsonl"
    path.write_text("".join(json.dumps(hit) + "\n" for hit in [*hits, hits[0]]))
    found = inspect_path(path)
    assert (found.kind, found.numbers) == ("elasticsearch", "weights")
    assert found.counts is not None and found.counts.documents == 4
    assert faults(found) == {"ids that were there before": 1, "numbers that are no integers": 8}
    assert any("--from opensearch" in unknown for unknown in found.unknown)
    path.write_text(json.dumps(hits[0]) + '\n{"_id": "d1", "_source": {"other": {}}}\n')
    assert "hits.jsonl:2: no field 'vector'" in inspect_path(path).faults[-1].places[0]


# ---------------------------------------------------------------- matrices


def matrix(folder: Path, *, ids: str | None = "d0\nd1\nd2\n", terms: bool = True) -> Path:
    csr = scipy.sparse.csr_matrix(np.array([[3, 0, 1], [0, 0, 0], [0, 7, 0]]))
    scipy.sparse.save_npz(folder / "m.npz", csr)
    if ids is not None:
        (folder / "ids.txt").write_text(ids)
    if terms:
        (folder / "terms.json").write_text('["a", "b b", "c"]')
    return folder / "m.npz"


def test_a_matrix_of_others_is_told(tmp_path: Path) -> None:
    for path in (matrix(tmp_path), tmp_path):
        found = inspect_path(path)
        assert (found.kind, found.numbers, found.ours) == ("npz", "impacts", False)
        assert found.facts == {
            "file": "m.npz", "layout": "CSR", "shape": "3 x 3", "type": "int64", "ids": "ids.txt",
            "named_columns": 3,
        }  # fmt: skip
        source = open_vectors(path)
        source.read_all()
        assert found.counts == source.counts
        assert found.content is not None and found.content.computed == str(source.content)
        assert faults(found) == {"documents without a term": 1, "terms with white space": 1}


def test_a_matrix_without_names_says_its_shape_and_what_is_missing(tmp_path: Path) -> None:
    path = matrix(tmp_path, ids=None, terms=False)
    found = inspect_path(path)
    assert (found.facts["shape"], found.facts["ids"]) == ("3 x 3", None)
    (fault,) = found.faults
    assert "no terms beside it" in fault.places[0] and "--vocabulary" in fault.places[0]
    assert found.counts is None and found.content is None
    (tmp_path / "vocab.txt").write_text("x\ny\nz\n")
    assert "no ids beside it" in inspect_path(path).faults[-1].places[0]


def test_terms_of_a_matrix_come_from_the_flag(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = matrix(tmp_path, terms=False)
    (tmp_path / "other.json").write_text('["x", "y", "z"]')
    asked = ("inspect", path, "--vocabulary", tmp_path / "other.json", "--json")
    status, out, _ = command_line.run(capfd, *asked)
    assert status == 0
    assert {x["term"] for x in json.loads(out)["longest"]} == {"x", "y", "z"}


def test_faults_of_a_matrix_are_counted_with_their_places(tmp_path: Path) -> None:
    path = matrix(tmp_path, ids="d0\nd0\nd 2\n")
    indptr = np.array([0, 4, 4, 6])
    np.savez(
        path, format=np.array(b"csr"), shape=np.array([3, 3]), indptr=indptr,
        indices=np.array([2, 0, 0, 1, 1, 9]), data=np.array([1.5, 2, 3, np.nan, -1, 1]),
    )  # fmt: skip
    found = inspect_path(path)
    assert faults(found) == {
        "ids that were there before": 1, "ids that a run cannot hold": 1,
        "terms twice in a row": 1, "weights that are no numbers": 1, "weights below 0": 1,
        "numbers in columns without a term": 1, "documents without a term": 2,
        "terms with white space": 1,
    }  # fmt: skip
    places = {fault.fault: fault.places[0] for fault in found.faults}
    assert places["terms twice in a row"].endswith("ids.txt:1 (term 'a')")
    assert places["numbers in columns without a term"].endswith("ids.txt:3 (column 9)")
    assert found.counts is not None and (found.counts.documents, found.counts.postings) == (3, 2)
    assert "content: without the numbers that are none" in found.unknown
    with pytest.raises(BadInputError):
        list(open_vectors(path).batches())


def test_tensors_are_told(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    dense = torch.tensor([[3, 0, 1], [0, 0, 0], [0, 7, 0]])
    matrix(tmp_path)
    expected = inspect_path(tmp_path / "m.npz")
    (tmp_path / "m.npz").unlink()
    for tensor, layout in ((dense.to_sparse(), "COO"), (dense.to_sparse_csr(), "CSR"),
                           (dense, "dense")):  # fmt: skip
        torch.save(tensor, tmp_path / "m.pt")
        found = inspect_path(tmp_path)
        assert (found.kind, found.facts["layout"]) == ("tensors", layout)
        assert (found.counts, found.content) == (expected.counts, expected.content)
        assert found.faults == expected.faults


# ---------------------------------------------------------------- tables

ROWS = [("d0", {"a": 3, "b b": 1}), ("d1", {}), ("d2", {"c": 7})]


def columns(kind: str) -> pa.Table:
    ids = pa.array([i for i, _ in ROWS])
    if kind == "maps":
        maps = pa.array([list(v.items()) for _, v in ROWS], pa.map_(pa.string(), pa.int32()))
        return pa.table({"_id": ids, "sparse": maps})
    terms = [list(v) for _, v in ROWS]
    numbers = pa.array([list(v.values()) for _, v in ROWS], pa.list_(pa.int64()))
    if kind == "tokens":
        return pa.table({"docid": ids, "tokens": terms, "values": numbers})
    known = ["a", "b b", "c"]
    at = pa.array([[known.index(t) for t in row] for row in terms], pa.list_(pa.int32()))
    return pa.table({"id": ids, "token_ids": at, "impacts": numbers})


def arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {"parquet": pq.write_table, "arrow": arrow}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("kind", ["maps", "tokens", "ids"])
def test_a_table_of_vectors_is_told_and_no_text(kind: str, suffix: str, tmp_path: Path) -> None:
    from splade_bridge.data.vocabulary import Vocabulary

    folder = tmp_path / "data"
    folder.mkdir()
    WRITERS[suffix](columns(kind), folder / f"t.{suffix}")
    (folder / "README.md").write_text("# Vectors")
    terms = Vocabulary(["a", "b b", "c"]) if kind == "ids" else None
    for path in (folder / f"t.{suffix}", folder):
        found = inspect_path(path, InspectOptions(vocabulary=terms))
        assert (found.kind, found.numbers) == ("hf", "impacts")
        assert found.facts["files"] == 1 and found.facts["term_ids"] == (kind == "ids")
        assert found.facts["other_files"] == (["README.md"] if path == folder else [])
        source = open_vectors(path, SourceOptions(vocabulary=terms))
        source.read_all()
        assert found.counts == source.counts
        assert found.content is not None and found.content.computed == str(source.content)
        assert faults(found) == {"documents without a term": 1, "terms with white space": 1}


def test_a_table_of_term_ids_without_a_vocabulary_says_its_columns(tmp_path: Path) -> None:
    pq.write_table(columns("ids"), tmp_path / "t.parquet")
    found = inspect_path(tmp_path / "t.parquet")
    assert found.facts["columns"][1].startswith("token_ids: list<")
    assert "name the --vocabulary" in found.faults[0].places[0]


def test_a_table_of_texts_is_no_table_of_vectors(tmp_path: Path) -> None:
    for suffix, write in WRITERS.items():
        table = pa.table({"docid": ["a", "b"], "text": ["one", "two words"]})
        write(table, tmp_path / f"t.{suffix}")
        found = inspect_path(tmp_path / f"t.{suffix}")
        assert (found.kind, found.facts["content"]["texts"]) == ("texts", 2)


def test_faults_of_a_table_are_counted(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["d0", "d0", "d2"],
            "tokens": [["a", "b"], ["a"], ["c", "d"]],
            "weights": [[1.0, -2.0], [0.0], [0.5, float("nan")]],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = inspect_path(tmp_path / "t.parquet")
    assert faults(found) == {
        "ids that were there before": 1, "weights below 0": 1, "weights of 0": 1,
        "weights beyond what a float32 holds": 1, "numbers that are no integers": 1,
        "documents without a term": 1,
    }  # fmt: skip
    assert found.counts is not None and found.counts.postings == 2


# ---------------------------------------------------------------- all of them


def test_every_source_format_has_a_kind() -> None:
    names = {kind.name for kind in KINDS}
    assert set(get_args(SourceFormat)) <= names


EMPTY: list[Any] = [f for f in get_args(SourceFormat) if f != "vectors"]


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("what", ["an empty folder", "an empty file", "garbage"])
def test_what_is_none_of_these_is_an_error(kind: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "an empty folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if what == "an empty file" else made.GARBAGE)
    try:
        found = inspect_path(path, InspectOptions(source_format=kind))
    except BadInputError as error:
        assert str(path) in str(error)
    else:
        assert found.counts is None or found.counts.documents == 0
        assert found.faults or what != "garbage"
