"""CIFF against protobuf's own parser and serializer, other people's files, and damage."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, SpladeBridgeError
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.ciff_messages import messages
from splade_bridge.formats.ciff_postings import decode_postings, encode_postings
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.jsonvector import JsonVectorSource
from strategies import MAX_IMPACT, Collection, as_dictionaries, collections, impacts, quick

MEMORY = 1 << 20
Rows = list[tuple[str, dict[str, int]]]


def varint(value: int) -> bytes:
    head, rest = value & 127, value >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def framed(*contents: bytes) -> bytes:
    return b"".join(varint(len(content)) + content for content in contents)


def split(data: bytes) -> Iterator[bytes]:
    """The messages of a stream, by a reader as plain as can be."""
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        assert at + size <= len(data)
        yield data[at : at + size]
        at += size


def parsed(data: bytes) -> tuple[Any, list[Any], list[Any]]:
    """Header, lists and records by protobuf's parser."""
    parts = list(split(data))
    header = messages().Header.FromString(parts[0])
    end = 1 + header.num_postings_lists
    lists = [messages().PostingsList.FromString(part) for part in parts[1:end]]
    records = [messages().DocRecord.FromString(part) for part in parts[end:]]
    return header, lists, records


def documents(data: bytes) -> Rows:
    """The vectors in a file, by protobuf's parser."""
    _, lists, records = parsed(data)
    rows: Rows = [(record.collection_docid, {}) for record in records]
    for found in lists:
        doc = 0
        for posting in found.postings:
            doc += posting.docid
            rows[doc][1][found.term] = posting.tf
    return rows


def make(
    lists: dict[str, list[tuple[int, int]]],
    ids: list[str],
    change: Callable[[Any, list[Any], list[Any]], object] = lambda *_: None,
) -> bytes:
    """A file with (gap, impact) postings by protobuf's serializer, after a ``change``."""
    made = messages()
    header = made.Header(version=1, num_postings_lists=len(lists), num_docs=len(ids))
    postings_lists = []
    for term, postings in lists.items():
        found = made.PostingsList(term=term, df=len(postings), cf=sum(tf for _, tf in postings))
        for gap, tf in postings:
            found.postings.add(docid=gap, tf=tf)
        postings_lists.append(found)
    records = [made.DocRecord(docid=i, collection_docid=d) for i, d in enumerate(ids)]
    change(header, postings_lists, records)
    return framed(*(m.SerializeToString() for m in (header, *postings_lists, *records)))


LISTS = {"##x": [(0, 3), (1, 300)], "a": [(1, 1)], "é": [(0, 2), (2, MAX_IMPACT)]}
IDS = ["d0", "d1", "d2"]
GOOD = make(LISTS, IDS)


def set_(which: int, at: int, **values: Any) -> Callable[..., None]:
    """Set fields of the header (0) or of a list (1) or of a record (2)."""

    def change(header: Any, lists: list[Any], records: list[Any]) -> None:
        message = ([header], lists, records)[which][at]
        for name, value in values.items():
            setattr(message, name, value)

    return change


def posting(at: int, number: int, **values: int) -> Callable[..., None]:
    def change(_: Any, lists: list[Any], __: list[Any]) -> None:
        for name, value in values.items():
            setattr(lists[at].postings[number], name, value)

    return change


def both(*changes: Callable[..., None]) -> Callable[..., None]:
    def change(*parts: Any) -> None:
        for each in changes:
            each(*parts)

    return change


def reorder(which: int, order: list[int]) -> Callable[..., None]:
    def change(*parts: Any) -> None:
        parts[which][:] = [parts[which][i] for i in order]

    return change


def read(path: Path, memory: int = MEMORY) -> Rows:
    source = CiffSource(path, memory)
    return as_dictionaries(list(source.batches()), source.vocabulary)


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[bytes], Rows]:
    """The vectors that our reader finds in some bytes."""

    def read_bytes(data: bytes) -> Rows:
        path = tmp_path / "a.ciff"
        path.write_bytes(data)
        return read(path)

    return read_bytes


@pytest.fixture(scope="module")
def toy(shared: Path) -> bytes:
    """A file of osirrc's exporter."""
    return (shared / "fixtures" / "toy-complete-20200309.ciff").read_bytes()


# ---------------------------------------------------------------- writing

collections_in_ciff = collections(st.one_of(st.integers(1, 400), st.integers(1, MAX_IMPACT // 10)))
"""A document's impacts may sum to 2^31 - 1 at most."""


@quick
@given(
    collection=collections_in_ciff, size=st.integers(1, 4), memory=st.sampled_from([1, 400, MEMORY])
)
def test_a_written_file_is_byte_for_byte_what_protobuf_would_write(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, size: int, memory: int
) -> None:
    path = tmp_path_factory.mktemp("ciff") / "a.ciff"
    batches = collection.impact_batches(size)
    counts = write_ciff(path, batches, collection.vocabulary, description="ü", memory=memory)
    data = path.read_bytes()
    header, lists, records = parsed(data)
    assert framed(*(m.SerializeToString() for m in (header, *lists, *records))) == data

    total = sum(v for row in collection.rows for v in row.values())
    assert (header.num_docs, header.total_docs) == (len(collection.ids),) * 2
    assert (header.num_postings_lists, header.total_postings_lists) == (len(lists),) * 2
    assert header.total_terms_in_collection == total == counts.impact_sum
    assert header.average_doclength == total / len(collection.ids)
    assert header.description == "ü"

    used = {term for row in collection.rows for term in row}
    assert [found.term for found in lists] == sorted(used, key=str.encode)
    for found in lists:
        values = [row[found.term] for row in collection.rows if found.term in row]
        assert (found.df, found.cf) == (len(values), sum(values))
        assert [p.tf for p in found.postings] == values
    assert [(r.docid, r.collection_docid) for r in records] == list(enumerate(collection.ids))
    assert [r.doclength for r in records] == [sum(row.values()) for row in collection.rows]


@quick
@given(collection=collections_in_ciff, suffix=st.sampled_from(["", ".gz", ".zst"]), data=st.data())
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    collection: Collection,
    suffix: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("ciff") / f"a.ciff{suffix}"
    counts = write_ciff(
        path, collection.impact_batches(), collection.vocabulary, description="", memory=MEMORY
    )
    source = CiffSource(path, data.draw(st.sampled_from([1, 100, 1000, MEMORY])))
    if not counts.postings:
        with pytest.raises(BadInputError, match="no posting lists"):
            list(source.batches())
        return
    found = as_dictionaries(list(source.batches()), source.vocabulary)
    assert found == list(zip(collection.ids, collection.rows, strict=True))
    assert source.counts == counts


def one_document(values: list[int]) -> tuple[ImpactBatch, Vocabulary]:
    batch = ImpactBatch(
        ["d"],
        row_pointers([len(values)]),
        np.arange(len(values), dtype=np.int32),
        np.array(values, np.int32),
    )
    return batch, Vocabulary(f"t{i}" for i in range(len(values)))


def test_a_document_longer_than_int32_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    batch, vocabulary = one_document([MAX_IMPACT, 1])
    with pytest.raises(BadInputError, match=r"'d'.*2\^31.*--scale"):
        write_ciff(tmp_path / "a", [batch], vocabulary, description="", memory=MEMORY)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_document_length_is_held(tmp_path: Path) -> None:
    batch, vocabulary = one_document([MAX_IMPACT - 1, 1])
    write_ciff(tmp_path / "a", [batch], vocabulary, description="", memory=MEMORY)
    assert parsed((tmp_path / "a").read_bytes())[2][0].doclength == MAX_IMPACT


def test_a_source_that_fails_leaves_no_file(tmp_path: Path) -> None:
    batch, vocabulary = one_document([1, 2])

    def failing() -> Iterator[ImpactBatch]:
        yield batch
        raise BadInputError("broken", "docs.jsonl:2")

    with pytest.raises(BadInputError, match=r"docs\.jsonl:2"):
        write_ciff(tmp_path / "a.ciff", failing(), vocabulary, description="", memory=1)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- decoding postings

gaps = st.one_of(st.integers(0, 3), impacts)


@given(st.lists(st.tuples(gaps, impacts), min_size=1, max_size=12))
def test_postings_are_encoded_as_protobuf_does(postings: list[tuple[int, int]]) -> None:
    encoded, sizes = encode_postings(*(np.array(x, np.int32) for x in zip(*postings, strict=True)))
    message = messages().PostingsList()
    expected = []
    for gap, tf in postings:
        message.postings.add(docid=gap, tf=tf)
        expected.append(message.ByteSize())
    assert encoded.tobytes() == message.SerializeToString()
    assert sizes.cumsum().tolist() == expected


@given(data=st.data(), postings=st.lists(st.tuples(gaps, impacts), min_size=1, max_size=4))
def test_the_fast_decoder_agrees_with_protobuf_or_stands_back(
    data: st.DataObject, postings: list[tuple[int, int]]
) -> None:
    encoded, _ = encode_postings(*(np.array(x, np.int32) for x in zip(*postings, strict=True)))
    content = bytearray(encoded.tobytes())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 1] = data.draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b"\x08", b"\x10", b"\x22", b"\xff"]))
        )
        if not content:
            return
    decoded = decode_postings(np.frombuffer(bytes(content), np.uint8))
    if decoded is None:
        return
    expected = messages().PostingsList.FromString(bytes(content)).postings
    assert [column.tolist() for column in decoded] == [
        [p.docid for p in expected],
        [p.tf for p in expected],
    ]


def test_the_fast_decoder_takes_what_writers_write() -> None:
    for first in (0, 7):
        postings = np.array([first, 1, 300], np.int32), np.array([1, 128, MAX_IMPACT], np.int32)
        decoded = decode_postings(encode_postings(*postings)[0])
        assert decoded is not None
        assert [c.tolist() for c in decoded] == [c.tolist() for c in postings]


def test_an_impact_over_int32_does_not_wrap() -> None:
    """A varint of 2^32 - 1 is -1 as an int32, which is how protobuf reads it."""
    content = np.frombuffer(b"\x22\x08\x08\x01\x10" + varint(2**32 - 1), np.uint8)
    assert decode_postings(content) is None


# ---------------------------------------------------------------- reading others' files


@pytest.mark.shared
def test_the_toy_file_of_osirrc_reads_as_protobuf_reads_it(
    toy: bytes, reading: Callable[[bytes], Rows]
) -> None:
    rows = reading(toy)
    assert rows == documents(toy)
    assert [doc_id for doc_id, _ in rows] == ["WSJ_1", "TREC_DOC_1", "DOC222"]
    assert rows[2][1] == {"enough": 1, "head": 1, "simpl": 1, "text": 3}


@pytest.mark.parametrize(
    "order", ["fields reversed", "explicit zeros", "unknown field", "long varint"]
)
def test_any_legal_spelling_of_protobuf_is_understood(
    order: str, reading: Callable[[bytes], Rows]
) -> None:
    def posting(gap: int, tf: int) -> bytes:
        body = {
            "fields reversed": b"\x10" + varint(tf) + b"\x08" + varint(gap),
            "explicit zeros": b"\x08" + varint(gap) + b"\x10" + varint(tf),
            "unknown field": b"\x08" + varint(gap) + b"\x10" + varint(tf) + b"\x18\x05",
            "long varint": b"\x08" + bytes([gap | 128, 128, 0]) + b"\x10" + varint(tf),
        }[order]
        return b"\x22" + varint(len(body)) + body

    term = b"\x0a\x01a"
    sums = b"\x10\x02\x18" + varint(303)
    postings = posting(0, 3) + posting(2, 300)
    head = postings + sums + term if order == "fields reversed" else term + sums + postings
    header, _, records = parsed(make({"a": [(0, 3), (2, 300)]}, IDS))
    data = framed(
        header.SerializeToString(), head, *(record.SerializeToString() for record in records)
    )
    assert reading(data) == [("d0", {"a": 3}), ("d1", {}), ("d2", {"a": 300})] == documents(data)


def test_totals_and_lengths_of_other_writers_are_not_held_against_them(
    reading: Callable[[bytes], Rows],
) -> None:
    """The Java exporter writes a doclength of 1 while the totals are sums of weights."""

    def change(header: Any, _: list[Any], records: list[Any]) -> None:
        header.total_terms_in_collection, header.average_doclength = 12345, 0.5
        header.total_docs = header.total_postings_lists = 10**6
        for record in records:
            record.doclength = 1

    assert reading(make(LISTS, IDS, change)) == documents(GOOD)


@pytest.mark.parametrize("memory", [1, MEMORY])
def test_lists_and_records_are_taken_in_any_order(memory: int, tmp_path: Path) -> None:
    """The format fixes none; documents come in the order of their docids."""
    path = tmp_path / "a.ciff"
    path.write_bytes(make(LISTS, IDS, both(reorder(1, [2, 0, 1]), reorder(2, [1, 2, 0]))))
    assert read(path, memory) == documents(GOOD)
    assert CiffSource(path, memory).ordered_lists() is None, "then documents must be made"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("memory", [1, MEMORY])
def test_records_may_be_those_of_some_documents(
    order: list[int], memory: int, tmp_path: Path
) -> None:
    def change(header: Any, _: list[Any], records: list[Any]) -> None:
        header.num_docs, header.total_docs, header.total_postings_lists = 2, 1000, 90
        records[:] = [records[0], records[2]]
        records[1].docid = 700
        records[:] = [records[i] for i in order]

    path = tmp_path / "a.ciff"
    path.write_bytes(make({"z": [(700, 2)], "b": [(0, 5), (700, 1)]}, IDS, change))
    assert read(path, memory) == [("d0", {"b": 5}), ("d2", {"z": 2, "b": 1})]


def test_a_docid_that_would_take_the_memory_is_refused(reading: Callable[[bytes], Rows]) -> None:
    def change(header: Any, _: list[Any], records: list[Any]) -> None:
        header.total_docs = MAX_IMPACT
        records[2].docid = MAX_IMPACT - 1

    with pytest.raises(BadInputError, match=r"docid 2,147,483,646: .* 17.2 GB .*--memory"):
        reading(make({"a": [(MAX_IMPACT - 1, 5)]}, IDS, change))


ROWS_OF_MANY = {f"t{n}": [(i, n + i + 1) for i in range(n, 9)] for n in range(5)}
"""Postings of (docid, impact)."""


def test_docids_that_are_no_gaps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = [f"d{i}" for i in range(9)]
    gaps = {
        term: [(doc if not i else doc - found[i - 1][0], tf) for i, (doc, tf) in enumerate(found)]
        for term, found in ROWS_OF_MANY.items()
    }
    good, early = tmp_path / "good.ciff", tmp_path / "early.ciff"
    good.write_bytes(make(gaps, ids))
    early.write_bytes(make(ROWS_OF_MANY, ids))
    source = CiffSource(early, MEMORY, docids="absolute")
    assert as_dictionaries(list(source.batches()), source.vocabulary) == read(good)
    with pytest.raises(BadInputError, match=r"docid 36 of 9 .*--ciff-docids absolute"):
        read(early)
    with pytest.raises(BadInputError, match=r"must increase.*without --ciff-docids absolute"):
        list(CiffSource(good, MEMORY, docids="absolute").batches())
    assert not caplog.text
    early.write_bytes(make(ROWS_OF_MANY, [f"d{i}" for i in range(99)]))  # room for both readings
    read(early)
    assert "the numbers rise strictly" in caplog.text
    assert "--ciff-docids absolute" in caplog.text


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        ({}, ""),
        ({"total_terms_in_collection": sum(tf for found in LISTS.values() for _, tf in found)}, ""),
        ({"total_terms_in_collection": 3, "length": 1}, ""),
        ({"total_terms_in_collection": 5, "total_docs": 4}, ""),
        ({"total_terms_in_collection": 5}, "total_terms_in_collection is 5; the impacts sum to"),
        ({"total_docs": 2}, "total_docs is 2, and there are 3 documents"),
        ({"total_postings_lists": 2}, "total_postings_lists is 2, and there are 3 posting lists"),
    ],
)
def test_odd_totals_are_told_and_change_nothing(
    totals: dict[str, int], told: str, reading: Callable[[bytes], Rows],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def change(header: Any, _: list[Any], records: list[Any]) -> None:
        for name, value in totals.items():
            if name != "length":
                setattr(header, name, value)
        for record in records:
            record.doclength = totals.get("length", 0)

    assert reading(make(LISTS, IDS, change)) == documents(GOOD)
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


@pytest.mark.shared
def test_nothing_is_odd_in_the_files_of_others(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("fixtures/toy-complete-20200309.ciff", "splade-v3-nfcorpus/docs.osirrc.ciff.gz"):
        read(shared / name)
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


@pytest.mark.shared
@pytest.mark.long
def test_nfcorpus_is_the_same_as_json_and_as_ciff_sorted_on_disk(shared: Path) -> None:
    folder = shared / "splade-v3-nfcorpus"
    ciff = CiffSource(folder / "docs.osirrc.ciff.gz", memory=4_000_000)
    json = JsonVectorSource(folder / "docs.jsonl.gz")
    batches = [ImpactBatch.concat(source.batches()) for source in (ciff, json)]
    # Each has its own order of documents and terms: compare (document, term, impact) in JSON's.
    row_of = {doc_id: row for row, doc_id in enumerate(batches[1].ids)}
    rows = np.array([row_of[doc_id] for doc_id in batches[0].ids])
    columns = ciff.vocabulary.mapping(json.vocabulary)
    entries = []
    for batch, row_map, column_map in (
        (batches[0], rows, columns),
        (batches[1], np.arange(len(rows)), np.arange(len(columns))),
    ):
        numbers = row_map[np.repeat(np.arange(len(batch)), np.diff(batch.indptr))]
        keys = numbers * len(columns) + column_map[batch.indices]
        order = np.argsort(keys)
        entries.append((keys[order].tolist(), batch.impacts[order].tolist()))
    assert entries[0] == entries[1]
    assert len(row_of) == ciff.counts.documents == json.counts.documents == 3633
    assert ciff.counts.postings == json.counts.postings == 998_259
    assert ciff.counts.impact_sum == json.counts.impact_sum


# ---------------------------------------------------------------- damage


BROKEN = {
    "version": (set_(0, 0, version=2), "header: version 2"),
    "no version": (set_(0, 0, version=0), "header: version 0"),
    "no documents": (set_(0, 0, num_docs=0), "header: no documents"),
    "negative documents": (set_(0, 0, num_docs=-3), "header: no documents"),
    "no lists": (set_(0, 0, num_postings_lists=0), "header: no documents or no posting lists"),
    "negative lists": (set_(0, 0, num_postings_lists=-1), "header: no documents or no posting"),
    "a list too few": (set_(0, 0, num_postings_lists=4), "posting list 4 of 4"),
    "a list too many": (set_(0, 0, num_postings_lists=2), "document record 1 of 3"),
    "a record too few": (set_(0, 0, num_docs=4), "document record 4 of 4: the file ends here"),
    "a record too many": (reorder(2, [0, 1, 2, 2]), "after the last record"),
    "df too small": (set_(1, 0, df=1), "posting list 1 of 3 .term '##x'.: df is 1"),
    "df too large": (set_(1, 2, df=2**40), "posting list 3 of 3 .term 'é'.: df is 1,099,511"),
    "df negative": (set_(1, 1, df=-1), "df is -1"),
    "df 0": (set_(1, 1, df=0), "df is 0"),
    "cf too small": (set_(1, 0, cf=302), "cf is 302"),
    "cf negative": (set_(1, 0, cf=-1), "cf is -1"),
    "term twice": (set_(1, 1, term="##x"), "posting list 2 of 3 .term '##x'.: this term has a"),
    "term twice, not sorted": (
        both(reorder(1, [1, 0, 2]), set_(1, 2, term="a")), "posting list 3 of 3 .term 'a'.: this",
    ),
    "term empty": (set_(1, 0, term=""), "posting list 1 of 3 .term ''."),
    "list empty": (
        lambda _, lists, __: (lists[1].ClearField("postings"), lists[1].ClearField("df"),
                              lists[1].ClearField("cf")),
        "posting list 2 of 3 .term 'a'.: no postings",
    ),
    "gap 0": (posting(0, 1, docid=0), "docids must increase"),
    "gap negative": (posting(0, 1, docid=-1), "docids must increase"),
    "first docid negative": (posting(0, 0, docid=-1), "docids must increase"),
    "docid out of range": (posting(0, 1, docid=3), "docid 3 of 3 documents"),
    "docid out of int32": (
        both(posting(2, 0, docid=MAX_IMPACT), posting(2, 1, docid=MAX_IMPACT)),
        "docid 4,294,967,294 of 3",
    ),
    "impact 0": (both(posting(1, 0, tf=0), set_(1, 1, cf=0)), "an impact below 1"),
    "impact negative": (both(posting(1, 0, tf=-5), set_(1, 1, cf=-5)), "an impact below 1"),
    "impact changed": (posting(0, 1, tf=301), "cf is 303, the impacts sum to 304"),
    "docid of a record twice": (set_(2, 2, docid=0), "document record 3 of 3: docid 0 was there"),
    "docid of a record too large": (set_(2, 1, docid=3), "document record 2 of 3: docid 3 of 3"),
    "record twice": (reorder(2, [0, 0, 2]), "document record 2 of 3: id 'd0' was there before"),
    "a record of some is missing": (
        both(set_(0, 0, num_docs=2, total_docs=3), reorder(2, [0, 1])),
        "1 documents have 1 postings and no record, .* the first is docid 2",
    ),
    "docid beyond all documents": (
        both(set_(0, 0, total_docs=4), posting(2, 1, docid=4)), "docid 4 of 3 documents",
    ),
    "docid negative": (set_(2, 0, docid=-1), "document record 1 of 3: docid -1"),
    "id twice": (set_(2, 2, collection_docid="d0"), "document record 3 of 3: id 'd0' was there"),
    "id empty": (set_(2, 0, collection_docid=""), "document record 1 of 3: id ''"),
    "id with a blank": (set_(2, 0, collection_docid="a b"), "document record 1 of 3: id 'a b'"),
    "id with NUL": (set_(2, 0, collection_docid="a\0b"), "document record 1 of 3: id"),
    "doclength negative": (set_(2, 1, doclength=-1), "document record 2 of 3: doclength -1"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_format_is_named_with_its_list_or_record(
    change: Callable[..., None], message: str, reading: Callable[[bytes], Rows]
) -> None:
    with pytest.raises(BadInputError, match=rf"a\.ciff: .*{message}"):
        reading(make(LISTS, IDS, change))


RAW = {
    "an empty file": (b"", "header: the file ends here"),
    "only zeros": (b"\0" * 100, "header: version 0"),
    "text": (b"This is some text and not CIFF at all. " * 9, "header"),
    "trailing byte": (GOOD + b"\0", "after the last record: there are more bytes"),
    "trailing file": (GOOD + GOOD, "after the last record: there are more bytes"),
    "a length of 2 GiB - 1": (b"\xff\xff\xff\xff\x07", "header: the file ends inside it"),
    "a length of 2 GiB": (b"\x80\x80\x80\x80\x08", "header: a length beyond 2 GiB"),
    "a length without end": (b"\xff" * 50, "header: a length beyond 2 GiB"),
    "a term that is not UTF-8": (GOOD.replace(b"##x", b"#\xff\xfe"), "posting list 1 of 3: not a"),
    "an id that is not UTF-8": (GOOD.replace(b"d1", b"d\xff"), "document record 2 of 3: not a"),
}


@pytest.mark.parametrize(("data", "message"), RAW.values(), ids=RAW)
def test_what_is_no_ciff_is_said_to_be_none(
    data: bytes, message: str, reading: Callable[[bytes], Rows]
) -> None:
    with pytest.raises(BadInputError, match=rf"a\.ciff: {message}"):
        reading(data)


def test_a_file_cut_anywhere_is_refused(reading: Callable[[bytes], Rows]) -> None:
    for size in range(len(GOOD)):
        with pytest.raises(BadInputError, match=r"a\.ciff: "):
            reading(GOOD[:size])


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD)
    path = tmp_path / "a.ciff.gz"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BadInputError, match=r"a\.ciff\.gz: "):
            read(path)


def flips_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    bits = range(8) if len(data) < 200 else (0, 4)
    for at in range(len(data)):
        for bit in bits:
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            yield at, bytes(flipped)


@pytest.mark.parametrize("which", [pytest.param("toy", marks=pytest.mark.shared), "impacts"])
def test_a_flipped_bit_is_noticed_or_harmless_or_beyond_what_the_format_can_tell(
    which: str, request: pytest.FixtureRequest, reading: Callable[[bytes], Rows]
) -> None:
    """CIFF has no checksum: a letter of a term or id may change, or a docid within its bounds.

    Then our reader must still read what protobuf reads, and the counts must be the same.
    """
    data: bytes = request.getfixturevalue("toy") if which == "toy" else GOOD
    original = documents(data)
    refused = same = other = 0
    for at, flipped in flips_of(data):
        try:
            rows = reading(flipped)
        except SpladeBridgeError as error:
            assert isinstance(error, BadInputError) and "a.ciff: " in str(error), at
            refused += 1
            continue
        assert rows == documents(flipped), at
        assert len(rows) == len(original), at
        values = sorted(v for _, row in rows for v in row.values())
        assert values == sorted(v for _, row in original for v in row.values()), at
        same += rows == original
        other += rows != original
    # Most of the toy file is its description, which carries no vectors.
    assert refused > len(data) // 2 and same > 0 and other > 0


def test_a_broken_file_yields_no_document(tmp_path: Path) -> None:
    path = tmp_path / "a.ciff"
    path.write_bytes(GOOD[:-1])
    with pytest.raises(BadInputError):
        next(CiffSource(path, MEMORY).batches())


def test_reading_with_a_small_budget_leaves_no_temporary_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ciff"
    path.write_bytes(GOOD)
    with caplog.at_level(logging.INFO):
        source = CiffSource(path, 1, temporary=tmp_path)
        assert sum(len(batch) for batch in source.batches()) == 3
    assert "sorting on disk" in caplog.text
    assert list(tmp_path.iterdir()) == [path]
