"""Requests by which engines fuse: their shape, and Milvus' own answer to one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import command_line
from splade_bridge.retrieval.fused_queries import Field, request
from splade_bridge.retrieval.fusion import FusionOptions, RunLists, fuse

FIELDS = [Field("text", "contents"), Field("sparse", "splade"), Field("dense", "minilm")]
WEIGHTED = FusionOptions("combsum", weights=(2.0, 5.0, 3.0), depth=100)


def test_elasticsearch_retrievers() -> None:
    retrievers: list[dict[str, Any]] = [
        {"standard": {"query": {"match": {"contents": "{{text}}"}}}},
        {"standard": {"query": {"sparse_vector": {
            "field": "splade", "query_vector": "{{vector of splade}}", "prune": False}}}},
        {"knn": {"field": "minilm", "query_vector": "{{vector of minilm}}", "k": 100,
                 "num_candidates": 100}},
    ]  # fmt: skip
    body, told = request("elasticsearch", FusionOptions(depth=100, rank_constant=7), FIELDS, 10)
    assert told == []
    assert body == {
        "retriever": {
            "rrf": {"retrievers": retrievers, "rank_constant": 7, "rank_window_size": 100}
        },
        "size": 10,
    }
    body, _ = request("elasticsearch", WEIGHTED, FIELDS, 10)
    weighted = [
        {"retriever": r, "weight": w, "normalizer": "minmax"}
        for r, w in zip(retrievers, (0.2, 0.5, 0.3), strict=True)
    ]
    assert body["retriever"] == {"linear": {"retrievers": weighted, "rank_window_size": 100}}


def test_opensearch_hybrid_queries() -> None:
    body, told = request("opensearch", WEIGHTED, FIELDS, 10)
    assert body == {
        "query": {"hybrid": {"pagination_depth": 100, "queries": [
            {"match": {"contents": "{{text}}"}},
            {"neural_sparse": {"splade": {"query_tokens": "{{vector of splade}}"}}},
            {"knn": {"minilm": {"vector": "{{vector of minilm}}", "k": 100}}},
        ]}},
        "search_pipeline": {"phase_results_processors": [{"normalization-processor": {
            "normalization": {"technique": "min_max"},
            "combination": {"technique": "arithmetic_mean",
                            "parameters": {"weights": [0.2, 0.5, 0.3]}},
        }}]},
        "size": 10,
    }  # fmt: skip
    assert len(told) == 1 and "of each shard" in told[0]
    body, told = request("opensearch", FusionOptions(depth=100), FIELDS[:2], 10)
    assert body["search_pipeline"]["phase_results_processors"] == [
        {"score-ranker-processor": {"combination": {"technique": "rrf", "rank_constant": 60}}}
    ]
    z = FusionOptions("combsum", "z-score", depth=100)
    body, told = request("opensearch", z, FIELDS[:2], 10)
    (processor,) = body["search_pipeline"]["phase_results_processors"]
    assert processor["normalization-processor"]["normalization"] == {"technique": "z_score"}
    assert len(told) == 2 and "the lowest of the list here" in told[1]


def test_milvus_hybrid_search() -> None:
    searches: list[dict[str, Any]] = [
        {"data": ["{{text}}"], "annsField": "contents", "limit": 100, "metricType": "BM25"},
        {"data": ["{{vector of splade}}"], "annsField": "splade", "limit": 100,
         "metricType": "IP"},
        {"data": ["{{vector of minilm}}"], "annsField": "minilm", "limit": 100},
    ]  # fmt: skip
    body, told = request("milvus", FusionOptions(depth=100), FIELDS, 10)
    assert body == {
        "collectionName": "{{collection}}",
        "search": searches,
        "rerank": {"strategy": "rrf", "params": {"k": 60}},
        "limit": 10,
    }
    assert told == []
    body, told = request("milvus", WEIGHTED, FIELDS, 10)
    assert body["rerank"] == {
        "strategy": "weighted", "params": {"weights": [0.2, 0.5, 0.3], "norm_score": True}
    }  # fmt: skip
    assert len(told) == 1 and "arctan" in told[0]


def test_a_list_without_weight_is_not_asked() -> None:
    options = FusionOptions("combsum", weights=(1.0, 0.0, 1.0), depth=10)
    body, _ = request("milvus", options, FIELDS, 5)
    assert [s["annsField"] for s in body["search"]] == ["contents", "minilm"]
    assert body["rerank"]["params"]["weights"] == [0.5, 0.5]


def test_the_command_writes_a_request_and_no_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --tune the weights are those for queries to come."""
    monkeypatch.chdir(tmp_path)
    Path("a").write_text('{"q1": {"x": 2, "y": 1}, "q2": {"x": 2, "y": 1}}')
    Path("b").write_text('{"q1": {"y": 2, "x": 1}, "q2": {"y": 2, "x": 1}}')
    Path("qrels").write_text("q1 0 x 1\nq2 0 x 1\n")
    args = ["fuse", "a", "b", "--fusion", "combsum", "--as-query", "elasticsearch", "--query-field",
            "text:t", "--query-field", "sparse:s", "--depth", "50", "-k", "5"]  # fmt: skip
    status, out, _ = command_line.run(capfd, *args, "-o", "-")
    retrievers = orjson.loads(out)["retriever"]["linear"]["retrievers"]
    assert status == 0 and [r["weight"] for r in retrievers] == [0.5, 0.5]
    tune = ["--tune", "RR", "--qrels", "qrels", "--folds", "2", "--json"]
    status, out, _ = command_line.run(capfd, *args, "-o", "request.json", *tune)
    told = orjson.loads(out)
    written = orjson.loads(Path("request.json").read_bytes())
    retrievers = written["retriever"]["linear"]["retrievers"]
    assert [r["weight"] for r in retrievers] == told["weights"] and told["queries"] is None
    assert told["weights"][0] > told["weights"][1] and told["tuning"]["held_out"] == 1.0


def filled(value: Any, values: dict[str, Any]) -> Any:
    """``value`` with what stands for vectors replaced, as the documentation says."""
    if isinstance(value, dict):
        return {k: filled(v, values) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, values) for v in value]
    return values.get(value, value) if isinstance(value, str) else value


@pytest.mark.server
def test_milvus_answers_its_request_as_we_fuse(tmp_path: Path) -> None:
    """Milvus Lite's C++ core: reciprocal ranks of the same lists give the same scores."""
    pytest.importorskip("milvus_lite")
    from pymilvus import AnnSearchRequest, DataType, MilvusClient, RRFRanker, WeightedRanker

    rng = np.random.default_rng(0)
    client = MilvusClient(str(tmp_path / "m.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=9)
    schema.add_field("splade", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("minilm", DataType.FLOAT_VECTOR, dim=4)
    index = client.prepare_index_params()
    index.add_index("splade", index_type="SPARSE_INVERTED_INDEX", metric_type="IP",
                    params={"inverted_index_algo": "DAAT_MAXSCORE"})  # fmt: skip
    index.add_index("minilm", index_type="FLAT", metric_type="IP")
    client.create_collection("c", schema=schema, index_params=index)
    documents = [
        {
            "id": f"d{i}",
            "splade": {int(t): float(w) for t, w in zip(rng.choice(40, 9, False),
                                                        rng.integers(1, 400, 9), strict=True)},
            "minilm": rng.normal(size=4).astype(np.float32).tolist(),
        }
        for i in range(60)
    ]  # fmt: skip
    client.insert("c", documents)
    client.flush("c")
    client.load_collection("c")
    sparse = {int(t): 3.0 for t in range(0, 40, 3)}
    dense = [0.5, -1.0, 0.25, 2.0]
    values = {"{{vector of splade}}": sparse, "{{vector of minilm}}": dense, "{{collection}}": "c"}

    def alone(field: str) -> dict[str, float]:
        vector = sparse if field == "splade" else dense
        (found,) = client.search("c", [vector], anns_field=field, limit=20,
                                 consistency_level="Strong")  # fmt: skip
        return {hit["id"]: hit["distance"] for hit in found}

    lists = [{"q": alone("splade")}, {"q": alone("minilm")}]

    def answer(options: FusionOptions) -> list[tuple[str, float]]:
        body = filled(request("milvus", options, FIELDS[1:], 15).body, values)
        asked = [
            AnnSearchRequest(s["data"], s["annsField"], {"metric_type": s.get("metricType", "IP")},
                             s["limit"])
            for s in body["search"]
        ]  # fmt: skip
        params = body["rerank"]["params"]
        ranker = RRFRanker(params["k"]) if "k" in params else WeightedRanker(*params["weights"])
        (found,) = client.hybrid_search(
            body["collectionName"], asked, ranker, limit=body["limit"], consistency_level="Strong"
        )
        return [(hit["id"], hit["distance"]) for hit in found]

    options = FusionOptions(depth=20)
    theirs = dict(answer(options))
    (ours,) = fuse(RunLists(lists), options, 1000)
    mine = dict(zip(ours.doc_ids, ours.scores.tolist(), strict=True))
    assert len(theirs) == 15
    for doc_id, score in theirs.items():
        assert score == pytest.approx(mine[doc_id], rel=1e-5)
    assert sorted(theirs.values())[0] == pytest.approx(sorted(mine.values())[-15], rel=1e-5)
    # WeightedRanker: arctan, as the note says, and not min-max.
    weighted = FusionOptions("combsum", weights=(0.3, 0.7), depth=20)
    for doc_id, score in answer(weighted):
        parts = [0.3 * scaled(lists[0]["q"], doc_id), 0.7 * scaled(lists[1]["q"], doc_id)]
        assert score == pytest.approx(sum(parts), rel=1e-4)
    client.close()


def scaled(found: dict[str, float], doc_id: str) -> float:
    return math.atan(found[doc_id]) / math.pi + 0.5 if doc_id in found else 0.0
