"""What cannot be served, nor shown: ``serve``, and ``search`` of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bad_input import Content, Row, checkpoints, made
from small import MemorySource
from splade_bridge.engines.registry import engine

CORPUS = '{"id": "d1", "text": "the cat"}\n{"id": "d2", "text": "on his mat"}\n'
QUERIES = '{"_id": "q1", "text": "the cat"}\n'
NEEDED = ("torch", "transformers", "starlette", "uvicorn")


def full(path: Path) -> None:
    """An exact index of two documents, in the vocabulary of the model beside it."""
    from checkpoints import VOCABULARY

    matrix = np.zeros((2, len(VOCABULARY)), np.int64)
    matrix[:, -8:] = 7
    engine("exact").build(MemorySource(matrix, ["d1", "d2"], VOCABULARY), path)


SOUND: dict[str, Content] = {"model": checkpoints.made(), "full": full, "c.jsonl": CORPUS}
JUDGED: dict[str, Content] = {
    **SOUND,
    "q.jsonl": QUERIES,
    "qrels.txt": "q1 0 d1 1\n",
}
SERVE, SEARCH = "serve full -m model --port 0", "search full 'the cat' -m model"


def serve(title: str, flags: str, code: int, *words: str, files: Any = SOUND) -> Row:
    """An index and a model that fit, and ``flags`` that do not."""
    return Row(title, f"{SERVE} {flags}", code, words, files, imports=NEEDED)


def search(title: str, command: str, code: int, *words: str, files: Any = SOUND) -> Row:
    """The same of words that are searched for."""
    return Row(title, f"search {command}", code, words, files, imports=NEEDED)


ROWS = [
    Row("no index", "serve -m model", 2, ("indexes",)),
    Row("no model", "serve full", 2, ("--model",)),
    Row("a port beyond the last", "serve i -m m --port 65536", 2, ("--port", "65535")),
    Row("a port that is no number", "serve i -m m --port http", 2, ("--port",)),
    Row(
        "a host that is no address of this machine",
        "serve i -m m --port 0 --host 192.0.2.1",
        2,
        ("--host 192.0.2.1", "name another port"),
        imports=NEEDED,
    ),
    Row(
        "an index that is not there",
        "serve none -m m --port 0",
        4,
        ("none: no such folder",),
        imports=NEEDED,
    ),
    Row(
        "a folder that is no index",
        "serve empty -m m --port 0",
        4,
        ("empty",),
        {"empty": made.folder},
        imports=NEEDED,
    ),
    Row(
        "an index of dense vectors",
        "serve dense -m m --port 0",
        4,
        ("dense",),
        {"dense": made.dense},
        imports=(*NEEDED, "faiss"),
    ),
    Row(
        "a model that is not there",
        "serve i -m no/model --port 0",
        4,
        ("no/model",),
        {"i": made.exact},
        imports=NEEDED,
    ),
    Row(
        "a model that is no model",
        "serve i -m m --port 0",
        4,
        ("m: ",),
        {"i": made.exact, "m": made.folder},
        imports=NEEDED,
    ),
    serve("two models for one index", "-m model", 2, "2 models for 1 indexes"),
    serve("queries without judgements", "-q q.jsonl", 2, "belong together", files=JUDGED),
    serve("judgements without queries", "--qrels qrels.txt", 2, "without --queries", files=JUDGED),
    serve("a memory for an engine that takes none", "--memory 1G", 2, "--memory is for the JVM"),
    # Words
    Row("nothing to search for", "search i", 2, ("give one of them",), {"i": made.exact}),
    Row(
        "words and queries",
        "search i words -q q.tsv -o r",
        2,
        ("give one of them",),
        {"i": made.exact, "q.tsv": made.TOPICS},
    ),
    Row(
        "words and a prompt", "search i words -m m --interactive", 2, ("give one of them",),
        {"i": made.exact},
    ),
    Row(
        "queries and no place for the run",
        "search i -q q.tsv",
        2,
        ("--queries are for a run", "--output"),
        {"i": made.exact, "q.tsv": made.TOPICS},
    ),
    Row(
        "words in the place of a file",
        "search i -q 'the cat' -o r",
        2,
        ("--queries the cat", "words are an argument of their own"),
        {"i": made.exact},
    ),
    Row("words without a model", "search i words", 2, ("--model",), {"i": made.exact}),
    Row(
        "a prompt whose stdin is no terminal",
        "search i -m m --interactive",
        2,
        ("--interactive asks on a terminal", "give a text, or -"),
        {"i": made.exact},
        imports=("torch",),
    ),
    Row(
        "a prompt that prints JSON",
        "search i -m m --interactive --json",
        2,
        ("--json has no effect with --interactive",),
        {"i": made.exact},
        imports=("torch",),
    ),
    search("words that are none", "full ' ' -m model", 2, "nothing is asked"),
    Row(
        "words in an index of dense vectors",
        "search dense words -m m",
        4,
        ("dense",),
        {"dense": made.dense},
        imports=(*NEEDED, "faiss"),
    ),
]  # fmt: skip
