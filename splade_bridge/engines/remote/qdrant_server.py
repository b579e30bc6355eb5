"""A Qdrant server, through qdrant-client.

Not run here: no package brings the server, so this is written against its documented API
(https://api.qdrant.tech, https://qdrant.tech/documentation) and was tried on the imitation that
qdrant-client carries. What is kept beside a collection is a second one, ``NAME__splade_bridge``,
without vectors.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import Busy, ServerError, missing_client
from splade_bridge.engines.remote.numbered import BESIDE, PiecesBeside
from splade_bridge.engines.remote.qdrant_store import (
    PAGE,
    NewPoint,
    Point,
    Store,
    datatype_of,
    key_of,
)
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.errors import BadInputError, MissingToolError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.qdrant import NAMESPACE, PAYLOAD_ID

SECONDS = 60
BUSY = (408, 429, 502, 503, 504)
DENIED = (401, 403)


class ServerStore(PiecesBeside, Store):
    """A collection of a server."""

    def __init__(self, address: Address, secrets: Secrets, extra: str) -> None:
        try:
            import qdrant_client
            from qdrant_client.common import client_exceptions
            from qdrant_client.http import exceptions
        except ImportError as error:
            raise MissingToolError(missing_client("Qdrant", extra, error)) from error
        self._address, self._secrets = address, secrets
        self._models = qdrant_client.models
        self._errors = exceptions
        self._limited = client_exceptions.ResourceExhaustedResponse
        host = f"[{address.host}]" if ":" in address.host else address.host
        scheme = "https" if address.secure else "http"
        given: dict[str, Any] = {}
        if secrets.ca and address.secure:
            given["verify"] = secrets.ca
        # Qdrant knows keys alone; its tokens (JWT) are sent as such, too.
        key = secrets.api_key or secrets.password
        self._client = qdrant_client.QdrantClient(
            url=f"{scheme}://{host}:{address.port}",
            api_key=key,
            timeout=SECONDS,
            check_compatibility=False,
            **given,
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What a method of the client gives; its errors become ours."""
        try:
            return getattr(self._client, method)(*args, **kwargs)
        except self._limited as error:
            raise Busy(f"{self._address}: Qdrant asks for patience ({error})") from error
        except self._errors.UnexpectedResponse as error:
            raise self._refusal(error) from error
        except self._errors.ResponseHandlingException as error:
            why = self._secrets.hidden(str(error))
            raise Busy(
                f"{self._address.server}: Qdrant cannot be reached ({why}): does it run there?"
            ) from error

    def _refusal(self, error: Any) -> Exception:
        status = error.status_code
        why = self._secrets.hidden((error.content or b"").decode(errors="replace")[:500])
        if status in BUSY:
            return Busy(f"{self._address}: Qdrant is busy ({status}: {why})")
        if status in DENIED:
            return ServerError(
                f"{self._address}: Qdrant does not let us ({status}: {why}): give "
                "SPLADE_BRIDGE_API_KEY"
            )
        if status == 404:
            return ServerError(f"{self._address}: no such index in Qdrant")
        return ServerError(f"{self._address}: Qdrant refuses ({status}: {why})")

    @cached_property
    def _name(self) -> str:
        """Of the collection; an alias stands for one."""
        return self.aliased(self._address.name) or self._address.name

    @property
    def _beside(self) -> str:
        return f"{self._name}{BESIDE}"

    def exists(self) -> bool:
        """See :class:`Store`."""
        return bool(self._ask("collection_exists", self._name))

    def creation(self, field: str, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`Store`: the body of ``PUT /collections/NAME``."""
        made: dict[str, Any] = {
            "vectors": {},
            "sparse_vectors": {field: {"index": {"datatype": datatype_of(options)}}},
        }
        if options.shards is not None:
            made["shard_number"] = options.shards
        if options.replicas is not None:
            # A copy that missed a write would answer otherwise: each must have it.
            made["replication_factor"] = options.replicas + 1
            made["write_consistency_factor"] = options.replicas + 1
        return made

    def create(self, field: str, options: RemoteOptions, beside: Mapping[str, bytes]) -> None:
        """See :class:`Store`; what is beside it comes first, so that it is never there without."""
        if self._ask("collection_exists", self._beside):  # of one that was never made
            self._ask("delete_collection", self._beside)
        self._ask("create_collection", self._beside, vectors_config={})
        for name, content in beside.items():
            self.write_beside(name, content)
        made = self.creation(field, options)
        vectors, sparse = made.pop("vectors"), made.pop("sparse_vectors")
        models = self._models
        self._ask(
            "create_collection",
            self._name,
            vectors_config=vectors,
            sparse_vectors_config={
                name: models.SparseVectorParams.model_validate(told)
                for name, told in sparse.items()
            },
            **made,
        )

    def drop(self) -> None:
        """See :class:`Store`."""
        for name in (self._name, self._beside):
            if self._ask("collection_exists", name):
                self._ask("delete_collection", name)

    def _pieces(self, name: str) -> list[dict[str, Any]]:
        models = self._models
        wanted = models.Filter(
            must=[models.FieldCondition(key="name", match=models.MatchValue(value=name))]
        )
        found, offset = [], None
        while True:
            records, offset = self._ask(
                "scroll", self._beside, scroll_filter=wanted, limit=PAGE, offset=offset,
                with_payload=True,
            )  # fmt: skip
            found += [record.payload for record in records]
            if offset is None:
                return found

    def _has_beside(self) -> bool:
        return bool(self._ask("collection_exists", self._beside))

    def _add_pieces(self, new: list[dict[str, Any]]) -> None:
        models = self._models
        points = [
            models.PointStruct(id=_piece_id(piece["key"]), vector={}, payload=piece)
            for piece in new
        ]
        self._ask("upsert", self._beside, points, wait=True)

    def _remove_pieces(self, keys: list[str]) -> None:
        self._delete(self._beside, [_piece_id(key) for key in keys])

    def _delete(self, collection: str, keys: Sequence[int | str]) -> None:
        wanted = self._models.PointIdsList(points=list(keys))
        self._ask("delete", collection, wanted, wait=True)

    def _config(self) -> dict[str, Any]:
        found = self._ask("get_collection", self._name).config
        told: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
        return told

    def fields(self) -> dict[str, dict[str, Any]]:
        """See :class:`Store`."""
        return dict(self._config()["params"].get("sparse_vectors") or {})

    def told(self) -> dict[str, Any]:
        """See :class:`Store`."""
        return {
            "server": self._ask("info").version,
            "collection": self._name,
            "params": self._config()["params"],
        }

    def upsert(self, field: str, points: Sequence[NewPoint]) -> None:
        """See :class:`Store`."""
        models = self._models
        self._ask(
            "upsert",
            self._name,
            [
                models.PointStruct(
                    id=key_of(p.key),
                    vector={
                        field: models.SparseVector(
                            indices=p.indices.tolist(), values=p.values.tolist()
                        )
                    },
                    payload=p.payload,
                )
                for p in points
            ],
            wait=True,
        )

    def finish(self) -> None:
        """See :class:`Store`: each block was waited for, and is found."""

    def delete(self, keys: Sequence[str]) -> None:
        """See :class:`Store`."""
        self._delete(self._name, [key_of(key) for key in keys])

    def count(self) -> int:
        """See :class:`Store`."""
        return int(self._ask("count", self._name, exact=True).count)

    def _page(self, field: str, offset: Any) -> tuple[list[Any], Any]:
        records, after = self._ask(
            "scroll", self._name, limit=PAGE, offset=offset, with_vectors=[field],
            with_payload=[PAYLOAD_ID],
        )  # fmt: skip
        return records, after

    def retrieve(self, keys: Sequence[str], field: str, payload: Sequence[str] = ()) -> list[Point]:
        """See :class:`Store`."""
        records = self._ask(
            "retrieve", self._name, [key_of(key) for key in keys], with_vectors=[field],
            with_payload=[PAYLOAD_ID, *payload],
        )  # fmt: skip
        return [self._point(record, field) for record in records]

    def query(
        self, field: str, names: list[int], weights: list[float], n: int, only: Any
    ) -> list[tuple[str, dict[str, Any], float]]:
        """See :class:`Store`."""
        models = self._models
        try:
            wanted = None if only is None else models.Filter.model_validate(only)
        except ValueError as error:
            raise BadInputError(
                f"the filter is none of Qdrant's ({error})", str(self._address)
            ) from None
        answer = self._ask(
            "query_points",
            self._name,
            query=models.SparseVector(indices=names, values=weights),
            using=field,
            limit=n,
            query_filter=wanted,
            with_payload=[PAYLOAD_ID],
        )
        return [(str(hit.id), hit.payload or {}, hit.score) for hit in answer.points]

    def aliased(self, alias: str) -> str | None:
        """See :class:`Store`."""
        found = self._ask("get_aliases").aliases
        return next((a.collection_name for a in found if a.alias_name == alias), None)

    def point(self, alias: str) -> None:
        """See :class:`Store`: both in one step."""
        models = self._models
        steps: list[Any] = []
        if self.aliased(alias) is not None:
            steps.append(
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            )
        steps.append(
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=self._name, alias_name=alias)
            )
        )
        self._ask("update_collection_aliases", change_aliases_operations=steps)


def _piece_id(key: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"beside/{key}"))
