"""Posting lists that are counted, hashed and written without being turned into documents."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from small import MemorySource, batch_of, random_matrix
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import open_vectors
from splade_bridge.data.beside import Beside
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.vectors import row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import lucene_index
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.list_stream import MAGIC, write_stream
from splade_bridge.engines.lucene_index import LuceneIndex
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError
from splade_bridge.formats import ciff_reader, postings
from splade_bridge.formats.base import BatchSource, ImpactSource
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.ciff_writer import ListWriter, write_ciff, write_ciff_lists
from splade_bridge.formats.postings import PostingList, PostingListSource
from strategies import Collection, collections, impacts, quick

MEMORY = 1 << 20
small_impacts = st.one_of(st.integers(1, 400), impacts.filter(lambda v: v < 2**27))
"""A document's may sum to 2^31 - 1 at most."""


class Lists(PostingListSource):
    """The lists of some rows by the bytes of their terms, in parts of at most ``part``."""

    sorted_terms = True

    def __init__(
        self, rows: list[dict[str, int]], ids: list[str], vocabulary: Vocabulary, part: int
    ) -> None:
        super().__init__(Path("lists"), vocabulary, None)
        self._rows, self._ids, self._part = rows, ids, part

    def lists(self) -> Iterator[PostingList]:
        for term in sorted(self.vocabulary.terms, key=str.encode):
            docs = [n for n, row in enumerate(self._rows) if term in row]
            number = self.vocabulary.get(term)
            assert number is not None
            for start in range(0, max(1, len(docs)), self._part):
                here = docs[start : start + self._part]
                values = [self._rows[n][term] for n in here]
                yield PostingList(number, np.array(here, np.int32), np.array(values, np.int32))

    def document_ids(self) -> Iterator[tuple[str, str]]:
        for number, doc_id in enumerate(self._ids):
            yield doc_id, f"lists: document {number}"


def of(collection: Collection, part: int = 3) -> Lists:
    rows = [{t: int(v) for t, v in row.items()} for row in collection.rows]
    return Lists(rows, collection.ids, collection.vocabulary, part)


@quick
@given(collection=collections(small_impacts), part=st.integers(1, 4), together=st.integers(1, 6))
def test_lists_are_written_as_their_documents_are_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, part: int, together: int
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    documents = BatchSource(folder, collection.impact_batches(), collection.vocabulary)
    write_ciff(folder / "a", documents.batches(), collection.vocabulary, description="x",
               memory=MEMORY)  # fmt: skip
    source = of(collection, part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "TOGETHER", together)
        counts = write_ciff_lists(folder / "b", source, description="x")
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()
    assert counts == source.counts == documents.counts
    assert str(source.content) == str(documents.content)


@quick
@given(collection=collections(small_impacts), together=st.integers(1, 200))
def test_what_is_read_as_lists_counts_as_what_is_read_as_documents(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, together: int
) -> None:
    path = tmp_path_factory.mktemp("lists") / "a.ciff"
    written = write_ciff(
        path, collection.impact_batches(), collection.vocabulary, description="", memory=MEMORY
    )
    if not written.postings:
        with pytest.raises(BadInputError, match="no posting lists"):
            CiffSource(path, MEMORY).read_all()
        return
    by_lists, by_documents, of_memory = (
        CiffSource(path, MEMORY), CiffSource(path, MEMORY), of(collection)
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ciff_reader, "DECODED_TOGETHER", together)
        by_lists.read_all()
    of_memory.read_all()
    list(by_documents.batches())
    assert by_lists.counts == by_documents.counts == of_memory.counts == written
    assert str(by_lists.content) == str(by_documents.content) == str(of_memory.content)


@quick
@given(collection=collections(small_impacts), part=st.integers(1, 4))
def test_the_same_goes_to_lucene_from_lists_as_from_documents(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, part: int
) -> None:
    """Ids and lists, in order; how they are cut into frames may differ."""
    folder = tmp_path_factory.mktemp("lists")
    written = write_ciff(
        folder / "a.ciff", collection.impact_batches(), collection.vocabulary, description="",
        memory=MEMORY,
    )  # fmt: skip
    documents = BatchSource(folder, collection.impact_batches(), collection.vocabulary)
    assume(written.postings)
    ciff = CiffSource(folder / "a.ciff", MEMORY)
    assert CiffSource(folder / "a.ciff", MEMORY).ordered_lists() is not None
    sources: list[ImpactSource] = [documents, of(collection, part), ciff]
    sent = []
    for source in sources:
        out = io.BytesIO()
        write_stream(out, source, MEMORY, folder)
        sent.append(streamed(out.getvalue()))
        assert source.counts == written
        assert str(source.content) == str(documents.content)
    assert all(one == sent[0] for one in sent)
    rows = [{t: int(v) for t, v in row.items()} for row in collection.rows]
    terms = sorted({term for row in rows for term in row}, key=str.encode)
    wanted = {t: [(n, row[t]) for n, row in enumerate(rows) if t in row] for t in terms}
    assert sent[0] == (collection.ids, wanted)
    assert list(sent[0][1]) == terms


def streamed(content: bytes) -> tuple[list[str], dict[str, list[tuple[int, int]]]]:
    """What a stream says, by the words of its format."""
    stream = io.BytesIO(content)
    assert stream.read(8) == MAGIC

    def numbers(count: int) -> list[int]:
        return list(struct.unpack(f"<{count}i", stream.read(4 * count)))

    def texts(count: int, size: int) -> list[str]:
        lengths = numbers(count)
        assert sum(lengths) == size
        return [stream.read(length).decode() for length in lengths]

    ids: list[str] = []
    found: dict[str, list[tuple[int, int]]] = {}
    while (kind := numbers(1)[0]) != 3:
        if kind == 1:
            assert not found
            ids += texts(*numbers(2))
            continue
        count, postings, size = numbers(3)
        terms, lengths = texts(count, size), numbers(count)
        docs, values = numbers(postings), numbers(postings)
        start = 0
        for term, length in zip(terms, lengths, strict=True):
            assert term not in found or term == next(reversed(found))
            pairs = zip(docs[start : start + length], values[start : start + length], strict=True)
            found.setdefault(term, []).extend(pairs)
            start += length
    total = sum(map(len, found.values())), sum(v for one in found.values() for _, v in one)
    assert struct.unpack("<qqq", stream.read()) == (len(ids), *total)
    return ids, found


def test_the_empty_documents_are_named() -> None:
    rows = [{"a": 1}, {}, {"a": 2}, {}]
    source = Lists(rows, ["w", "x", "y", "z"], Vocabulary(["a"]), 1)
    source.read_all()
    assert (source.counts.empty, source.counts.empty_ids) == (2, ["x", "z"])


class Broken(Lists):
    """Lists that are given, whatever they are."""

    def __init__(self, given: list[tuple[int, list[int]]], ids: list[str]) -> None:
        super().__init__([], ids, Vocabulary(["a", "b"]), 1)
        self._given = given

    def lists(self) -> Iterator[PostingList]:
        for term, docs in self._given:
            yield PostingList(term, np.array(docs, np.int32), np.ones(len(docs), np.int32))


@pytest.mark.parametrize("together", [1, 1 << 16])
@pytest.mark.parametrize(
    ("given", "ids", "says"),
    [
        ([(0, [0, 3])], ["x", "y", "z"], "postings of document 3, but ids of 3 documents only"),
        ([(0, [0]), (1, [1]), (0, [2])], ["x", "y", "z"], "a term has two posting lists"),
        ([(0, [1]), (0, [1])], ["x", "y"], "a term has two posting lists"),
        ([(0, [0])], ["x", "y", "x"], "lists: document 2: id 'x' was there before"),
        ([(0, [0])], ["x", "a b"], "lists: document 1: id 'a b'"),
    ],
)
def test_broken_lists_are_refused(
    monkeypatch: pytest.MonkeyPatch, together: int, given: list[tuple[int, list[int]]],
    ids: list[str], says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(postings, "TOGETHER", together)
    with pytest.raises((BadInputError, ValueError), match=says if together == 1 else f"{says}|"):
        Broken(given, ids).read_all()


@pytest.mark.parametrize(
    ("docs", "impacts", "lengths", "says"),
    [
        ([1, 1], [1, 1], [2], "strictly increasing"),
        ([2, 1], [1, 1], [2], "strictly increasing"),
        ([-1], [1], [1], "negative"),
        ([1], [0], [1], "1 or more"),
        ([1], [1], [1, 0], "a list must have a posting"),
        ([1, 2], [1], [2], "values must be"),
    ],
)
def test_a_block_checks_itself(
    docs: list[int], impacts: list[int], lengths: list[int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ListBlock(
            np.arange(len(lengths), dtype=np.int32), row_pointers(lengths),
            np.array(docs, np.int32), np.array(impacts, np.int32),
        )  # fmt: skip


def test_lists_out_of_order_are_not_written(tmp_path: Path) -> None:
    one = np.array([1], np.int32)
    with (tmp_path / "a").open("wb") as out:
        writer = ListWriter(out, Vocabulary(["a", "b"]))
        writer.add(ListBlock(np.array([1], np.int32), row_pointers([1]), one, one))
        with pytest.raises(ValueError, match="'a' comes after"):
            writer.add(ListBlock(np.array([0], np.int32), row_pointers([1]), one, one))


def test_an_error_beside_is_raised() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise BadInputError("broken")
        done.append(number)

    with Beside() as beside:
        for number in range(3):
            beside.call(work, number)
        beside.call(work, 3)
        with pytest.raises(BadInputError, match="broken"):
            beside.finish()
    assert done == [0, 1, 2]
    assert threading.active_count() < 10


@pytest.mark.long
def test_lists_of_several_pages_come_whole(
    lucene: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list ends within a page, at its end, and beyond several."""
    matrix = random_matrix(8, 60, 9, 0.4, 5000)
    matrix[:8, 0] = 7
    matrix[8:, 0] = 0
    ids = [f"d{i}" for i in range(60)]
    source = MemorySource(matrix, ids, [f"t{i}" for i in range(9)])
    engine("lucene").build(source, tmp_path / "i", BuildOptions())
    with LuceneIndex(tmp_path / "i") as index:
        for most in (1, 2, 4, 8, 23, 1 << 18):
            monkeypatch.setattr(lucene_index, "PAGE_POSTINGS", most)
            pages = list(index.list_pages())
            assert max(len(page.documents) for page in pages) <= most
            found = np.zeros_like(matrix)
            last: dict[bytes, int] = {}
            for term, docs, impacts in index.lists():
                assert docs[0] > last.get(term, -1) and (np.diff(docs) > 0).all()
                last[term] = int(docs[-1])
                found[docs, int(term[1:])] = impacts
            assert (found == matrix).all()
    monkeypatch.setattr(lucene_index, "PAGE_POSTINGS", 3)
    for to in ("ciff", "npz"):  # as lists, and as documents
        assert convert(tmp_path / "i", tmp_path / to, to).manifest.content == str(source.content)  # type: ignore[arg-type]


@pytest.mark.long
def test_an_index_is_written_as_its_documents_are(lucene: None, tmp_path: Path) -> None:
    matrix = random_matrix(3, 300, 40, 0.2, 5000)
    ids = [f"d{i * 7919 % 1000}" for i in range(300)]
    source = MemorySource(matrix, ids, [f"t{i}" for i in range(40)])
    engine("lucene").build(source, tmp_path / "i", BuildOptions())
    convert(tmp_path / "i", tmp_path / "by-lists", "ciff")
    read = open_vectors(tmp_path / "i")
    write_ciff(
        tmp_path / "by-documents", read.batches(), read.vocabulary,  # type: ignore[arg-type]
        description="splade-bridge export of i", memory=MEMORY,
    )  # fmt: skip
    assert (tmp_path / "by-lists" / "index.ciff").read_bytes() == (
        tmp_path / "by-documents"
    ).read_bytes()
    assert len(batch_of(matrix, ids)) == 300
