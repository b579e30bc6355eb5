"""Encoding on a CPU whose cores others use, too: quiet, beside one busy process, and beside two.

    .venv/bin/python benchmarks/encode_shared.py --passages 128 --threads 2
    .venv/bin/python benchmarks/encode_shared.py --checkpoint NAME

One checkpoint (BERT of 6 layers with random weights, or a published one) and the same passages of
MS MARCO for all contestants, which take turns under each load. ``all cores together`` is how this
project computed before: each operation cut into equal shares, one a core. What both of ours give is
compared byte for byte. A neighbour is a process that is busy with one core all the time. Prints
Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from encode import (
    BFLOAT16,
    FLOAT32,
    MAX_LENGTH,
    checkpoint_flags,
    checkpoints_of,
    float_types,
    passages_of,
    sparse_encoder,
)
from machine import describe
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding import packed
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.text.corpora import Text

LOADS = {"quiet": 0, "one neighbour": 1, "two neighbours": 2}
WARM = 16
SETTLED = 0.5
"""Seconds until the scheduler has got used to a neighbour."""
AIM = 1.6
BUSY = """import os
owner = os.getppid()
print(flush=True)
while os.getppid() == owner: pass"""
"""What a neighbour does, as long as this process lives; it says when it begins."""


@contextlib.contextmanager
def neighbours(count: int, program: str = BUSY) -> Iterator[None]:
    """So many processes that are busy all the time."""
    command = [sys.executable, "-c", program]
    with contextlib.ExitStack() as stack:
        busy = []
        for _ in range(count):
            busy.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)))
            stack.callback(busy[-1].kill)
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(SETTLED if busy else 0)
        yield


def ours(folder: Path, dtype: str, *, together: bool) -> Callable[[list[Text]], SparseBatch]:
    """This project; ``together`` as it was before there were threads."""
    options = EncodeOptions(max_length=MAX_LENGTH, dtype=dtype, device="cpu")  # type: ignore[arg-type]
    encoder = load_encoder(str(folder), "document", options)
    if not together:
        return lambda texts: next(encoder.encode(texts, window=len(texts)))
    network = encoder.loaded.network
    assert network is not None
    encoder.loaded = replace(encoder.loaded, network=replace(network, together=None))
    encoder._lonely = True

    def encode(texts: list[Text]) -> SparseBatch:
        with patch.object(packed, "SCORES_BYTES", packed.SCORES_BYTES * torch.get_num_threads()):
            return next(encoder.encode(texts, window=len(texts)))

    return encode


def contestants(folder: Path) -> dict[str, Callable[[list[Text]], Any]]:
    found: dict[str, Callable[[list[Text]], Any]] = {}
    for dtype in float_types():
        found[f"SparseEncoder, {dtype}"] = sparse_encoder(folder, dtype)
        found[f"splade-bridge, all cores together, {dtype}"] = ours(folder, dtype, together=True)
        found[f"splade-bridge, {dtype}"] = ours(folder, dtype, together=False)
    return found


def compare(folder: Path, texts: list[Text], rounds: int, named: str) -> None:
    entrants = contestants(folder)
    for encode in entrants.values():
        encode(texts[:WARM])
    seconds = {(name, load): [] for name in entrants for load in LOADS}  # type: ignore[var-annotated]
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for load, count in LOADS.items():
            with neighbours(count):
                for name, encode in entrants.items():
                    began = time.perf_counter()
                    results[name] = encode(texts)
                    seconds[name, load].append(time.perf_counter() - began)
    print(
        f"\n{named}, {len(texts)} passages, {torch.get_num_threads()} threads, median of {rounds} "
        "rounds (slowest in brackets)\n"
    )
    print("| | " + " | ".join(f"{load}, s" for load in LOADS) + " | one / quiet | two / quiet |")
    print("|---" * (len(LOADS) + 3) + "|")
    for name in entrants:
        median = [statistics.median(seconds[name, load]) for load in LOADS]
        told = [
            f"{value:.2f} ({max(seconds[name, load]):.2f})"
            for value, load in zip(median, LOADS, strict=True)
        ]
        ratios = [f"{value / median[0]:.2f}" for value in median[1:]]
        print(f"| {name} | " + " | ".join([*told, *ratios]) + " |")
    print(f"\nAim: one neighbour at most {AIM} times quiet, and quiet not slower than before.\n")
    for dtype in (FLOAT32, BFLOAT16):
        before = results.get(f"splade-bridge, all cores together, {dtype}")
        if before is not None:
            same = same_bytes(before, results[f"splade-bridge, {dtype}"])
            print(f"- {dtype}: bytes {'equal' if same else 'DIFFER'} before and now")


def same_bytes(a: SparseBatch, b: SparseBatch) -> bool:
    pairs = (a.indptr, b.indptr), (a.indices, b.indices), (a.weights, b.weights)
    return all(x.tobytes() == y.tobytes() for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    checkpoint_flags(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe("torch", "transformers", "sentence-transformers", "tokenizers"))
    texts = passages_of(arguments.passages)
    for folder, name in checkpoints_of(arguments.checkpoint, arguments.layers, texts):
        compare(folder, texts, arguments.rounds, name)


if __name__ == "__main__":
    main()
