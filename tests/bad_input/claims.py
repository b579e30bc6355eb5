"""Kind 10: claims that cost. What each may take of memory is in test_limits.py."""

from __future__ import annotations

import gzip

from bad_input import Row, made
from splade_bridge.formats import ciff_messages


def claim(documents: int, docid: int) -> bytes:
    """A CIFF file of one record whose header has ``documents``."""
    kinds = ciff_messages.messages()
    parts = (
        kinds.Header(version=1, num_postings_lists=1, num_docs=documents),
        kinds.PostingsList(term="alpha", df=1, cf=3, postings=[{"docid": docid, "tf": 3}]),
        kinds.DocRecord(docid=0, collection_docid="d1", doclength=3),
    )
    contents = [part.SerializeToString() for part in parts]
    return b"".join(ciff_messages.varint(len(content)) + content for content in contents)


INDEX = "index {} -o out -e exact"
SEARCH = "search index -q queries.tsv -o run"
OF_INDEX = {"index": made.exact, "queries.tsv": made.TOPICS}

ROWS = [
    Row(
        "a header of two thousand million documents",
        f"{INDEX.format('a.ciff')} --memory 1M", 4,
        ("a.ciff: header: 2,147,483,647 documents are said to be in it", "no room"),
        {"a.ciff": claim(2**31 - 1, 2**31 - 2)},
    ),
    Row(
        "the same compressed",
        INDEX.format("a.ciff.gz"), 4, ("header", "no room"),
        {"a.ciff.gz": gzip.compress(claim(2**31 - 1, 2**31 - 2))},
    ),
    Row(
        "a header of no documents",
        INDEX.format("a.ciff"), 4, ("no documents or no posting lists",), {"a.ciff": claim(0, 0)},
    ),
    Row(
        "a header of fewer than no documents",
        INDEX.format("a.ciff"), 4, ("no documents or no posting lists",), {"a.ciff": claim(-5, 0)},
    ),
    Row(
        "a message of two gibibytes",
        INDEX.format("a.ciff"), 4, ("header", "cut off"),
        {"a.ciff": ciff_messages.varint(2**31 - 1) + b"x"},
    ),
    Row(
        "a length that goes on for ever",
        INDEX.format("a.ciff"), 4, ("a length beyond 2 GiB",), {"a.ciff": b"\xff" * 1000},
    ),
    Row(
        "a hundred thousand brackets",
        INDEX.format("docs.jsonl"), 4, ("docs.jsonl:1: not JSON",),
        {"docs.jsonl": '{"id": "a", "vector": ' + "[" * 100_000},
    ),
    Row(
        "a hundred thousand brackets over lines",
        INDEX.format("docs.json"), 4, ("docs.json", "not JSON"),
        {"docs.json": '[{"id": "a", "vector":\n' + "[" * 100_000},
    ),
    Row(
        "an impact of five thousand digits",
        INDEX.format("docs.json"), 4, ("docs.json", "not JSON"),
        {"docs.json": '[{"id": "a",\n "vector": {"alpha": 1' + "0" * 5000 + "}}]"},
    ),
    Row(
        "an impact beyond 64 bits",
        INDEX.format("docs.jsonl"), 4, ("docs.jsonl:1",),
        {"docs.jsonl": '{"id": "a", "vector": {"alpha": 1' + "0" * 30 + "}}\n"},
    ),
    Row(
        "a weight of two hundred million as tokens",
        "export docs.jsonl -f topics -o out", 4,
        ("query 'q': its repeated tokens would be a line of 1,200,000,000 bytes", "--scale"),
        {"docs.jsonl": '{"id": "q", "vector": {"alpha": 200000000}}\n'},
    ),
    Row(
        "a million threads for a search",
        f"{SEARCH} --threads 1000000", 2, ("--threads 1000000 has no effect",), OF_INDEX,
    ),
    Row(
        "more threads than a number of 64 bits",
        f"{SEARCH} --threads {10**30}", 2, ("threads: 1000", "more than 64 bits"), OF_INDEX,
    ),
    Row(
        "a million threads for an index",
        "index docs.jsonl -o out -e pisa --threads 1000000", 2, ("from 1 to 1,024",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "a million threads for a measurement",
        "bench index -q queries.tsv --threads 1000000", 2, ("from 1 to 1,024",), OF_INDEX,
    ),
    Row(
        "all documents and far more",
        f"{SEARCH} -k 2000000000", 0, ("2 queries, 4 results",), OF_INDEX, made=("run",),
    ),
    Row(
        "more documents than a number of 64 bits",
        f"{SEARCH} -k {10**30}", 2, ("k: 1000", "more than 64 bits"), OF_INDEX,
    ),
    Row(
        "almost as many documents, folded",
        f"{SEARCH} -k {2**63 - 1} --max-passage --remove-query", 0, ("2 queries, 4 results",),
        OF_INDEX, made=("run",),
    ),
    Row(
        "parts of more documents than there are numbers",
        f"export docs.jsonl -o out --docs-per-file {10**30}", 2, ("more than 64 bits",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "as many documents a part as 64 bits hold",
        f"export docs.jsonl -o out --docs-per-file {2**63 - 1}", 0, ("3 rows",),
        {"docs.jsonl": made.JSON_LINES}, made=("out",),
    ),
    Row(
        "a comparison of brackets",
        "compare spec.toml -o out", 4, ("spec.toml: not TOML",),
        {"spec.toml": "a = " + "[" * 100_000},
    ),
    Row(
        "a comparison of dots",
        "compare spec.toml -o out", 4, ("spec.toml: not TOML (over 5,000 dots in a line)",),
        {"spec.toml": "a." * 100_000 + "b = 1"},
    ),
    Row(
        "a comparison of megabytes",
        "compare spec.toml -o out", 4, ("spec.toml: not TOML (over 4 MiB)",),
        {"spec.toml": "# x\n" * (1 << 21)},
    ),
]  # fmt: skip
