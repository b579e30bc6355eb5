r"""Milvus: of a server, or of a file by Milvus Lite 2.5, which carries Milvus' C++ core.

Searched by ``DAAT_MAXSCORE`` without a drop ratio, which is exact. Milvus Lite puts ids between
single quotes when it replaces documents, so in indexes that are made here an id has ``'``, ``"``,
``\`` and ``%`` escaped (:func:`escaped_id`); other ids are as they are. What is kept beside a
collection is a second one, ``NAME__splade_bridge``.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Float32Array, Int32Array
from splade_bridge.engines.remote.base import FieldValue, Float64Array, RemoteOptions, Row
from splade_bridge.engines.remote.faults import Busy, ServerError, missing_client
from splade_bridge.engines.remote.held import shared
from splade_bridge.engines.remote.milvus_lite import LiteFile, check_lite
from splade_bridge.engines.remote.numbered import (
    BESIDE,
    NumberedIndex,
    PiecesBeside,
    above_0,
    numbers,
)
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.milvus import EXACT, MOST_ID
from splade_bridge.formats.feeds.weights import as_float32

log = logging.getLogger(__name__)

COLLECTION = "passages"
"""The name in a file, where the address says none."""
PAGE = 1000
MOST_TEXT = 65_535
SECONDS = 60
EXACT_ALGORITHMS = ("DAAT_MAXSCORE", "DAAT_WAND", "TAAT_NAIVE")
EXACT_TYPES = ("SPARSE_INVERTED_INDEX", "SPARSE_WAND", "AUTOINDEX")
NO_COLLECTION, NO_ALIAS, RATE_LIMIT = 100, 1600, (8, 9)
FIELD_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,254}")
UNSAFE = re.compile(r"[%'\"\\]")


def escaped_id(doc_id: str) -> str:
    """The primary key of a document."""
    return UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", doc_id)


def unescaped_id(key: str, place: str) -> str:
    """The id of :func:`escaped_id`.

    Raises:
        BadInputError: it makes no such key.
    """
    doc_id = re.sub(r"%(25|27|22|5C)", lambda found: chr(int(found[1], 16)), key)
    if escaped_id(doc_id) != key:
        raise BadInputError(f"{quoted(key)} is no id as it is escaped here", place)
    return doc_id


class Milvus(PiecesBeside, NumberedIndex):
    """A collection with the id as VARCHAR and one sparse vector."""

    engine = "Milvus"
    extra = "milvus"
    most_id_bytes = MOST_ID
    most_hits = 16_384
    pages = False
    entry_bytes = 8
    algorithm = "daat_maxscore"
    own_fields = ("id", "vector")
    _drop_ratio: float | None = None

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        self._ours = True
        self._pk = "id"
        self._pk_is_number = False
        self._file: LiteFile | None = None
        self._open: Any = None
        try:
            import grpc  # type: ignore[import-untyped]
            import pymilvus
        except ImportError as error:
            raise MissingToolError(missing_client(self.engine, self.extra, error)) from error
        # It logs a traceback of every request that is refused, which we tell in a line.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)
        self._pymilvus, self._grpc = pymilvus, grpc
        if address.folder is not None:
            check_lite(address, self.extra)

    @property
    def _client(self) -> Any:
        if self._open is None:
            self._open = self._connected()
        return self._open

    def _connected(self) -> Any:
        address, given = self.address, self.secrets
        if address.folder is not None:
            self._file = shared(address.folder, LiteFile)
            try:
                return self._pymilvus.MilvusClient(self._file.uri, timeout=SECONDS)
            except self._pymilvus.MilvusException as error:
                raise Busy(f"{address}: Milvus' core does not answer ({error.message})") from error
        host = f"[{address.host}]" if ":" in address.host else address.host
        more: dict[str, Any] = {}
        if given.api_key:
            more["token"] = given.api_key
        elif given.password:
            more["token"] = f"{given.user or 'root'}:{given.password}"
        if given.ca and address.secure:
            more["server_pem_path"] = given.ca
        scheme = "https" if address.secure else "http"
        uri = f"{scheme}://{host}:{address.port}"
        try:
            return self._pymilvus.MilvusClient(uri, timeout=5, **more)
        except self._pymilvus.MilvusException as error:
            if "unauthenticated" in str(error).lower() or "auth check" in str(error).lower():
                raise self._denied(error) from error
            raise Busy(str(self.unreachable(error.message))) from error

    def close(self) -> None:
        """End the connection, or let go of the file."""
        if self._open is not None:
            self._open.close()
        self._open = self._file = None

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What a method of the client gives; its errors become ours."""
        grpc = self._grpc
        try:
            # pymilvus would try 75 times by itself; we ask again, and say so.
            return getattr(self._client, method)(*args, **kwargs, retry_times=0)
        except grpc.RpcError as error:
            raise self._refusal(error.code(), error.details() or str(error.code())) from error
        except self._pymilvus.MilvusException as error:
            raise self._refusal(error.code, error.message) from error

    def _refusal(self, code: Any, message: str) -> Exception:
        status = self._grpc.StatusCode
        why = self.secrets.hidden(str(message))[:500]
        if code in (status.UNIMPLEMENTED,):
            return NotImplementedError(why)
        if code in (status.UNAVAILABLE,):
            return Busy(str(self.unreachable(why)))
        if code in (status.DEADLINE_EXCEEDED, status.CANCELLED, status.RESOURCE_EXHAUSTED):
            return Busy(f"{self.address}: {self.engine} is busy ({why})")
        if code in RATE_LIMIT:
            return Busy(f"{self.address}: {self.engine} asks for patience ({why})")
        if code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED):
            return self._denied(why)
        if code == NO_COLLECTION:
            return self.missing()
        return ServerError(f"{self.address}: {self.engine} refuses ({why})")

    def _denied(self, why: object) -> ServerError:
        return ServerError(
            f"{self.address}: {self.engine} does not let us ({self.secrets.hidden(str(why))}): "
            "give SPLADE_BRIDGE_USER and SPLADE_BRIDGE_PASSWORD, or SPLADE_BRIDGE_API_KEY"
        )

    # Which collection, and what it has

    @cached_property
    def _name(self) -> str:
        """Of the collection; an alias stands for one."""
        if self.address.folder is None:
            name = self.address.name
            if not self._ask("has_collection", name):
                return name
            return str(self._ask("describe_collection", name)["collection_name"])
        names = [n for n in self._ask("list_collections") if not n.endswith(BESIDE)]
        sparse = [n for n in names if self._sparse_fields(self._ask("describe_collection", n))]
        if len(sparse) > 1:
            raise BadInputError(
                f"holds {len(sparse)} collections with sparse vectors ({', '.join(sorted(sparse))})"
                ", and an address of a file stands for the only one",
                str(self.address),
            )
        return sparse[0] if sparse else COLLECTION

    @property
    def _beside(self) -> str:
        return f"{self._name}{BESIDE}"

    def _sparse_fields(self, described: Mapping[str, Any]) -> list[str]:
        wanted = self._pymilvus.DataType.SPARSE_FLOAT_VECTOR
        return [field["name"] for field in described["fields"] if field["type"] == wanted]

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`; what makes its scores no plain sums is said."""
        described = self._ask("describe_collection", self._name)
        self.field = self.vector_field(self._sparse_fields(described), field)
        (key,) = (told for told in described["fields"] if told.get("is_primary"))
        self._pk = key["name"]
        self._pk_is_number = key["type"] == self._pymilvus.DataType.INT64
        self._ours = self._ask("has_collection", self._beside)
        for problem in inexact(self._index()):
            log.warning("%s: %s", self.address, problem)
        for name in (self._name, *([self._beside] * self._ours)):
            self._ask("load_collection", name)

    def _index(self) -> dict[str, Any]:
        """Of the sparse vector, as Milvus tells its settings."""
        names = self._ask("list_indexes", self._name)
        for name in names:
            found = dict(self._ask("describe_index", self._name, name) or {})
            if found.get("field_name") == self.field:
                return found
        raise BadInputError(
            f"its field {self.field!r} has no index, and Milvus searches none without",
            str(self.address),
        )

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        path = self.address.folder
        if path is not None and not (path.exists() and path.stat().st_size):
            return False  # opening it would make it
        if not self._ask("has_collection", self._name):
            return False
        # A collection of ours gets its index in a second step: one that was killed before it has
        # made nothing yet.
        return bool(self._ask("list_indexes", self._name)) or not self._has_beside()

    @cached_property
    def _is_lite(self) -> bool:
        """Whether it has no shards, copies and aliases, as its own server has none."""
        if self.address.folder is not None:
            return True
        try:
            self._ask("get_server_version")
        except NotImplementedError:
            return True
        return False

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: as ``POST /v2/vectordb/collections/create`` takes it."""
        for name in ("shards", "replicas"):
            if getattr(options, name) is not None and self._is_lite:
                raise UsageError(f"{self.address}: Milvus Lite has no {name}: leave --{name} out")
        text = {"dataType": "VarChar", "elementTypeParams": {"max_length": MOST_TEXT}}
        fields: list[dict[str, Any]] = [
            {"fieldName": "id", "dataType": "VarChar", "isPrimary": True,
             "elementTypeParams": {"max_length": MOST_ID}},
            {"fieldName": self.field, "dataType": "SparseFloatVector"},
            *({"fieldName": name, **text} for name in options.fields),
        ]  # fmt: skip
        made: dict[str, Any] = {
            "collectionName": self._name if self.address.folder is None else COLLECTION,
            "schema": {
                "autoId": False, "enableDynamicField": bool(options.columns), "fields": fields,
            },
            "indexParams": [
                {"fieldName": self.field, "indexName": self.field, "metricType": "IP",
                 "params": {"index_type": "SPARSE_INVERTED_INDEX", **EXACT}}
            ],
            "params": {"consistencyLevel": "Strong"},
        }  # fmt: skip
        if options.shards is not None:
            made["params"]["shardsNum"] = options.shards
        if options.replicas is not None:
            made["params"]["replicas"] = options.replicas + 1
        return made

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`; what is beside it comes first, never is it without."""
        self.field, self._pk, self._pk_is_number, self._ours = type(self).field, "id", False, True
        self.creation(options)  # refuses what Milvus Lite has not
        if self.address.folder is not None:
            self.address.folder.parent.mkdir(parents=True, exist_ok=True)
        kinds = self._pymilvus.DataType
        if self._ask("has_collection", self._beside):  # of one that was never made
            self._ask("drop_collection", self._beside)
        beside = self._schema()
        beside.add_field("key", kinds.VARCHAR, is_primary=True, max_length=200)
        beside.add_field("name", kinds.VARCHAR, max_length=100)
        for name in ("version", "part", "parts"):
            beside.add_field(name, kinds.INT64)
        beside.add_field("text", kinds.VARCHAR, max_length=MOST_TEXT)
        beside.add_field("unused", kinds.FLOAT_VECTOR, dim=2)  # no collection is without a vector
        self._make(self._beside, beside, "unused", "FLAT", {})
        self.keep(state)
        schema = self._schema(dynamic=bool(options.columns))
        schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=MOST_ID)
        schema.add_field(self.field, kinds.SPARSE_FLOAT_VECTOR)
        for name in options.fields:
            schema.add_field(name, kinds.VARCHAR, max_length=MOST_TEXT)
        more = {} if options.shards is None else {"num_shards": options.shards}
        if self._ask("has_collection", self._name):  # see exists
            self._ask("drop_collection", self._name)
        self._make(self._name, schema, self.field, "SPARSE_INVERTED_INDEX", EXACT, **more)
        if options.replicas is not None:
            self._ask("release_collection", self._name)
            self._ask("load_collection", self._name, replica_number=options.replicas + 1)

    def _schema(self, *, dynamic: bool = False) -> Any:
        """Of a collection; ``dynamic`` lets documents hold fields beside those of the schema.

        Fields that filters ask for are such, since a document may lack one: Milvus Lite has no
        others that may be empty.
        """
        return self._pymilvus.MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=dynamic
        )

    def _make(
        self, name: str, schema: Any, field: str, kind: str, params: Mapping[str, Any], **more: Any
    ) -> None:
        index = self._pymilvus.MilvusClient.prepare_index_params()
        index.add_index(
            field, index_type=kind, index_name=field, metric_type="IP", params=dict(params)
        )
        self._ask(
            "create_collection", name, schema=schema, index_params=index,
            consistency_level="Strong", **more,
        )  # fmt: skip

    def drop(self) -> None:
        """See :class:`RemoteIndex`."""
        for name in (self._name, self._beside):
            if self._ask("has_collection", name):
                self._ask("drop_collection", name)

    # Beside it

    def _pieces(self, name: str) -> list[dict[str, Any]]:
        fields = ["key", "version", "part", "parts", "text"]
        return self._where(self._beside, f'name == "{name}"', fields)

    def _has_beside(self) -> bool:
        return bool(self._ask("has_collection", self._beside))

    def _add_pieces(self, new: list[dict[str, Any]]) -> None:
        self._ask("insert", self._beside, [{**piece, "unused": [0.0, 0.0]} for piece in new])

    def _remove_pieces(self, keys: list[str]) -> None:
        self._ask("delete", self._beside, ids=keys)

    # Filled

    def key(self, doc_id: str) -> str:
        """The id; escaped in an index of ours."""
        return escaped_id(doc_id) if self._ours else doc_id

    def check_fields(self, made: RemoteOptions) -> None:
        """See :class:`RemoteIndex`."""
        super().check_fields(made)
        for name in (*made.fields, *made.columns):
            if not FIELD_NAME.fullmatch(name):
                raise BadInputError(
                    f"a stored field named {quoted(name)}, and {self.engine} takes letters, digits "
                    "and '_' in a name, 255 at most: rename it",
                    str(self.address),
                )

    def filter_of(self, text: str) -> str:
        """See :class:`RemoteIndex`: an expression of Milvus, as it is."""
        if not text.strip():  # which would be no filter at all
            raise UsageError("--filter is empty: Milvus takes an expression, as year > 2020")
        return text

    def check_id(self, doc_id: str) -> None:
        """See :class:`RemoteIndex`."""
        super().check_id(self.key(doc_id))

    def _item(
        self, doc_id: str, indices: Int32Array, values: Float32Array, kept: dict[str, FieldValue]
    ) -> dict[str, Any]:
        for name, text in kept.items():
            if isinstance(text, str) and len(text.encode()) > MOST_TEXT:
                raise BadInputError(
                    f"document {quoted(doc_id)}: its field {name!r} has {len(text.encode()):,} "
                    f"bytes, and {self.engine} takes {MOST_TEXT:,} at most: leave --with-contents "
                    "out, or shorten it"
                )
        vector = dict(zip(indices.tolist(), values.tolist(), strict=True))
        return {"id": self.key(doc_id), self.field: vector, **kept}

    def _store(self, items: list[Any]) -> None:
        self._ask("upsert", self._name, items)

    def _id_of(self, item: Any) -> str:
        return unescaped_id(item["id"], str(self.address))

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`."""
        for name in (self._name, self._beside):
            self._ask("flush", name)
            self._ask("load_collection", name)
        if merge and not self._is_lite:
            self._ask("compact", self._name)

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        there = [row[self._pk] for row in self._query(doc_ids, [self._pk])]
        if there:
            self._ask("delete", self._name, ids=there)
        return len(there)

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        (found,) = self._ask(
            "query", self._name, output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(found["count(*)"])

    def _id(self, key: Any) -> str:
        return unescaped_id(key, str(self.address)) if self._ours else str(key)

    def _row(self, row: Mapping[str, Any]) -> Row:
        vector = row[self.field] or {}
        return Row(
            self._id(row[self._pk]),
            [int(name) for name in vector],
            numbers([float(weight) for weight in vector.values()]),
        )

    def rows(self) -> Iterator[Row]:
        """See :class:`RemoteIndex`."""
        if not self.count():
            return  # the core refuses to look into a collection that has lost all of its rows
        walk = self._ask(
            "query_iterator", self._name, batch_size=PAGE, output_fields=[self._pk, self.field],
            consistency_level="Strong",
        )  # fmt: skip
        try:
            while found := self._next(walk):
                yield from map(self._row, found)
        finally:
            walk.close()

    def _next(self, walk: Any) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = walk.next()
        except self._grpc.RpcError as error:
            raise self._refusal(error.code(), error.details() or "") from error
        except self._pymilvus.MilvusException as error:
            raise self._refusal(error.code, error.message) from error
        return found

    def _query(self, doc_ids: Sequence[str], fields: list[str]) -> list[dict[str, Any]]:
        keys = [self.key(doc_id) for doc_id in doc_ids]
        if self._pk_is_number:
            wanted = ", ".join(key for key in keys if re.fullmatch(r"-?\d{1,19}", key))
        else:
            wanted = ", ".join(f'"{_in_string(key)}"' for key in keys)
        if not wanted:
            return []
        return self._where(self._name, f"{self._pk} in [{wanted}]", fields)

    def _where(self, name: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        """The rows of a collection for which an expression holds."""
        found = self._ask(
            "query", name, filter=wanted, output_fields=fields, consistency_level="Strong"
        )
        return list(found)

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        try:
            return [self._row(row) for row in self._query(doc_ids, [self._pk, self.field])]
        except ServerError:
            if self.count():
                raise
            return []  # see rows

    def stored_text(self, doc_id: str, name: str) -> str | None:
        """See :class:`RemoteIndex`."""
        for row in self._query([doc_id], [self._pk, name]):
            return str(row[name])
        return None

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`.

        Args:
            only: an expression of Milvus, as ``text like "a%"``.
        """
        (found,) = self._ask(
            "search",
            self._name,
            [dict(zip(names, as_float32(weights).tolist(), strict=True))],
            filter=only or "",
            limit=n,
            anns_field=self.field,
            search_params={"metric_type": self._metric, "params": self._params},
            output_fields=[self._pk],
            consistency_level="Strong",
        )
        return above_0(
            [self._id(hit[self._pk]) for hit in found], (hit["distance"] for hit in found)
        )

    @property
    def _params(self) -> dict[str, Any]:
        return {} if self._drop_ratio is None else {"drop_ratio_search": self._drop_ratio}

    def approximate(self, own: Mapping[str, Any]) -> None:
        """See :class:`RemoteIndex`; scores are sums over the terms of a query that are left."""
        self._drop_ratio = own.get("drop_ratio")
        if self._drop_ratio is None:
            raise UsageError(
                f"{self.address}: --approximate needs --milvus-drop-ratio, the part of a query's "
                "smallest weights that is left out"
            )
        self.algorithm = f"drop_ratio={self._drop_ratio:g}"

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`RemoteIndex`."""
        return [{"drop_ratio": ratio} for ratio in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)]

    @cached_property
    def _metric(self) -> str:
        return str(self._index().get("metric_type", "IP"))

    def told(self) -> dict[str, Any]:
        """See :class:`RemoteIndex`."""
        described = self._ask("describe_collection", self._name)
        index = self._index()
        told = {
            "server": self._server(),
            "collection": self._name,
            "consistency": described.get("consistency_level_name"),
            "shards": described.get("num_shards") or None,
            "index": {
                name: value
                for name, value in index.items()
                if name not in ("total_rows", "indexed_rows", "pending_index_rows", "state")
            },
            "notes": inexact(index),
        }
        return {name: value for name, value in told.items() if value}

    def _server(self) -> str:
        if self._is_lite:
            return f"Milvus Lite {importlib.metadata.version('milvus-lite')}" * bool(
                self.address.folder
            )
        return str(self._ask("get_server_version"))

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`."""
        if self._is_lite:
            raise self._no_aliases()
        found = self._ask("list_aliases").get("aliases", [])
        names = [found] if isinstance(found, str) else list(found)
        if alias not in names:
            return None
        return str(self._ask("describe_alias", alias)["collection_name"])

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`: in one step."""
        there = self.aliased(alias) is not None
        self._ask("alter_alias" if there else "create_alias", self._name, alias)


def _in_string(key: str) -> str:
    """A key as it stands between the quotes of an expression."""
    return key.replace("\\", "\\\\").replace('"', '\\"')


def inexact(index: Mapping[str, Any]) -> list[str]:
    """What makes the scores of a sparse vector something else than sums of float32 products."""
    problems = []
    if (kind := index.get("index_type")) not in EXACT_TYPES:
        problems.append(f"its index is of type {kind}, which is not known to be exact")
    algorithm = index.get("inverted_index_algo", EXACT_ALGORITHMS[0])
    if algorithm not in EXACT_ALGORITHMS:
        problems.append(f"it is searched by {algorithm}, which is not known to be exact")
    if (metric := index.get("metric_type")) != "IP":
        problems.append(f"its scores are of the metric {metric}, and no inner products")
    if float(dropped := index.get("drop_ratio_build") or 0):
        problems.append(f"it was built with drop_ratio_build {dropped}, which loses weights")
    return problems
