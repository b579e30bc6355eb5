"""What Lucene's own feature fields store and score is what the arithmetic here says."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from javac import compiled
from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.java import java
from splade_bridge.formats.feeds.weights import as_feature

SOURCE = Path(__file__).with_name("Features.java")


@pytest.fixture(scope="module")
def class_path(lucene: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(SOURCE, lucene_for_writing(), tmp_path_factory.mktemp("features"))


def of_lucene(
    class_path: str, documents: np.ndarray, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    told = struct.pack(">iii", *documents.shape, len(queries))
    told += documents.astype(">f4").tobytes() + queries.astype(">f4").tobytes()
    done = subprocess.run(
        [java(), "-cp", class_path, "splade_bridge.Features"],
        input=told, capture_output=True, check=True,
    )  # fmt: skip
    found = np.frombuffer(done.stdout, ">f4").astype(np.float32)
    stored, scores = found[: documents.size], found[documents.size :]
    return stored.reshape(documents.shape), scores.reshape(len(queries), len(documents))


def scored(documents: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Products in float32, summed in float64, as Lucene's disjunctions do."""
    products = documents[None].astype(np.float32) * queries[:, None].astype(np.float32)
    return products.astype(np.float64).sum(axis=2).astype(np.float32)


@pytest.mark.long
def test_what_is_stored_and_scored(class_path: str) -> None:
    random = np.random.default_rng(7)
    documents = np.zeros((400, 20), np.float32)
    documents[:100] = random.integers(1, 2000, (100, 20))
    documents[100:200] = random.integers(1, 2**31 - 1, (100, 20), dtype=np.int32)
    documents[200:300] = random.lognormal(0, 1, (100, 20))
    # Any bits that make a normal number above 0.
    bits = random.integers(0x00800000, 0x7F7FFFFF, (100, 20), dtype=np.uint32)
    documents[300:] = bits.view(np.float32)
    stored, _ = of_lucene(class_path, documents, np.ones((1, 20), np.float32))
    assert (stored == as_feature(documents)).all()
    assert (stored != documents).any()

    few = documents[:100] * (random.random((100, 20)) < 0.4)
    queries = random.integers(0, 400, (50, 20)) * (random.random((50, 20)) < 0.5)
    _, scores = of_lucene(class_path, few, queries.astype(np.float32))
    # Whole numbers below 2^24 throughout: no order of summing can make a difference.
    assert scores.max() < 2**24
    assert (scores == scored(as_feature(few), queries)).all()
