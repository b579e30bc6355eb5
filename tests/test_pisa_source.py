"""PISA's canonical files as a source: what is written is read, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small import MemorySource, random_matrix
from splade_bridge.data.content import Content
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import BatchSource, OrderedLists
from splade_bridge.formats.pisa import RAW_FILES, write_canonical, write_collection
from splade_bridge.formats.pisa_source import CanonicalSource, collection_at
from strategies import Collection, as_dictionaries, collections, quick

TERMS = [f"t{i * 7 % 30:02d}" for i in range(30)]


@quick
@given(collections(st.integers(1, 1 << 24)))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, made: Collection
) -> None:
    folder = tmp_path_factory.mktemp("pisa") / "p"
    source = BatchSource(Path("memory"), made.impact_batches(), made.vocabulary)
    counts = write_collection(folder, source, 1 << 20)
    base = collection_at(folder)
    assert base == folder / "inv"
    read = CanonicalSource(base)
    found = dict(as_dictionaries(list(read.batches()), read.vocabulary))
    assert found == dict(zip(made.ids, made.rows, strict=True))
    assert list(found) == made.ids
    assert (read.counts, str(read.content)) == (counts, str(source.content))


def test_a_document_whose_sum_does_not_fit_is_named(tmp_path: Path) -> None:
    """``inv.sizes`` has 32 bits for it."""
    most = (1 << 31) - 1

    def source(last: int) -> MemorySource:
        return MemorySource(
            np.array([[1, 0, 0], [most, most, last]]), ["d1", "d2"], ["a", "b", "c"]
        )

    assert write_collection(tmp_path / "fits", source(1), 1 << 20).impact_sum == 1 << 32
    with pytest.raises(BadInputError, match="document 1: its impacts sum to 4,294,967,296"):
        write_collection(tmp_path / "does not", source(2), 1 << 20)


@quick
@given(collections(st.integers(1, 1 << 24)), st.integers(1, 4))
def test_lists_in_parts_are_written_as_whole_ones(
    tmp_path_factory: pytest.TempPathFactory, made: Collection, size: int
) -> None:
    """Ordered lists, as a CIFF has them, cut anywhere; against those that were sorted here."""
    folder = tmp_path_factory.mktemp("pisa")
    source = BatchSource(Path("memory"), made.impact_batches(), made.vocabulary)
    write_collection(folder / "p", source, 1 << 20)
    postings = [
        (made.vocabulary.get(term), number, row[term])
        for term in sorted(made.vocabulary.terms)
        for number, row in enumerate(made.rows)
        if term in row
    ]
    blocks = []
    for start in range(0, len(postings), size):
        terms, docs, impacts = np.array(postings[start : start + size], np.int32).T
        first = np.sort(np.unique(terms, return_index=True)[1])
        indptr = np.array([*first, len(terms)], np.int64)
        blocks.append(ListBlock(terms[first], indptr, docs.copy(), impacts.copy()))
    sums = np.array([sum(row.values()) for row in made.rows], np.int64)
    (folder / "q").mkdir()
    write_canonical(folder / "q", OrderedLists(iter([]), iter(blocks), lambda: sums))
    for name in RAW_FILES:
        assert (folder / "q" / name).read_bytes() == (folder / "p" / name).read_bytes(), name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = random_matrix(3, 50, 30, 0.3, 300)
    source = MemorySource(documents, [f"d{i}" for i in range(50)], TERMS)
    write_collection(tmp_path / "p", source, 1 << 20)
    return tmp_path / "p"


def content_of(source: CanonicalSource) -> str:
    content = Content(source.vocabulary)
    for batch in source.batches():
        content.add(batch)
    return str(content)


def test_names_as_lines(folder: Path) -> None:
    """As ciff2pisa writes them: beside the lists, under their name."""
    expected = content_of(CanonicalSource(folder / "inv"))
    lexicons = CanonicalSource(folder / "inv")
    for name, names in (
        ("inv.terms", lexicons.vocabulary.terms),
        ("inv.documents", [i for i, _ in lexicons.document_ids()]),
    ):
        (folder / name).write_text("".join(f"{n}\n" for n in names))
    for name in ("fwd.termlex", "fwd.doclex"):
        (folder / name).unlink()
    assert content_of(CanonicalSource(folder / "inv")) == expected


@pytest.mark.parametrize("given_path", ["", "inv", "inv.docs", "inv.sizes"])
def test_what_names_a_collection(folder: Path, given_path: str) -> None:
    assert collection_at(folder / given_path) == folder / "inv"
    assert collection_at(folder / "other") is None


def change(path: Path, at: int, value: int) -> None:
    numbers = np.fromfile(path, "<u4")
    numbers[at] = value
    numbers.tofile(path)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f / "inv.docs", 0, 2), "not PISA's canonical format"),
        (lambda f: change(f / "inv.docs", 1, 51), "51 documents in .docs, 50"),
        (lambda f: change(f / "inv.docs", 3, 4_000_000_000), "list 0: document 4,000,000,000 of"),
        (lambda f: change(f / "inv.docs", 4, 0), "list 0: documents must rise"),
        (lambda f: change(f / "inv.docs", 2, 3), "list 0: 3 documents, but"),
        (lambda f: change(f / "inv.docs", 2, 4_000_000_000), "list 0: the file ends inside"),
        (lambda f: change(f / "inv.freqs", 1, 0), "a frequency must be from 1 to"),
        (lambda f: change(f / "inv.freqs", 1, 1 << 31), "a frequency must be from 1 to"),
        (lambda f: cut(f / "inv.docs", 41), "not a whole number of 32-bit integers"),
        (lambda f: cut(f / "inv.sizes", 0), "not PISA's canonical format"),
        (lambda f: cut(f / "inv.freqs", 400), "the file ends inside it"),
        (lambda f: cut(f / "fwd.doclex", 40), "says that it has 50 names: cut off"),
        (lambda f: cut(f / "fwd.doclex", 420), "its offsets do not fit its names"),
        (lambda f: (f / "fwd.doclex").unlink(), "no .doclex or .documents beside it"),
        (lambda f: (f / "inv.documents").write_text("d0\nd1\n"), "2 names"),
        (lambda f: (f / "inv.terms").write_text("a\nb\n"), "there are names for 2 terms only"),
    ],
)
def test_damage_is_named(folder: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(folder)
    with pytest.raises(BadInputError, match=message):
        content_of(CanonicalSource(folder / "inv"))
