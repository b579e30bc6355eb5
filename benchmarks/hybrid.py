"""BM25, SPLADE and dense vectors on BEIR collections, each alone and fused.

    .venv/bin/python benchmarks/hybrid.py --data ../shared/data --work /tmp/hybrid \\
        --splade SPLADE_MODEL --dense DENSE_MODEL nfcorpus scifact

Runs of the test queries are written to --work as COLLECTION/bm25.run, splade.run and dense.run, by
the commands that anybody would give; what is there already is not made again. Every pair and all
three are fused by reciprocal ranks, and by weights that are found by cross-validation, whose figure
is the held-out one. With splade-tiny and all-MiniLM-L6-v2 (``tests/fetched.py``) a collection takes
some minutes on two quiet cores; beside other work one thread (--threads 1) is faster than two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import describe

MEASURES = ("nDCG@10", "R@100")
SYSTEMS = ("bm25", "splade", "dense")


def ours(*arguments: object) -> Any:
    """What a command prints with ``--json``; its messages pass through."""
    command = [sys.executable, "-m", "splade_bridge", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def runs(data: Path, work: Path, splade: str, dense: str, threads: int) -> dict[str, Path]:
    """The runs of one collection, by system."""
    work.mkdir(parents=True, exist_ok=True)
    found = {name: work / f"{name}.run" for name in SYSTEMS}
    asked = ["--split", "test", "-k", 1000]
    if not found["bm25"].exists():
        ours("bm25", data, "-q", data, *asked, "-o", work / "bm25", "--overwrite")
        found["bm25"].write_bytes((work / "bm25" / "run.trec").read_bytes())
    if not found["splade"].exists():
        ours("encode", data, "-m", splade, "-o", work / "vectors", "--threads", threads)
        index = work / "splade"
        if not index.exists():
            ours("index", work / "vectors", "-e", "exact", "-o", index)
        ours("search", index, "-q", data, "-m", splade, *asked, "-o", found["splade"])
    if not found["dense"].exists():
        index = work / "dense"
        ours("dense", data, "-m", dense, "-o", index, "--threads", threads, "--part-rows", 512)
        ours("search", index, "-q", data, "-m", dense, *asked, "-o", found["dense"])
    return found


def fused(data: Path, work: Path, found: dict[str, Path]) -> dict[str, tuple[Path, float | None]]:
    """Fusions of the runs: each with its run, and its held-out figure where it is tuned."""
    made: dict[str, tuple[Path, float | None]] = {}
    for count in (2, 3):
        for names in itertools.combinations(SYSTEMS, count):
            inputs = [found[name] for name in names]
            out = work / f"{'-'.join(names)}.rrf.run"
            ours("fuse", *inputs, "-o", out, "--overwrite")
            made[f"{' + '.join(names)}, reciprocal ranks"] = out, None
            out = work / f"{'-'.join(names)}.tuned.run"
            how = ["--fusion", "combsum", "--tune", "nDCG@10", "--qrels", data, "--split", "test"]
            told = ours("fuse", *inputs, *how, "-o", out, "--overwrite")
            made[f"{' + '.join(names)}, tuned weights"] = out, told["tuning"]["held_out"]
    return made


def figures(data: Path, run: Path) -> dict[str, float]:
    """Measures of a run."""
    wanted = [word for measure in MEASURES for word in ("-M", measure)]
    measured: dict[str, float] = ours("evaluate", data, run, "--split", "test", *wanted)["measures"]
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="+", help="BEIR folders below --data")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--splade", required=True, help="model of encode")
    parser.add_argument("--dense", required=True, help="model of dense")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(describe("sentence-transformers", "faiss-cpu", "torch"))
    for name in given.collections:
        data, work = given.data / name, given.work / name
        found = runs(data, work, given.splade, given.dense, given.threads)
        print(f"\n| {name} | {' | '.join(MEASURES)} |\n|---|{'---|' * len(MEASURES)}")
        rows: dict[str, tuple[Path, float | None]] = {s: (r, None) for s, r in found.items()}
        rows |= fused(data, work, found)
        for row, (run, held_out) in rows.items():
            measured = figures(data, run)
            if held_out is not None:  # and not the figure of what the weights were found on
                measured["nDCG@10"] = held_out
            print(f"| {row} | {' | '.join(f'{measured[m]:.4f}' for m in MEASURES)} |", flush=True)


if __name__ == "__main__":
    main()
