"""Run by test_encode_run: encode in children, kill them at several moments, let the last finish.

One process has loaded the libraries and forks, which is much faster than starting each anew.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet  # noqa: F401
from transformers import AutoTokenizer, BertForMaskedLM  # noqa: F401

from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.text.corpora import read_texts

MOMENTS = ("_plan.json", "part-00000.parquet", "part-00003.parquet", "part-00006.parquet", None)


def encode(model: str, corpus: str, out: str) -> None:
    encoder = load_encoder(model, "document", EncodeOptions(max_length=32, threads=1))
    encode_to_store(read_texts(corpus), encoder, Path(out), corpus="corpus", part_rows=16)


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
