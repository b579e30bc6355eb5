"""Synthetic collections of any size, drawn from the statistics of real SPLADE-v3 vectors.

    .venv/bin/python benchmarks/synth.py 100000 -o /tmp/synth.jsonl.gz

Kept from the real NFCorpus vectors: how the number of terms a document is spread, how often each
term occurs (inclusion probability = document frequency / documents, scaled to the wanted mean) and
the impacts of each term. Not kept: which terms occur together. So sizes and lengths of posting
lists are realistic, rankings are not; whatever is measured on it says "synthetic".
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splade_bridge.conversion.detect import open_source
from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.jsonvector import JsonVectorWriter

REAL = Path(__file__).resolve().parents[2] / "shared/data/splade-v3-nfcorpus/docs.jsonl.gz"
TERMS_A_DOCUMENT = 170
"""MS MARCO under SPLADE-v3: about 1.5 billion postings in 8.84 million passages."""
CHUNK = 2048
TABLE = 1 << 20


class SyntheticSource(ImpactSource):
    """``documents`` synthetic documents with ids ``0``, ``1``, ...; the same for a seed."""

    def __init__(
        self, documents: int, *, terms: float = TERMS_A_DOCUMENT, seed: int = 0, real: Path = REAL
    ) -> None:
        source = open_source(real)
        collected = ImpactBatch.concat(source.batches())
        super().__init__(Path(f"synthetic-{documents}"), Vocabulary(source.vocabulary.terms), None)
        self.documents = documents
        self._seed = seed
        df = np.bincount(collected.indices, minlength=len(source.vocabulary))
        lengths = np.diff(collected.indptr)
        probability = np.minimum(df / len(collected) * terms / lengths.mean(), 0.999)
        rate = -np.log1p(-probability)  # draws with replacement that give this probability
        self._draws = float(rate.sum()) * lengths / lengths.mean()
        edges = np.cumsum(rate) / rate.sum()
        self._table = np.searchsorted(edges, (np.arange(TABLE) + 0.5) / TABLE).astype(np.int32)
        self._df = df
        self._first = np.cumsum(df) - df
        self._impacts = collected.impacts[np.argsort(collected.indices, kind="stable")]

    def _read(self) -> Iterator[ImpactBatch]:
        width = len(self.vocabulary)
        for start in range(0, self.documents, CHUNK):
            rng = np.random.default_rng([self._seed, start])
            rows = min(CHUNK, self.documents - start)
            draws = np.maximum(1, rng.poisson(rng.choice(self._draws, rows)))
            row = np.repeat(np.arange(rows, dtype=np.int64), draws)
            drawn = np.zeros((rows, width), dtype=bool)
            drawn[row, self._table[rng.integers(0, TABLE, len(row))]] = True
            key = np.flatnonzero(drawn)  # sorted, and without what was drawn twice
            row, terms = key // width, (key % width).astype(np.int32)
            picked = self._first[terms] + (rng.random(len(terms)) * self._df[terms]).astype(
                np.int64
            )
            yield ImpactBatch(
                [str(i) for i in range(start, start + rows)],
                row_pointers(np.bincount(row, minlength=rows)),
                terms,
                self._impacts[picked],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for JSON lines")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = SyntheticSource(arguments.documents, seed=arguments.seed)
    writer = JsonVectorWriter(arguments.output, 1_000_000, compress=False)
    print(writer.write(source.batches(), source.vocabulary))


if __name__ == "__main__":
    main()
