"""Reranking as the last step of a variant of a comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from checkpoints import one_thread, save_bert  # noqa: F401
from small import write_texts
from splade_bridge.comparison.compare import compare
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.errors import BadInputError
from splade_bridge.retrieval.rerank import RerankOptions, rerank_to_run
from splade_bridge.retrieval.runs import read_run

WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "it", "was"]
SPEC = """
baseline = "plain"
[data]
documents = "docs.jsonl"
queries = "queries.tsv"
corpus = "corpus.jsonl"
topics = "topics.jsonl"
qrels = "qrels.txt"
measures = ["nDCG@10"]
depth = 20
[engines]
exact = []
[bench]
ks = [5]
repeat = 1
queries = 2
[[variant]]
name = "plain"
[[variant]]
name = "reranked"
rerank = { model = "model", depth = 4 }
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    documents = {f"d{i}": " ".join(WORDS[(i * j) % 10] for j in range(1, 6)) for i in range(12)}
    write_texts(folder / "corpus.jsonl", documents)
    write_texts(folder / "topics.jsonl", {"q0": "the of", "q1": "in is that"})
    lines = []
    for doc_id, text in documents.items():
        vector = {word: 1 + text.split().count(word) for word in text.split()}
        lines.append(json.dumps({"id": doc_id, "vector": vector}))
    (folder / "docs.jsonl").write_text("\n".join(lines))
    (folder / "queries.tsv").write_text("q0\tthe of\nq1\tin is that\n")
    (folder / "qrels.txt").write_text("q0 0 d0 1\nq1 0 d3 1\n")
    (folder / "spec.toml").write_text(SPEC)
    save_bert(folder / "model", "cross-encoder")
    return folder


def test_a_variant_is_searched_and_then_reranked(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = compare(load_spec(data / "spec.toml"), out)
    plain, last = outcome.results.variants
    (searched,) = (out / "work" / "run").glob("*/run.trec.zst")
    (found,) = (out / "work" / "rerank").glob("*/run.trec.zst")
    wanted = tmp_path / "wanted"
    options = RerankOptions(depth=4, k=20)
    texts = str(data / "corpus.jsonl"), str(data / "topics.jsonl")
    rerank_to_run(searched, wanted, str(data / "model"), *texts, options)
    assert read_run(found) == read_run(wanted) != read_run(searched)
    assert last.indexes[0].seconds.keys() == {"index", "search", "rerank"}
    assert plain.indexes[0].seconds.keys() == {"index", "search"}
    assert last.reranking_ms and last.reranking_ms > 0 and plain.reranking_ms is None
    assert last.steps[-1] == "the best 4 reranked by model"
    assert "ms to rerank a query" in (out / "report.html").read_text()
    again = compare(load_spec(data / "spec.toml"), out)
    assert again.done == {} and again.kept["rerank"] == 1
    assert outcome.done["run"] == 1, "both are searched once"


def test_what_cannot_be_reranked_is_refused(data: Path, tmp_path: Path) -> None:
    spec = data / "changed.toml"

    def refused(old: str, new: str, words: str) -> None:
        spec.write_text(SPEC.replace(old, new))
        with pytest.raises(BadInputError, match=words):
            compare(load_spec(spec), tmp_path / "out")

    refused("depth = 4", "depth = 0", "rerank depth: must be 1 or more")
    refused("depth = 4", 'scorer = "magic"', "rerank scorer: is one of cross-encoder, dense")
    refused("depth = 4", "deep = 4", "deep")
    refused('corpus = "corpus.jsonl"\n', "", "give corpus in")
    refused('model = "model"', 'model = "no/such/model"', "variant 'reranked'")
    fusion = '[[fusion]]\nname = "f"\nof = ["plain", "reranked"]\n'
    refused("[[variant]]\nname = \"plain\"", f"{fusion}[[variant]]\nname = \"plain\"",
            "'reranked' is reranked, and fusing comes before")  # fmt: skip
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
