"""Run by test_dense: encode in children, kill them at several moments, let the last finish."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss  # noqa: F401
import pyarrow.parquet  # noqa: F401
import sentence_transformers  # noqa: F401

from killing import killed_at
from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.dense_corpus import dense_corpus

MOMENTS = ("_plan.json", "part-00000.parquet", "part-00003.parquet", "_index", None)


def encode(model: str, corpus: str, out: str) -> None:
    choices = DenseChoices(part_rows=16, threads=1, index_kind="hnsw", hnsw_m=4)
    dense_corpus(corpus, Path(out), model, choices)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(killed_at(MOMENTS, Path(given[2]), lambda: encode(*given)))
