"""A load of synthetic documents that is killed at random moments and given again, and its figures.

    .venv/bin/python benchmarks/load_killed.py 500000 --work /tmp/load --kills 10 ADDRESS

The documents (``synth.py``) are written once as a vector store below --work. ADDRESS is of an index
that does not exist; it is made by ``index``, killed (SIGKILL) at moments that are drawn, made whole
by the same command, and thrown away. Then it is made once more without a kill, for documents a
second. Peak memory is that of the process of ``index``, of the largest of all its lives. What the
engine holds is read back and compared in each load that comes to its end (``--check full``).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from machine import describe
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.store import VALUES, VectorStoreWriter
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.engines.registry import connect, read_remote
from splade_bridge.files.address import Address, place_of
from splade_bridge.files.outputs import STORE_MANIFEST
from synth import SyntheticSource


def store_of(documents: int, work: Path) -> Path:
    """The vector store of synthetic documents, made unless it is there."""
    folder = work / f"synthetic-{documents}"
    if not (folder / STORE_MANIFEST).exists():
        folder.mkdir(parents=True)
        source = SyntheticSource(documents)
        writer = VectorStoreWriter(folder, source.vocabulary)
        for batch in source.batches():
            weights = batch.impacts.astype("<f4")
            writer.add(SparseBatch(batch.ids, batch.indptr, batch.indices, weights))
        writer.finish(None, {VALUES: "impacts"}, content=str(source.content))
    return folder


class Life:
    """One process of ``index``.

    Attributes:
        seconds: that it lived.
        peak: of its memory, in bytes.
        code: its exit status.
    """

    def __init__(self, store: Path, address: Address, killed_after: float | None) -> None:
        command = [sys.executable, "-m", "splade_bridge", "index", str(store), "-o", str(address)]
        began = time.perf_counter()
        child = subprocess.Popen([*command, "--check", "full"])
        alarm = None if killed_after is None else threading.Timer(killed_after, child.kill)
        if alarm is not None:
            alarm.start()
        _, status, used = os.wait4(child.pid, 0)
        if alarm is not None:
            alarm.cancel()
        self.code = child.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.perf_counter() - began
        self.peak = used.ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", type=int)
    parser.add_argument("address")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60, help="a life before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    address = place_of(told.address)
    assert isinstance(address, Address)
    print(describe())
    store = store_of(told.documents, told.work)
    wanted = open_source(store).manifest
    assert wanted is not None
    drawn = random.Random(told.seed)
    lives: list[Life] = []
    kept = []
    for _ in range(told.kills):
        lives.append(Life(store, address, drawn.uniform(3, told.seconds)))
        if lives[-1].code == 0:
            break
        with connect(address) as index:
            state = index.state() if index.exists() else None
            kept.append(state.loaded if state else 0)
        print(f"killed after {lives[-1].seconds:.0f} s, {kept[-1]:,} documents kept", flush=True)
    lives.append(Life(store, address, None))
    assert lives[-1].code == 0
    with connect(address) as index:
        documents = index.count()
        bytes_ = index.told().get("bytes")
    read = read_remote(address)
    read.read_all()
    same = str(read.content) == wanted.content and documents == told.documents
    with connect(address) as index:
        index.drop()
    whole = Life(store, address, None)
    with connect(address) as index:
        index.drop()
    kills = sum(life.code == -signal.SIGKILL for life in lives)
    print(
        f"| {address.scheme} | {told.documents:,} | {wanted.counts.postings:,} | {kills} | "
        f"{'equal' if same else 'NOT EQUAL'} | {told.documents / whole.seconds:,.0f} | "
        f"{max(life.peak for life in [*lives, whole]) / 2**20:,.0f} | "
        f"{(bytes_ or 0) / 2**20:,.0f} |"
    )
    sys.exit(0 if same and whole.code == 0 else 1)


if __name__ == "__main__":
    main()
