"""Pre-encoded queries: Anserini's repeated tokens, JSON vectors and vector stores are one thing."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import write_store
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, MismatchError
from splade_bridge.formats.queries import Queries, read_queries, write_repeated_tokens
from strategies import Collection, as_dictionaries, collections, ids, quick

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


def rows_of(queries: Queries) -> list[tuple[str, dict[str, int]]]:
    return as_dictionaries([queries.batch], queries.vocabulary)


small = collections(st.integers(1, 30))


@quick
@given(collection=small, suffix=st.sampled_from(list(COMPRESS)), ending=st.sampled_from("\n\r"))
def test_repeated_tokens_come_back_or_their_white_space_is_refused(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, suffix: str, ending: str
) -> None:
    path = tmp_path_factory.mktemp("topics") / f"a.tsv{suffix}"
    written = write_repeated_tokens(collection.impact_batches(), collection.vocabulary)
    if any(term.split() != [term] for row in collection.rows for term in row):
        with pytest.raises(BadInputError, match="white space"):
            list(written)
        return
    content = b"".join(written)
    if ending == "\r":
        content = content.replace(b"\n", b"\r\n")
    path.write_bytes(COMPRESS[suffix](b"\xef\xbb\xbf" + content))
    expected = list(zip(collection.ids, collection.rows, strict=True))
    assert rows_of(read_queries(path)) == expected


@quick
@given(collection=small, name=st.sampled_from(["a.jsonl", "a.json.gz", "folder"]))
def test_json_vectors_are_queries_too(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, name: str
) -> None:
    path = tmp_path_factory.mktemp("topics") / name
    expected = list(zip(collection.ids, collection.rows, strict=True))
    content = "\n".join(json.dumps({"id": i, "vector": row}) for i, row in expected).encode()
    if name == "folder":
        path.mkdir()
        (path / "part.jsonl").write_bytes(content)
    else:
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert rows_of(read_queries(path)) == expected


def test_a_vector_store_is_quantized_into_queries(tmp_path: Path) -> None:
    batch = SparseBatch(
        ["q1", "q2"],
        row_pointers([2, 0]),
        np.array([0, 2], np.int32),
        np.array([1.25, 0.001], np.float32),
    )
    with write_store(tmp_path / "s", Vocabulary(["a", "b", "c"]), {}) as writer:
        writer.add(batch)
        writer.finish()
    found = read_queries(tmp_path / "s")
    assert rows_of(found) == [("q1", {"a": 125}), ("q2", {})]
    assert found.manifest is not None
    assert rows_of(read_queries(tmp_path / "s", QuantizeOptions(2.0)))[0] == ("q1", {"a": 2})


@pytest.mark.shared
def test_real_topics_have_their_queries_and_weights(shared: Path) -> None:
    path = shared / "splade-v3-nfcorpus" / "topics.nfcorpus.test.splade-v3.tsv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = rows_of(read_queries(path))
    assert len(rows) == len(lines) == 323
    for (query_id, row), line in zip(rows, lines, strict=True):
        tokens = line.split("\t")[1].split()
        assert query_id == line.split("\t")[0]
        assert row == {token: tokens.count(token) for token in set(tokens)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"no tab", "no tab"),
        (b"\ta a", "id ''"),
        (b"q 2\ta", "id 'q 2'"),
        (b"q1\tb", "id 'q1' was there before"),
        (b"q2\ta\tb", "a second tab"),
        (b"q2\t\xff", "not UTF-8"),
        (b"q\0\ta", "NUL"),
        (b"  ", "no tab"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"q1\ta a b\n\n" + line + b"\n")
    with pytest.raises(BadInputError, match=rf"a\.tsv:3: .*{message}"):
        read_queries(path)


@pytest.mark.parametrize("line", [b'{"id":"q1","vector":{}}', b'{"id":"q2","vector":{"a":1.5}}'])
def test_a_broken_json_query_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":"q1","vector":{"a":1}}\n' + line)
    with pytest.raises(BadInputError, match=r"a\.jsonl:2: "):
        read_queries(path)


def test_a_query_of_pisa_that_has_a_term_twice_is_named(tmp_path: Path) -> None:
    """0 and 00 are one number, and so one term."""
    (tmp_path / "queries.txt").write_text("q1:0 1 1\nq2:0 00\n")
    (tmp_path / "queries.txt.terms").write_text("a\nb\n")
    with pytest.raises(BadInputError, match=r"queries.txt:2: a term stands twice"):
        read_queries(tmp_path / "queries.txt")


@pytest.mark.parametrize("name", ["missing.tsv", "a.docx", "empty.tsv", "empty.jsonl", "folder"])
def test_what_is_no_set_of_queries_is_named(tmp_path: Path, name: str) -> None:
    for file in ("a.docx", "empty.tsv", "empty.jsonl"):
        (tmp_path / file).touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match=name):
        read_queries(tmp_path / name)


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    whole = gzip.compress(b"".join(b"q%d\tterm%d\n" % (i, i * i) for i in range(1000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="cut off"):
        read_queries(path)


# ---------------------------------------------------------------- alignment with an index


@quick
@given(collection=small, data=st.data())
def test_aligned_queries_keep_ids_and_the_terms_that_the_index_has(
    collection: Collection, data: st.DataObject
) -> None:
    words = list(collection.vocabulary.terms)
    index = data.draw(st.permutations(words).map(lambda p: p[: len(p) // 2 + 1]))
    queries = Queries(
        Path("q"), ImpactBatch.concat(collection.impact_batches()), collection.vocabulary
    )
    expected = [
        (i, {t: v for t, v in row.items() if t in index})
        for i, row in zip(collection.ids, collection.rows, strict=True)
    ]
    if any(collection.rows) and not any(row for _, row in expected):
        with pytest.raises(MismatchError, match="no term of any query"):
            queries.aligned(Vocabulary(index), Path("x"))
        return
    aligned = queries.aligned(Vocabulary(index), Path("x"))
    assert as_dictionaries([aligned], Vocabulary(index)) == expected


def test_queries_that_find_nothing_are_reported_with_their_ids(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batch = ImpactBatch(
        ["full", "empty", "unknown"],
        row_pointers([1, 0, 1]),
        np.array([0, 1], np.int32),
        np.array([1, 1], np.int32),
    )
    queries = Queries(Path("q.tsv"), batch, Vocabulary(["a", "z"]))
    with caplog.at_level(logging.WARNING):
        aligned = queries.aligned(Vocabulary(["a"]), Path("index"))
    assert aligned.ids == ["full", "empty", "unknown"]
    assert "1 of 3 queries have no terms and find nothing in index: empty" in caplog.text
    assert "only terms that no document has and find nothing in index: unknown" in caplog.text


def test_no_batches_make_an_empty_batch() -> None:
    assert len(ImpactBatch.concat([])) == 0


@given(st.lists(ids, unique=True, min_size=1))
def test_a_topic_line_holds_any_id(doc_ids: list[str]) -> None:
    empty = np.empty(0, np.int32)
    batch = ImpactBatch(doc_ids, row_pointers([0] * len(doc_ids)), empty, empty)
    lines = list(write_repeated_tokens([batch], Vocabulary()))
    assert [line.decode() for line in lines] == [f"{i}\t\n" for i in doc_ids]
