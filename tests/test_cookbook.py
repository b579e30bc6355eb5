"""docs/cookbook.md, run as it stands; ``test_neighbours`` says what a block is."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from itertools import islice
from pathlib import Path

import pytest

from small import write_json_lines
from splade_bridge.demo.collection import model_path
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError
from test_neighbours import ROOT, run

PAGE = (ROOT / "docs" / "cookbook.md").read_text()
PARTS = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
RECIPES = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
OF_VECTORS = (
    "A published Anserini regression, reproduced",
    "CIFF from others to PISA, with latencies",
    "A prebuilt Anserini index to PISA",
    "Prune to a budget",
)
OF_TEXTS = (
    "A sentence-transformers model to Lucene",
    "A BEIR table",
    "Training on one's own triples",
    "Moving to a search engine",
)


def vectors(there: Path, folder: Path) -> None:
    """What the recipes of SPLADE-v3's vectors begin with."""
    for name, source in (
        ("docs.jsonl.gz", "docs.jsonl.gz"),
        ("docs.osirrc.ciff.gz", "docs.osirrc.ciff.gz"),
        ("topics.tsv.gz", "topics.nfcorpus.test.splade-v3.tsv.gz"),
        ("qrels.txt", "qrels.nfcorpus.test.trec"),
        ("anserini.run.gz", "expected/run.splade-v3.txt.gz"),
    ):
        shutil.copyfile(there / source, folder / name)
    shutil.copytree(there / "index.lucene-9.9.1", folder / "index.lucene-9.9.1")


def texts(folder: Path) -> None:
    """A model, passages of Python's documentation with judged questions, and triples."""
    from splade_bridge.demo.collection import passages, qrels_path, queries_path

    shutil.copytree(model_path(), folder / "model")
    beir = folder / "beir"
    (beir / "qrels").mkdir(parents=True)
    some = list(islice(passages(), 120))
    rows = [{"_id": p.id, "title": p.title, "text": p.text[:300]} for p in some]
    write_json_lines(beir / "corpus.jsonl", rows)
    ids = {row["_id"] for row in rows}
    head, *judged = qrels_path().read_text().splitlines()
    kept = [line for line in judged if line.split("\t")[1] in ids]
    asked = [json.loads(line) for line in queries_path().read_text().splitlines()]
    wanted = {line.split("\t")[0] for line in kept}
    assert wanted
    (beir / "qrels" / "test.tsv").write_text("\n".join([head, *kept, ""]))
    write_json_lines(beir / "queries.jsonl", [q for q in asked if q["_id"] in wanted])
    write_json_lines(
        folder / "triples.jsonl",
        (
            {"query": a["title"], "positive": a["text"], "negative": b["text"]}
            for a, b in zip(rows[:40], rows[40:80], strict=True)
        ),
    )


def test_all_recipes_are_run() -> None:
    assert {*OF_VECTORS, *OF_TEXTS} == set(RECIPES)


@pytest.mark.long
def test_recipes_of_vectors(shared: Path, tmp_path: Path, lucene: None) -> None:
    try:
        engine("pisa").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    vectors(shared / "splade-v3-nfcorpus", tmp_path)
    for name in OF_VECTORS:
        run("cookbook", RECIPES[name], tmp_path)
    with gzip.open(tmp_path / "anserini.run.gz", "rt") as lines:
        theirs = [line.split() for line in lines]
    ours = [line.split() for line in (tmp_path / "run.txt").read_text().splitlines()]
    found = {(q, d): round(float(s)) for q, _, d, _, s, _ in theirs}
    assert {(q, d): float(s) for q, _, d, _, s, _ in ours} == found


@pytest.mark.long
def test_recipes_of_texts(tmp_path: Path, lucene: None) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("milvus_lite", exc_type=ImportError)
    texts(tmp_path)
    for name in OF_TEXTS:
        run("cookbook", RECIPES[name], tmp_path)
    assert "all" in (tmp_path / "quality.txt").read_text()
    assert len((tmp_path / "terms.txt").read_text().splitlines()) == 5
