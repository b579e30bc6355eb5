"""OpenSearch 2 and 3: ``rank_features``, asked by linear ``rank_feature`` or ``neural_sparse``.

A field keeps 9 significant bits of a weight. ``rank_feature`` never finds a name with a dot, so
names are escaped; ``neural_sparse``, of the plugin neural-search, takes plain terms and weights of
queries in (0, 64], so those are divided by a power of two and the scores multiplied back. No search
pipeline takes part, since the two-phase processor of neural-search changes what is found.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from splade_bridge.data.vectors import Int32Array
from splade_bridge.engines.remote.base import Float64Array, RemoteOptions
from splade_bridge.engines.remote.faults import Busy, ServerError, missing_client
from splade_bridge.engines.remote.opensearch_options import OpenSearchOptions, OpenSearchQuery
from splade_bridge.engines.remote.rest import (
    CONNECTIONS,
    KEEP_ALIVE,
    SECONDS,
    RestIndex,
    VectorField,
    basic_login,
    content_type,
)
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.elastic import Bulk, NeuralSparse, RankFeatures
from splade_bridge.formats.feeds.names import Naming
from splade_bridge.formats.feeds.weights import FEATURE

log = logging.getLogger(__name__)

QUERY_META = "splade_bridge_query"
"""In ``_meta`` of the mapping: which query an index of ours is for."""
FEEDS: dict[OpenSearchQuery, type[Bulk]] = {
    "rank_feature": RankFeatures, "neural_sparse": NeuralSparse,
}  # fmt: skip
MOST_CLAUSES = 1024
"""By default."""
CLAUSES = "indices.query.bool.max_clause_count"
ML = "/_plugins/_ml"
ENCODERS = ("SPARSE_ENCODING", "SPARSE_TOKENIZE")
PLUGIN = "opensearch-neural-search"
ANY_STATUS = range(300, 600)


class OpenSearch(RestIndex):
    """An index with one ``rank_features`` field."""

    engine = "OpenSearch"
    extra = "opensearch"
    kept = FEATURE
    types = ("rank_features",)
    shown = (*RestIndex.shown, "search")
    _searching: ClassVar[Mapping[str, Any]] = {
        **RestIndex._searching, "search_pipeline": "_none",
    }  # fmt: skip

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        try:
            import opensearchpy
        except ImportError as error:
            raise MissingToolError(missing_client(self.engine, self.extra, error)) from error
        if secrets.api_key and not secrets.password:
            raise UsageError(
                f"{address}: OpenSearch takes no API key: give SPLADE_BRIDGE_USER and "
                "SPLADE_BRIDGE_PASSWORD"
            )
        self._errors = opensearchpy.exceptions
        # It logs a traceback of every connection that fails, which we tell in a line.
        logging.getLogger("opensearch").setLevel(logging.ERROR)
        given: dict[str, Any] = {}
        if secrets.password:
            given["headers"] = basic_login(secrets, "admin")
        if secrets.ca and address.secure:
            given["ca_certs"] = secrets.ca
        self._client = opensearchpy.OpenSearch(
            [{"host": address.host, "port": address.port}],
            use_ssl=address.secure,
            timeout=SECONDS,
            pool_maxsize=CONNECTIONS,
            **given,
        )
        self._query: OpenSearchQuery = "rank_feature"
        self._for("rank_feature")

    def _for(self, query: OpenSearchQuery, naming: Naming | None = None) -> None:
        """Ask by this query from now on."""
        self._query = query
        self.feed = FEEDS[query](self.field, "index")
        self.naming: Naming = naming or self.feed.naming

    def encoded_by(self, model: str, texts: Sequence[str]) -> list[dict[str, float]]:
        """See :class:`RemoteIndex`: by ml-commons, which leaves special tokens out."""
        path = f"{ML}/models/{quote(model, safe='')}"
        told = self._ask("GET", path, allow=404)
        if told is None:
            raise ServerError(f"{self.address.server}: OpenSearch has no model {model}")
        kind = str(told.get("algorithm") or told.get("function_name"))
        if kind not in ENCODERS:
            raise BadInputError(
                f"model {model} is of kind {kind}, and gives no weights of terms: "
                f"{' and '.join(ENCODERS)} do",
                self.address.server,
            )
        path = f"{ML}/_predict/{kind.lower()}/{quote(model, safe='')}"
        answer = self._ask("POST", path, {"text_docs": list(texts)})
        return [
            weights
            for result in answer["inference_results"]
            for output in result["output"]
            for weights in output["dataAsMap"]["response"]
        ]

    def _send(
        self, method: str, path: str, body: bytes | None, params: Mapping[str, Any]
    ) -> tuple[int, Any]:
        connection = self._client.transport.get_connection()
        try:
            status, _, answer = connection.perform_request(
                method,
                path,
                params,
                body,
                headers=content_type(path, body),
                ignore=ANY_STATUS,
            )
        except self._errors.SSLError as error:
            raise self.untrusted(error.info or error) from error
        except self._errors.ConnectionTimeout as error:
            raise Busy(f"{self.address}: no answer in {SECONDS} seconds") from error
        except self._errors.ConnectionError as error:
            raise Busy(str(self.unreachable(error.info or error))) from error
        try:
            return status, orjson.loads(answer) if answer else {}
        except orjson.JSONDecodeError:
            return status, answer

    # Which query

    def use(self, made: RemoteOptions) -> None:
        """See :class:`RemoteIndex`."""
        self._for(OpenSearchOptions(**made.own).query)

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`.

        Names in an index of others are plain terms, unless the escaped dot or percent sign is among
        them; it is asked by ``neural_sparse`` where the plugin is there.
        """
        super().look(field)
        meta = self._mapping().get("_meta", {})
        if self._is_ours:
            self._for(meta.get(QUERY_META, "rank_feature"))

    def _take(self, found: VectorField) -> None:
        super()._take(found)
        if self._holds_escaped():
            self._for("rank_feature")
        elif self._has_plugin:
            self._for("neural_sparse")
        else:
            self._for("rank_feature", "term")

    def _holds_escaped(self) -> bool:
        """Whether there is a feature named as :func:`.names.escaped` names a dot or a percent."""
        asked = [
            {"rank_feature": {"field": f"{self.field}.{name}", "linear": {}}}
            for name in ("%2E", "%25")
        ]
        query: dict[str, Any] = {"bool": {"should": asked}}
        if self._nested is not None:
            query = {"nested": {"path": self._nested, "query": query}}
        found = self._ask(
            "POST", f"{self._path}/_search", {"size": 0, "query": query, "terminate_after": 1},
            **self._searching,
        )  # fmt: skip
        return bool(found["hits"]["total"]["value"])

    @cached_property
    def _has_plugin(self) -> bool:
        try:
            told = self._ask("GET", "/_nodes/plugins", filter_path="nodes.*.plugins.name")
        except ServerError:  # who may not know does without
            return False
        nodes = told.get("nodes", {}).values()
        return bool(nodes) and all(
            any(plugin["name"] == PLUGIN for plugin in node.get("plugins", [])) for node in nodes
        )

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RestIndex`."""
        made = super().creation(options)
        made["mappings"]["_meta"] = {QUERY_META: self._query}
        return made

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RestIndex`.

        Raises:
            ServerError: the plugin neural-search is not there, whose query was asked for.
        """
        if self._query == "neural_sparse" and not self._has_plugin:
            raise ServerError(
                f"{self.address}: this OpenSearch has no plugin neural-search, and so no query "
                "neural_sparse: install it, or leave --opensearch-query out"
            )
        super().create(options, state)

    # Asked

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RestIndex`.

        Raises:
            BadInputError: ``rank_feature`` does not find a term of the query.
        """
        dotted = [name for name in names if "." in name]
        if dotted and self._query == "rank_feature":
            raise BadInputError(
                f"terms of a query hold dots ({', '.join(dotted[:3])}), which rank_feature never "
                "finds as the index names them: install the plugin neural-search, or load the "
                "vectors anew (convert them, then index)",
                str(self.address),
            )
        try:
            return super().top(names, weights, n, only)
        except ServerError as error:
            if len(names) <= MOST_CLAUSES or "clause" not in str(error).lower():
                raise
            raise ServerError(
                f"{self.address}: a query of {len(names):,} terms, and OpenSearch takes "
                f"{MOST_CLAUSES:,} clauses: PUT /_cluster/settings "
                f'{{"persistent":{{"{CLAUSES}":{len(names)}}}}} lets it take them, now and for '
                "every index"
            ) from error

    def _pages(self, body: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
        """By a scroll, which 2.x and 3.x have and which needs no order of all documents."""
        asked = {"sort": [{"_doc": "asc"}], **body, "size": size}
        asked.pop("track_total_hits", None)  # a scroll counts them, and lets nobody refuse
        answer = self._ask(
            "POST", f"{self._path}/_search", asked, scroll=KEEP_ALIVE, **self._searching
        )
        try:
            while hits := answer["hits"]["hits"]:
                yield hits
                answer = self._ask(
                    "POST", "/_search/scroll",
                    {"scroll": KEEP_ALIVE, "scroll_id": answer["_scroll_id"]},
                )  # fmt: skip
        finally:
            self._ask("DELETE", "/_search/scroll", {"scroll_id": answer["_scroll_id"]}, allow=404)
