"""Run by test_encode_resume: kill encodings at random moments until there were enough of them.

    encode_kills.py MODEL CORPUS FOLDER SEED KILLS

One process has loaded everything and forks, so that moments fall into the work and not into
imports. Each encoding that comes to its end stays in FOLDER, as 0, 1 and so on; the last one ends.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet  # noqa: F401
import torch

from splade_bridge.data.parts import part_files, read_part
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.text.corpora import corpus_files, read_texts

model, corpus, folder, seed, kills = sys.argv[1:]
torch.set_num_threads(1)
encoder = load_encoder(model, "document", EncodeOptions(max_length=32, threads=1))
rng = random.Random(int(seed))


def run(out: Path, seconds: float | None) -> bool:
    """Encode in a child that lives for so many seconds; whether it came to its end."""
    child = os.fork()
    if child == 0:
        encode_to_store(
            read_texts(corpus), encoder, out, corpus="corpus", part_rows=16,
            files=corpus_files(corpus),
        )  # fmt: skip
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == 0


began = time.perf_counter()
assert run(Path(folder) / "0", None)
whole = time.perf_counter() - began
killed, finished = 0, 1
while killed < int(kills):
    out = Path(folder) / str(finished)
    before = set(part_files(out))
    if run(out, rng.uniform(0, 0.6 * whole)):
        finished += 1
        continue
    killed += 1
    for part in part_files(out).values():
        assert sum(len(batch) for batch in read_part(part, 100)) in (16, 150 % 16)
    assert before <= set(part_files(out))
assert run(Path(folder) / str(finished), None)
print(killed, finished)
