"""Elasticsearch 8.19 and 9: ``sparse_vector``, searched without its pruning.

A field keeps 9 significant bits of a weight. ``"prune": false`` stands in every query and in the
mapping of an index that is made here, since the default prunes from 8.19 on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote

from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import Busy, ServerError, missing_client
from splade_bridge.engines.remote.rest import (
    CONNECTIONS,
    KEEP_ALIVE,
    SECONDS,
    RestIndex,
    basic_login,
    content_type,
)
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.errors import BadInputError, MissingToolError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.elastic import SparseVector
from splade_bridge.formats.feeds.names import Naming
from splade_bridge.formats.feeds.weights import FEATURE

MODELS = "/_ml/trained_models"
LEAVES_VECTORS_OUT = (9, 2)
"""The first version that leaves vectors out of ``_source`` unless it is told to keep them."""

PRUNES = (8, 19)
"""The first version that can be told, in a mapping, not to prune; 9.0 is older."""
PRUNING = {
    "frequency_ratio": "tokens_freq_ratio_threshold",
    "weight_ratio": "tokens_weight_threshold",
}
"""What Elasticsearch calls the options of its pruning."""

log = logging.getLogger(__name__)


class Elasticsearch(RestIndex):
    """An index with one ``sparse_vector`` field."""

    engine = "Elasticsearch"
    extra = "elasticsearch"
    naming: Naming = "term"
    kept = FEATURE
    types = ("sparse_vector",)

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        try:
            import elasticsearch
        except ImportError as error:
            raise MissingToolError(missing_client(self.engine, self.extra, error)) from error
        self._errors = elasticsearch
        # Of one node, that it does not answer is told by what is raised.
        logging.getLogger("elastic_transport.node_pool").setLevel(logging.ERROR)
        self.feed = SparseVector(self.field, "index")
        scheme = "https" if address.secure else "http"
        given: dict[str, Any] = {}
        if secrets.api_key:
            given["api_key"] = secrets.api_key
        elif secrets.password:
            given["headers"] = basic_login(secrets, "elastic")
        if secrets.ca and address.secure:
            given["ca_certs"] = secrets.ca
        self._client = elasticsearch.Elasticsearch(
            [{"host": address.host, "port": address.port, "scheme": scheme}],
            request_timeout=SECONDS,
            connections_per_node=CONNECTIONS,
            **given,
        )

    def encoded_by(self, model: str, texts: Sequence[str]) -> list[dict[str, float]]:
        """See :class:`RemoteIndex`: by a trained model for ``text_expansion``.

        By the documented API; the published artifacts lack the native program that runs models,
        so that this could not be tried on a server.
        """
        path = f"{MODELS}/{quote(model, safe='')}"
        told = self._ask("GET", path, allow=404)
        if told is None:
            raise ServerError(f"{self.address.server}: Elasticsearch has no model {model}")
        config = told["trained_model_configs"][0]
        if "text_expansion" not in config.get("inference_config", {}):
            raise BadInputError(
                f"model {model} is not for text_expansion, and gives no weights of terms",
                self.address.server,
            )
        field = (config.get("input", {}).get("field_names") or ["text_field"])[0]
        docs = [{field: text} for text in texts]
        answer = self._ask("POST", f"{path}/_infer", {"docs": docs})
        return [dict(result["predicted_value"]) for result in answer["inference_results"]]

    def _send(
        self, method: str, path: str, body: bytes | None, params: Mapping[str, Any]
    ) -> tuple[int, Any]:
        headers = {"accept": "application/json", **content_type(path, body)}
        try:
            answer = self._client.transport.perform_request(
                method,
                path + _query(params),
                headers={**self._client._headers, **headers},
                body=body,
                max_retries=0,  # we ask again, and say so; that of the client is not for this
            )
        except self._errors.SSLError as error:
            raise self.untrusted(error.__cause__ or error) from error
        except self._errors.ConnectionError as error:
            raise Busy(str(self.unreachable(error.__cause__ or error))) from error
        except self._errors.ConnectionTimeout as error:
            raise Busy(f"{self.address}: no answer in {SECONDS} seconds") from error
        return answer.meta.status, answer.body

    def approximate(self, own: Mapping[str, Any]) -> None:
        """See :class:`RemoteIndex`: by Elasticsearch's pruning of the terms of a query."""
        assert isinstance(self.feed, SparseVector)
        self.feed.pruning = {PRUNING[name]: value for name, value in own.items()}
        told = (f"{name}={value:g}" for name, value in own.items())
        self.algorithm = " ".join(("pruned", *told))

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`RemoteIndex`."""
        return [{"weight_ratio": ratio} for ratio in (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)]

    @cached_property
    def _version(self) -> tuple[int, int]:
        versions = [version.split(".") for version in self._versions()]
        return min(((int(major), int(minor)) for major, minor, *_ in versions), default=PRUNES)

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RestIndex`; whoever asks it without a word about pruning gets all scores."""
        made = super().creation(options)
        if self._version >= PRUNES and self._version != (9, 0):
            made["mappings"]["properties"][self.field]["index_options"] = {"prune": False}
        return made

    def told(self) -> dict[str, Any]:
        """See :class:`RestIndex`."""
        found = super().told()
        options = (found["field"][self.field] or {}).get("index_options") or {}
        return {**found, "prunes_unless_it_is_told_not_to": options.get("prune") is not False}

    def _settings(self, options: RemoteOptions) -> dict[str, Any]:
        found = super()._settings(options)
        if self._version >= LEAVES_VECTORS_OUT:
            found["mapping.exclude_source_vectors"] = False
        return found

    def _source(self) -> Any:
        found = super()._source()
        if self._version < LEAVES_VECTORS_OUT:
            return found
        name = "index.mapping.exclude_source_vectors"
        answer = self._ask(
            "GET", f"{self._path}/_settings/{name}", include_defaults="true", flat_settings="true"
        )
        told = next(iter(answer.values()))
        if {**told.get("defaults", {}), **told["settings"]}.get(name) == "true":
            log.warning(
                "%s: leaves vectors out of _source (%s), so weights are those that the field has: "
                "9 significant bits of what was stored",
                self.address, name,
            )  # fmt: skip
        return {"includes": found, "exclude_vectors": False}

    def _got(self, ids: Sequence[str]) -> Any:
        # Beside a document _mget knows no exclude_vectors, only for all of them.
        source = self._source()
        if isinstance(source, list):
            return super()._got(ids)
        return self._ask(
            "POST", f"{self._path}/_mget", {"docs": [{"_id": doc_id} for doc_id in ids]},
            _source_includes=",".join(source["includes"]), _source_exclude_vectors="false",
        )  # fmt: skip

    def _pages(self, body: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
        pit = self._ask("POST", f"{self._path}/_pit", keep_alive=KEEP_ALIVE)["id"]
        sort = [*body.get("sort", []), {"_shard_doc": "asc"}]
        asked = {**body, "size": size, "sort": sort}
        try:
            while True:
                asked["pit"] = {"id": pit, "keep_alive": KEEP_ALIVE}
                answer = self._ask("POST", "/_search", asked)
                pit = answer.get("pit_id", pit)
                hits = answer["hits"]["hits"]
                if not hits:
                    return
                yield hits
                asked["search_after"] = hits[-1]["sort"]
        finally:
            self._ask("DELETE", "/_pit", {"id": pit}, allow=404)


def _query(params: Mapping[str, Any]) -> str:
    from urllib.parse import urlencode

    return f"?{urlencode(params)}" if params else ""
