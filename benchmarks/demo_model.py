"""The built-in model beside BM25 on the demo's passages and questions.

    .venv/bin/python benchmarks/demo_model.py --work /tmp/demo-model [--model CHECKPOINT]

Goes through `splade-bridge compare`, so the two stand in the same table: quality, terms, latency.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from machine import describe
from splade_bridge.comparison.compare import compare
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.demo import collection

SPEC = """
title = "The built-in model"
[data]
corpus = "{work}/corpus.jsonl"
topics = "{queries}"
qrels = "{qrels}"
measures = ["nDCG@10", "RR@10", "R@100"]
[engines]
pisa = ["maxscore"]
[bench]
ks = [10]
queries = "all"
[[variant]]
name = "BM25"
bm25 = {{ k1 = 0.9, b = 0.4 }}
[[variant]]
name = "model"
model = "{model}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=collection.model_path())
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    collection.write_corpus(work / "corpus.jsonl")
    spec = work / "spec.toml"
    queries, qrels = collection.queries_path(), collection.qrels_path()
    model = arguments.model.resolve()
    spec.write_text(SPEC.format(work=work, queries=queries, qrels=qrels, model=model), "utf-8")
    found = compare(load_spec(spec), work / "out", say=print).results
    print(f"\n{describe('torch')}\n{found.judged} questions\n")
    print("| | terms a passage | a question | nDCG@10 | RR@10 | R@100 | p | PISA ms |")
    print("|---" * 8 + "|")
    for v in found.variants:
        test = v.tests.get("nDCG@10")
        time = v.fastest("pisa", 10)
        said = [f"{v.postings / v.documents:.1f}", f"{v.query_terms:.1f}"]
        said += [f"{v.means[m]:.4f}" for m in found.measures]
        said += [f"{test.corrected:.4f}" if test else "", f"{time.mean:.3f}" if time else ""]
        print(f"| {v.name} | {' | '.join(said)} |")


if __name__ == "__main__":
    main()
