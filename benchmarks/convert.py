"""Conversions, by the command itself: postings a second, processor time and peak memory.

    .venv/bin/python benchmarks/convert.py --documents 200000 --work /tmp/convert

Documents are synthetic (benchmarks/synth.py), about 170 postings each: 17,500 are 3 M postings,
200,000 are 34 M, 880,000 are 150 M. What is in --work already is used as it is. Every conversion is
``splade-bridge convert`` (into Lucene ``index``) in a process of its own: its start, reading what
was written back and comparing content hashes count; the content must be that of the index. Rounds
are interleaved; the rate is that of the median, and memory the largest. Processor seconds are user
and system, all threads and the JVM: other jobs on the machine add less to them. Nothing else that
is installed here converts these; ciff-toolkit's writer is measured in benchmarks/engines.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from machine import describe
from memory import Took, measured
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import engine
from splade_bridge.files.sizes import size_in_bytes
from synth import SyntheticSource

LUCENE = "lucene"


class Step(NamedTuple):
    """A row: what is converted, from where, to what."""

    row: str
    source: str
    to: str

    @property
    def output(self) -> str:
        return f"{self.source}-{self.to}"


STEPS = {
    "lucene-ciff": Step("Lucene -> CIFF", "lucene", "ciff"),
    "lucene-vectors": Step("Lucene -> vectors", "lucene", "vectors"),
    "ciff-jsonl": Step("CIFF -> JSONL", "lucene-ciff", "jsonvector"),
    "jsonl-ciff": Step("JSONL -> CIFF", "lucene-ciff-jsonvector", "ciff"),
    "pisa-ciff": Step("PISA canonical -> CIFF", "lucene-ciff-pisa-canonical", "ciff"),
    "ciff-lucene": Step("CIFF -> Lucene", "lucene-ciff", LUCENE),
    "vectors-lucene": Step("vectors -> Lucene", "lucene-vectors", LUCENE),
    "jsonl-lucene": Step("JSONL -> Lucene", "lucene-ciff-jsonvector", LUCENE),
}
PISA = Step("CIFF -> PISA canonical", "lucene-ciff", "pisa-canonical")
MADE_BY = {step.output: step for step in (*STEPS.values(), PISA)}


def index_of(documents: int, work: Path, memory: int) -> Path:
    """A Lucene index of so many documents."""
    out = work / LUCENE
    if not out.exists():
        work.mkdir(parents=True, exist_ok=True)
        options = BuildOptions(threads=1, memory=memory)
        engine(LUCENE).build(SyntheticSource(documents), out, options)
    return out


def convert(step: Step, work: Path, memory: str) -> Took:
    """One conversion."""
    out = work / step.output
    shutil.rmtree(out, ignore_errors=True)
    source, program = work / step.source, [sys.executable, "-m", "splade_bridge"]
    command = [*program, "convert", source, out, "--to", step.to, "--memory", memory]
    if step.to == LUCENE:
        command = [*program, "index", source, "-o", out, "-e", LUCENE, "--memory", memory]
    return measured(command)


def needed(name: str, work: Path, memory: str) -> None:
    """Make what a step reads, where it is not there."""
    if not (work / name).exists():
        step = MADE_BY[name]
        needed(step.source, work, memory)
        convert(step, work, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    memory, work = arguments.memory, arguments.work / str(arguments.documents)
    index = index_of(arguments.documents, work, size_in_bytes(memory))
    manifest = Manifest.load(index)
    counts, content = manifest.counts, manifest.content
    steps = [STEPS[name] for name in arguments.steps]
    print(
        f"{describe('numpy', 'protobuf')}\n{counts.documents:,} documents, {counts.postings:,} "
        f"postings, --memory {memory}, {arguments.rounds} rounds; load before: "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    for step in steps:
        needed(step.source, work, memory)
    found: dict[str, list[Took]] = {step.row: [] for step in steps}
    for _ in range(arguments.rounds):
        for step in steps:
            found[step.row].append(convert(step, work, memory))
            assert Manifest.load(work / step.output).content == content, step
    print(
        "| conversion | s | M postings/s | processor s | M postings a processor s | spread "
        "| private | resident |\n|---|---|---|---|---|---|---|---|"
    )
    for row, took in found.items():
        seconds = [one.seconds for one in took]
        median = statistics.median(seconds)
        processor = statistics.median(one.processor for one in took)
        print(
            f"| {row} | {median:.2f} | {counts.postings / median / 1e6:.2f} | {processor:.2f} "
            f"| {counts.postings / processor / 1e6:.2f} "
            f"| {(max(seconds) - min(seconds)) / median:.0%} "
            f"| {max(one.private for one in took) / 1e9:.2f} GB "
            f"| {max(one.resident for one in took) / 1e9:.2f} GB |"
        )
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
