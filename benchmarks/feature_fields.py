"""What Lucene's feature fields do to a ranking: Elasticsearch's sparse_vector, rank_features.

    .venv/bin/python benchmarks/feature_fields.py ../shared/data/splade-v3-nfcorpus

The collection has impacts at x 100. The weights behind them are taken to lie anywhere within half
an impact (seeded), so that x 100 gives the impacts back; other scales round them as quantizing
does. Each row compares a ranking by whole weights with one by what a feature field keeps of them
(9 significant bits, ``splade_bridge/formats/feeds/weights.py``, which
``tests/test_feature_fields.py`` holds against the class of Lucene itself). Equal scores are ordered
by id on both sides. Queries are the same throughout: the engines keep their weights as float32.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from scipy import sparse

from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.formats.feeds.weights import as_feature
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import read_queries

SCALES = (10.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0)
DEPTH, CUTOFF = 100, 10


def ranked(scores: np.ndarray, ids: np.ndarray) -> list[list[tuple[str, float]]]:
    """The best documents of each row of scores, float32[queries, documents]."""
    found = []
    for row in scores:
        best = np.lexsort((ids, -row))[:DEPTH]
        found.append([(ids[i], float(row[i])) for i in best if row[i] > 0])
    return found


def scored(queries: sparse.csr_array, documents: sparse.csr_array) -> np.ndarray:
    """Sums in float64, float32 in the end, as Lucene's disjunctions have them."""
    return (queries @ documents.T).toarray().astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    folder = parser.parse_args().collection
    logging.basicConfig(level=logging.ERROR)
    source = JsonVectorSource(folder / "docs.jsonl.gz")
    batch = ImpactBatch.concat(source.batches())
    read = read_queries(folder / "topics.nfcorpus.test.splade-v3.tsv.gz")
    asked = read.aligned(source.vocabulary, folder)
    shape = (len(asked), len(source.vocabulary))
    queries = sparse.csr_array(
        (asked.impacts.astype(np.float64), asked.indices, asked.indptr), shape
    )
    qrels = read_qrels(folder / "qrels.nfcorpus.test.trec")
    ids = np.array(batch.ids)

    def ranking(weights: np.ndarray) -> list[list[tuple[str, float]]]:
        size = (len(batch), len(source.vocabulary))
        stored = (weights.astype(np.float64), batch.indices, batch.indptr)
        return ranked(scored(queries, sparse.csr_array(stored, size)), ids)

    def ndcg(rows: list[list[tuple[str, float]]]) -> float:
        run = {query: dict(row) for query, row in zip(asked.ids, rows, strict=True)}
        # Ranks for scores: ties are in order already, and trec_eval would order them by itself.
        run = {q: {d: -float(i) for i, d in enumerate(row)} for q, row in run.items()}
        return evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"]

    print("| scale | largest | weights changed | at most by | nDCG@10 whole | nDCG@10 kept |"
          " overlap@10 | top 10 has others | top 10 in another order |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    noise = np.random.default_rng(14).uniform(-0.499, 0.499, len(batch.impacts))
    floats = (batch.impacts + noise) / 100
    assert (np.rint(100 * floats) == batch.impacts).all()
    rows = [(f"x {s:g}", np.rint(floats * s)) for s in SCALES]
    rows.append(("floats", floats))
    for name, weights in rows:
        whole = weights.astype(np.float32)
        kept = as_feature(whole)
        there = whole > 0
        lost = (whole[there] - kept[there]) / whole[there]
        before, after = ranking(whole), ranking(kept)
        tops = [
            ([d for d, _ in one[:CUTOFF]], [d for d, _ in other[:CUTOFF]])
            for one, other in zip(before, after, strict=True)
        ]
        overlap = np.mean([len({*a} & {*b}) / max(1, len(a)) for a, b in tops])
        others = np.mean([{*a} != {*b} for a, b in tops])
        order = np.mean([a != b for a, b in tops])
        print(
            f"| {name} | {whole.max():,.5g} | {np.mean(lost > 0):.1%} | {lost.max():.2%} "
            f"| {ndcg(before):.4f} | {ndcg(after):.4f} "
            f"| {overlap:.3f} | {others:.1%} | {order:.1%} |"
        )


if __name__ == "__main__":
    main()
