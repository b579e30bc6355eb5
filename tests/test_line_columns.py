"""A block read column by column gives what its lines give one after another, or nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.formats import line_columns
from splade_bridge.formats.jsonvector import JsonVectorFiles, JsonVectorSource, record_of
from splade_bridge.formats.line_columns import WORTH_BYTES, SpelledTerms, columns
from splade_bridge.formats.line_processes import SWITCH
from splade_bridge.formats.line_worker import Asked, Reading, made
from splade_bridge.formats.records import RecordWeights
from strategies import quick, terms

NEVER = 1 << 60
INTEGERS = st.integers(1, 300) | st.sampled_from([0, 2**24, 2**31 - 1])
NUMBERS = INTEGERS | st.floats(0, 500, allow_nan=False) | st.sampled_from([1e-9, 1e22, 3.0])


def compact(line: Any) -> str:
    return orjson.dumps(line).decode()


def escaped(line: Any) -> str:
    return json.dumps(line)


def spaced(line: Any) -> str:
    return json.dumps(line, ensure_ascii=False)


SPELLINGS: dict[str, Callable[[Any], str]] = {f.__name__: f for f in (compact, escaped, spaced)}


@pytest.fixture(autouse=True)
def every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_columns, "WORTH_BYTES", 0)


def lines_of(vectors: list[Any], spelled: Callable[[Any], str]) -> list[bytes]:
    documents = [
        {"id": f"d{i}", "contents": f'"vector": {{"{i}": 1}}', "vector": vector}
        for i, vector in enumerate(vectors)
    ]
    return [spelled(one).encode() + b"\n" for one in documents]


def vectors_of(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(
        st.dictionaries(terms | st.just('"vector":{'), numbers, max_size=8), min_size=1, max_size=7
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", ["integers", "numbers"])
@quick
@given(data=st.data())
def test_lines_as_programs_write_them_are_read_by_columns(
    spelling: str, kind: str, data: st.DataObject
) -> None:
    vectors = data.draw(vectors_of(INTEGERS if kind == "integers" else NUMBERS))
    vocabulary = Vocabulary(observed=True)
    lines = lines_of(vectors, SPELLINGS[spelling])
    found = columns(lines, record_of, SpelledTerms(vocabulary))
    assert found is not None
    assert found.ids == [f"d{i}" for i in range(len(vectors))]
    assert found.lengths.tolist() == list(map(len, vectors))
    pairs = zip(found.indices.tolist(), list(found.numbers), strict=True)
    assert [(vocabulary[term], number) for term, number in pairs] == [
        pair for vector in vectors for pair in vector.items()
    ]
    assert list(dict.fromkeys(found.indices.tolist())) == list(range(len(vocabulary)))


def outcome(source: Any) -> Any:
    """All that reading gives, or what it says."""
    try:
        batches = [
            (b.ids, b.indptr.tolist(), b.indices.tolist(), values_of(b)) for b in source.batches()
        ]
    except (BadInputError, UsageError) as error:
        return str(error)
    return batches, list(source.vocabulary.terms)


def values_of(batch: Any) -> list[float]:
    values = batch.weights if hasattr(batch, "weights") else batch.impacts
    return list(values.tolist())


def sources(path: Path) -> Iterator[Any]:
    yield JsonVectorSource(path)
    yield JsonVectorSource(path, QuantizeOptions(scale=100))
    yield RecordWeights(JsonVectorFiles(path))


def assert_same(path: Path) -> None:
    found = []
    for worth in (0, NEVER):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(line_columns, "WORTH_BYTES", worth)
            found.append([outcome(source) for source in sources(path)])
    assert found[0] == found[1]


PIECES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\\",
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b"\t",
]
PIECES += [b"\r", b"\x00", b"\xff", b"\xc3", b"null", b"true", b'"a":1', b'"vector":', b"{}", b"\n"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@quick
@given(data=st.data())
def test_a_line_that_was_changed_anywhere_is_read_or_refused_alike(
    spelling: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    numbers = data.draw(st.sampled_from([INTEGERS, NUMBERS]))
    text = b"".join(lines_of(data.draw(vectors_of(numbers)), SPELLINGS[spelling]))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + gone :]
    path = tmp_path_factory.mktemp("changed") / "docs.jsonl"
    path.write_bytes(text)
    assert_same(path)


@quick
@given(data=st.data())
@example(data=None)
def test_what_stands_in_braces_is_read_or_refused_alike(
    data: st.DataObject | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Vectors put together of what they are made of, in an order that is seldom right."""
    tokens = [
        b'"a"',
        b'"b"',
        b'"\\u0061"',
        b":",
        b": ",
        b",",
        b", ",
        b"1",
        b"0",
        b"2.5",
        b"{",
        b"}",
    ]
    tokens += [b'"a":1', b'"b": 2', b',"c":3', b"[", b"]", b"-1", b"null", b" "]
    made = (
        [[b'"a":1', b',"c":3'], [b'"b": 2']]
        if data is None
        else data.draw(st.lists(st.lists(st.sampled_from(tokens), max_size=7), max_size=4))
    )
    path = tmp_path_factory.mktemp("braces") / "docs.jsonl"
    lines = [b'{"id":"d%d","vector":{%b}}' % (i, b"".join(one)) for i, one in enumerate(made)]
    path.write_bytes(b"\n".join(lines))
    assert_same(path)


ALONE: dict[str, str] = {
    "the vector is not the last": '{"id":"x","vector":{"a":1},"contents":""}',
    "an object behind it": '{"id":"x","vector":{},"x":{}}',
    "no vector": '{"id":"x"}',
    "a vector within": '{"id":"x","meta":{"vector":{"a":1}}}',
    "an id called so": '{"id":"vector","vector":{"a":1}}',
    "a name that ends so": '{"id":"x","a\\"vector":{"a":1}}',
    "a name in two spellings": '{"id":"x","\\u0076ector":0,"\\"vector":{}}',
    "twice": '{"id":"x","vector":{"a":1},"vector":{"b":2}}',
    "a term twice": '{"id":"x","vector":{"a":1,"a":2}}',
    "a term in two spellings": '{"id":"x","vector":{"a":1,"\\u0061":2}}',
    "an empty term": '{"id":"x","vector":{"":1}}',
    "half a character": '{"id":"x","vector":{"\\ud800":1}}',
    "dense": '{"id":"x","vector":[1]}',
    "an object in it": '{"id":"x","vector":{"a":{"b":1}}}',
    "a list in it": '{"id":"x","vector":{"a":[1]}}',
    "an empty list in it": '{"id":"x","vector":{"a":[]}}',
    "no number": '{"id":"x","vector":{"a":,"b":1}}',
    "two numbers": '{"id":"x","vector":{"a":1,2,"b":3}}',
    "a number for two": '{"id":"x","vector":{"a":1,2"b":,"c":3}}',
    "two colons": '{"id":"x","vector":{"a"::1}}',
    "no comma": '{"id":"x","vector":{"a":1"b":2}}',
    "a comma at the end": '{"id":"x","vector":{"a":1,}}',
    "a comma at the start": '{"id":"x","vector":{,"a":1}}',
    "a comma alone": '{"id":"x","vector":{,}}',
    "a blank": '{"id":"x","vector":{ }}',
    "blanks around": '{"id":"x","vector":{ "a" : 1 }}',
    "digits apart": '{"id":"x","vector":{"a":1 2}}',
    "a zero before it": '{"id":"x","vector":{"a":01}}',
    "a number of 64 bits": '{"id":"x","vector":{"a":18446744073709551615}}',
    "a number of more": '{"id":"x","vector":{"a":184467440737095516150}}',
    "an id too long to hold": f'{{"id":{"9" * 30},"vector":{{"a":1}}}}',
    "an id of white space": '{"id":" ","vector":{"a":1}}',
    "an id twice": '{"id":"d1","vector":{"a":1}}',
    "something behind it": '{"id":"x","vector":{"a":1}} x',
    "a form feed behind it": '{"id":"x","vector":{"a":1}}\x0c',
    "an array": '[{"id":"x","vector":{"a":1}}]',
    "not closed": '{"id":"x","vector":{"a":1}',
    "true": '{"id":"x","vector":{"a":true}}',
    "null": '{"id":"x","vector":{"a":null}}',
    "a string": '{"id":"x","vector":{"a":"1"}}',
    "below zero": '{"id":"x","vector":{"a":-1}}',
    "a control character": '{"id":"x","vector":{"\x01":1}}',
    "an escape that is none": '{"id":"x","vector":{"\\x":1}}',
    "a backslash at the end": '{"id":"x","vector":{"a\\":1}}',
}


@pytest.mark.parametrize("line", ALONE.values(), ids=ALONE)
@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_line_of_another_kind_is_read_or_refused_alike(
    tmp_path: Path, line: str, place: int
) -> None:
    """Wherever it stands between those of the usual kind."""
    text = [f'{{"id":"d{i}","vector":{{"t{i}":{i + 1},"b":7}}}}' for i in range(3)]
    text.insert(place, line)
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join(text))
    assert_same(path)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(("readers", "most"), [("0", 1 << 16), ("0", 500), ("2", 1 << 16)])
def test_a_file_of_many_blocks_is_the_same_in_processes_and_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: str, most: int, weights: bool
) -> None:
    """Batches of full size, some of them with a line that is read alone."""
    monkeypatch.setattr(line_columns, "MOST_SPELLED", most)
    rng = random.Random(7)
    vectors = [
        {
            f"t{rng.randrange(10 + number)}": rng.randrange(9) + weights * rng.random()
            for _ in range(rng.randrange(60))
        }
        for number in range(5000)
    ]
    lines = lines_of(vectors, compact)
    lines[4900] = b'{"vector": {"a": 1}, "id": "other", "contents": ""}\n'
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b"".join(lines))
    assert path.stat().st_size > 4 * WORTH_BYTES

    def found() -> Any:
        source = JsonVectorSource(path, QuantizeOptions(scale=100) if weights else None)
        batches, terms = outcome(source)
        assert [len(ids) for ids, *_ in batches] == [2048, 2048, 904]
        return batches, terms

    monkeypatch.setattr(line_columns, "WORTH_BYTES", NEVER)
    monkeypatch.setenv(SWITCH, "0")
    alone = found()
    monkeypatch.setattr(line_columns, "WORTH_BYTES", WORTH_BYTES)
    monkeypatch.setenv(SWITCH, readers)
    assert found() == alone


@pytest.mark.parametrize("most", [1 << 16, 2])
def test_a_process_reads_by_columns_what_it_reads_alone(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Terms that it was not told are numbered anew in each block."""
    monkeypatch.setattr(line_columns, "MOST_SPELLED", most)
    blocks = [[{"a": 1, "b": 2}, {}, {"c": 0, "b": 3}], [{"d": 1, "b": 2}], [{"b": 4, "a": 1}]]
    told = [["b"], [], ["d"]]
    vocabularies = [Vocabulary(observed=True) for _ in range(2)]
    spelled = [SpelledTerms(vocabulary) for vocabulary in vocabularies]
    for vectors, new in zip(blocks, told, strict=True):
        asked = Asked(lines_of(vectors, escaped), new)
        found = []
        for worth, vocabulary, known in zip((0, NEVER), vocabularies, spelled, strict=True):
            monkeypatch.setattr(line_columns, "WORTH_BYTES", worth)
            answer = made(asked, Reading(record_of, False), vocabulary, known)
            assert answer is not None
            batch = answer.batch
            values = batch.indptr.tolist(), batch.indices.tolist(), values_of(batch)
            found.append((batch.ids, values, *answer[1:]))
        assert found[0] == found[1]
