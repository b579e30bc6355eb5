"""A Lucene index to CIFF: postings a second and peak memory.

    .venv/bin/python benchmarks/convert.py --documents 17500 200000 --work /tmp/convert

Documents are synthetic (benchmarks/synth.py), about 171 postings each: 17,500 are 3 M postings,
200,000 are 34 M, 880,000 are 150 M. An index that is already in --work is used as it is. Each size
is converted in a process of its own, --times times; the rate of the fastest is printed with all
rates; the memory is the largest. The JVM counts: it is a child of that process. --profile prints
where the time of Python goes, instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import time
from pathlib import Path

from machine import describe
from memory import PeakMemory
from splade_bridge.conversion.export import ExportOptions, export_path
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import engine
from splade_bridge.files.sizes import size_in_bytes
from synth import SyntheticSource


def index_of(documents: int, work: Path, memory: int) -> Path:
    out = work / f"lucene-{documents}"
    if not out.exists():
        work.mkdir(parents=True, exist_ok=True)
        options = BuildOptions(threads=1, memory=memory)
        engine("lucene").build(SyntheticSource(documents), out, options)
    return out


def convert(index: Path, memory: int) -> dict[str, float]:
    """One conversion, whose counts the manifests on both sides must agree on."""
    out = index.with_name(f"{index.name}.ciff")
    options = ExportOptions(("ciff",), memory=memory)
    started = time.perf_counter()
    with PeakMemory() as peak:
        manifest = export_path(index, out, options, overwrite=True)
    seconds = time.perf_counter() - started
    known = Manifest.load(index).counts
    assert (manifest.counts.documents, manifest.counts.postings) == (
        known.documents,
        known.postings,
    )
    return {
        "postings": known.postings,
        "seconds": seconds,
        "private": peak.private,
        "resident": peak.resident,
    }


def measured(index: Path, memory: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(index), "--memory", memory]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[17_500])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    memory = size_in_bytes(options.memory)
    if options.one:
        print(json.dumps(convert(options.one, memory)))
        return
    if options.work is None:
        parser.error("--work names the folder of the indexes")
    print(f"{describe('numpy')}; --memory {options.memory}\n")
    print("| documents | postings | M postings/s | all | private | resident |")
    print("|---|---|---|---|---|---|")
    for documents in options.documents:
        index = index_of(documents, options.work, memory)
        if options.profile:
            with cProfile.Profile() as profile:
                convert(index, memory)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            continue
        found = [measured(index, options.memory) for _ in range(options.times)]
        rates = [one["postings"] / one["seconds"] / 1e6 for one in found]
        print(
            f"| {documents:,} | {found[0]['postings']:,} | {max(rates):.2f} | "
            f"{', '.join(f'{rate:.2f}' for rate in rates)} | "
            f"{max(one['private'] for one in found) / 1e9:.2f} GB | "
            f"{max(one['resident'] for one in found) / 1e9:.2f} GB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
