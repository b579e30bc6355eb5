"""Kinds 3 and 4: what cannot be read twice or is no file, and what a folder holds besides."""

from __future__ import annotations

import bz2
import os
import stat
from collections.abc import Callable
from pathlib import Path

from bad_input import Row, made

README = "# About these vectors\n"
TEXTS = '{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n'


def pipe(path: Path) -> None:
    """A FIFO that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(path)


def socket(path: Path) -> None:
    """A socket that nobody listens to."""
    os.mknod(path, stat.S_IFSOCK | 0o600)


def link(to: str) -> Callable[[Path], None]:
    """A symbolic link."""
    return lambda path: path.symlink_to(to)


def folder(path: Path) -> None:
    """An empty folder."""
    path.mkdir()


SPEC = """\
[data]
qrels = "qrels.txt"
measures = ["nDCG@10"]

[engines]
use = ["exact"]

[[variant]]
name = "one"
documents = "docs.jsonl"
queries = "topics.tsv"
"""

PIPE = ("is a pipe, which can be read only once", "write it to a file first")
FOLDER = ("it is a folder, and must be a file",)

ROWS = [
    Row("vectors from a pipe", "index docs.jsonl -o out -e exact", 4, PIPE, {"docs.jsonl": pipe}),
    Row("CIFF from a pipe", "index docs.ciff -o out -e exact", 4, PIPE, {"docs.ciff": pipe}),
    Row(
        "a link to a pipe",
        "export docs.jsonl -o out -f jsonvector -f ciff",
        4,
        PIPE,
        {"docs.jsonl": link("queue"), "queue": pipe},
    ),
    Row(
        "documents to be pruned from a pipe",
        "prune docs.jsonl -o out --method top-k --value 2",
        4,
        PIPE,
        {"docs.jsonl": pipe},
    ),
    Row(
        "vectors from stdin",
        "index - -o out -e exact",
        4,
        ("-: no such file or folder", "read more than once"),
    ),
    Row(
        "vectors from a device",
        "index /dev/zero --from jsonvector -o out -e exact",
        4,
        ("/dev/zero: is a device",),
    ),
    Row(
        "CIFF from a device",
        "index /dev/zero --from ciff -o out -e exact",
        4,
        ("/dev/zero: is a device",),
    ),
    Row(
        "vectors from a socket",
        "index docs.jsonl -o out -e exact",
        4,
        ("is a socket",),
        {"docs.jsonl": socket},
    ),
    Row(
        "a link to nothing",
        "index docs.jsonl -o out -e exact",
        4,
        ("docs.jsonl: is a link to gone.jsonl, which is not there",),
        {"docs.jsonl": link("gone.jsonl")},
    ),
    Row(
        "a link to itself",
        "index docs.jsonl -o out -e exact",
        4,
        ("docs.jsonl: cannot be read (Too many levels of symbolic links)",),
        {"docs.jsonl": link("docs.jsonl")},
    ),
    Row(
        "a name that is too long",
        f"index {'x' * 300} -o out -e exact",
        4,
        ("File name too long",),
    ),
    Row(
        "an empty file of vectors",
        "index docs.jsonl -o out -e exact",
        4,
        ("holds no documents",),
        {"docs.jsonl": ""},
    ),
    Row(
        "a folder of empty files",
        "index docs -o out -e exact",
        4,
        ("holds no documents",),
        {"docs/a.jsonl": "", "docs/_SUCCESS": ""},
    ),
    Row(
        "a folder that is called CIFF",
        "index docs.ciff -o out -e exact",
        4,
        ("docs.ciff: no manifest.json and no JSON files",),
        {"docs.ciff": folder},
    ),
    Row(
        "a folder of vectors with a text beside them",
        "index docs -o out -e exact",
        4,
        ("docs: not JSON: README.md", "--skip-others"),
        {"docs/a.jsonl": made.JSON_LINES, "docs/README.md": README},
    ),
    Row(
        "a folder of vectors with a text beside them that is left out",
        "index docs -o out -e exact --skip-others",
        0,
        ("docs: left out, as not JSON: README.md", "3 documents"),
        {"docs/a.jsonl": made.JSON_LINES, "docs/README.md": README},
        made=("out",),
    ),
    Row(
        "vectors that are compressed as nothing here reads them",
        "export docs -o out",
        4,
        ("docs: not JSON: sub/b.jsonl.bz2",),
        {
            "docs/a.jsonl": made.JSON_LINES,
            "docs/sub/b.jsonl.bz2": bz2.compress(made.JSON_LINES.encode()),
        },
    ),
    Row(
        "a pipe in a folder of vectors",
        "prune docs -o out --method top-k --value 2",
        4,
        ("docs: not JSON: b.jsonl (a pipe)",),
        {"docs/a.jsonl": made.JSON_LINES, "docs/b.jsonl": pipe},
    ),
    Row(
        "a link to nothing in a folder of vectors, whatever may be left out",
        "index docs -o out -e exact --skip-others",
        4,
        ("docs/b.jsonl: is a link to gone.jsonl, which is not there",),
        {"docs/a.jsonl": made.JSON_LINES, "docs/b.jsonl": link("gone.jsonl")},
    ),
    Row(
        "a linked folder that holds a document again",
        "index docs -o out -e exact",
        4,
        ("docs/z/a.jsonl:1: id 'd1' was there before",),
        {
            "docs/a.jsonl": made.JSON_LINES,
            "docs/z": link("../other"),
            "other/a.jsonl": made.JSON_LINES,
        },
    ),
    Row(
        "an array whose comma is missing",
        "index docs.json -o out -e exact",
        4,
        ("docs.json:2: not JSON (no comma before this object)",),
        {"docs.json": '[{"id": "a", "vector": {"x": 1}}\n{"id": "b", "vector": {"x": 1}}]'},
    ),
    Row(
        "an array in which an object was cut out",
        "index docs.json -o out -e exact",
        4,
        ("docs.json:1: not JSON",),
        {"docs.json": '[{"id": "a", "vector": {"x": 1}},,{"id": "b", "vector": {"x": 1}}]'},
    ),
    Row(
        "a corpus from a pipe",
        "encode corpus.jsonl -m model -o out",
        4,
        (*PIPE, "- read JSON lines from stdin"),
        {"corpus.jsonl": pipe},
    ),
    Row(
        "Parquet from a pipe",
        "encode corpus.parquet -m model -o out",
        4,
        PIPE,
        {"corpus.parquet": pipe},
    ),
    Row(
        "a corpus that is a link to nothing",
        "encode corpus.jsonl -m model -o out",
        4,
        ("corpus.jsonl: is a link to gone.jsonl, which is not there",),
        {"corpus.jsonl": link("gone.jsonl")},
        without=("ir_datasets",),
    ),
    Row(
        "a corpus with XML beside it",
        "encode corpus -m model -o out",
        4,
        ("corpus: not texts", "more.xml", "--skip-others"),
        {"corpus/a.jsonl": TEXTS, "corpus/more.xml": "<c>three</c>"},
    ),
    Row(
        "a corpus with unreadable compression in a sub-folder",
        "encode corpus -m model -o out",
        4,
        ("corpus: not texts", "sub/b.tsv.bz2, sub/c.jsonl.xz"),
        {
            "corpus/a.jsonl": TEXTS,
            "corpus/sub/b.tsv.bz2": bz2.compress(b"c\tthree\n"),
            "corpus/sub/c.jsonl.xz": b"\xfd7zXZ\x00",
        },
    ),
    Row(
        "a corpus folder without texts",
        "encode corpus -m model -o out",
        4,
        ("corpus: no text files in this folder",),
        {"corpus/README.md": README, "corpus/qrels/test.tsv": "q\td\t1\n"},
    ),
    Row(
        "judgements that are a folder",
        "evaluate qrels run.txt",
        4,
        ("qrels: no qrels/test.tsv in this folder",),
        {"qrels": folder, "run.txt": made.RUN},
    ),
    Row(
        "a run that is a device",
        "evaluate qrels.txt /dev/zero",
        4,
        ("/dev/zero: is a device",),
        {"qrels.txt": made.QRELS},
    ),
    Row(
        "queries that are a socket",
        "search index -q topics.tsv -o run.txt",
        4,
        ("is a socket",),
        {"index": made.exact, "topics.tsv": socket},
    ),
    Row(
        "queries in a folder with other things",
        "search index -q topics -o run.txt",
        4,
        ("topics: not JSON: notes.txt",),
        {"index": made.exact, "topics/a.jsonl": made.JSON_LINES, "topics/notes.txt": README},
    ),
    Row(
        "a list of terms that is a folder",
        "prune docs.jsonl -o out --method drop-terms --value terms",
        4,
        FOLDER,
        {"docs.jsonl": made.JSON_LINES, "terms": folder},
    ),
    Row("a comparison told by a device", "compare /dev/zero -o out", 4, ("is a device",)),
    Row("a comparison told by a pipe", "compare spec.toml -o out", 4, PIPE, {"spec.toml": pipe}),
]
