"""Dense vectors: queries that do not fit, damaged indexes, and what needs an index of terms."""

from __future__ import annotations

from dataclasses import replace

from bad_input import Row, made
from bad_input.vectors import short, without

INDEX = {"i": made.dense}
QUERY = '{"id": "q", "vector": [1, 0, 1]}\n'
FAISS = "_index/index.faiss"


def search(title: str, content: str, *words: str, code: int = 4, name: str = "q.jsonl") -> Row:
    """A search with a file of queries."""
    return Row(title, f"search i -q {name} -o run", code, words, {**INDEX, name: content})


ROWS = [
    search("a dense query of another dimension", '{"id": "q", "vector": [1, 0]}\n',
           "3 numbers, and the queries have 2", "different models", code=5),
    search("dense queries of two dimensions",
           QUERY + '{"id": "r", "vector": [1, 0]}\n', "q.jsonl:2", "where the first has 3"),
    search("a dense query that is text", '{"id": "q", "text": "a b"}\n',
           "q.jsonl:1", "this is text", "--model"),
    search("a dense query without a vector", '{"id": "q"}\n', "q.jsonl:1", "no field vector"),
    search("a dense query without an id", '{"vector": [1, 0, 1]}\n', "q.jsonl:1", "no field id"),
    search("a dense query with a word in its vector", '{"id": "q", "vector": [1, "0", 1]}\n',
           "q.jsonl:1", "'0' in a vector is not a number"),
    search("a dense query with an infinite number", '{"id": "q", "vector": [1, 0, 1e999]}\n', "q"),
    search("a dense query with a number beyond float32", '{"id": "q", "vector": [1, 0, 1e39]}\n',
           "the vector of q is not finite"),
    search("a dense query that comes twice", QUERY * 2, "q"),
    search("no dense queries", "", "holds no queries"),
    search("dense queries as tokens", "q\ta a b\n", "no vectors", "--model", name="q.tsv"),
    Row("dense queries that are not there", "search i -q none.jsonl -o run", 4, ("no such file",),
        INDEX),
    Row("dense queries that are documents", "search i -q i -o run", 5,
        ("the queries were encoded as documents", "--allow-mismatch"), INDEX),
    Row("a dense index without its faiss file", "search i -q q.jsonl -o run", 4, (FAISS,),
        {"i": without(made.dense, FAISS), "q.jsonl": QUERY}),
    Row("a dense index whose faiss file is cut", "search i -q q.jsonl -o run", 4, (FAISS,),
        {"i": short(made.dense, FAISS), "q.jsonl": QUERY}),
    Row("a dense index whose vectors are cut", "search i -q q.jsonl -o run", 4,
        ("part-00000.parquet",), {"i": short(made.dense, "part-00000.parquet"), "q.jsonl": QUERY}),
    Row("a dense index and an algorithm", "search i -q q.jsonl -o run --algorithm auto", 2,
        ("dense vectors", "--algorithm"), {**INDEX, "q.jsonl": QUERY}),
    Row("a dense index and a scale", "search i -q q.jsonl -o run --scale 100", 2,
        ("dense vectors", "--scale"), {**INDEX, "q.jsonl": QUERY}),
    Row("a flat index and candidates of a graph", "search i -q q.jsonl -o run --ef-search 2000", 2,
        ("is a flat index",), {**INDEX, "q.jsonl": QUERY}),
    Row("fewer candidates of a graph than results", "search g -q q.jsonl -o run --ef-search 9", 2,
        ("--ef-search 9 cannot give 1000",), {"g": made.dense_graph, "q.jsonl": QUERY}),
    Row("candidates of a graph for impacts", "search x -q q.tsv -o run --ef-search 2000", 2,
        ("--ef-search",), {"x": made.exact, "q.tsv": made.TOPICS}),
    Row("a dense index that is verified", "verify i i -q q.tsv", 4, ("dense vectors",),
        {**INDEX, "q.tsv": made.TOPICS}),
    Row("a dense index that is benchmarked", "bench i -q q.tsv", 4, ("dense vectors",),
        {**INDEX, "q.tsv": made.TOPICS}),
    Row("a dense index that is indexed", "index i -e exact -o x", 4, ("dense vectors",), INDEX),
    Row("dense vectors of what is not there", "dense none.jsonl -m m -o i", 4, ("none.jsonl",), {}),
    Row("dense vectors of no texts", "dense c.jsonl -m m -o i", 4, ("no texts in it",),
        {"c.jsonl": ""}),
    Row("dense vectors of a text that comes twice", "dense c.jsonl -m m -o i", 4, ("m",),
        {"c.jsonl": '{"id": "a", "text": "b"}\n' * 2}),
    Row("dense vectors by a model that is not there", "dense c.jsonl -m ./none -o i", 4,
        ("./none", "neither a folder nor"), {"c.jsonl": '{"id": "a", "text": "b"}\n'}),
    Row("dense vectors by a folder that is no model", "dense c.jsonl -m m -o i", 4,
        ("neither modules.json nor config.json",),
        {"c.jsonl": '{"id": "a", "text": "b"}\n', "m": made.folder}),
    Row("dense vectors by a model without modules", "dense c.jsonl -m m -o i", 4,
        ("no modules.json", "not a model of sentence-transformers"),
        {"c.jsonl": '{"id": "a", "text": "b"}\n', "m/config.json": "{}"}),
    Row("dense vectors into an index of impacts", "dense c.jsonl -m m -o x", 2, ("exists already",),
        {"c.jsonl": '{"id": "a", "text": "b"}\n', "x": made.exact}),
    Row("dense vectors with no links", "dense c.jsonl -m m -o i --index-kind hnsw --hnsw-m 1", 2,
        ("--hnsw-m",), {"c.jsonl": '{"id": "a", "text": "b"}\n'}),
]  # fmt: skip
ROWS = [replace(row, imports=("faiss", "sentence_transformers")) for row in ROWS]
