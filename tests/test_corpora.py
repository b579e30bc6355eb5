"""Corpora and queries as text: every layout gives its texts, whatever is broken has a place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.errors import BadInputError, SpladeBridgeError
from splade_bridge.text.corpora import CorpusOptions, read_texts
from strategies import ids, quick

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
records = st.lists(st.tuples(ids, any_text), min_size=1, max_size=6, unique_by=lambda r: r[0])


def read(source: Path | str, **options: Any) -> list[tuple[str, str]]:
    return [(t.id, t.text) for t in read_texts(str(source), options=CorpusOptions(**options))]


def lines(*objects: Any) -> bytes:
    return b"".join(json.dumps(o).encode() + b"\n" for o in objects)


# ---------------------------------------------------------------- every layout


@quick
@given(
    rows=records,
    suffix=st.sampled_from(list(COMPRESS)),
    id_field=st.sampled_from(["id", "_id", "docid"]),
    text_field=st.sampled_from(["contents", "text"]),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.booleans(),
    escaped=st.booleans(),
)
def test_json_lines_give_their_texts(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    suffix: str,
    id_field: str,
    text_field: str,
    ending: str,
    mark: bool,
    escaped: bool,
) -> None:
    path = tmp_path_factory.mktemp("json") / f"a.jsonl{suffix}"
    content = ending.join(
        json.dumps({text_field: text, id_field: i, "meta": {"a": 1}}, ensure_ascii=escaped)
        for i, text in rows
    )
    path.write_bytes(COMPRESS[suffix]((b"\xef\xbb\xbf" if mark else b"") + content.encode()))
    assert read(path) == [(i, text.strip()) for i, text in rows]


@quick
@given(rows=records, suffix=st.sampled_from(list(COMPRESS)), ending=st.sampled_from(["\n", "\r\n"]))
def test_tsv_gives_its_texts_with_further_tabs_as_blanks(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    suffix: str,
    ending: str,
) -> None:
    path = tmp_path_factory.mktemp("tsv") / f"a.tsv{suffix}"
    rows = [(i, text.replace("\n", " ").replace("\r", " ")) for i, text in rows]
    content = "".join(f"{i}\t{text}{ending}" for i, text in rows)
    if content.startswith("\ufeff"):
        return  # would be taken for a byte order mark
    path.write_bytes(COMPRESS[suffix](content.encode()))
    assert read(path) == [(i, text.replace("\t", " ").strip()) for i, text in rows]


def test_parquet_gives_its_texts_also_with_integer_ids_and_null_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "docid": [1, 2, 3],
        "title": ["T", None, ""],
        "text": ["a", None, "c"],
        "x": [0, 0, 0],
    }
    pq.write_table(pa.table(columns), path)
    assert read(path) == [("1", "T a"), ("2", ""), ("3", "c")]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_beir_folder_gives_corpus_or_queries_and_nothing_else(
    tmp_path: Path, suffix: str
) -> None:
    corpus = lines({"_id": "d1", "title": "Title", "text": "body", "metadata": {"url": "x:y"}})
    (tmp_path / f"corpus.jsonl{suffix}").write_bytes(COMPRESS[suffix](corpus))
    queries = lines({"_id": "q1", "text": "what", "metadata": {}})
    (tmp_path / f"queries.jsonl{suffix}").write_bytes(COMPRESS[suffix](queries))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "other.jsonl").write_bytes(b"broken")
    assert read(tmp_path) == [("d1", "Title body")]
    assert [(t.id, t.text) for t in read_texts(str(tmp_path), "queries")] == [("q1", "what")]


def test_a_folder_of_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines({"id": 1, "text": "one"})))
    (tmp_path / "a.tsv").write_bytes(b"x\ttwo")
    (tmp_path / "c.parquet.md").write_bytes(b"not a text")
    pq.write_table(pa.table({"id": ["y"], "text": ["three"]}), tmp_path / "c.parquet")
    texts = [("x", "two"), ("1", "one"), ("y", "three")]
    with pytest.raises(BadInputError, match=r"not texts .*: c\.parquet\.md\. .*--skip-others"):
        read(tmp_path)
    assert read(tmp_path, skip_others=True) == texts
    (tmp_path / "c.parquet.md").unlink()
    assert read(tmp_path) == texts


def test_stdin_is_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(lines({"id": "a", "text": "b"})))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read("-") == [("a", "b")]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"id": "a", "title": "T", "text": "b"}, "T b"),
        ({"id": "a", "title": "", "text": "b"}, "b"),
        ({"id": "a", "title": None, "text": "b"}, "b"),
        ({"id": "a", "title": "T", "text": ""}, "T"),
        ({"id": "a", "title": "T", "text": None}, "T"),
        ({"id": "a", "text": None}, ""),
        ({"id": "a", "text": "  b\n "}, "b"),
        ({"id": "a", "contents": "c", "text": "t"}, "c"),
    ],
)
def test_title_and_body_are_joined_as_beir_does(
    tmp_path: Path, record: dict[str, Any], text: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(record))
    assert read(path) == [("a", text)]


def test_named_fields_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines({"pid": 3, "body": "b", "head": "h", "id": "x", "text": "y"}))
    options = {"id_field": "pid", "text_field": "body", "title_field": "head"}
    assert read(path, **options) == [("3", "h b")]


def test_a_text_of_a_million_characters_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "x:y " * 300_000 + "end"
    path.write_bytes(lines({"id": "a", "text": text}))
    assert read(path) == [("a", text)]


@pytest.mark.shared
def test_real_collections_have_their_counts(shared: Path) -> None:
    for name, documents, queries in (("nfcorpus", 3633, 3237), ("scifact", 5183, 1109)):
        assert len(read(shared / name)) == documents
        assert len(list(read_texts(str(shared / name), "queries"))) == queries


# ---------------------------------------------------------------- bad input

BAD_LINES = {
    "text": (b"hello", "not a line of JSON"),
    "array": (b'[{"id":"b","text":"x"}]', "not a JSON object"),
    "scalar": (b"3", "not a JSON object"),
    "cut off": (b'{"id":"b","text":"x', "not a line of JSON"),
    "two objects": (b'{"id":"b","text":"x"}{"id":"c","text":"x"}', "not a line of JSON"),
    "pretty-printed": (b'{\n"id":"b",\n"text":"x"}', "not a line of JSON"),
    "NaN": (b'{"id":"b","text":"x","n":NaN}', "not a line of JSON"),
    "not UTF-8": (b'{"id":"b","text":"\xe9"}', "not a line of JSON"),
    "lone surrogate": (rb'{"id":"b","text":"\ud800"}', "not a line of JSON"),
    "no id": (b'{"text":"x"}', "no field id or _id or docid .id.; the record has text.*--id-field"),
    "no text": (b'{"id":"b"}', "no field contents or text .*has id.*--text-field"),
    "no fields": (b"{}", "the record has none"),
    "id null": (b'{"id":null,"text":"x"}', "an id must be"),
    "id float": (b'{"id":1.5,"text":"x"}', "an id must be"),
    "id true": (b'{"id":true,"text":"x"}', "an id must be"),
    "id list": (b'{"id":["b"],"text":"x"}', "an id must be"),
    "id empty": (b'{"id":"","text":"x"}', "id ''"),
    "id with a blank": (b'{"id":"b c","text":"x"}', "id 'b c'"),
    "id with a newline": (rb'{"id":"b\nc","text":"x"}', "id "),
    "id with NUL": (rb'{"id":"b\u0000c","text":"x"}', "NUL"),
    "text list": (b'{"id":"b","text":["x"]}', "field 'text' is not a string"),
    "text number": (b'{"id":"b","text":3}', "field 'text' is not a string"),
    "text object": (b'{"id":"b","text":{"a":"b"}}', "field 'text' is not a string"),
    "title number": (b'{"id":"b","text":"x","title":3}', "field 'title' is not a string"),
    "id there before": (b'{"id":"a","text":"x"}', "id 'a' was there before"),
    "id as an integer": (b'{"id":7,"text":"x"}', "id '7' was there before"),
    "text twice": (b'{"id":"b","text":"x","text":"y"}', "key 'text' stands twice"),
    "text twice, one escaped": (rb'{"id":"b","text":"x","\u0074ext":"y"}', "'text' stands twice"),
    "id twice": (b'{"id":"b","text":"x","id":"c"}', "key 'id' stands twice"),
    "id twice beside a blank": (b'{"id":"b","text" :"x:","id":"c"}', "key 'id' stands twice"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    good = lines({"id": "a", "text": ""}, {"id": "7", "text": "x"})
    path.write_bytes(COMPRESS[suffix](good + b" \r\n" + line + b"\n"))
    with pytest.raises(BadInputError, match=rf"a\.jsonl{suffix}:4: .*{message}"):
        read(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"no tab", "no tab"),
        (b"\ttext", "id ''"),
        (b" b\ttext", "id ' b'"),
        (b"b c\ttext", "id 'b c'"),
        (b"b\0\ttext", "NUL"),
        (b"b\t\xff\xfe", "not UTF-8"),
        (b"a\tagain", "id 'a' was there before"),
        (b"   ", "no tab"),
    ],
)
def test_a_broken_line_of_tsv_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\tx\r\n\r\n" + line + b"\n")
    with pytest.raises(BadInputError, match=rf"a\.tsv:3: .*{message}"):
        read(path)


class ParquetCase(NamedTuple):
    columns: dict[str, pa.Array]
    message: str


PARQUET = {
    "no id": ParquetCase({"text": pa.array(["x", "y"])}, "row 1: no field id"),
    "no text": ParquetCase({"id": pa.array(["a", "b"])}, "row 1: no field contents or text"),
    "nothing": ParquetCase({"x": pa.array(["a", "b"])}, "row 1: no field"),
    "null id": ParquetCase(
        {"id": pa.array(["a", None]), "text": pa.array(["x", "y"])}, "row 2: an id must be"
    ),
    "float id": ParquetCase(
        {"id": pa.array([1.0, 2.0]), "text": pa.array(["x", "y"])}, "row 1: an id must be"
    ),
    "binary id": ParquetCase(
        {"id": pa.array([b"a", b"b"]), "text": pa.array(["x", "y"])}, "row 1: an id must be"
    ),
    "number as text": ParquetCase(
        {"id": pa.array(["a", "b"]), "text": pa.array([1, 2])},
        "row 1: field 'text' is not a string",
    ),
    "struct as text": ParquetCase(
        {"id": pa.array(["a", "b"]), "text": pa.array([{"x": 1}, None])}, "row 1: field 'text'"
    ),
    "id twice": ParquetCase(
        {"id": pa.array(["a", "a"]), "text": pa.array(["x", "y"])}, "row 2: id 'a' was there"
    ),
    "blank in id": ParquetCase(
        {"id": pa.array(["a", "b c"]), "text": pa.array(["x", "y"])}, "row 2: id 'b c'"
    ),
    "not UTF-8": ParquetCase(
        {
            "id": pa.array(["a", "b"]),
            "text": pa.Array.from_buffers(
                pa.string(), 2, pa.array([b"x", b"\xff"], pa.binary()).buffers()
            ),
        },
        " not a Parquet file .*utf-8",
    ),
}


@pytest.mark.parametrize("case", PARQUET.values(), ids=PARQUET)
def test_broken_parquet_is_named_with_its_row(tmp_path: Path, case: ParquetCase) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(case.columns), path)
    with pytest.raises(BadInputError, match=rf"a\.parquet:{case.message}"):
        read(path)


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_cut_parquet_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadInputError, match=r"a\.parquet: not a Parquet file"):
        read(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "tsv"])
def test_a_cut_compressed_corpus_is_refused(tmp_path: Path, suffix: str, kind: str) -> None:
    rows = [(f"d{i}", f"text {i * i}") for i in range(5000)]
    content = {
        "jsonl": lines(*({"id": i, "text": t} for i, t in rows)),
        "tsv": "".join(f"{i}\t{t}\n" for i, t in rows).encode(),
    }[kind]
    whole = COMPRESS[suffix](content)
    path = tmp_path / f"a.{kind}{suffix}"
    for share in (0.2, 0.7, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadInputError, match="cut off"):
            read(path)


def test_an_id_in_two_files_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"id": "a", "text": "x"}))
    (tmp_path / "b.tsv").write_bytes(b"b\ty\na\tx\n")
    with pytest.raises(BadInputError, match=r"b\.tsv:2: id 'a' was there before"):
        read(tmp_path)


def test_a_folder_without_texts_and_an_unknown_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no text files in this folder"):
        read(tmp_path)
    (tmp_path / "a.docx").touch()
    with pytest.raises(BadInputError, match=r"a\.docx: not a known kind of text file"):
        read(tmp_path / "a.docx")
    (tmp_path / "corpus.jsonl").mkdir()
    with pytest.raises(BadInputError, match="no text files in this folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "missing.jsonl",
        "/no/such/folder",
        "./here",
        "s3://bucket/key",
        "no-such-dataset",
        "beir/none",
    ],
)
def test_a_source_that_is_nowhere_is_an_error_with_its_name(source: str) -> None:
    with pytest.raises(SpladeBridgeError, match=source):
        read(source)


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "a.jsonl.gz", "a.tsv.zst"])
def test_an_empty_file_holds_no_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert read(tmp_path / name) == []


# ---------------------------------------------------------------- ir_datasets


class FakeRecord(NamedTuple):
    doc_id: Any
    title: str
    body: str

    def default_text(self) -> str:
        return self.body


@pytest.fixture
def data_set(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let ``ir_datasets.load`` give these documents."""
    ir_datasets = pytest.importorskip("ir_datasets")

    def use(*found: FakeRecord, error: Exception | None = None) -> None:
        def documents() -> Any:
            yield from found
            if error:
                raise error

        fake = SimpleNamespace(
            has_docs=lambda: True, has_queries=lambda: False, docs_iter=documents
        )
        monkeypatch.setattr(ir_datasets, "load", lambda name: fake)

    return use


def test_an_ir_datasets_id_gives_its_texts(data_set: Callable[..., None]) -> None:
    data_set(FakeRecord("a", "T", "body"), FakeRecord("b", "T", "T body"), FakeRecord("c", "", "x"))
    assert read("some/set") == [("a", "T body"), ("b", "T body"), ("c", "x")]


def test_a_data_set_without_queries_is_refused(data_set: Callable[..., None]) -> None:
    data_set()
    with pytest.raises(BadInputError, match="some/set: this data set has no queries"):
        list(read_texts("some/set", "queries"))


def test_a_broken_record_of_a_data_set_is_named(data_set: Callable[..., None]) -> None:
    data_set(FakeRecord("a", "", "x"), FakeRecord("a b", "", "y"))
    with pytest.raises(BadInputError, match="some/set:2: id 'a b'"):
        read("some/set")


def test_a_download_that_fails_is_an_error_with_the_name(data_set: Callable[..., None]) -> None:
    data_set(FakeRecord("a", "", "x"), error=ConnectionError("no route to host"))
    with pytest.raises(SpladeBridgeError, match=r"some/set: .*no route to host"):
        read("some/set")


# ---------------------------------------------------------------- tables and arrays


@quick
@given(rows=records, suffix=st.sampled_from(list(COMPRESS)), indent=st.sampled_from([None, 1]))
def test_a_json_array_of_documents_gives_its_texts(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    suffix: str,
    indent: int | None,
) -> None:
    path = tmp_path_factory.mktemp("array") / f"a.json{suffix}"
    found = [{"docid": i, "text": text} for i, text in rows]
    path.write_bytes(COMPRESS[suffix](json.dumps(found, indent=indent).encode()))
    assert read(path) == [(i, text.strip()) for i, text in rows]


csv_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@quick
@given(
    rows=st.lists(st.tuples(ids, csv_text), min_size=1, max_size=6, unique_by=lambda r: r[0]),
    suffix=st.sampled_from(list(COMPRESS)),
    header=st.sampled_from([("id", "text"), ("docid", "contents"), ("doc_id", "body")]),
)
def test_csv_gives_its_texts_with_commas_quotes_and_ends_of_lines(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    suffix: str,
    header: tuple[str, str],
) -> None:
    """Python's own writer is the oracle."""
    path = tmp_path_factory.mktemp("csv") / f"a.csv{suffix}"
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerows([header, *rows])
    path.write_bytes(COMPRESS[suffix](written.getvalue().encode()))
    assert read(path) == [(i, text.strip()) for i, text in rows]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id\ttext", [("d1", "one two")]),
        ("docid\ttitle\ttext", [("d1", "T one two")]),
        ("pid\tpassage", [("d1", "one two")]),
        ("doc_id\ttitle\tbody", [("d1", "T one two")]),
    ],
)
def test_a_first_line_of_names_is_no_document(
    header: str, rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "a.tsv"
    cells = ["d1", "T", "one two"] if header.count("\t") == 2 else ["d1", "one two"]
    path.write_text(header + "\n" + "\t".join(cells) + "\n")
    assert read(path) == rows


def test_names_are_names_in_the_first_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("d1\tone\nid\ttext\n")
    assert read(path) == [("d1", "one"), ("id", "text")]


TEVATRON = {"docid": ["d1", "d2"], "title": ["T", ""], "text": ["one", "two"]}


def parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def arrow_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)


def arrow_file(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("write", [parquet, arrow_stream, arrow_file])
def test_tevatrons_corpora_give_their_texts(
    write: Callable[[pa.Table, Path], None], tmp_path: Path
) -> None:
    suffix = ".parquet" if write is parquet else ".arrow"
    write(pa.table(TEVATRON), tmp_path / f"data-00000-of-00001{suffix}")
    for name in ("state.json", "dataset_info.json"):  # as datasets' save_to_disk leaves them
        (tmp_path / name).write_text('{"_format_type": null}')
    expected = [("d1", "T one"), ("d2", "two")]
    assert read(tmp_path) == read(tmp_path / f"data-00000-of-00001{suffix}") == expected


def test_a_folder_that_datasets_saved_gives_its_texts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(TEVATRON).save_to_disk(str(tmp_path / "saved"))
    assert read(tmp_path / "saved") == [("d1", "T one"), ("d2", "two")]


def test_tevatrons_queries_give_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(lines({"query_id": "1", "query": "what", "positive_passages": []}))
    assert [(t.id, t.text) for t in read_texts(str(path), "queries")] == [("1", "what")]
