"""Runs that cannot be reranked, and folders that are no data sets of BEIR."""

from __future__ import annotations

from bad_input import Content, Row, made

TEXTS = {"run": made.RUN, "c.tsv": "d1\ta\nd2\tb\nd3\tc\n", "q.tsv": "q1\ta\nq2\tb\n",
         "m/config.json": '{"architectures": ["BertForMaskedLM"]}'}  # fmt: skip
COMMAND = "rerank run -m m --corpus c.tsv -q q.tsv -o out"
TORCH = ("torch", "sentence_transformers")


def rerank(title: str, changes: dict[str, Content], *words: str, flags: str = "") -> Row:
    """A sound run with texts, and what is wrong with them."""
    return Row(title, f"{COMMAND} {flags}", 4, words, TEXTS | changes, imports=TORCH)


def asked(title: str, flags: str, *words: str) -> Row:
    """Flags that cannot be meant."""
    return Row(title, f"{COMMAND} {flags}", 2, words, TEXTS, imports=TORCH)


ROWS = [
    rerank("an empty run to be reranked", {"run": ""}, "run: the run is empty"),
    rerank("a run with five columns to be reranked", {"run": "q1 Q0 d1 1 7\n"}, "run:1: 5 columns"),
    rerank("a reranked query without text", {"q.tsv": "q1\ta\n"},
           "run: 1 of 2 queries (q2) have no text"),
    rerank("a reranked document without text", {"c.tsv": "d1\ta\nd3\tb\n"},
           "run: 1 of 3 documents (d2) to be scored are not in the corpus"),
    rerank("a reranker without a head for pairs", {}, "it is a BertForMaskedLM",
           "would be given a random one"),
    rerank("a reranker that is not there", {}, "no/x/y: neither a folder nor", flags="-m no/x/y"),
    rerank("a reranker that is a file", {"f": "x"}, "this is a file", flags="-m f"),
    rerank("a reranker whose configuration is no JSON", {"m/config.json": "{"}, "config.json"),
    asked("a run to be reranked that is its own output", "-o run", "run"),
    Row("a run to be reranked from stdin into a file",
        "rerank - -m m --corpus c.tsv -q q.tsv -o out", 2, ("can be read once only",), TEXTS,
        imports=TORCH),
    Row("a folder that holds no data set of BEIR", "beir d -m m -o out", 4,
        ("d: neither a data set in BEIR's layout",), {"d/a.txt": "a", **TEXTS}),
    Row("a data set of BEIR that is not there", "beir none -m m -o out", 4,
        ("none: no such folder",), TEXTS),
    Row("a data set of BEIR without judgements", "beir d -m m -o out", 4,
        ("d: no qrels/test.tsv",), {"d/corpus.jsonl": "", **TEXTS}),
    Row("a data set of BEIR twice", "beir d d -m m -o out", 2, ("two data sets are called d",),
        {"d/corpus.jsonl": "", "d/qrels/test.tsv": "q1\td1\t1\n", **TEXTS}),
    Row("BEIR by a measure that nobody knows", "beir d -m m -o out -M nope", 2, ("nope",),
        {"d/corpus.jsonl": "", "d/qrels/test.tsv": "q1\td1\t1\n", **TEXTS}),
]  # fmt: skip
