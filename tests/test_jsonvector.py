"""JsonVectorCollection: what Anserini reads is read, what it would lose silently is an error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files import json_objects
from splade_bridge.formats import line_columns
from splade_bridge.formats import records as vector_records
from splade_bridge.formats.jsonvector import JsonVectorSource, JsonVectorWriter, read_vectors
from strategies import MAX_IMPACT, Collection, as_dictionaries, collections, quick, weights

Rows = list[tuple[str, dict[str, int]]]


def read(path: Path, options: QuantizeOptions | None = None) -> Rows:
    source = JsonVectorSource(path, options)
    return as_dictionaries(list(source.batches()), source.vocabulary)


def rows_of(collection: Collection) -> Rows:
    return list(zip(collection.ids, collection.rows, strict=True))


# ---------------------------------------------------------------- round trips


@quick
@given(
    collection=collections(),
    docs_per_file=st.integers(1, 4),
    compress=st.booleans(),
    texts=st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=8),
)
def test_what_was_written_is_json_and_is_read_back_or_its_white_space_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
    collection: Collection,
    docs_per_file: int,
    compress: bool,
    texts: list[str] | None,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    contents = zip(collection.ids, texts, strict=False) if texts else None
    writer = JsonVectorWriter(folder, docs_per_file, compress=compress)
    batches = collection.impact_batches()
    if any(term.split() != [term] for row in collection.rows for term in row):
        with pytest.raises(BadInputError, match="white space"):
            writer.write(batches, collection.vocabulary, contents)
        return
    counts = writer.write(batches, collection.vocabulary, contents)
    assert read(folder) == rows_of(collection)
    assert counts.documents == len(collection.ids)
    assert counts.postings == sum(map(len, collection.rows))

    parts = [
        gzip.decompress(p.read_bytes()) if compress else p.read_bytes()
        for p in sorted(folder.iterdir())
    ]
    assert [len(part.splitlines()) for part in parts[:-1]] == [docs_per_file] * (len(parts) - 1)
    lines = b"".join(parts).rstrip(b"\n").split(b"\n")
    expected = [
        {"id": doc_id, "contents": texts[i] if texts else "", "vector": row}
        for i, (doc_id, row) in enumerate(rows_of(collection))
    ]
    assert [json.loads(line) for line in lines] == expected


SPELLINGS: dict[str, Callable[[list[str]], str]] = {
    "one after another": "".join,
    "lines between": "\n\n".join,
    "array": lambda objects: f"[{','.join(objects)}]",
    "array over lines": lambda objects: "[\r\n" + "\t,\n".join(objects) + "\n]\n",
    "two arrays": lambda objects: f"[{','.join(objects)}] []",
}


@quick
@given(
    collection=collections(),
    spelling=st.sampled_from(list(SPELLINGS)),
    indent=st.sampled_from([None, 0, 40, "\t"]),
    escaped=st.booleans(),
    mark=st.booleans(),
    suffix=st.sampled_from(["", ".gz", ".zst"]),
    chunk=st.sampled_from([1, 7, 64, 1 << 20]),
)
def test_every_layout_gives_the_same_vectors_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    collection: Collection,
    spelling: str,
    indent: int | str | None,
    escaped: bool,
    mark: bool,
    suffix: str,
    chunk: int,
) -> None:
    objects = [
        json.dumps(
            {"contents": "x", "vector": row, "id": doc_id}, indent=indent, ensure_ascii=escaped
        )
        for doc_id, row in rows_of(collection)
    ]
    content = (b"\xef\xbb\xbf" if mark else b"") + SPELLINGS[spelling](objects).encode()
    path = tmp_path_factory.mktemp("layout") / f"a.json{suffix}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_objects, "CHUNK", chunk)
        assert read(path) == rows_of(collection)


@quick
@given(collection=collections(weights), scale=st.sampled_from([100.0, 1.0, 50.0]))
def test_floats_are_quantized_as_the_float32_weights_they_came_from(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, scale: float
) -> None:
    numbers = [w for row in collection.rows for w in row.values()]
    assume(not numbers or any(w % 1 for w in numbers))  # else these are integers
    path = tmp_path_factory.mktemp("floats") / "a.jsonl"
    path.write_bytes(
        b"\n".join(orjson.dumps({"id": i, "vector": row}) for i, row in rows_of(collection))
    )
    source = JsonVectorSource(path, QuantizeOptions(scale))
    got = as_dictionaries(list(source.batches()), source.vocabulary)
    quantizer = Quantizer(QuantizeOptions(scale))
    expected = as_dictionaries(
        [quantizer(batch) for batch in collection.sparse_batches()], collection.vocabulary
    )
    assert got == expected
    assert source.quantization == quantizer.info


def test_integers_that_are_written_as_floats_are_integers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "a", "vector": {"x": 3.0, "y": 2}}\n{"id": "b", "vector": {"x": 1e2}}\n'
    )
    assert read(path) == [("a", {"x": 3, "y": 2}), ("b", {"x": 100})]
    assert "2 integers are written as floats" in caplog.text
    with pytest.raises(UsageError, match="--scale 100 is for float weights"):
        list(JsonVectorSource(path, QuantizeOptions(100.0)).batches())


@pytest.mark.shared
@pytest.mark.parametrize("name", ["collection1", "collection2", "collection3"])
@pytest.mark.parametrize("suffix", ["", "_gz"])
def test_anserinis_samples_read_as_anserini_reads_them(
    shared: Path, name: str, suffix: str
) -> None:
    folder = shared / "fixtures" / "anserini-json-vector"
    assert read(folder / (name + suffix)) == [
        ("doc1", {"f1": 1, "f2": 2, "f3": 1, "f4": 4, "f5": 1}),
        ("doc2", {"f4": 3, "f5": 1, "f9": 2, "f22": 6, "f35": 8}),
    ]


@pytest.mark.shared
def test_dense_vectors_are_refused_as_such(shared: Path) -> None:
    with pytest.raises(BadInputError, match=r"doc1\.json:1: a dense vector"):
        read(shared / "fixtures" / "anserini-json-vector" / "dense_collection1")


@pytest.mark.shared
def test_seismics_floats_need_a_scale_and_then_round_like_numpy(shared: Path) -> None:
    path = shared / "fixtures" / "seismic-toy" / "documents.jsonl"
    with pytest.raises(
        BadInputError, match=r"documents\.jsonl:1: term .* not an integer; give --scale"
    ):
        read(path)
    objects = [json.loads(line) for line in path.read_text().splitlines()]
    rows = read(path, QuantizeOptions(100.0))
    assert len(rows) == len(objects) == 20
    for (doc_id, row), found in zip(rows, objects, strict=True):
        terms = list(found["vector"])
        scaled = np.array(list(found["vector"].values()), np.float32).astype(np.float64) * 100
        expected = dict(zip(terms, np.rint(scaled).astype(int).tolist(), strict=True))
        assert doc_id == str(found["id"])
        assert row == {term: impact for term, impact in expected.items() if impact}


def test_a_weight_of_0_is_left_out_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":"a","vector":{"x":0,"y":2}}\n{"id":"b","vector":{"x":0}}\n')
    assert read(path) == [("a", {"y": 2}), ("b", {})]
    assert "left out 2 weights of 0" in caplog.text


def test_the_largest_impact_and_a_million_characters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = {"id": "a", "contents": "x:\n" * 400_000, "vector": {"t": MAX_IMPACT}}
    for text in (json.dumps(record), json.dumps(record, indent=1), json.dumps([record])):
        path.write_text(text)
        assert read(path) == [("a", {"t": MAX_IMPACT})]


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = ["a.json", "b.jsonl", "part-00001", "sub/c.jsonl", "sub.d/e", "z.md"]
    (tmp_path / "sub.d").mkdir()
    for name in reversed(names):
        (tmp_path / name).write_text(f'{{"id":"{name}","vector":{{}}}}\n')
    assert [doc_id for doc_id, _ in read(tmp_path)] == names


# ---------------------------------------------------------------- bad input

ANY = b'{"id":"a","vector":{"x":1}}\n'


def weight(text: str) -> bytes:
    return b'{"id":"b","vector":{"x":' + text.encode() + b"}}"


BAD_LINES = {
    "text": (b"hello", "not a line of JSON"),
    "number": (b"5", "not a JSON object"),
    "array": (b'[{"id":"b","vector":{}}]', "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "cut off": (ANY[:-3], "not a line of JSON"),
    "two objects": (b'{"id":"b","vector":{}}{"id":"c","vector":{}}', "not a line of JSON"),
    "pretty-printed": (b'{\n"id":"b",\n"vector":{}}', "not a line of JSON"),
    "second BOM": (b"\xef\xbb\xbf" + ANY, "not a line of JSON"),
    "not UTF-8": (b'{"id":"b","vector":{"\xe9":1}}', "not a line of JSON"),
    "lone surrogate": (rb'{"id":"b","vector":{"\ud800":1}}', "not a line of JSON"),
    "too deep": (b'{"id":"b","vector":{"x":1},"y":' + b"[" * 10**5 + b"}", "not a line"),
    "no id": (b'{"vector":{"x":1}}', "no field id or _id or docid"),
    "id null": (b'{"id":null,"vector":{"x":1}}', "an id must be"),
    "id float": (b'{"id":1.0,"vector":{"x":1}}', "an id must be"),
    "id object": (b'{"id":{},"vector":{"x":1}}', "an id must be"),
    "id over 64 bits": (b'{"id":18446744073709551616,"vector":{"x":1}}', "an id .*string"),
    "id empty": (b'{"id":"","vector":{"x":1}}', "id ''"),
    "id with a blank": (b'{"id":"a b","vector":{"x":1}}', "id 'a b'"),
    "id with a newline": (rb'{"id":"a\nb","vector":{"x":1}}', "id "),
    "id with NUL": (rb'{"id":"a\u0000b","vector":{"x":1}}', "id .*NUL"),
    "no vector": (b'{"id":"b"}', "no field vector"),
    "vector null": (b'{"id":"b","vector":null}', "no field vector"),
    "dense": (b'{"id":"b","vector":[1,2]}', "a dense vector"),
    "empty term": (b'{"id":"b","vector":{"":1}}', "an empty term"),
    "term twice": (b'{"id":"b","vector":{"x":1,"x":1}}', "'x' stands twice"),
    "term twice, one escaped": (rb'{"id":"b","vector":{"a":1,"\u0061":2}}', "'a' stands twice"),
    "term twice beside a blank": (b'{"id":"b","vector":{"x":1,"x":2,"y" :3}}', "'x' stands twice"),
    "term twice beside blanks": (b'{"id":"b" ,"vector" :{"x"\t:1,"x" :2}}', "'x' stands twice"),
    "term twice beside colons": (b'{"id":"b","c":"::","vector":{":":1,":":2}}', "':' stands twice"),
    "id twice in an object": (b'{"id":"b","id":"c","vector":{}}', "'id' stands twice"),
    "vector twice": (b'{"id":"b","vector":{"x":1},"vector":{"x":1}}', "'vector' stands twice"),
    "id of line 1": (ANY, "id 'a' was there before"),
    "negative": (weight("-1"), "term 'x': a weight must be"),
    "null weight": (weight("null"), "term 'x': None is not a number"),
    "true": (weight("true"), "term 'x': True is not a number"),
    "string": (weight('"1"'), "term 'x': '1' is not a number"),
    "list": (weight("[1]"), "is not a number"),
    "object": (weight("{}"), "is not a number"),
    "NaN": (weight("NaN"), ""),
    "Infinity": (weight("Infinity"), ""),
    "minus Infinity": (weight("-Infinity"), ""),
    "1e400": (weight("1e400"), ""),
    "float": (weight("1.5"), "term 'x': 1.5 is not an integer; give --scale"),
    "over int32": (weight(str(MAX_IMPACT + 1)), "an impact over 2.31"),
    "over int64": (weight(str(2**64)), ""),
    "400 digits": (weight("9" * 400), ""),
    "5,000 digits": (weight("9" * 5000), ""),
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(ANY + b"\r\n" + line + b"\n")
    with pytest.raises(BadInputError, match=rf"a\.jsonl:3: .*{message}"):
        read(path)


ONLY_LINES = ["pretty-printed", "second BOM", "two objects", "array", "not UTF-8"]


@pytest.mark.parametrize(
    ("line", "message"),
    [pytest.param(*v, id=k) for k, v in BAD_LINES.items() if k not in ONLY_LINES],
)
@pytest.mark.parametrize("layout", ["array", "objects"])
def test_a_broken_object_is_named_too(
    tmp_path: Path, line: bytes, message: str, layout: str
) -> None:
    path = tmp_path / "a.json"
    around = (b"[\n", b",", b"\n]") if layout == "array" else (b"\n", b"", b"")
    path.write_bytes(around[0] + ANY.replace(b",", b"\n,") + around[1] + line + around[2])
    message = message.replace("not a line of JSON", "").replace("not a line", "")
    with pytest.raises(BadInputError, match=rf"a\.json:[45]: .*{message}"):
        read(path)


WEIGHTS_TO_SCALE = ["-1.5", "1e39", "1" + "0" * 400, "1e400", "NaN", "-Infinity", "null", "true"]


@pytest.mark.parametrize("text", [*WEIGHTS_TO_SCALE, "9" * 5000, '"1"'], ids=lambda t: t[:12])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_weight_that_cannot_be_scaled_is_named(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(
        (b"" if name == "a.jsonl" else b"\n[") + weight(text) + b"]" * (name == "a.json")
    )
    with pytest.raises(BadInputError, match=rf"{name}:[12]: "):
        read(path, QuantizeOptions(100.0))


ODD = [0, 0.0, 1, 2.0, 2.5, 1 << 24, (1 << 24) + 1, MAX_IMPACT, MAX_IMPACT + 1, 1 << 70, 1e39, -1]
LINES = st.builds(
    lambda number, vector: {"id": number, "vector": vector},
    st.integers(0, 40) | st.sampled_from(["", "a b"]),
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "", "\ud800"]) | st.text("xyz", min_size=1),
        st.sampled_from(ODD) | st.integers(1, 300) | st.sampled_from(["1", None, True]),
    ),
)
"""Lines that are mostly good: a collection has a broken one here and there, or none."""


@quick
@given(lines=st.lists(LINES, max_size=9), scaled=st.booleans(), garbage=st.integers(1, 20))
def test_records_that_are_looked_at_together_are_read_as_one_after_another(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any], scaled: bool, garbage: int
) -> None:
    """What is found, and of what is broken the first that stands in the file, by any block."""
    path = tmp_path_factory.mktemp("blocks") / "docs.jsonl"
    text = [json.dumps(line) for line in lines]
    text[garbage:garbage] = ["{"] if garbage < len(text) else []
    path.write_text("\n".join(text))
    found: list[Rows | str] = []
    with pytest.MonkeyPatch.context() as patch:
        for postings, columns_from in ((1, 99999), (7, 99999), (1 << 13, 99999), (7, 0)):
            patch.setattr(vector_records, "BLOCK_POSTINGS", postings)
            patch.setattr(line_columns, "WORTH_BYTES", columns_from)
            try:
                found.append(read(path, QuantizeOptions(scale=3) if scaled else None))
            except (BadInputError, UsageError) as error:
                found.append(str(error))
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("number", ["3e8", "8388608.5"])
def test_a_weight_too_large_for_its_scale_is_named_by_place(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(ANY + weight(number))
    with pytest.raises(BadInputError, match=r"a.jsonl:2: term 'x': weight .* x 1000 is over"):
        read(path, QuantizeOptions(1000.0))


BAD_LAYOUTS = {
    "array cut after an object": (b'[{"id":"a","vector":{}},\n{"id":"b","vector":{}}', 2),
    "array cut after a comma": (b'[{"id":"a","vector":{}},\n', 2),
    "array cut in an object": (b'[{"id":"a","vector":{}},\n{"id":"b","vec', 2),
    "array cut in a string": (b'[{"id":"a","vector":{}},\n{"id":"b', 2),
    "only a bracket": (b"[", 1),
    "array closed twice": (b'[\n{"id":"a","vector":{}}]\n]', 3),
    "array in an array": (b'[[{"id":"a","vector":{}}]]', 1),
    "garbage between": (b'{\n"id":"a","vector":{}}\nxyz\n{"id":"b","vector":{}}', 3),
    "comma between": (b'{\n"id":"a","vector":{}}\n,{"id":"b","vector":{}}', 3),
    "garbage at the end": (b'[{"id":"a","vector":{}}]\n\n}', 3),
    "object not closed": (b'{\n"id":"a",\n"vector":{"x":1}\n', 4),
    "line break in a string": (b'{\n"id":"a\nb","vector":{}}', 2),
    "scalars": (b"1\n2", 1),
    "nested without end": (b"[\n" + b"[" * 10**5, 2),
    "not UTF-8": (b'{\n"id":"\xff"}', None),
    "second BOM": (b'{\n"id":"a","vector":{}}\n\xef\xbb\xbf{"id":"b","vector":{}}', 3),
    "concatenated, cut": (b'{"id":"a","vector":{}}{"id":"b","vector":', 1),
}


@pytest.mark.parametrize(("content", "line"), BAD_LAYOUTS.values(), ids=BAD_LAYOUTS)
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_a_broken_layout_is_named_with_its_line(
    tmp_path: Path, content: bytes, line: int | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_objects, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=rf"a\.json:{line or ' '}"):
        list(read_vectors(path))


def test_garbage_is_noticed_without_reading_the_rest_of_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_objects, "CHUNK", 1000)
    path = tmp_path / "a.json"
    path.write_bytes(b"[\n" + b'{"id": broken}' + b" " * 10**6 + b"\xff")
    with pytest.raises(BadInputError, match=r"a\.json:2: not JSON"):  # and not: not UTF-8
        list(read_vectors(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_compressed_file_that_was_cut_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    lines = b"".join(b'{"id":"%d","vector":{"x":%d}}\n' % (i, i * i + 1) for i in range(5000))
    content = lines if name == "a.jsonl" else b"[\n" + lines.replace(b"}\n", b"},\n") + b"]"
    whole = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix](content)
    path = tmp_path / (name + suffix)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=rf"{name}{suffix}: .*cut off"):
        read(path)


def test_an_id_in_two_files_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(ANY)
    (tmp_path / "b.json").write_bytes(b"[" + ANY + b"]")
    with pytest.raises(BadInputError, match=r"b\.json:1: id 'a' was there before"):
        read(tmp_path)


def test_a_folder_without_json_and_a_folder_named_like_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no \.json or \.jsonl files"):
        read(tmp_path)
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(BadInputError, match=r"no \.json or \.jsonl files"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.zst"])
def test_an_empty_file_holds_no_document(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    source = JsonVectorSource(tmp_path / name)
    assert list(source.batches()) == []
    assert source.counts.documents == 0


@pytest.mark.parametrize("text", ["\ufeff", "\ufeff\n", "\n \n", "\ufeff \t\r\n"])
@pytest.mark.parametrize("readers", ["0", "1"])
def test_nor_does_one_of_blanks_and_a_byte_order_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, readers: str
) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_READERS", readers)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.jsonl").write_text('{"id": "d", "vector": {"a": 1}}')
    assert read(tmp_path) == [("d", {"a": 1})]


# ---------------------------------------------------------------- contents


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("d0", "x")], "'d1' has a vector, but the corpus has nothing"),
        ([("d0", "x"), ("d2", "y")], "'d1' has a vector, but the corpus has 'd2'"),
        ([("d0", "x"), ("d1", "y"), ("d2", "z")], "has a document 'd2' without a vector"),
        ([], "'d0' has a vector"),
    ],
)
def test_contents_of_other_documents_are_refused(
    tmp_path: Path, texts: list[tuple[str, str]], message: str
) -> None:
    empty = np.empty(0, np.int32)
    batch = ImpactBatch(["d0", "d1"], row_pointers([0, 0]), empty, empty)
    with pytest.raises(BadInputError, match=message):
        JsonVectorWriter(tmp_path, 10, compress=False).write(
            [batch], Vocabulary(["a"]), iter(texts)
        )
    assert list(tmp_path.iterdir()) == []
