"""What lambda does: terms, QD-FLOPS, quality and PISA's latency, beside a wanted number of terms.

    .venv/bin/python benchmarks/lambdas.py --openstax openstax --work lambdas

Trains the recipe `tiny` on OpenStax (training queries, other documents of the batch as negatives)
for each of three lambdas and two wanted numbers of terms, from one masked language model, that of
the recipe `demo`, and compares them on the test queries with `splade-bridge compare`. The judged
documents and a sample of the others are searched. A run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from machine import describe
from splade_bridge.comparison.compare import compare
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.report.results import VariantResult
from splade_bridge.training.mlm import train_mlm
from splade_bridge.training.recipe import read_recipe

LAMBDAS = ("0.001", "0.01", "0.1")
WANTED = ("40", "120")
SPEC = """
title = "Lambda on OpenStax"
baseline = "lambda 0.001"

[data]
root = "{openstax}"
corpus = "{corpus}"
topics = "queries.jsonl"
qrels = "qrels/test.tsv"
measures = ["nDCG@10", "RR@10", "R@100"]
collection = "openstax"

[engines]
pisa = ["block_max_wand", "maxscore"]

[bench]
ks = [10, 1000]
repeat = 3
queries = 200
"""
VARIANT = """
[[variant]]
name = "{name}"
group = "{group}"
label = "{value}"
recipe = "tiny"
max_length = 128
set = [
  "model.base={base}", "model.calibrate=1000", "loss.anti_zero=1.0", "validation=none",
  "data.path={{data}}", "data.positives=one",
  "train.steps={steps}", "train.learning_rate=5e-4", "train.warmup_steps=30",
  "train.precision=bf16", "train.log_every=25", "regularizer.ramp_steps={ramp}", {sides}
]
"""
BM25 = '[[variant]]\nname = "BM25"\nbm25 = {}\n'


def sides(key: str, query: str, document: str) -> str:
    """Settings of both sides; the one of `tiny` is a wanted number of terms."""
    given = {"query": query, "document": document}
    said = [f'"regularizer.{side}.{key}={value}"' for side, value in given.items()]
    if key == "weight":
        said += [f'"regularizer.{side}.target_terms=none"' for side in given]
    return ", ".join(said)


def sample(openstax: Path, out: Path, size: int) -> None:
    """Write the documents that the test set judges, and others up to ``size`` in all."""
    qrels = read_qrels(openstax / "qrels" / "test.tsv")
    judged = {doc_id for answers in qrels.values() for doc_id in answers}
    with gzip.open(openstax / "corpus.jsonl.gz") as file:
        lines = {json.loads(line)["_id"]: line for line in file}
    others = [doc_id for doc_id in lines if doc_id not in judged]
    missing = max(0, min(len(others), size - len(judged)))
    chosen = judged | {others[i * len(others) // missing] for i in range(missing)}
    out.write_bytes(b"".join(line for doc_id, line in lines.items() if doc_id in chosen))


def spec(openstax: Path, corpus: Path, base: Path, steps: int) -> str:
    shared = {"base": base, "steps": steps, "ramp": steps // 2}
    text = SPEC.format(openstax=openstax, corpus=corpus)
    for value in LAMBDAS:
        chosen = sides("weight", value, value)
        text += VARIANT.format(
            name=f"lambda {value}", group="lambda", value=value, sides=chosen, **shared
        )
    for value in WANTED:
        chosen = sides("target_terms", "20", value)
        text += VARIANT.format(
            name=f"{value} terms wanted", group="wanted", value=value, sides=chosen, **shared
        )
    return text + BM25


def row(v: VariantResult) -> str:
    times = [f for k in (10, 1000) if (f := v.fastest("pisa", k))]
    said = [f"{v.postings / v.documents:.1f}", f"{v.query_terms:.1f}", f"{v.qd_flops:.2f}"]
    said += [f"{v.means[m]:.4f}" for m in ("nDCG@10", "R@100")]
    said += [f"{t.mean:.3f} ({t.algorithm})" for t in times]
    return f"| {v.name} | {' | '.join(said)} | {v.seconds.get('train', 0):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--openstax", type=Path, required=True, help="the BEIR folder")
    parser.add_argument("--work", type=Path, required=True, help="for models and results")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rebench", action="store_true", help="measure latencies again")
    arguments = parser.parse_args()
    openstax, work = arguments.openstax.resolve(), arguments.work.resolve()
    base = work / "mlm"
    if not base.exists():
        texts = f"mlm.texts=['{openstax / 'mlm.txt.gz'}']"
        options = read_recipe("demo", [texts]).mlm
        assert options is not None
        print(train_mlm(replace(options, out=base), print))
    file = work / "spec.toml"
    corpus = work / "corpus.jsonl"
    sample(openstax, corpus, arguments.documents)
    file.write_text(spec(openstax, corpus, base, arguments.steps), "utf-8")
    say = partial(print, flush=True)
    found = compare(load_spec(file), work / "out", say=say, rebench=arguments.rebench).results
    print(f"\n{describe('torch', 'sentence-transformers')}\n{found.judged:,} test queries\n")
    print("| variant | terms a document | a query | QD-FLOPS | nDCG@10 | R@100 "
          "| PISA ms, k = 10 | k = 1000 | training s |")  # fmt: skip
    print("|---" * 9 + "|")
    for v in found.variants:
        print(row(v))


if __name__ == "__main__":
    main()
