"""Run by test_dense: encode in children, kill them at several moments, let the last finish.

One process has loaded the libraries and forks, which is much faster than starting each anew.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import faiss  # noqa: F401
import pyarrow.parquet  # noqa: F401
import sentence_transformers  # noqa: F401

from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.dense_corpus import dense_corpus

MOMENTS = ("_plan.json", "part-00000.parquet", "part-00003.parquet", "_index", None)


def encode(model: str, corpus: str, out: str) -> None:
    choices = DenseChoices(part_rows=16, threads=1, index_kind="hnsw", hnsw_m=4)
    dense_corpus(corpus, Path(out), model, choices)


killed = 0
for moment in MOMENTS:
    child = os.fork()
    if child == 0:
        encode(*sys.argv[1:])
        os._exit(0)
    status = None
    while status is None:
        if moment and (Path(sys.argv[3]) / moment).exists():
            os.kill(child, signal.SIGKILL)
        done, found = os.waitpid(child, os.WNOHANG if moment else 0)
        status = found if done else None
        time.sleep(0.0005)
    killed += os.WIFSIGNALED(status)
    assert moment or status == 0
print(killed)
