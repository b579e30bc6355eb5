"""The demo's collection: documentation strings of Python, questions about them, and a model.

The passages are those of :mod:`splade_bridge.demo.docstrings`; questions, answers and model lie in
this folder.
"""

from __future__ import annotations

import json
from pathlib import Path

from splade_bridge.demo.docstrings import Passage, passages

__all__ = ["Passage", "model_path", "passages", "qrels_path", "queries_path", "write_corpus"]

_DATA = Path(__file__).resolve().parent


def queries_path() -> Path:
    """The demo questions, JSON lines of `_id` and `text`."""
    return _DATA / "queries.jsonl"


def qrels_path() -> Path:
    """The answers to the demo questions, BEIR style: query-id, corpus-id, score (2 or 1)."""
    return _DATA / "qrels.tsv"


def training_questions_path() -> Path:
    """Questions to train on, a line each: the question, a tab, the ids of its answers."""
    return _DATA / "training_questions.tsv"


def model_path() -> Path:
    """The folder of the demo model, as `splade-bridge train demo` writes it."""
    return _DATA / "model"


def write_corpus(path: Path) -> int:
    """Write the passages to `path` as JSON lines (`_id`, `title`, `text`); return their number."""
    count = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for passage in passages():
            record = {"_id": passage.id, "title": passage.title, "text": passage.text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count
