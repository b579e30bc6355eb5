"""Encoding on a CPU of many cores: a thread a core, or fewer threads with a group of cores each.

    .venv/bin/python benchmarks/encode_groups.py --passages 2048
    .venv/bin/python benchmarks/encode_groups.py --checkpoint NAME --passages 8192

A thread that computes alone waits for nobody, but its products share the last cache and the memory
with those of every other core. What a group of cores computes it computes together, and each
operation waits for the slowest of them. Which is faster is a matter of the machine; this measures
it for groups of several sizes, quiet and beside neighbours, each a process that is busy with one
core all the time. Beside them: what one thread does alone, with every n-th text of n cores, and
what it does while all other cores stream through memory, which leaves it neither the cache nor all
of the memory's bandwidth. The bytes of all are compared. A row for which there are too few texts is
refused: then fewer threads run than it names. Prints Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from encode import (
    MAX_LENGTH,
    checkpoint_flags,
    checkpoints_of,
    float_types,
    passages_of,
)
from encode_shared import neighbours, same_bytes
from machine import describe
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding import encoder as encoder_module
from splade_bridge.encoding import in_threads
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.files.cores import usable_cores
from splade_bridge.text.corpora import Text

STREAM = """import os
owner = os.getppid()
import numpy as np
large = np.ones(1 << 25)
print(flush=True)
while os.getppid() == owner: large += 1"""
"""A neighbour that goes through 256 MiB over and over, which no cache survives."""


class Contest:
    """One encoder, whose cores are put into groups of several sizes.

    Attributes:
        rates: tokens a second, by the name of a row and that of a load.
        differing: rows whose bytes are not those of the first.
    """

    def __init__(self, encoder: Encoder, texts: list[Text], cores: int) -> None:
        self.rates: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.differing: set[str] = set()
        self._encoder, self._texts, self._cores = encoder, texts, cores
        self._wanted: SparseBatch | None = None

    def warm(self, size: int) -> None:
        """Every thread's copy of the network is made."""
        self._encode(self._texts, self._cores, size)

    def alone(self, load: str) -> None:
        """One thread, with its share of the texts."""
        rate, _ = self._encode(self._texts[:: self._cores], 1, 1)
        self.rates["alone", load].append(rate)

    def grouped(self, size: int, load: str) -> None:
        name = row(self._cores, size)
        rate, found = self._encode(self._texts, self._cores, size)
        self.rates[name, load].append(rate)
        if self._wanted is None:
            self._wanted = found
        elif not same_bytes(self._wanted, found):
            self.differing.add(name)

    def _encode(self, texts: list[Text], cores: int, size: int) -> tuple[float, SparseBatch]:
        before = self._encoder.stats.tokens
        ran = [[cores]]  # one thread is the one that asks

        def noted(items: Any, computes: Any, shares: list[int]) -> Any:
            ran.append(shares)
            return in_threads.in_threads(items, computes, shares)

        torch.set_num_threads(cores)
        with (
            patch.object(in_threads, "MOST", cores // size),
            patch.object(encoder_module, "in_threads", noted),
        ):
            began = time.perf_counter()
            found = next(self._encoder.encode(texts, window=len(texts)))
            seconds = time.perf_counter() - began
        if ran[-1] != [size] * (cores // size):
            sys.exit(
                f"{row(cores, size)}: {len(texts)} passages are work for {len(ran[-1])} of them: "
                "take more --passages"
            )
        return (self._encoder.stats.tokens - before) / seconds, found


def row(cores: int, size: int) -> str:
    threads = cores // size
    each = "a core each" if size == 1 else f"{size} cores each"
    return f"1 thread, {cores} cores" if threads == 1 else f"{threads} threads, {each}"


def sizes_of(cores: int) -> list[int]:
    """Of groups: the powers of two that divide the cores, and all of them together."""
    powers = (1 << power for power in range(cores.bit_length()))
    return sorted({*(size for size in powers if cores % size == 0), cores})


def compare(
    folder: Path, texts: list[Text], cores: int, sizes: list[int], rounds: int, named: str
) -> None:
    contests: dict[str, Contest] = {}
    for dtype in float_types():
        options = EncodeOptions(max_length=MAX_LENGTH, dtype=dtype, device="cpu")  # type: ignore[arg-type]
        encoder = load_encoder(str(folder), "document", options)
        contests[dtype] = Contest(encoder, texts, cores)
        for size in sizes:
            contests[dtype].warm(size)
    many = max(2, cores // 2)
    loads = {"quiet": 0, "one neighbour": 1, f"{many} neighbours": many}
    for turn in range(rounds):
        for contest in contests.values():
            contest.alone("quiet")
            with neighbours(cores - 1, STREAM):
                contest.alone("streams")
        for load, count in loads.items():
            with neighbours(count):
                for contest in contests.values():
                    for size in sizes[:: -1 if turn % 2 else 1]:
                        contest.grouped(size, load)
    print(
        f"\n{named}, {len(texts)} passages, {cores} cores, thousands of tokens a second, median of "
        f"{rounds} rounds (slowest in brackets)\n"
    )
    print("| | " + " | ".join(loads) + " | quiet, of one thread alone on each core |")
    print("|---" * (len(loads) + 2) + "|")
    for dtype, contest in contests.items():
        lone = statistics.median(contest.rates["alone", "quiet"])
        for size in sizes:
            name = row(cores, size)
            cells = [told(contest.rates[name, load]) for load in loads]
            share = statistics.median(contest.rates[name, "quiet"]) / (lone * cores)
            print(f"| {dtype}, {name} | " + " | ".join(cells) + f" | {share:.0%} |")
    for dtype, contest in contests.items():
        alone, beside = contest.rates["alone", "quiet"], contest.rates["alone", "streams"]
        print(
            f"- {dtype}: one thread alone {told(alone)}; while the other cores stream through "
            f"memory {told(beside)}; bytes "
            + (f"DIFFER with {sorted(contest.differing)}" if contest.differing else "equal")
        )


def told(rates: list[float]) -> str:
    return f"{statistics.median(rates) / 1000:.2f} ({min(rates) / 1000:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    checkpoint_flags(parser)
    parser.set_defaults(threads=usable_cores())
    parser.add_argument("--groups", type=int, nargs="+", help="sizes; each divides --threads")
    arguments = parser.parse_args()
    if (cores := arguments.threads) > usable_cores():
        parser.error(f"--threads {cores}: this process may use {usable_cores()} cores")
    sizes = arguments.groups or sizes_of(cores)
    if any(size < 1 or cores % size for size in sizes):
        parser.error(f"--groups {sizes}: each must divide {cores} cores")
    print(describe("torch", "transformers"))
    texts = passages_of(arguments.passages)
    for folder, name in checkpoints_of(arguments.checkpoint, arguments.layers, texts):
        compare(folder, texts, cores, sizes, arguments.rounds, name)


if __name__ == "__main__":
    main()
