"""Documents ranked by their best passage, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines.registry import engine
from splade_bridge.retrieval import passages
from splade_bridge.retrieval.passages import document_of
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions, search_to_run


@pytest.mark.parametrize(
    ("passage", "document"),
    [("a#0", "a"), ("a#b#12", "a#b"), ("a#1#2", "a#1"), ("a", "a"), ("a#", "a#"), ("#3", "#3"),
     ("a#x", "a#x"), ("a#1x", "a#1x"), ("a#٣", "a#٣")],
)  # fmt: skip
def test_the_document_of_a_passage(passage: str, document: str) -> None:
    assert document_of(passage) == document


def passages_of(seed: int, documents: int) -> list[str]:
    """Ids of passages: many documents of one or two, some of very many; in random order."""
    rng = np.random.default_rng(seed)
    counts = np.where(rng.random(documents) < 0.1, rng.integers(20, 80, documents), 1)
    counts = np.where(rng.random(documents) < 0.3, 2, counts)
    names = [f"doc{d}#9" if d % 5 == 0 else f"doc{d}" for d in range(documents)]
    ids = [f"{name}#{n}" for name, count in zip(names, counts, strict=True) for n in range(count)]
    return [ids[i] for i in rng.permutation(len(ids))]


@pytest.mark.sample(1, of="exact")
@pytest.mark.parametrize("largest", [2, 300], ids=["many ties", "few ties"])
def test_folded_rankings_are_exact(
    tmp_path: Path, engine_name: str, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against brute force, with documents of up to 80 passages and scores that tie."""
    if engine_name == "exact":  # which starts no JVM for each of many small steps
        monkeypatch.setattr(passages, "LEAST_DEPTH", 1)
        monkeypatch.setattr(passages, "HITS_AT_ONCE", 50)
    ids = passages_of(largest, 150)
    terms = [f"t{i}" for i in range(12)]
    matrix = random_matrix(largest, len(ids), 12, 0.3, largest)
    weights = random_matrix(largest + 1, 12, 12, 0.3, largest)
    index = tmp_path / "index"
    engine(engine_name).build(MemorySource(matrix, ids, terms), index)
    queries = queries_of(weights, terms)
    for k in (1, 10, 1000):
        options = SearchOptions(k=k, max_passage=True)
        search_to_run(index, queries, tmp_path / f"run{k}", options)
        found = read_run(tmp_path / f"run{k}")
        for query_id, query in zip(queries.batch.ids, weights, strict=True):
            best: dict[str, int] = {}
            for passage, score in zip(ids, (matrix @ query).tolist(), strict=True):
                doc_id = passage.rpartition("#")[0]
                best[doc_id] = max(score, best.get(doc_id, 0))
            ranked = sorted((-s, d) for d, s in best.items() if s > 0)[:k]
            assert list(found.get(query_id, {}).items()) == [(d, -s) for s, d in ranked]


def test_the_querys_own_document_is_removed_with_all_its_passages(tmp_path: Path) -> None:
    ids = ["q0#0", "q0#1", "a#0", "b#0"]
    matrix = np.array([[9], [8], [7], [6]])
    engine("exact").build(MemorySource(matrix, ids, ["t"]), tmp_path / "i")
    options = SearchOptions(k=2, max_passage=True, remove_query=True)
    search_to_run(tmp_path / "i", queries_of(np.array([[1]]), ["t"]), tmp_path / "run", options)
    assert read_run(tmp_path / "run") == {"q0": {"a": 7.0, "b": 6.0}}
