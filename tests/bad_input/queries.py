"""Queries that break their format, or do not fit the index."""

from __future__ import annotations

from bad_input import Content, Row, made


def search(title: str, content: Content, *words: str, name: str = "topics.tsv") -> Row:
    """Queries that ``search`` refuses."""
    return Row(
        title,
        f"search index -q {name} -o run.txt",
        4,
        words,
        {"index": made.exact, name: content},
    )


ROWS = [
    search("no tab", "q1 alpha beta\n", "topics.tsv:1:", "tab"),
    search("no colon in a line of PISA's", "q1:alpha\nq2 alpha\n", "topics.tsv:2: no colon"),
    search("ids of terms without a lexicon", "1:0 2 2\n", "numbers", "topics.tsv.terms beside it"),
    Row(
        "an id beyond the lexicon",
        "search index -q topics.tsv -o run.txt",
        4,
        ("topics.tsv:1: '9' is no id of a term",),
        {"index": made.exact, "topics.tsv": "1:0 9\n", "topics.tsv.terms": "alpha\nbeta\n"},
    ),
    Row(
        "an export without topics",
        "search index -q out -o run.txt",
        4,
        ("out: this export holds no topics",),
        {"index": made.exact, "out": made.forward},
    ),
    search("an id twice", made.TOPICS * 2, "topics.tsv:3:", "'q1' was there before"),
    search("an empty id", "\talpha\n", "topics.tsv:1:", "id"),
    search("an id with a blank", "q 1\talpha\n", "topics.tsv:1:", "id"),
    search("an empty file", "", "topics.tsv: holds no queries"),
    search("blank lines alone", "\n\n", "topics.tsv: holds no queries"),
    *made.unreadable(search, "topics.tsv", made.TOPICS, "q1\té\n"),
    search(
        "zstd that is none",
        made.TOPICS,
        "topics.tsv.zst: the compressed file is cut off or damaged",
        name="topics.tsv.zst",
    ),
    search("gzip that is not called so", made.gz(made.TOPICS), "topics.tsv:1: not UTF-8"),
    search(
        "a name that tells nothing",
        made.TOPICS,
        "queries: not pre-encoded queries",
        "--model",
        name="queries",
    ),
    search(
        "text without a model",
        '{"id": "q1", "text": "of the"}\n',
        "queries.jsonl:1: no field vector",
        name="queries.jsonl",
    ),
    search(
        "float weights without --scale",
        '{"id": "q1", "vector": {"alpha": 1.5}}\n',
        "queries.jsonl:1:",
        "--scale",
        name="queries.jsonl",
    ),
    search(
        "a negative weight",
        '{"id": "q1", "vector": {"alpha": -2}}\n',
        "queries.jsonl:1: term 'alpha'",
        name="queries.jsonl",
    ),
    search(
        "a dense vector",
        '{"id": "q1", "vector": [1, 2]}\n',
        "queries.jsonl:1: a dense vector",
        name="queries.jsonl",
    ),
    search("a folder without JSON", made.folder, "topics", name="topics"),
    Row(
        "no such file",
        "search index -q topics.tsv -o run.txt",
        4,
        ("topics.tsv: no such file or folder",),
        {"index": made.exact},
    ),
    Row(
        "no such index",
        "search index -q topics.tsv -o run.txt",
        4,
        ("index: no such folder",),
        {"topics.tsv": made.TOPICS},
    ),
    Row(
        "an index that is a file",
        "search index -q topics.tsv -o run.txt",
        4,
        ("index: ",),
        {"index": "x", "topics.tsv": made.TOPICS},
    ),
    Row(
        "an index that is an empty folder",
        "search index -q topics.tsv -o run.txt",
        4,
        ("index: no manifest.json in it",),
        {"index": made.folder, "topics.tsv": made.TOPICS},
    ),
    Row(
        "a vector store for an index",
        "search vectors -q topics.tsv -o run.txt",
        4,
        ("vectors: holds vectors, not an index",),
        {"vectors": made.vectors, "topics.tsv": made.TOPICS},
    ),
    Row(
        "no hits wanted",
        "search index -q topics.tsv -o run.txt -k 0",
        2,
        ("-k",),
        {"index": made.exact, "topics.tsv": made.TOPICS},
    ),
    Row(
        "an algorithm of another engine",
        "search index -q topics.tsv -o run.txt --algorithm wand",
        2,
        ("wand", "exhaustive"),
        {"index": made.exact, "topics.tsv": made.TOPICS},
    ),
    Row(
        "a run that is there",
        "search index -q topics.tsv -o run.txt",
        2,
        ("run.txt: exists already", "--overwrite"),
        {"index": made.exact, "topics.tsv": made.TOPICS, "run.txt": made.RUN},
    ),
    Row(
        "a run over the queries",
        "search index -q topics.tsv -o topics.tsv --overwrite",
        2,
        ("topics.tsv: is read, too",),
        {"index": made.exact, "topics.tsv": made.TOPICS},
    ),
    Row(
        "a query of terms that the index does not have is named",
        "search index -q topics.tsv -o run.txt",
        0,
        ("q9",),
        {"index": made.exact, "topics.tsv": made.TOPICS + "q9\tunheard\n"},
        ("run.txt",),
    ),
    Row(
        "a query without terms is named",
        "search index -q topics.tsv -o run.txt",
        0,
        ("q9",),
        {"index": made.exact, "topics.tsv": made.TOPICS + "q9\t\n"},
        ("run.txt",),
    ),
]
