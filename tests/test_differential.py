"""Every reader beside a parser as plain as can be: both read the same, or both refuse.

The plain ones hold a file in memory and know nothing of streams, speed or good messages. They share
with ours only what an id and a term may be. Files are made by hypothesis, and by mutation of sound
ones; ``scripts/soak`` tries many more, by its seed. ``-s`` shows how many were tried.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bad_input import made
from soaking import SEED, often
from splade_bridge.data.ids import checked_id
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import read_queries, write_repeated_tokens
from splade_bridge.text.corpora import read_texts
from strategies import MAX_IMPACT, as_dictionaries, collections

pytestmark = pytest.mark.soak

Vectors = list[tuple[str, dict[str, int]]]
MARK = b"\xef\xbb\xbf"
SPACE = b" \t\r\n\x0b\x0c"


class Refused(Exception):
    """A plain parser does not take the file."""


def need(fits: object) -> None:
    if not fits:
        raise Refused


def plain_id(value: Any) -> str:
    try:
        return checked_id(value, "")
    except BadInputError:
        raise Refused from None


def plain_terms(terms: list[str]) -> None:
    try:
        for term in terms:
            Vocabulary(observed=True).add(term)
    except BadInputError:
        raise Refused from None


def plain_set(found: Vectors) -> Vectors:
    ids = [doc_id for doc_id, _ in found]
    need(len(ids) == len(set(ids)))
    return found


# ---------------------------------------------------------------- JSON


def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def no_constant(_: str) -> None:
    raise Refused


DECODER = json.JSONDecoder(object_pairs_hook=no_twins, parse_constant=no_constant)


def plain_json(text: str) -> Any:
    try:
        found = DECODER.decode(text)
        json.dumps(found, ensure_ascii=False).encode()  # a half of a surrogate pair is no character
    except (ValueError, RecursionError):
        raise Refused from None
    return found


def plain_text(content: bytes) -> str:
    """A mark of byte order is none but at the beginning of a file."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refused from None


def plain_lines(content: bytes) -> list[bytes]:
    lines = content.removeprefix(MARK).split(b"\n")
    return [line for line in lines if line.strip(SPACE)]


def plain_values(text: str) -> list[Any]:
    """All values of a text, one after another; an array gives its entries."""
    found, at = [], 0
    while True:
        at = re.compile(r"[ \t\r\n]*").match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            return found
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise Refused from None
        found += value if isinstance(value, list) else [value]


def is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def plain_record(record: Any) -> tuple[str, dict[str, int]]:
    need(isinstance(record, dict))
    name = next((n for n in ("id", "_id", "docid") if n in record), None)
    need(name is not None and isinstance(record.get("vector"), dict))
    doc_id = plain_id(record[name])
    plain_terms(list(record["vector"]))
    for value in record["vector"].values():  # an integer may be written as a float
        need(type(value) in (int, float) and 0 <= value <= MAX_IMPACT and value == int(value))
    return doc_id, {term: int(v) for term, v in record["vector"].items() if v}


def plain_vectors(content: bytes) -> Vectors:
    lines = plain_lines(content)
    if lines and not is_object(lines[0]):
        records = plain_values(plain_text(content.removeprefix(MARK)))
    else:
        records = [plain_json(plain_text(line)) for line in lines]
    return plain_set([plain_record(record) for record in records])


def our_vectors(path: Path) -> Vectors:
    source = JsonVectorSource(path)
    return as_dictionaries(list(source.batches()), source.vocabulary)


def plain_corpus(content: bytes) -> list[tuple[str, str]]:
    found = []
    text = content.removeprefix(MARK)
    if text.lstrip(b" \t\r\n").startswith(b"["):
        records = plain_values(plain_text(text))
    else:
        records = [plain_json(plain_text(line)) for line in plain_lines(content)]
    for record in records:
        need(isinstance(record, dict))
        name = next((n for n in ("id", "_id", "docid") if n in record), None)
        body = next((n for n in ("contents", "text") if n in record), None)
        need(name is not None and body is not None)
        title, body = record.get("title"), record[body]
        need(all(v is None or isinstance(v, str) for v in (title, body)))
        found.append((plain_id(record[name]), f"{title or ''} {body or ''}".strip()))
    return plain_set(found)  # type: ignore[arg-type, return-value]


# ---------------------------------------------------------------- TSV


def rows_of(content: bytes) -> list[str]:
    lines = content.removeprefix(MARK).split(b"\n")
    return [text for line in lines if (text := plain_text(line).rstrip("\r"))]


def tsv_rows(content: bytes, between: str = "\t") -> Iterator[tuple[str, str]]:
    for text in rows_of(content):
        need(between in text)
        key, rest = text.split(between, 1)
        yield plain_id(key), rest


def plain_texts(content: bytes) -> list[tuple[str, str]]:
    return plain_set([(k, t.replace("\t", " ").strip()) for k, t in tsv_rows(content)])  # type: ignore[misc, return-value]


def our_texts(path: Path) -> list[tuple[str, str]]:
    return [(text.id, text.text) for text in read_texts(str(path))]


def plain_topics(content: bytes) -> Vectors:
    """Anserini's, or PISA's if the first line is a word with a colon, and has no tab."""
    found = []
    first = next(iter(rows_of(content)), "")
    pisa = "\t" not in first and re.match(r"[^\s:]+:", first) is not None
    for key, tokens in tsv_rows(content, ":" if pisa else "\t"):
        need("\t" not in tokens)
        counted = Counter(token for token in tokens.split(" ") if token)
        # Numbers in the first line are ids of terms, and there is no file of terms.
        need(found or not pisa or not counted or not all(map(str.isdecimal, counted)))
        plain_terms(list(counted))
        found.append((key, dict(counted)))
    need(found)
    return plain_set(found)


def our_topics(path: Path) -> Vectors:
    queries = read_queries(path)
    return as_dictionaries([queries.batch], queries.vocabulary)


# ---------------------------------------------------------------- CIFF


def varint(data: bytes, at: int, most: int = 10) -> tuple[int, int]:
    value = 0
    for n in range(most):
        need(at < len(data))
        value |= (data[at] & 127) << (7 * n)
        at += 1
        if data[at - 1] < 128:
            return value & (2**64 - 1), at
    raise Refused


def signed(value: int, bits: int) -> int:
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def fields(data: bytes) -> list[tuple[int, int, Any]]:
    """(number, wire type, value) of a protobuf message."""
    found: list[tuple[int, int, Any]] = []
    at, groups = 0, []
    while at < len(data):
        tag, at = varint(data, at, 5)
        number, kind = tag >> 3, tag & 7
        need(0 < number < 2**29 and tag < 2**32)
        value: Any = None
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            at += size
        elif kind == 2:
            size, at = varint(data, at)
            value = data[at : at + size]
            at += size
        elif kind == 3:
            groups.append(number)
        elif kind == 4:
            need(groups and groups.pop() == number)
        else:
            raise Refused
        need(at <= len(data) and len(groups) < 100)
        if not groups:
            found.append((number, kind, value))
    need(not groups)
    return found


INT32, INT64, TEXT, MESSAGES = "int32", "int64", "text", "messages"


def message(data: bytes, schema: dict[int, str]) -> dict[int, Any]:
    held: dict[int, Any] = {
        n: [] if k == MESSAGES else "" if k == TEXT else 0 for n, k in schema.items()
    }
    for number, kind, value in fields(data):
        of = schema.get(number)
        if of in (INT32, INT64) and kind == 0:
            held[number] = signed(value, 32 if of == INT32 else 64)
        elif of == TEXT and kind == 2:
            try:
                held[number] = value.decode()
            except UnicodeDecodeError:
                raise Refused from None
        elif of == MESSAGES and kind == 2:
            held[number].append(value)
    return held


HEADER = {1: INT32, 2: INT32, 3: INT32, 4: INT32, 5: INT32, 6: INT64, 8: TEXT}
LIST = {1: TEXT, 2: INT64, 3: INT64, 4: MESSAGES}
POSTING = {1: INT32, 2: INT32}
RECORD = {1: INT32, 2: TEXT, 3: INT32}
MOST_DOCIDS = 250_000_000
"""What 2 GB have room for."""


def plain_ciff(content: bytes) -> Vectors:
    at = 0

    def framed() -> bytes:
        nonlocal at
        size, at = varint(content, at, 5)
        need(size < 2**31 and at + size <= len(content))
        at += size
        return content[at - size : at]

    header = message(framed(), HEADER)
    need(header[1] == 1 and header[2] >= 1 and header[3] >= 1)
    size = min(max(header[3], header[5]), MOST_DOCIDS)
    found: dict[int, dict[str, int]] = {}
    terms: set[str] = set()
    for _ in range(header[2]):
        held = message(framed(), LIST)
        term = held[1]
        need(term not in terms)
        plain_terms([term])
        terms.add(term)
        doc = 0
        postings = [message(p, POSTING) for p in held[4]]
        need(postings and held[2] == len(postings))
        need(held[3] == sum(p[2] for p in postings))
        for number, posting in enumerate(postings):
            need(posting[2] >= 1 and (posting[1] >= 1 if number else posting[1] >= 0))
            doc += posting[1]
            need(doc < size)
            found.setdefault(doc, {})[term] = posting[2]
    names: dict[int, str] = {}
    for _ in range(header[3]):
        held = message(framed(), RECORD)
        need(held[1] not in names and 0 <= held[1] < max(header[3], header[5]) and held[3] >= 0)
        names[held[1]] = plain_id(held[2])
    need(at == len(content) and found.keys() <= names.keys())
    return plain_set([(name, found.get(n, {})) for n, name in sorted(names.items())])


def our_ciff(path: Path) -> Vectors:
    source = CiffSource(path, 1 << 20)
    return as_dictionaries(list(source.batches()), source.vocabulary)


# ---------------------------------------------------------------- what is tried


def array_of(content: bytes) -> bytes:
    return b"[" + content.strip().replace(b"}\n{", b"},\n{") + b"]"


JSON = made.JSON_LINES.encode()
CORPUS = b'{"id": "a", "title": "T", "text": "x"}\n{"_id": 2, "contents": "\\u00e9 y"}\r\n\n'
TOPICS = made.TOPICS.encode() + "q3\té [CLS] ##x  e\r\n".encode()


@dataclass(frozen=True)
class Reader:
    """A format: its two readers, and files that mutation begins with."""

    name: str
    suffix: str
    plain: Callable[[bytes], Any]
    ours: Callable[[Path], Any]
    sound: list[bytes]
    words: list[bytes]
    tried: Counter[str] = field(default_factory=Counter)

    def compare(self, content: bytes, folder: Path) -> None:
        """Both read the same, or both refuse."""
        path = folder / f"file{self.suffix}"
        path.write_bytes(content)
        try:
            expected = self.plain(content)
        except Refused:
            expected = None
        try:
            found = self.ours(path)
        except BadInputError:
            found = None
        assert found == expected, content
        self.tried["refused" if found is None else "read"] += 1


def sound_ciff() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ciff"
        made.ciff(path)
        return [path.read_bytes()]


BROKEN = [b"\0", b"\xff", b"\xc3", MARK, b"\n", b"\r\n", b"\t", b" ", b"\x0c", b"\xe2\x80\xa8"]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"id"', b'"id":', b"1e3", b"-0", b"0", b"1.0"]
TOKENS += [b"2147483647", b"2147483648", b"99999999999999999999", b"NaN", b"true", b"null", b"\\"]
TOKENS += [rb"\ud800", rb"\u0000", b'"_id":"z",', b'"vector":{}', b'{"id":"n","vector":{"x":3}}']
WIRE = [bytes([n]) for n in (0, 1, 2, 8, 10, 13, 16, 18, 24, 26, 34, 35, 36, 127, 128, 255)]
WIRE += [b"\x80\x00", b"\x80\x80\x80\x80\x80\x00", b"\x22\x04\x08\x01\x10\x01", b"\x22\x02\x10\x01"]

READERS = {
    r.name: r
    for r in (
        Reader("JSON vectors", ".jsonl", plain_vectors, our_vectors,
               [JSON, array_of(JSON), JSON.replace(b"\n", b""), JSON.replace(b",", b",\n"),
                json.dumps(json.loads(JSON.splitlines()[0]), indent=2).encode()],
               [*BROKEN, *TOKENS]),
        Reader("CIFF", ".ciff", plain_ciff, our_ciff, sound_ciff(), WIRE),
        Reader("topics", ".tsv", plain_topics, our_topics, [TOPICS],
               [*BROKEN, b"a a a", b"q1\t", b"\tx", b"[MASK]"]),
        Reader("TSV texts", ".tsv", plain_texts, our_texts, [b"a\tone two\nb\t\nc\tx\ty \r\n"],
               [*BROKEN, b"a\t", b"d\tz\n"]),
        Reader("JSON texts", ".jsonl", plain_corpus, our_texts, [CORPUS],
               [*BROKEN, *TOKENS, b'"title":"x",', b'"text":"",']),
    )
}  # fmt: skip


def mutated(content: bytes, words: list[bytes], chance: random.Random) -> bytes:
    """``content`` after one to four changes such as happen to files, or are made to them."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at, size = chance.randrange(len(content) + 1), chance.choice((1, 1, 2, 5, 40))
        match chance.randrange(7):
            case 0:
                content = content[:at] + content[at + size :]
            case 1:
                content = content[:at] + chance.choice(words) + content[at:]
            case 2:
                content = content[:at] + chance.choice(words) + content[at + size :]
            case 3:
                content = content[:at] + content[at : at + size] + content[at:]
            case 4 if at < len(content):
                flipped = bytes([content[at] ^ (1 << chance.randrange(8))])
                content = content[:at] + flipped + content[at + 1 :]
            case 5:
                to = chance.randrange(len(content) + 1)
                piece = content[at : at + size]
                content = content[:at] + content[at + size :]
                content = content[:to] + piece + content[to:]
            case _ if chance.random() < 0.3:
                content = content[:at]
    return content


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_alike_or_refused_by_both(name: str, tmp_path: Path) -> None:
    reader, chance = READERS[name], random.Random(f"{SEED} {name}")
    reader.tried.clear()
    for content in reader.sound:
        reader.compare(content, tmp_path)
    assert reader.tried == {"read": len(reader.sound)}
    for _ in range(often(300, 30_000)):
        reader.compare(mutated(chance.choice(reader.sound), reader.words, chance), tmp_path)
    print(f"\n{name}: {sum(reader.tried.values()):,} files, {dict(reader.tried)}")
    assert min(reader.tried["read"], reader.tried["refused"]) > 10


@st.composite
def files(draw: st.DrawFn, folder: Path, reader: Reader) -> bytes:
    """A sound file of a random collection, in one of its spellings."""
    most = {"topics": 20, "CIFF": 2**24}.get(reader.name, MAX_IMPACT)
    collection = draw(collections(st.integers(1, most)))
    if reader.name == "CIFF":
        path = folder / "made.ciff"
        batches = collection.impact_batches()
        write_ciff(path, batches, collection.vocabulary, description="", memory=1 << 20)
        return path.read_bytes()
    if reader.name == "topics":
        try:
            lines = write_repeated_tokens(collection.impact_batches(), collection.vocabulary)
            return b"".join(lines)
        except BadInputError:  # a term with white space
            return b"q1\tx\n"
    pairs = list(zip(collection.ids, collection.rows, strict=True))
    if reader.name == "TSV texts":
        return "".join(f"{key}\t{' '.join(row)}\n" for key, row in pairs).encode()
    records: list[dict[str, Any]] = [{"id": key, "vector": row} for key, row in pairs]
    if reader.name == "JSON texts":
        records = [{"_id": key, "title": "T", "text": " ".join(row)} for key, row in pairs]
    made_of = [json.dumps(r, ensure_ascii=draw(st.booleans())) for r in records]
    joined = "\n".join(made_of)
    if reader.name == "JSON vectors" and draw(st.booleans()):
        joined = draw(st.sampled_from(["[" + ",\n".join(made_of) + "]", "".join(made_of)]))
    return joined.encode()


@pytest.mark.parametrize("name", READERS)
def test_random_files_are_read_alike_or_refused_by_both(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.tried.clear()

    @seed(SEED)
    @settings(
        max_examples=often(40, 3000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(data=st.data())
    def alike(data: st.DataObject) -> None:
        content = data.draw(files(tmp_path, reader))
        reader.compare(content, tmp_path)
        chance = data.draw(st.randoms(use_true_random=False))
        for _ in range(2):
            reader.compare(mutated(content, reader.words, chance), tmp_path)

    alike()
    print(f"\n{name}: {sum(reader.tried.values()):,} files, {dict(reader.tried)}")
    assert reader.tried["read"] > 10
