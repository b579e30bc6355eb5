"""Peak memory of writing and reading CIFF against the budget that it is given.

    .venv/bin/python benchmarks/ciff_memory.py --documents 900000 --memory 2000000000

150 million postings and more; synthetic documents. The aim: at most the budget and 300 MB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from machine import describe
from memory import PeakMemory
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.ciff_writer import write_ciff
from synth import SyntheticSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=900_000)
    parser.add_argument("--memory", type=int, default=2_000_000_000)
    arguments = parser.parse_args()
    print(describe("numpy", "protobuf"))
    print("| step | documents | postings | budget | peak memory | s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ciff"
        source = SyntheticSource(arguments.documents)
        started = time.perf_counter()
        with PeakMemory() as peak:
            write_ciff(
                path, source.batches(), source.vocabulary, description="", memory=arguments.memory
            )
        report("write", source, arguments.memory, peak, time.perf_counter() - started)
        back = CiffSource(path, arguments.memory, temporary=Path(folder))
        started = time.perf_counter()
        with PeakMemory() as peak:
            for _ in back.batches():
                pass
        report("read", back, arguments.memory, peak, time.perf_counter() - started)


def report(
    name: str, source: SyntheticSource | CiffSource, memory: int, peak: PeakMemory, seconds: float
) -> None:
    counts = source.counts
    print(
        f"| {name} | {counts.documents:,} | {counts.postings:,} | {memory / 1e9:g} GB | "
        f"{peak.private / 1e9:.2f} GB | {seconds:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
