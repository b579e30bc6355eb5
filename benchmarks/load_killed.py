"""A load of synthetic documents that is killed at random moments and given again, and its figures.

    .venv/bin/python benchmarks/load_killed.py 500000 --work /tmp/load --kills 10 ADDRESS

The documents (``synth.py``) are written once as a vector store below --work. ADDRESS is of an index
that does not exist; it is made by ``index``, killed (SIGKILL) at moments that are drawn, and made
whole by the same command. A load that came to its end before it was killed often enough is
compared, thrown away and begun anew. The last one has no more kills; its index is read back beside
what the command itself compares (``--check full``), and thrown away. Memory is that of the process
of ``index`` and of all that it starts, of the largest of all its lives: what is its own, and with
mapped files. An engine without a server lies in that process, and its memory is counted.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from machine import describe
from memory import PeakMemory
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.store import VALUES, VectorStoreWriter
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.engines.registry import connect, read_remote
from splade_bridge.engines.remote.faults import ServerError
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
        private, resident: the most memory that it had, in bytes.
        code: its exit status.
    """

    def __init__(self, store: Path, address: Address, killed_after: float | None) -> None:
        command = [sys.executable, "-m", "splade_bridge", "index", str(store), "-o", str(address)]
        began = time.perf_counter()
        with (
            subprocess.Popen([*command, "--check", "full"]) as child,
            PeakMemory(child.pid) as peak,
        ):
            try:
                child.wait(killed_after)
            except subprocess.TimeoutExpired:
                child.kill()
        self.code = child.returncode
        self.seconds = time.perf_counter() - began
        self.private, self.resident = peak.private, peak.resident


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
    kills = whole = 0
    while True:
        is_last = kills == told.kills
        life = Life(store, address, None if is_last else drawn.uniform(3, told.seconds))
        lives.append(life)
        if life.code == -signal.SIGKILL:
            kills += 1
            print(
                f"killed after {life.seconds:.0f} s, {_kept(address):,} documents kept", flush=True
            )
            continue
        assert life.code == 0, f"ended with {life.code}"
        whole += 1
        _compare(address, wanted, told.documents)
        with connect(address) as index:
            bytes_ = index.told().get("bytes")
            index.drop()
        print(f"whole and equal after {life.seconds:.0f} s more, {kills} kills so far", flush=True)
        if is_last:
            break
    private, resident = (max(life.private for life in lives), max(life.resident for life in lives))
    print(
        f"| {address.scheme} | {told.documents:,} | {wanted.counts.postings:,} | {kills} | {whole} "
        f"| equal | {private / 2**20:,.0f} | {resident / 2**20:,.0f} | "
        f"{(bytes_ or 0) / 2**20:,.0f} |"
    )


def _kept(address: Address) -> int:
    """How many documents a load that was killed has noted, once a busy engine says it."""
    while True:
        try:
            with connect(address) as index:
                state = index.state() if index.exists() else None
        except ServerError as error:
            print(error, flush=True)
            time.sleep(5)
        else:
            return state.loaded if state else 0


def _compare(address: Address, wanted: Manifest, documents: int) -> None:
    """What the engine holds, by its own count and read back.

    Raises:
        AssertionError: it lacks something, or has something twice or altered.
    """
    with connect(address) as index:
        assert index.count() == documents, f"{index.count():,} documents"
    read = read_remote(address)
    read.read_all()
    postings = wanted.counts.postings
    assert read.counts.postings == postings, f"{read.counts.postings:,} postings, not {postings:,}"
    assert str(read.content) == wanted.content, "the content is another"


if __name__ == "__main__":
    main()
