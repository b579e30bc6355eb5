"""Texts that break their format; ``--with-contents`` reads them as ``encode`` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bad_input import Content, Row, made

TEXTS = '{"id": "d1", "text": "one"}\n{"id": "d2", "text": "two"}\n{"id": "d3", "text": "three"}\n'
TABS = "d1\tone\nd2\ttwo\nd3\tthree\n"


def read(title: str, content: Content, *words: str, name: str = "texts.jsonl") -> Row:
    """A corpus that is refused."""
    return Row(
        title,
        f"export docs.jsonl -o out --with-contents {name}",
        4,
        words,
        {"docs.jsonl": made.JSON_LINES, name: content},
    )


def table(**columns: list[object]) -> Callable[[Path], None]:
    """A Parquet file."""

    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path)

    return write


ROWS = [
    read("a line that is no JSON", '{"id": \n', "texts.jsonl:1: not a line of JSON"),
    read("a line that is an array", '["d1", "one"]\n', "texts.jsonl:1: not a JSON object"),
    Row(
        "fields of a file that has none",
        "bm25 texts.tsv -q q.tsv -o run --id-field docid",
        4,
        ("texts.tsv:1: the first line names no columns", "--id-field"),
        {"texts.tsv": "a\tone two\n", "q.tsv": made.TOPICS},
    ),
    read("no id", '{"text": "one"}\n', "texts.jsonl:1: no field", "--id-field"),
    read("no text", '{"id": "d1", "body": "one"}\n', "texts.jsonl:1: no field", "--text-field"),
    read(
        "a text that is a number",
        '{"id": "d1", "text": 7}\n',
        "texts.jsonl:1: field 'text' is not a string",
    ),
    read(
        "a title that is a list",
        '{"id": "d1", "title": [], "text": "x"}\n',
        "texts.jsonl:1: field 'title' is not a string",
    ),
    read("an empty id", '{"id": "", "text": "x"}\n', "texts.jsonl:1:", "id"),
    read("an id that is an object", '{"id": {}, "text": "x"}\n', "texts.jsonl:1:", "id"),
    read("an id twice", TEXTS * 2, "texts.jsonl:4:", "'d1' was there before"),
    read("a key twice", '{"id": "d1", "text": "a", "text": "b"}\n', "texts.jsonl:1:", "twice"),
    read("bytes that are no text", made.GARBAGE, "texts.jsonl:1:"),
    read("UTF-16", TEXTS.encode("utf-16"), "texts.jsonl:1:"),
    read("Latin-1", '{"id": "d1", "text": "é"}\n'.encode("latin-1"), "texts.jsonl:1:"),
    read(
        "gzip that is cut",
        made.cut(made.gz(TEXTS * 40)),
        "texts.jsonl.gz: the compressed file is cut off",
        name="texts.jsonl.gz",
    ),
    read(
        "zstd that is cut",
        made.cut(made.zst(TEXTS * 40)),
        "texts.jsonl.zst: the compressed file is cut off",
        name="texts.jsonl.zst",
    ),
    read("a line without a tab", "d1 one\n", "texts.tsv:1: no tab", name="texts.tsv"),
    read(
        "an id twice in a table",
        TABS * 2,
        "texts.tsv:4:",
        "'d1' was there before",
        name="texts.tsv",
    ),
    read(
        "a table in Latin-1",
        "d1\té\n".encode("latin-1"),
        "texts.tsv:1: not UTF-8",
        name="texts.tsv",
    ),
    read("Parquet that is none", TEXTS, "texts.parquet: not a Parquet file", name="texts.parquet"),
    read(
        "Parquet without ids",
        table(text=["one"]),
        "texts.parquet:row 1: no field",
        name="texts.parquet",
    ),
    read(
        "Parquet with texts that are numbers",
        table(id=["d1"], text=[7]),
        "texts.parquet:row 1: field 'text' is not a string",
        name="texts.parquet",
    ),
    read(
        "Parquet with an id that is missing",
        table(id=["d1", None], text=["a", "b"]),
        "texts.parquet:row 2:",
        name="texts.parquet",
    ),
    read(
        "a kind that is unknown",
        "<id>d1</id>",
        "texts.xml: not a known kind of text file",
        name="texts.xml",
    ),
    read("CSV without names", "d1,one\n", "texts.csv:1: the first line", name="texts.csv"),
    read(
        "CSV with a column too many",
        "id,text\nd1,one,more\n",
        "texts.csv:2: 3 columns, where the first line names 2 (id, text)",
        name="texts.csv",
    ),
    read(
        "CSV with a quote left open", 'id,text\nd1,"one\n', "texts.csv:2: not CSV", name="texts.csv"
    ),
    read("an array of strings", '["one"]\n', "texts.json:1: not a JSON object", name="texts.json"),
    read(
        "an array that is cut", '[{"id": "d1", "text"', "texts.json:1: not JSON", name="texts.json"
    ),
    read("Arrow that is none", TEXTS, "texts.arrow: not an Arrow file", name="texts.arrow"),
    read("an empty folder", made.folder, "texts: no text files in this folder", name="texts"),
    read("texts of other documents", TEXTS.replace("d2", "d9"), "d9"),
    read("fewer texts than documents", TEXTS[:28], "d2"),
    read("more texts than documents", TEXTS + '{"id": "d4", "text": "four"}\n', "d4"),
    Row(
        "no such file",
        "export docs.jsonl -o out --with-contents texts.jsonl",
        4,
        ("texts.jsonl: no such file or folder",),
        {"docs.jsonl": made.JSON_LINES},
    ),
]
