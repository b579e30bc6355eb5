"""Run by test_dense: bytes that indexing and searching vectors takes beside what is mapped."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import faiss  # noqa: F401
import numpy as np
import pyarrow.parquet  # noqa: F401

from dense_small import dense_index
from splade_bridge.embeddings.build import Recipe, finish_index
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import DenseBatch, write_dense_part

ROWS, DIMENSION, AT_ONCE = 400_000, 128, 4_000


def held() -> int:
    """Bytes that are this process's own: pages of mapped files can go at any time."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def batches() -> Iterator[DenseBatch]:
    rng = np.random.default_rng(0)
    for start in range(0, ROWS, AT_ONCE):
        ids = [f"d{i}" for i in range(start, start + AT_ONCE)]
        yield DenseBatch(ids, rng.normal(size=(AT_ONCE, DIMENSION)).astype(np.float32))


folder = Path(sys.argv[1])
dense_index(folder / "warm", np.eye(DIMENSION))
most = before = held()
done = threading.Event()


def watch() -> None:
    global most
    while not done.is_set():
        most = max(most, held())
        time.sleep(0.002)


threading.Thread(target=watch, daemon=True).start()
big = folder / "big"
big.mkdir()
for number, batch in enumerate(batches()):
    write_dense_part(big, number, batch, {})
finish_index(big, DIMENSION, Recipe("flat"), encoding=None, similarity="dot", options={})
queries = DenseBatch([f"q{i}" for i in range(64)], next(batches()).vectors[:64])
with DenseIndex(big) as index:
    found = list(index.search(queries, 100, threads=2))
assert [hits.doc_ids[0] for hits in found] == [f"d{i}" for i in range(64)]
done.set()
print(most - before, ROWS * DIMENSION * 4)
