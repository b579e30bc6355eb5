"""The request of an engine that fuses lists itself, for the same fusion.

What is to be filled in stands as a string: ``{{text}}`` is the query's text, ``{{vector of
FIELD}}`` its vector for that field (``{term: weight}`` in Elasticsearch and OpenSearch,
``{dimension: weight}`` in Milvus, or a list of numbers), ``{{collection}}`` the name of a Milvus
collection. A whole string is replaced by a JSON value. docs/fusion.md says where engines differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from splade_bridge.data.choices import check_choice
from splade_bridge.errors import UsageError
from splade_bridge.retrieval.choices import FusingEngine
from splade_bridge.retrieval.fusion import FusionOptions

FieldKind = Literal["text", "sparse", "dense"]

TEXT, COLLECTION = "{{text}}", "{{collection}}"
MOST_HYBRID = 5
"""Queries in one hybrid query of OpenSearch."""


class Limit(NamedTuple):
    """How many documents an engine gives at most."""

    name: str
    most: int


LIMITS: dict[FusingEngine, Limit] = {
    "elasticsearch": Limit("Elasticsearch", 10_000),
    "opensearch": Limit("OpenSearch", 10_000),
    "milvus": Limit("Milvus", 16_384),
}


@dataclass(frozen=True)
class Field:
    """What a list comes from: a field that is searched by the query's text or by a vector."""

    kind: FieldKind
    name: str

    @classmethod
    def parse(cls, given: str) -> Field:
        """From ``KIND:NAME``, as ``sparse:splade``.

        Raises:
            UsageError: it is something else.
        """
        kind, _, name = given.partition(":")
        if kind not in get_args(FieldKind) or not name:
            raise UsageError(
                f"--query-field {given}: must be KIND:NAME, where KIND is text, sparse or dense, "
                "as sparse:splade"
            )
        return cls(kind, name)  # type: ignore[arg-type]

    @property
    def value(self) -> str:
        """What stands for the text or the vector."""
        return TEXT if self.kind == "text" else f"{{{{vector of {self.name}}}}}"


class Request(NamedTuple):
    """A request, and what it does otherwise than we do, in sentences."""

    body: dict[str, Any]
    told: list[str]


def request(
    engine: FusingEngine, options: FusionOptions, fields: Sequence[Field], k: int
) -> Request:
    """The body of a search that fuses one list a field.

    Elasticsearch: of ``POST /INDEX/_search``, with the retriever ``rrf`` or ``linear``. OpenSearch:
    the same, with a hybrid query and the search pipeline that combines it. Milvus: of ``POST
    /v2/vectordb/entities/hybrid_search``.

    Args:
        fields: one a list, in the order of the weights.
        k: documents that come back.

    Raises:
        UsageError: the engine has no such fusion, or cannot give so many documents.
    """
    check_choice("as-query", engine, FusingEngine)
    name, most = LIMITS[engine]
    weighted = [
        (field, w) for field, w in zip(fields, options.weights_of(len(fields)), strict=True) if w
    ]
    if len(weighted) < 2:
        raise UsageError(
            f"--as-query {engine}: one list only has a weight above 0; there is nothing to fuse"
        )
    if max(options.depth, k) > most:
        raise UsageError(
            f"--as-query {engine}: {name} gives at most {most:,} documents; lower --depth and "
            "--hits"
        )
    if options.fusion == "combmnz":
        raise UsageError(
            f"--as-query {engine}: {name} has no combmnz; take --fusion rrf or combsum"
        )
    total = sum(w for _, w in weighted)
    shares = [w / total for _, w in weighted]
    return _MAKE[engine](options, [field for field, _ in weighted], shares, k)


def _elasticsearch(
    options: FusionOptions, fields: list[Field], shares: list[float], k: int
) -> Request:
    if k > options.depth:
        raise UsageError(
            f"--as-query elasticsearch: --hits {k} is more than --depth {options.depth}, which "
            "Elasticsearch refuses: lower --hits"
        )
    retrievers = [_retriever(field, options.depth) for field in fields]
    fusing: dict[str, Any]
    if options.fusion == "rrf":
        _check_rank_constant("elasticsearch", options)
        _check_even("elasticsearch", shares)
        fusing = {"rrf": {"retrievers": retrievers, "rank_constant": options.rank_constant}}
    else:
        _check_min_max("elasticsearch", options)
        weighted = [
            {"retriever": r, "weight": share, "normalizer": "minmax"}
            for r, share in zip(retrievers, shares, strict=True)
        ]
        fusing = {"linear": {"retrievers": weighted}}
    for inside in fusing.values():
        inside["rank_window_size"] = options.depth
    return Request({"retriever": fusing, "size": k}, [])


def _retriever(field: Field, depth: int) -> dict[str, Any]:
    if field.kind == "dense":
        knn = {"field": field.name, "query_vector": field.value, "k": depth}
        return {"knn": {**knn, "num_candidates": depth}}
    query: dict[str, Any] = {"match": {field.name: field.value}}
    if field.kind == "sparse":
        # Without prune: false it leaves out terms, and with them documents.
        sparse = {"field": field.name, "query_vector": field.value, "prune": False}
        query = {"sparse_vector": sparse}
    return {"standard": {"query": query}}


def _opensearch(
    options: FusionOptions, fields: list[Field], shares: list[float], k: int
) -> Request:
    if len(fields) > MOST_HYBRID:
        raise UsageError(
            f"--as-query opensearch: a hybrid query takes at most {MOST_HYBRID} queries, not "
            f"{len(fields)}"
        )
    told = [
        f"OpenSearch fuses the best {options.depth:,} of each shard: the same as here if the index "
        "has one"
    ]
    combination: dict[str, Any]
    if options.fusion == "rrf":
        _check_rank_constant("opensearch", options)
        combination = {"technique": "rrf", "rank_constant": options.rank_constant}
        processor = {"score-ranker-processor": {"combination": combination}}
    else:
        technique = options.normalization.replace("-", "_")
        combination = {"technique": "arithmetic_mean"}
        processor = {
            "normalization-processor": {
                "normalization": {"technique": technique},
                "combination": combination,
            }
        }
        if options.normalization == "z-score":
            told.append(
                "OpenSearch has z_score from version 3.0 on, and gives a document that a list "
                "lacks no score there, where it has the lowest of the list here"
            )
    if len(set(shares)) > 1:
        combination["parameters"] = {"weights": shares}
        if options.fusion == "rrf":
            told.append("OpenSearch 2.19 has no weights for rrf: later versions have")
    queries: list[dict[str, Any]] = []
    for field in fields:
        if field.kind == "text":
            queries.append({"match": {field.name: field.value}})
        elif field.kind == "sparse":
            queries.append({"neural_sparse": {field.name: {"query_tokens": field.value}}})
        else:
            queries.append({"knn": {field.name: {"vector": field.value, "k": options.depth}}})
    body = {
        "query": {"hybrid": {"queries": queries, "pagination_depth": options.depth}},
        "search_pipeline": {"phase_results_processors": [processor]},
        "size": k,
    }
    return Request(body, told)


METRICS = {"text": "BM25", "sparse": "IP"}
"""Of Milvus, by the kind of a field; of dense vectors it is that of their index."""


def _milvus(options: FusionOptions, fields: list[Field], shares: list[float], k: int) -> Request:
    told = []
    rerank: dict[str, Any]
    if options.fusion == "rrf":
        _check_rank_constant("milvus", options)
        _check_even("milvus", shares)
        rerank = {"strategy": "rrf", "params": {"k": options.rank_constant}}
    else:
        _check_min_max("milvus", options)
        rerank = {"strategy": "weighted", "params": {"weights": shares, "norm_score": True}}
        told.append(
            "Milvus brings scores to one scale by arctan and not by min-max: its ranking is "
            "another one, and weights that were found here are not the best there"
        )
    searches = []
    for field in fields:
        search = {"data": [field.value], "annsField": field.name, "limit": options.depth}
        metric = METRICS.get(field.kind)
        searches.append(search | ({"metricType": metric} if metric else {}))
    body = {"collectionName": COLLECTION, "search": searches, "rerank": rerank, "limit": k}
    return Request(body, told)


_MAKE: dict[FusingEngine, Callable[[FusionOptions, list[Field], list[float], int], Request]] = {
    "elasticsearch": _elasticsearch,
    "opensearch": _opensearch,
    "milvus": _milvus,
}


def _check_rank_constant(engine: FusingEngine, options: FusionOptions) -> None:
    most = 10_000 if engine != "elasticsearch" else 2**31 - 1
    if not 1 <= options.rank_constant <= most:
        raise UsageError(
            f"--as-query {engine}: {LIMITS[engine].name} takes a --rank-constant from 1 to "
            f"{most:,}, not {options.rank_constant}"
        )


def _check_even(engine: FusingEngine, shares: list[float]) -> None:
    if len(set(shares)) > 1:
        raise UsageError(
            f"--as-query {engine}: {LIMITS[engine].name} has no weights for rrf; leave --weight "
            "out, or take --fusion combsum"
        )


def _check_min_max(engine: FusingEngine, options: FusionOptions) -> None:
    if options.normalization != "min-max":
        raise UsageError(
            f"--as-query {engine}: {LIMITS[engine].name} has no z-scores; take --normalization "
            "min-max"
        )
