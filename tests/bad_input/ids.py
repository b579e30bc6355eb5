"""Kind 6: ids that a run cannot hold, and terms that a format cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bad_input import Row, made
from small import MemorySource
from splade_bridge.data.doc_ids import DocIdWriter
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.writing import sha256_file
from splade_bridge.formats import ciff_messages, ciff_writer


def resigned(path: Path) -> None:
    """Write the manifest of a folder anew, for the files as they are."""
    manifest = manifest_file(path)
    told = json.loads(manifest.read_text())
    for file in told["files"]:
        there = path / file["path"]
        file["bytes"], file["sha256"] = there.stat().st_size, sha256_file(there)
    manifest.write_text(json.dumps(told))


def store(doc_id: str | None) -> made.Maker:
    """A vector store whose second document somebody has renamed, manifest and all."""

    def make(path: Path) -> None:
        made.vectors(path)
        part = path / "part-00000.parquet"
        ids = pa.array(["d1", doc_id, "d3"], pa.string())
        pq.write_table(pq.read_table(part).set_column(0, "id", ids), part)
        resigned(path)

    return make


def exact(doc_id: str) -> made.Maker:
    """An index of ours that was made before ids were checked."""

    def make(path: Path) -> None:
        made.exact(path)
        writer = DocIdWriter(path)
        writer.add(["d1", doc_id, "d3"])
        writer.close()
        resigned(path)

    return make


def ciff_with(doc_id: str) -> bytes:
    """A CIFF file of one document."""
    kinds = ciff_messages.messages()
    parts = (
        kinds.Header(version=1, num_postings_lists=1, num_docs=1),
        kinds.PostingsList(term="alpha", df=1, cf=3, postings=[{"docid": 0, "tf": 3}]),
        kinds.DocRecord(docid=0, collection_docid=doc_id, doclength=3),
    )
    contents = [part.SerializeToString() for part in parts]
    return b"".join(ciff_messages.varint(len(content)) + content for content in contents)


def with_term(term: str) -> made.Maker:
    """A CIFF file of a document with the terms alpha and ``term``."""

    def make(path: Path) -> None:
        source = MemorySource(np.array([[1, 2]]), ["d1"], ["alpha", term])
        ciff_writer.write_ciff(
            path, source.batches(), source.vocabulary, description="", memory=1 << 20
        )

    return make


def line(doc_id: object) -> str:
    """A line of a JsonVectorCollection."""
    return json.dumps({"id": doc_id, "contents": "", "vector": {"alpha": 1}}) + "\n"


FORGED = "q1 Q0 d9 1 999 forged\nq2"
INDEX = "index {} -o out -e exact"
SEARCH = "search index -q queries.tsv -o run"
OF_INDEX = {"index": made.exact, "queries.tsv": made.TOPICS}

ROWS = [
    Row(
        "an id with a blank in a line of vectors",
        INDEX.format("docs.jsonl"), 4,
        ("docs.jsonl:1", "id 'a b' is empty or holds white space"), {"docs.jsonl": line("a b")},
    ),
    Row(
        "an empty id in a line of vectors",
        INDEX.format("docs.jsonl"), 4, ("docs.jsonl:1", "id '' is empty"),
        {"docs.jsonl": line("")},
    ),
    Row(
        "an id that is a number with a fraction",
        INDEX.format("docs.jsonl"), 4, ("an id must be a string or an integer, not 1.5",),
        {"docs.jsonl": line(1.5)},
    ),
    Row(
        "an id that is a list of a million",
        INDEX.format("docs.jsonl"), 4, ("an id must be a string or an integer, not [0, 0",),
        {"docs.jsonl": line([0] * 1_000_000)}, without=("0, " * 200,),
    ),
    Row(
        "an id with NUL",
        INDEX.format("docs.jsonl"), 4, ("holds NUL",), {"docs.jsonl": line("a\0b")},
    ),
    Row(
        "an id of 40,000 bytes",
        INDEX.format("docs.jsonl"), 4, ("an id of 40,000 bytes; the limit is 32,766",),
        {"docs.jsonl": line("x" * 40_000)}, without=("x" * 1000,),
    ),
    Row(
        "an id that is half a character",
        INDEX.format("docs.json"), 4, ("is not valid Unicode",),
        {"docs.json": '[\n{"id": "\\ud800", "vector": {"alpha": 1}}\n]'},
    ),
    Row(
        "a blank id in a column of a vector store",
        INDEX.format("vectors"), 4, ("part-00000.parquet", "id '' is empty"),
        {"vectors": store("")},
    ),
    Row(
        "an id in a vector store that would forge a line of a run",
        "export vectors -o out", 4, ("part-00000.parquet", "white space"),
        {"vectors": store(FORGED)}, without=("\nq2",),
    ),
    Row(
        "no id in a column of a vector store",
        "export vectors -o out", 4, ("part-00000.parquet", "null"), {"vectors": store(None)},
    ),
    Row(
        "an id twice in a vector store",
        "export vectors -o out -f ciff", 4, ("id 'd1' was there before",),
        {"vectors": store("d1")},
    ),
    Row(
        "queries of a vector store with a blank in an id",
        "search index -q vectors -o run", 4, ("white space",),
        {"vectors": store("q 1"), "index": made.exact},
    ),
    Row(
        "pruning a vector store with a blank in an id",
        "prune vectors -o out --method top-k --value 1", 4, ("white space",),
        {"vectors": store("q 1")},
    ),
    Row(
        "an id with a line break in a record of CIFF",
        INDEX.format("a.ciff"), 4, ("document record 1 of 1", "white space"),
        {"a.ciff": ciff_with(FORGED)},
    ),
    Row(
        "no id in a record of CIFF",
        INDEX.format("a.ciff"), 4, ("document record 1 of 1", "is empty"),
        {"a.ciff": ciff_with("")},
    ),
    Row(
        "an old index whose id would forge a line",
        SEARCH, 4, ("results of query 'q2'", "white space"),
        OF_INDEX | {"index": exact(FORGED)},
    ),
    Row(
        "an old index whose id is blank, for MS MARCO",
        f"{SEARCH} --output-format msmarco", 4, ("results of query 'q2'", "is empty"),
        OF_INDEX | {"index": exact("")},
    ),
    Row(
        "an id of a topic with a blank",
        SEARCH, 4, ("queries.tsv:1", "white space"), OF_INDEX | {"queries.tsv": "q 1\talpha\n"},
    ),
    Row(
        "a tag with a blank before it",
        f"{SEARCH} --tag ' x'", 2, ("--tag must be one word",), OF_INDEX,
    ),
    Row(
        "a tag of two lines",
        f"{SEARCH} --tag 'x\nq9 Q0 d1 1 9 x'", 2, ("--tag must be one word",), OF_INDEX,
    ),
    Row(
        "NUL in an id of a run",
        "evaluate qrels run", 4, ("run:2", "NUL"),
        {"qrels": made.QRELS, "run": made.RUN.replace("q1 Q0 d1", "q1 Q0 d\0")},
    ),
    Row(
        "NUL in an id of judgements",
        "evaluate qrels run", 4, ("qrels:1", "NUL"),
        {"qrels": made.QRELS.replace("d1", "d\0"), "run": made.RUN},
    ),
    Row(
        "control characters in an id are shown escaped",
        INDEX.format("docs.jsonl"), 4, (r"id '\x1b[31m' was there before",),
        {"docs.jsonl": line("\x1b[31m") * 2}, without=("\x1b",),
    ),
    Row(
        "a file whose name turns the text around",
        "inspect a\u202egnp.exe", 4, (r"a\u202egnp.exe: no such file",), without=("\u202e",),
    ),
    Row(
        "a file whose name is a line of ours",
        "inspect 'a\nerror: all is well'", 4, (r"a\nerror: all is well: no such file",),
        without=("\nerror",),
    ),
    Row(
        "a term with a blank in a JsonVectorCollection",
        "export a.ciff -o out", 4,
        ("term 'two words' holds white space", "@white-space", "--format ciff"),
        {"a.ciff": with_term("two words")},
    ),
    Row(
        "a term that Anserini would cut up",
        "export a.ciff -o out", 4, ("has over 255 characters, at which Anserini cuts it",),
        {"a.ciff": with_term("x" * 256)}, without=("x" * 100,),
    ),
    Row(
        "a term of two lines in topics",
        "export a.ciff -o out -f topics", 4, (r"term 'a\nb' holds white space", "@white-space"),
        {"a.ciff": with_term("a\nb")},
    ),
    Row(
        "what cannot be written can be left out",
        "prune a.ciff -o out --method drop-terms --value @white-space", 0, (),
        {"a.ciff": with_term("a\nb")}, made=("out",),
    ),
    Row(
        "an empty term",
        INDEX.format("docs.jsonl"), 4, ("docs.jsonl:1", "an empty term"),
        {"docs.jsonl": '{"id": "d1", "vector": {"": 1}}\n'},
    ),
    Row(
        "a term that is half a character",
        INDEX.format("docs.json"), 4, (r"term '\ud800' is not valid Unicode",),
        {"docs.json": '[\n{"id": "d", "vector": {"\\ud800": 1}}\n]'},
    ),
]  # fmt: skip
