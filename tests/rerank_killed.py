"""Run by test_rerank: rerank in children, kill them at several moments, let the last finish."""

from __future__ import annotations

import sys
from pathlib import Path

import sentence_transformers  # noqa: F401

from killing import killed_at
from splade_bridge.encoding.choices import ScorerOptions
from splade_bridge.retrieval.rerank import RerankOptions, rerank_to_run

MOMENTS = ("plan.json", "part-00000.jsonl", "part-00003.jsonl", None)


def rerank(run: str, out: str, model: str, texts: str) -> None:
    options = RerankOptions(part_queries=1, computing=ScorerOptions(threads=1, device="cpu"))
    rerank_to_run(Path(run), Path(out), model, texts, texts, options)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(killed_at(MOMENTS, Path(f"{given[1]}.parts"), lambda: rerank(*given)))
