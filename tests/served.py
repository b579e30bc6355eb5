"""Small BEIR folders, and ``splade-bridge serve`` as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np

import splade_bridge as sb
from checkpoints import save_checkpoint
from children import children
from small import hear_sigint, write_json_lines

WORDS = [
    "the",
    "of",
    "cat",
    "to",
    "be",
    "x42",
    "he",
    "is",
    "not",
    "that",
    "mat",
    "sat",
    "on",
    "by",
    "his",
    "with",
]
HOSTILE = '<img src=x onerror="document.title=1"> & "quotes" \u202e'


def make_texts(folder: Path, documents: int, queries: int) -> None:
    """A BEIR folder of random words, with a document whose title and text are hostile."""
    rng = np.random.default_rng(7)

    def words(least: int, most: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(least, most)))

    corpus = [
        {"_id": f"d{i}", "title": words(1, 4), "text": words(0, 60)} for i in range(documents)
    ]
    corpus[3] |= {"title": HOSTILE, "text": f"the cat {HOSTILE} sat"}
    corpus[4] |= {"title": "", "text": "no title here"}
    write_json_lines(folder / "corpus.jsonl", corpus)
    asked = [{"_id": f"q{i}", "text": words(1, 6)} for i in range(queries)]
    write_json_lines(folder / "queries.jsonl", asked)
    (folder / "qrels").mkdir()
    lines = [
        f"q{i}\td{rng.integers(documents)}\t{rng.integers(0, 3)}\n" for i in range(0, queries, 2)
    ]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


@dataclass(frozen=True)
class Program:
    """A server that runs, and where."""

    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def ask(self, path: str, **given: Any) -> Any:
        with urlopen(f"{self.address}{path}?{urlencode(given)}", timeout=60) as answer:
            return json.load(answer)


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Program]:
    """``splade-bridge serve`` in ``folder`` at any port, from when it answers."""
    command = [sys.executable, "-m", "splade_bridge", "serve", *arguments, "--port", "0", "--json"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=hear_sigint
    )
    assert process.stdout is not None
    try:
        told = ""
        for line in process.stdout:
            told += line
            if line == "}\n":
                break
        yield Program(process, json.loads(told)["address"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def make_indexes(folder: Path, documents: int, queries: int, kept: int = 8) -> Path:
    """Texts, a random model, and two exact indexes: ``full``, and ``pruned`` to ``kept`` terms."""
    make_texts(folder, documents, queries)
    save_checkpoint(folder / "model")
    sb.encode(folder / "corpus.jsonl", model=folder / "model", output=folder / "vectors")
    sb.index(folder / "vectors", folder / "full", engine="exact")
    sb.prune(folder / "vectors", folder / "less", method="top-k", value=kept)
    sb.index(folder / "less", folder / "pruned", engine="exact")
    return folder


def descendants(pid: int) -> set[int]:
    """All processes below one, however deep."""
    own = children(pid)
    return own.union(*map(descendants, own))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
