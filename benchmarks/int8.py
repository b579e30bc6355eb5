"""Encoding in integers of 8 bits on a CPU: how fast, and how far from float32.

    .venv/bin/python benchmarks/int8.py --passages 128 --threads 2
    .venv/bin/python benchmarks/int8.py --checkpoint MODEL
    .venv/bin/python benchmarks/int8.py --where
    .venv/bin/python benchmarks/int8.py --drift MODEL --work DIR

The first two encode the same passages of MS MARCO with BERT of 6 layers and random weights, or with
a checkpoint, in this project's types and in ONNX Runtime's dynamic int8 of the same checkpoint
(exported by ``export-model``, its constants folded, quantized by ``quantize_dynamic``, and given
the same batches of the same lengths without padding). The contestants take turns, and begin with
another one in every round. Beside the time that passes stands the time of the processor, of all
threads, which says more where others compute, too.

The third says what the time of this project's types goes into, operation by operation, with one
thread under torch's profiler.

The fourth encodes whole collections, keeps them in DIR, and says how many impacts change and what
becomes of nDCG@10, with the queries in float32 (as ``search`` encodes them) and in integers, too.
MODEL is a SPLADE checkpoint, as splade-tiny (tests/fetched.py says where it comes from). Prints
Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import splade_bridge as sb
from encode import (
    BATCH,
    BFLOAT16,
    FLOAT32,
    MAX_LENGTH,
    SHARED,
    checkpoint_flags,
    checkpoints_of,
    dtype_report,
    float_types,
    ours,
    passages_of,
)
from machine import describe
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.int8 import multiplies_bytes
from splade_bridge.text.corpora import Text

INT8 = "int8"
OURS = "splade-bridge, "
RIVAL = "ONNX Runtime, dynamic int8"
AIMS = {RIVAL: 1.5, OURS + BFLOAT16: 1.4}
"""How many times as fast as these int8 is meant to be."""
SETS = ("nfcorpus", "scifact", "msmarco-dl1920")
MEASURE = "nDCG@10"
LARGEST_FALL = 0.003
TEXTS = 1000
"""Whose impacts are compared one by one."""
LISTED = 12
"""Operations that --where names."""

Encode = Callable[[list[Text]], SparseBatch]


class Times(NamedTuple):
    """Seconds of one round: that passed, and that all threads computed."""

    wall: float
    processor: float


def dynamic_int8(folder: Path, scratch: Path) -> Encode:
    """ONNX Runtime with the matrices of ``folder`` in integers, activations by whole tensors."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    sb.export_model(str(folder), scratch / "exported", to="onnx", side="document")
    made = scratch / "quantized"
    shutil.copytree(scratch / "exported", made, ignore=shutil.ignore_patterns("manifest.json"))
    quant_pre_process(str(made / "model.onnx"), str(scratch / "p.onnx"), skip_symbolic_shape=True)
    logging.disable(logging.WARNING)
    quantize_dynamic(str(scratch / "p.onnx"), str(made / "model.onnx"))
    logging.disable(logging.NOTSET)
    graph = onnx.load(str(made / "model.onnx")).graph
    stored = {tensor.name for tensor in graph.initializer}
    kinds = Counter(n.op_type for n in graph.node)
    left = sum(n.op_type in ("MatMul", "Gemm") and n.input[1] in stored for n in graph.node)
    print(f"- {RIVAL}: {kinds['MatMulInteger']} products of integers, {left} left in float32")
    options = EncodeOptions(max_length=MAX_LENGTH, device="cpu")
    encoder = load_encoder(str(made), "document", options)
    return lambda texts: next(encoder.encode(texts, window=len(texts)))


def compare(folder: Path, texts: list[Text], rounds: int, named: str) -> None:
    """Print how fast each contestant is."""
    entrants: dict[str, Encode] = {}
    for dtype in (*float_types(), INT8):
        entrants[OURS + dtype] = ours(folder, dtype)
    print()
    with tempfile.TemporaryDirectory() as scratch:
        entrants[RIVAL] = dynamic_int8(folder, Path(scratch))
        for encode in entrants.values():
            encode(texts[:BATCH])
        times: dict[str, list[Times]] = {name: [] for name in entrants}
        terms: dict[str, int] = {}
        order = list(entrants)
        for _ in range(rounds):
            for name in order:
                began, computed = time.perf_counter(), time.process_time()
                terms[name] = len(entrants[name](texts).indices)
                passed = time.perf_counter() - began
                times[name].append(Times(passed, time.process_time() - computed))
            order = [*order[1:], order[0]]
    print(
        f"\n{named}, {len(texts)} passages, {torch.get_num_threads()} threads, median of {rounds} "
        f"rounds; products of bytes: {'yes' if multiplies_bytes() else 'no'}\n"
    )
    print("| | s | slowest s | processor s | passages/s | terms a passage |\n" + "|---" * 6 + "|")
    median = {
        name: Times(*(statistics.median(column) for column in zip(*found, strict=True)))
        for name, found in times.items()
    }
    for name, found in median.items():
        slowest = max(t.wall for t in times[name])
        print(
            f"| {name} | {found.wall:.2f} | {slowest:.2f} | {found.processor:.2f} "
            f"| {len(texts) / found.wall:.1f} | {terms[name] / len(texts):.0f} |"
        )
    print()
    mine = median[OURS + INT8]
    for name, theirs in median.items():
        if name != OURS + INT8:
            aim = f"; aim {AIMS[name]}" if name in AIMS else ""
            print(
                f"- int8: {theirs.wall / mine.wall:.2f} times as fast as {name} "
                f"({theirs.processor / mine.processor:.2f} by processor time{aim})"
            )


def where(folder: Path, texts: list[Text]) -> None:
    """Print the operations that most of the time of each type goes into."""
    torch.set_num_threads(1)
    for dtype in (*float_types()[1:], INT8):  # without float32
        encode = ours(folder, dtype)
        encode(texts[:BATCH])
        began = time.perf_counter()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            encode(texts)
        passed = time.perf_counter() - began
        took = Counter({e.key: e.self_cpu_time_total / 1e6 for e in profiled.key_averages()})
        print(f"\n{OURS}{dtype}: {passed:.2f} s, {took.total():.2f} of them in operations\n")
        print("| operation | s | share |\n|---|---|---|")
        for name, seconds in took.most_common(LISTED):
            print(f"| {name} | {seconds:.2f} | {seconds / took.total():.0%} |")


def drift(model: str, work: Path) -> None:
    """Print what becomes of impacts and of ranking."""
    there = [name for name in SETS if (SHARED / name / "corpus.jsonl.gz").is_file()]
    for name in there:
        dtype_report(model, str(SHARED / name / "corpus.jsonl.gz"), TEXTS)
    kinds = (*float_types(), INT8)
    rows = [(d, FLOAT32) for d in kinds] + [(INT8, INT8)]
    print(f"\n{MEASURE}, impacts at x 100, exact search\n")
    print(
        "| documents | queries | " + " | ".join(there) + " |\n|---|---" + "|---" * len(there) + "|"
    )
    found: dict[tuple[str, str, str], float] = {}
    for documents, queries in rows:
        for name in there:
            found[name, documents, queries] = ranked(model, name, documents, queries, work)
        told = [
            f"{found[name, documents, queries]:.4f} "
            f"({found[name, documents, queries] - found[name, FLOAT32, FLOAT32]:+.4f})"
            for name in there
        ]
        print(f"| {documents} | {queries} | " + " | ".join(told) + " |", flush=True)
    print()
    for (name, documents, queries), value in found.items():
        fall = found[name, FLOAT32, FLOAT32] - value
        if documents == INT8 and fall > LARGEST_FALL:
            print(f"- WARNING: {name} falls by {fall:.4f} with queries in {queries}")


def ranked(model: str, name: str, documents: str, queries: str, work: Path) -> float:
    """The measure of a collection whose documents and queries are encoded in these types."""
    data = SHARED / name
    index = work / f"{name}-{documents}.index"
    if not index.exists():
        vectors = work / f"{name}-{documents}"
        given: dict[str, Any] = {"model": model, "dtype": documents, "devices": "cpu"}
        sb.encode(str(data), output=vectors, **given)
        sb.index(vectors, index, engine="exact")
    asked = work / f"{name}-{queries}.queries"
    if not asked.exists():
        given = {"model": model, "dtype": queries, "devices": "cpu", "side": "query"}
        sb.encode(str(data), output=asked, split="test", **given)
    run = sb.search(index, asked, k=100)
    return sb.evaluate(str(data), run, measure=MEASURE).means[MEASURE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    checkpoint_flags(parser)
    parser.add_argument("--where", action="store_true", help="what the time goes into")
    parser.add_argument("--drift", metavar="MODEL")
    parser.add_argument("--work", type=Path, help="folder that --drift keeps its collections in")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe("torch", "transformers", "onnxruntime", "tokenizers"))
    if arguments.drift:
        if arguments.work is None:
            parser.error("--drift needs --work")
        drift(arguments.drift, arguments.work)
        return
    texts = passages_of(arguments.passages)
    for folder, name in checkpoints_of(arguments.checkpoint, arguments.layers, texts):
        if arguments.where:
            where(folder, texts)
        else:
            compare(folder, texts, arguments.rounds, Path(name).name)


if __name__ == "__main__":
    main()
