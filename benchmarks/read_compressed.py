"""Reading compressed files: decompressed where they are read, and by a thread ahead of that.

    .venv/bin/python benchmarks/read_compressed.py --documents 100000

JSON vectors (100 terms a document) and a corpus (60 words a document), plain, gz and zst; vectors
of fractions, and of words, of which there are millions, plain. The ways take turns; a figure is the
median of its rounds. ``decompressing`` is that alone, ``reading`` what ``convert`` and ``encode``
do with the lines, ``orjson.loads`` what that does with them and nothing else; ``--vectors`` names
further files of JSON vectors for that. Prints Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
import zstandard

from machine import describe
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.files import decompressed
from splade_bridge.files.lines import open_reader
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.line_processes import SWITCH
from splade_bridge.text.corpora import read_texts

TERMS, WORDS = 100, 60
VOCABULARY, WORDS_IN_ALL = 30_000, 3_000_000
SUFFIXES = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
BLOCK = 1 << 20


def write(folder: Path, documents: int) -> None:
    """Vectors and a corpus with each suffix; vectors of fractions, and of words, plain."""
    rng = np.random.default_rng(0)
    terms = np.array([f"w{i}" for i in range(VOCABULARY)])
    lines: dict[str, list[bytes]] = {"vectors": [], "corpus": [], "fractions": [], "words": []}
    for i in range(documents):
        record = {"id": f"d{i}", "contents": ""}
        chosen = terms[rng.choice(VOCABULARY, TERMS, replace=False)].tolist()
        impacts = rng.integers(1, 250, TERMS)
        fractions = (impacts / 100 + rng.random(TERMS) / 100).astype(np.float32).astype(float)
        words = [f"word{i}" for i in np.unique(rng.zipf(1.2, TERMS) % WORDS_IN_ALL)]
        for name, keys, values in (
            ("vectors", chosen, impacts.tolist()),
            ("fractions", chosen, fractions.round(4).tolist()),
            ("words", words, impacts.tolist()),
        ):
            vector = dict(zip(keys, values, strict=False))
            lines[name].append(orjson.dumps(record | {"vector": vector}))
        text = " ".join(terms[rng.integers(0, VOCABULARY, WORDS)].tolist())
        lines["corpus"].append(orjson.dumps({"id": f"d{i}", "text": text}))
    for name, written in lines.items():
        content = b"\n".join(written) + b"\n"
        for suffix, compress in SUFFIXES.items():
            if not suffix or name in ("vectors", "corpus"):
                (folder / f"{name}.jsonl{suffix}").write_bytes(compress(content))


def bare(path: Path) -> None:
    with open_reader(path) as stream:
        while stream.read(BLOCK):
            pass


def parsed(path: Path) -> None:
    with open(path, "rb") as stream:
        for line in stream:
            orjson.loads(line)


def vectors(path: Path) -> None:
    scale = QuantizeOptions(scale=100) if path.stem == "fractions" else None
    for _ in JsonVectorSource(path, scale).batches():
        pass


def corpus(path: Path) -> None:
    for _ in read_texts(str(path)):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vectors", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    os.environ[SWITCH] = "0"  # in this process
    print(describe("orjson", "zstandard"))
    print(f"\n{arguments.documents:,} documents, median of {arguments.rounds} rounds, s\n")
    print("| | decompressing | reading, where it is read | reading, a thread ahead | ratio |")
    print("|---|---|---|---|---|")
    plain: Any = decompressed.Decompressed

    def inline(*given: Any, ahead: bool) -> Any:
        return plain(*given, ahead=False)

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.documents)
        for name, read in (("vectors", vectors), ("corpus", corpus)):
            for suffix in SUFFIXES:
                path = Path(folder) / f"{name}.jsonl{suffix}"
                times: list[tuple[float, float, float]] = []
                for _ in range(arguments.rounds):
                    with patch("splade_bridge.files.lines.Decompressed", inline):
                        times.append((seconds(bare, path), seconds(read, path), 0.0))
                    times[-1] = (*times[-1][:2], seconds(read, path))
                found = [statistics.median(column) for column in zip(*times, strict=True)]
                told = " | ".join(f"{value:.2f}" for value in found)
                print(f"| {path.name} | {told} | {found[1] / found[2]:.2f} |", flush=True)
        beside_orjson(Path(folder), arguments)


def seconds(work: Callable[[Path], None], path: Path) -> float:
    began = time.perf_counter()
    work(path)
    return time.perf_counter() - began


def beside_orjson(folder: Path, arguments: argparse.Namespace) -> None:
    """Plain lines, in turns with what only parses them."""
    print("\nBeside orjson.loads of the same lines; M postings or texts a second\n")
    print("| | orjson.loads, s | reading, s | share of its rate | in each round | by 2 processes |")
    print("|---|---|---|---|---|---|")
    made = (folder / f"{name}.jsonl" for name in ("vectors", "fractions", "words"))
    given = [(path, vectors) for path in (*made, *arguments.vectors)]
    for path, read in [*given, (folder / "corpus.jsonl", corpus)]:
        things = sum(len(one.get("vector", " ")) for one in objects(path))
        ways = (parsed, read, by_two) if read is vectors else (parsed, read)
        times = [[seconds(way, path) for way in ways] for _ in range(arguments.rounds)]
        found = [statistics.median(column) for column in zip(*times, strict=True)]
        told = [f"{value:.2f} ({things / value / 1e6:.2f} M/s)" for value in found]
        shares = sorted(row[0] / row[1] for row in times)
        print(
            f"| {path.name} | {told[0]} | {told[1]} | {found[0] / found[1]:.2f} "
            f"| {shares[0]:.2f} to {shares[-1]:.2f} | {told[2] if len(told) > 2 else '-'} |",
            flush=True,
        )


def by_two(path: Path) -> None:
    """JSON vectors, with the start of the processes; nothing is done with what they give."""
    with patch.dict(os.environ, {SWITCH: "2"}):
        vectors(path)


def objects(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as stream:
        yield from map(orjson.loads, stream)


if __name__ == "__main__":
    main()
