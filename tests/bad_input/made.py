"""Sound artefacts that rows begin with: small, of few terms, the same every time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

from bad_input import Row
from dense_small import ENCODED, dense_index
from small import MemorySource
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.manifest import EncodingInfo
from splade_bridge.data.store import VectorStoreWriter
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.parts import CorpusEnd, PartNote, PartStore, chained, texts_digest
from splade_bridge.encoding.shards import Shard
from splade_bridge.engines.registry import engine
from splade_bridge.files.outputs import PLAN
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.text.corpora import Text

Maker = Callable[[Path], None]

TERMS = ["alpha", "beta", "gamma", "delta"]
IDS = ["d1", "d2", "d3"]
IMPACTS = np.array([[12, 0, 3, 0], [0, 7, 0, 1], [240, 5, 0, 300]])
JSON_LINES = """\
{"id": "d1", "contents": "", "vector": {"alpha": 12, "gamma": 3}}
{"id": "d2", "contents": "", "vector": {"beta": 7, "delta": 1}}
{"id": "d3", "contents": "", "vector": {"alpha": 240, "beta": 5, "delta": 300}}
"""
TOPICS = "q1\talpha alpha gamma\nq2\tbeta delta\n"
QRELS = "q1 0 d1 1\nq2 0 d2 1\n"
RUN = "q1 Q0 d3 1 480 t\nq1 Q0 d1 2 27 t\nq2 Q0 d3 1 305 t\nq2 Q0 d2 2 8 t\n"


def source() -> MemorySource:
    """The documents."""
    return MemorySource(IMPACTS, IDS, TERMS)


def exact(path: Path) -> None:
    """An index that needs neither Java nor PISA."""
    engine("exact").build(source(), path)


def lucene(path: Path) -> None:
    """A Lucene index."""
    engine("lucene").build(source(), path)


def pisa(path: Path) -> None:
    """A PISA index."""
    engine("pisa").build(source(), path)


def impact_index(path: Path) -> None:
    """An index of impact-index."""
    engine("impact-index").build(source(), path)


def dense(path: Path) -> None:
    """An index of dense vectors."""
    dense_index(path, np.array([[1, 0, 2], [0, 1, 1], [3, 1, 0]]), IDS, encoding=ENCODED)


def dense_graph(path: Path) -> None:
    """A graph of the same."""
    vectors = np.array([[1, 0, 2], [0, 1, 1], [3, 1, 0]])
    dense_index(path, vectors, IDS, encoding=ENCODED, kind="hnsw", m=4)


def ciff(path: Path) -> None:
    """A CIFF file of the documents."""
    made = source()
    write_ciff(path, made.batches(), made.vocabulary, description="", memory=1 << 20)


def vectors(path: Path) -> None:
    """A vector store of the documents, with a hundredth of each impact as weight."""
    store_of(source(), path)


def store_of(made: MemorySource, path: Path) -> None:
    """A vector store of a source, with a hundredth of each impact as weight."""
    path.mkdir()
    writer = VectorStoreWriter(path, made.vocabulary)
    for batch in made.batches():
        weights = (batch.impacts / 100).astype(np.float32)
        writer.add(SparseBatch(batch.ids, batch.indptr, batch.indices, weights))
    writer.finish()


def shards(path: Path) -> None:
    """A folder of two finished shards of an encoding, ``0`` and ``1``, of a text each."""
    texts = [Text(doc_id, doc_id, "corpus") for doc_id in IDS[:2]]
    encoding = EncodingInfo("m", None, "00", "document", "max", 8, "float32")
    before = ""
    notes, batches = [], [batch.rows(i, i + 1) for batch in source().batches() for i in (0, 1)]
    for text in texts:
        digest = texts_digest([text])
        notes.append(PartNote(1, digest, before))
        before = chained(before, digest)
    for number, (note, batch) in enumerate(zip(notes, batches, strict=True)):
        folder = path / str(number)
        folder.mkdir(parents=True)
        store = PartStore(folder, Vocabulary(TERMS))
        weights = (batch.impacts / 100).astype(np.float32)
        store.write(number, SparseBatch(batch.ids, batch.indptr, batch.indices, weights), note)
        shard = Shard(number, 2)
        plan = {"corpus": "corpus", "part_rows": 1, "shard": str(shard)}
        (folder / PLAN).write_text(json.dumps(plan))
        store.complete(encoding, {"corpus": "corpus"}, CorpusEnd(2, 2, before), shard)


def forward(path: Path) -> None:
    """An export of the documents for looking up."""
    export(source, path, ExportOptions(("forward",)))


def gz(content: str | bytes) -> bytes:
    """Compressed with gzip."""
    return gzip.compress(content if isinstance(content, bytes) else content.encode(), mtime=0)


def zst(content: str | bytes) -> bytes:
    """Compressed with zstd."""
    return zstandard.compress(content if isinstance(content, bytes) else content.encode())


def cut(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


def folder(path: Path) -> None:
    """An empty folder."""
    path.mkdir()


GARBAGE = bytes(range(255, 127, -1)) * 3
"""Bytes that are no text."""


def unreadable(row: Callable[..., Row], name: str, sound: str, accented: str) -> list[Row]:
    """What is wrong with any file of lines.

    Args:
        row: makes one of a title, content, words and a name.
        sound: the content of a good file.
        accented: a good line with a letter beyond ASCII.
    """
    no_text = f"{name}:1: not UTF-8"
    return [
        row("bytes that are no text", GARBAGE, no_text),
        row("UTF-16", sound.encode("utf-16"), no_text),
        row("Latin-1", accented.encode("latin-1"), no_text),
        row(
            "gzip that is cut",
            cut(gz(sound * 40)),
            f"{name}.gz: the compressed file is cut off",
            name=f"{name}.gz",
        ),
    ]
