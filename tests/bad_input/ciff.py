"""CIFF files that break their format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bad_input import Content, Row, made
from splade_bridge.formats.ciff_messages import messages


def index(title: str, content: Content, *words: str, name: str = "docs.ciff") -> Row:
    """A file that ``index`` refuses."""
    return Row(title, f"index {name} -o out -e exact", 4, words, {name: content})


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A good file, changed."""

    def write(path: Path) -> None:
        plain = path.with_name("good.ciff")
        made.ciff(plain)
        path.write_bytes(change(plain.read_bytes()))
        plain.unlink()

    return write


def framed(*parts: object) -> bytes:
    """Messages with their lengths in front, as protobuf's ``writeDelimitedTo`` puts them."""
    found = b""
    for part in parts:
        content = part.SerializeToString()  # type: ignore[attr-defined]
        size = len(content)
        while size > 127:
            found += bytes([size & 127 | 128])
            size >>= 7
        found += bytes([size]) + content
    return found


def built(
    *,
    lists: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (("alpha", ((0, 3), (1, 2))),),
    ids: tuple[str, ...] = ("d1", "d2"),
    **header: object,
) -> bytes:
    """A small file. Postings are (gap, impact); ``header`` changes what the header says."""
    kinds = messages()
    usual: dict[str, object] = {
        "version": 1,
        "num_postings_lists": len(lists),
        "num_docs": len(ids),
        "total_postings_lists": len(lists),
        "total_docs": len(ids),
        "total_terms_in_collection": 5,
        "average_doclength": 2.5,
        "description": "",
    }
    terms = []
    for term, postings in lists:
        posted = kinds.PostingsList(
            term=term, df=len(postings), cf=sum(impact for _, impact in postings)
        )
        for gap, impact in postings:
            posted.postings.add(docid=gap, tf=impact)
        terms.append(posted)
    records = [
        kinds.DocRecord(docid=number, collection_docid=doc_id, doclength=1)
        for number, doc_id in enumerate(ids)
    ]
    return framed(kinds.Header(**{**usual, **header}), *terms, *records)


TWO = (("alpha", ((0, 3),)), ("beta", ((1, 2),)))

ROWS = [
    index("an empty file", "", "docs.ciff: header: the file ends here"),
    index("bytes that are no CIFF", made.GARBAGE, "docs.ciff: header:"),
    index("JSON that is called CIFF", made.JSON_LINES, "docs.ciff: header:"),
    index("cut in the middle", changed(made.cut), "docs.ciff: ", "cut off"),
    index("cut at the last byte", changed(lambda c: c[:-1]), "document record 3 of 3", "cut off"),
    index("something behind the end", changed(lambda c: c + b"x"), "after the last record"),
    index("the file twice", changed(lambda c: c * 2), "after the last record"),
    index(
        "gzip that is cut",
        changed(lambda c: made.cut(made.gz(c))),
        "docs.ciff.gz: the compressed file is cut off or damaged",
        name="docs.ciff.gz",
    ),
    index("gzip that is not called so", changed(made.gz), "docs.ciff: header:"),
    index("another version", built(version=2), "docs.ciff: header: version 2"),
    index("no documents", built(num_docs=0), "docs.ciff: header: no documents"),
    index("fewer documents than it says", built(num_docs=3), "document record 3 of 3", "cut off"),
    index(
        "more documents than it says",
        built(num_docs=1, total_docs=1),
        "docs.ciff: posting list 1 of 1",
    ),
    index("more records than it says", built(num_docs=1), "after the last record"),
    index(
        "a document without its record",
        built(ids=("d1",), total_docs=2),
        "1 documents have 1 postings and no record",
    ),
    index(
        "more lists than it says",
        built(lists=TWO, num_postings_lists=1),
        "docs.ciff: document record 1 of 2",
    ),
    index("a negative number of documents", built(num_docs=-5), "docs.ciff: header:"),
    index(
        "a term twice",
        built(lists=(TWO[0], TWO[0])),
        "posting list 2 of 2 (term 'alpha')",
        "this term has a list already",
    ),
    index(
        "a term twice, not beside itself",
        built(lists=(*TWO, TWO[0])),
        "posting list 3 of 3 (term 'alpha')",
        "this term has a list already",
    ),
    index(
        "absolute docids, as an early jsonl2ciff wrote them",
        built(lists=(("alpha", ((0, 1), (1, 1), (2, 1))),), ids=("d1", "d2", "d3")),
        "(term 'alpha')",
        "--ciff-docids absolute",
    ),
    Row(
        "gaps that are read as docids",
        "index docs.ciff -o out -e exact --ciff-docids absolute",
        4,
        ("docs.ciff", "docids must increase", "without --ciff-docids absolute"),
        {"docs.ciff": built(lists=(("alpha", ((1, 3), (1, 2))),), ids=("d1", "d2", "d3"))},
    ),
    *(
        Row(
            f"{command.split()[0]}: docids of CIFF, and no CIFF",
            f"{command} --ciff-docids absolute",
            2,
            ("is no CIFF", "--ciff-docids"),
            {"docs.jsonl": made.JSON_LINES},
        )
        for command in (
            "index docs.jsonl -o out -e exact",
            "export docs.jsonl -o out",
            "prune docs.jsonl -o out --method top-k --value 2",
        )
    ),
    index("an empty term", built(lists=(("", ((0, 1),)),)), "posting list 1 of 1 (term '')"),
    index(
        "a list without postings", built(lists=(("alpha", ()),)), "(term 'alpha')", "no postings"
    ),
    index(
        "an impact of zero",
        built(lists=(("alpha", ((0, 0),)),)),
        "(term 'alpha')",
        "an impact below 1",
    ),
    index(
        "a negative impact",
        built(lists=(("alpha", ((0, -3),)),)),
        "(term 'alpha')",
        "an impact below 1",
    ),
    index(
        "a document twice in a list",
        built(lists=(("alpha", ((0, 1), (0, 1))),)),
        "(term 'alpha')",
        "docids must increase",
    ),
    index(
        "a document that is not there",
        built(lists=(("alpha", ((9, 1),)),)),
        "(term 'alpha')",
        "docid 9 of 2",
    ),
    index(
        "a negative document",
        built(lists=(("alpha", ((-1, 1),)),)),
        "(term 'alpha')",
        "docids must increase",
    ),
    index(
        "an id twice", built(ids=("d1", "d1")), "document record 2 of 2", "'d1' was there before"
    ),
    index("an empty id", built(ids=("d1", "")), "document record 2 of 2", "id"),
    index("an id with a line break", built(ids=("d1", "d\n2")), "document record 2 of 2", "id"),
    index("a length of 2 GiB", b"\xff\xff\xff\xff\x0f", "docs.ciff: header: a length beyond 2 GiB"),
    Row(
        "a scale for integers",
        "index docs.ciff -o out -e exact --scale 10",
        2,
        ("docs.ciff", "integers"),
        {"docs.ciff": made.ciff},
    ),
    Row(
        "no such file", "index docs.ciff -o out -e exact", 4, ("docs.ciff: no such file or folder",)
    ),
]
