"""JsonVectorCollections that break their format."""

from __future__ import annotations

from bad_input import Content, Row, made

INDEX = "index docs.jsonl -o out -e exact"


def index(title: str, content: Content, *words: str, name: str = "docs.jsonl") -> Row:
    """A file that ``index`` refuses."""
    return Row(title, f"index {name} -o out -e exact", 4, words, {name: content})


def vector(text: str) -> str:
    """A file whose second line has this vector."""
    return made.JSON_LINES.split("\n")[0] + f'\n{{"id": "x", "vector": {text}}}\n'


ROWS = [
    index("a line that is no JSON", '{"id": "d1"\n', "docs.jsonl:2: not JSON"),
    index("a line that is an array", "[1, 2]\n", "docs.jsonl:1: not"),
    index("a line that is a number", f"{made.JSON_LINES}7\n", "docs.jsonl:4: not a JSON object"),
    index("no id", '{"vector": {"a": 1}}\n', "docs.jsonl:1: no field id"),
    index("an empty id", '{"id": "", "vector": {"a": 1}}\n', "docs.jsonl:1:", "id"),
    index("an id that is null", '{"id": null, "vector": {"a": 1}}\n', "docs.jsonl:1:", "id"),
    index("an id that is a list", '{"id": ["a"], "vector": {"a": 1}}\n', "docs.jsonl:1:", "id"),
    index("an id with a blank", '{"id": "a b", "vector": {"a": 1}}\n', "docs.jsonl:1:", "id"),
    index("an id twice", made.JSON_LINES * 2, "docs.jsonl:4:", "'d1' was there before"),
    index("a key twice", '{"id": "d1", "id": "d2", "vector": {}}\n', "docs.jsonl:1:", "twice"),
    index("a term twice", vector('{"a": 1, "a": 2}'), "docs.jsonl:2:", "'a' stands twice"),
    index("no vector", '{"id": "d1", "contents": "text"}\n', "docs.jsonl:1: no field vector"),
    index("a dense vector", vector("[0.1, 0.2]"), "docs.jsonl:2: a dense vector"),
    index("a vector that is text", vector('"alpha beta"'), "docs.jsonl:2: no field vector"),
    index("a vector that is null", vector("null"), "docs.jsonl:2: no field vector"),
    index("an impact that is text", vector('{"a": "7"}'), "docs.jsonl:2: term 'a'", "not a number"),
    index(
        "an impact that is null", vector('{"a": null}'), "docs.jsonl:2: term 'a'", "not a number"
    ),
    index(
        "an impact that is true", vector('{"a": true}'), "docs.jsonl:2: term 'a'", "not a number"
    ),
    index("a negative impact", vector('{"a": -1}'), "docs.jsonl:2: term 'a'", "not -1"),
    index("a weight without --scale", vector('{"a": 1.5}'), "docs.jsonl:2:", "--scale"),
    index("an impact that is NaN", vector('{"a": NaN}'), "docs.jsonl:2: not a line of JSON"),
    index(
        "an impact that is infinite", vector('{"a": Infinity}'), "docs.jsonl:2: not a line of JSON"
    ),
    index("an impact beyond float64", vector('{"a": 1e400}'), "docs.jsonl:2:"),
    index("an impact of 2^31", vector('{"a": 2147483648}'), "docs.jsonl:2:", "2^31 - 1"),
    index("an impact of 400 digits", vector('{"a": %s}' % ("9" * 400)), "docs.jsonl:2:"),
    index("an empty term", vector('{"": 3}'), "docs.jsonl:2:", "term"),
    index(
        "half a surrogate pair as term",
        vector('{"\\ud800": 3}'),
        "docs.jsonl:2: not a line of JSON",
    ),
    index("an empty file", "", "holds no documents"),
    index("blank lines alone", "\n \n\n", "holds no documents"),
    index(
        "documents without terms alone",
        '{"id": "a", "vector": {}}\n',
        "docs.jsonl: none of its 1 documents has a term",
    ),
    index(
        "weights of zero alone",
        '{"id": "a", "vector": {"x": 0}}\n',
        "docs.jsonl: none of its 1 documents has a term",
    ),
    index("bytes that are no text", made.GARBAGE, "docs.jsonl: not UTF-8"),
    index("UTF-16", made.JSON_LINES.encode("utf-16"), "docs.jsonl: not UTF-8"),
    index("UTF-16 without a mark", made.JSON_LINES.encode("utf-16-le"), "docs.jsonl:1:"),
    index("Latin-1", vector('{"é": 1}').encode("latin-1"), "docs.jsonl:2:"),
    index("a file cut inside a line", made.JSON_LINES[:-9], "docs.jsonl:3: not a line of JSON"),
    index(
        "zeros at the end, as after a crash", made.JSON_LINES.encode() + bytes(512), "docs.jsonl:4:"
    ),
    index(
        "gzip that is cut",
        made.cut(made.gz(made.JSON_LINES * 40)),
        "docs.jsonl.gz: the compressed file is cut off or damaged",
        name="docs.jsonl.gz",
    ),
    index(
        "zstd that is cut",
        made.cut(made.zst(made.JSON_LINES)),
        "docs.jsonl.zst: the compressed file is cut off or damaged",
        name="docs.jsonl.zst",
    ),
    index(
        "gzip that is none",
        made.JSON_LINES,
        "docs.jsonl.gz: the compressed file is cut off or damaged",
        name="docs.jsonl.gz",
    ),
    index(
        "zstd that is none",
        made.JSON_LINES,
        "docs.jsonl.zst: the compressed file is cut off or damaged",
        name="docs.jsonl.zst",
    ),
    index("gzip that is not called so", made.gz(made.JSON_LINES), "docs.jsonl: not UTF-8"),
    index(
        "gzip with something behind it",
        made.gz(made.JSON_LINES) + b"rest",
        "docs.jsonl.gz: the compressed file is cut off or damaged",
        name="docs.jsonl.gz",
    ),
    index(
        "a name that tells nothing",
        made.JSON_LINES,
        "docs: cannot tell what this is; say --from",
        name="docs",
    ),
    index(
        "an array that does not end",
        '[{"id": "a", "vector": {"x": 1}},\n',
        "docs.json:2: not JSON",
        name="docs.json",
    ),
    index(
        "an array with text in it",
        '[{"id": "a", "vector": {"x": 1}}, "b"]',
        "docs.json:1: not a JSON object",
        name="docs.json",
    ),
    index("an array in bytes that are no text", made.GARBAGE, "docs.json", name="docs.json"),
    index("nesting without end", '{"id": "a", "vector": {"x": ' + "[" * 100_000, "docs.jsonl:1:"),
    Row("no such file", INDEX, 4, ("docs.jsonl: no such file or folder",)),
    Row(
        "an empty folder",
        "index docs -o out -e exact",
        4,
        ("docs: no manifest.json and no JSON files",),
        {"docs": made.folder},
    ),
    Row(
        "an id in two files of a folder",
        "index docs -o out -e exact",
        4,
        ("docs/b.jsonl:1:", "'d1' was there before"),
        {"docs/a.jsonl": made.JSON_LINES, "docs/b.jsonl": made.JSON_LINES},
    ),
    Row(
        "a broken file in a folder",
        "export docs -o out",
        4,
        ("docs/b.jsonl:1: not JSON",),
        {"docs/a.jsonl": made.JSON_LINES, "docs/b.jsonl": "{"},
    ),
    Row(
        "said to be what it is not",
        "index docs.jsonl -o out -e exact --from ciff",
        4,
        ("docs.jsonl: ",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "a scale so large that impacts overflow",
        "index docs.jsonl -o out -e exact --scale 1e9",
        4,
        ("docs.jsonl:2: term 'x': weight 300.5 x 1e+09 is over 2^31 - 1",),
        {"docs.jsonl": '{"id": "a", "vector": {}}\n{"id": "b", "vector": {"w": 1, "x": 300.5}}\n'},
    ),
    Row(
        "queries whose impacts overflow",
        "search i -q q.jsonl -o out --scale 1e9",
        4,
        ("q.jsonl:1: term 'x': weight 300.5 x 1e+09 is over 2^31 - 1",),
        {"i": made.exact, "q.jsonl": '{"id": "q", "vector": {"x": 300.5}}\n'},
    ),
    Row(
        "a mark of byte order and Windows' line ends are no fault",
        INDEX,
        0,
        ("3 documents",),
        {"docs.jsonl": b"\xef\xbb\xbf" + made.JSON_LINES.replace("\n", "\r\n").encode()},
        ("out",),
    ),
    Row(
        "several objects on a line are no fault",
        INDEX,
        0,
        ("3 documents",),
        {"docs.jsonl": made.JSON_LINES.replace("\n", " ")},
        ("out",),
    ),
    Row(
        "a last line without an end is no fault",
        INDEX,
        0,
        ("3 documents",),
        {"docs.jsonl": made.JSON_LINES[:-1]},
        ("out",),
    ),
]
