"""What Elasticsearch and OpenSearch have in common: the same requests, each through its client."""

from __future__ import annotations

import abc
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import numpy as np
import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import ImpactBatch, Int32Array, SparseBatch
from splade_bridge.engines.remote.base import Fields, Float64Array, RemoteIndex, RemoteOptions, Row
from splade_bridge.engines.remote.choices import FieldType
from splade_bridge.engines.remote.faults import Busy, Refused, ServerError
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State, state_bytes, state_of
from splade_bridge.errors import BadInputError
from splade_bridge.formats.feeds.base import pairs
from splade_bridge.formats.feeds.elastic import Bulk
from splade_bridge.formats.feeds.names import Names
from splade_bridge.formats.feeds.weights import weights_of

META = "splade_bridge"
"""In ``_meta`` of the mapping: the state of the index."""
BUSY = (408, 429, 502, 503, 504)
DENIED = (401, 403)
PAGE = 1000
KEEP_ALIVE = "5m"
SECONDS = 60
"""That one request may take."""
CONNECTIONS = 64
"""At most at the same time."""
ITEM_BUSY = (429, 503)
BLOCKED = "cluster_block_exception"
COLUMNS: dict[FieldType, str] = {
    "keyword": "keyword", "integer": "long", "number": "double", "boolean": "boolean",
}  # fmt: skip
CHUNK = re.compile(r"#[0-9]+\Z")
INFERRED, INFERRED_CHUNKS = "_inference_fields", ".inference.chunks"
"""Where documents have what ``semantic_text`` has made, and what the path of its chunks ends in."""


class RestIndex(RemoteIndex):
    """An index of a server that is asked by HTTP.

    Attributes:
        feed: how documents and queries are written for its field.
        types: of fields that hold vectors.
        shown: settings of an index that :meth:`told` tells.
    """

    most_id_bytes = 512
    most_hits = 10_000
    types: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[str, ...]] = ("number_of_shards", "number_of_replicas", "version")
    feed: Bulk
    _client: Any
    _nested: str | None = None
    _searching: ClassVar[Mapping[str, Any]] = {"allow_partial_search_results": "false"}

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    @abc.abstractmethod
    def _send(
        self, method: str, path: str, body: bytes | None, params: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """Status and answer; raises Busy or ServerError where the server gives none."""

    def _ask(
        self, method: str, path: str, body: object = None, *, allow: int = 0, **params: Any
    ) -> Any:
        """The answer to a request, of all shards that it is for.

        Args:
            body: bytes as they are, anything else as JSON.
            allow: a status beside success that is no error; its answer is None.
        """
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        status, answer = self._send(method, path, content, params)
        if status == allow:
            return None
        if status < 400:
            self._check_whole(answer)
            return answer
        why = f"{status}: {self.secrets.hidden(_why(answer))}"
        if _type(answer) == BLOCKED:
            raise self._blocked(why)
        if status in BUSY:
            raise Busy(f"{self.address}: {self.engine} is busy ({why})")
        if status in DENIED:
            raise ServerError(
                f"{self.address}: {self.engine} does not let us ({why}): give SPLADE_BRIDGE_USER "
                "and SPLADE_BRIDGE_PASSWORD, or SPLADE_BRIDGE_API_KEY"
            )
        if status == 404:
            raise self.missing()
        raise ServerError(f"{self.address}: {self.engine} refuses ({why})")

    def _check_whole(self, answer: Any) -> None:
        """A shard that failed, as its node is gone, must not pass for one without hits."""
        if isinstance(answer, dict) and (
            answer.get("timed_out") or answer.get("_shards", {}).get("failed")
        ):
            failures = answer.get("_shards", {}).get("failures") or [{}]
            why = _why({"error": failures[0].get("reason", "some did not answer in time")})
            raise Busy(f"{self.address}: not all shards of {self.engine} have answered ({why})")

    def _blocked(self, why: str) -> ServerError:
        """For an index that cannot be written now, as it is where a disk is full."""
        return ServerError(
            f"{self.address}: {self.engine} does not let anything be written there ({why}): if its "
            "disk was full, free some of it and take the block away, then give the command again"
        )

    @property
    def _path(self) -> str:
        return "/" + quote(self.address.name, safe="")

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        return self._ask("GET", f"{self._path}/_mapping", allow=404) is not None

    def _settings(self, options: RemoteOptions) -> dict[str, Any]:
        """Of the index, on which results or speed depend."""
        given = {"number_of_shards": options.shards, "number_of_replicas": options.replicas}
        return {name: value for name, value in given.items() if value is not None}

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: the body of ``PUT /INDEX``."""
        texts = {name: {"type": "text", "index": False} for name in options.fields}
        vector = {self.field: {"type": self.feed.type}}
        columns = {name: {"type": COLUMNS[kind]} for name, kind in options.columns.items()}
        properties = vector | texts | columns
        made: dict[str, Any] = {"mappings": {"dynamic": "strict", "properties": properties}}
        if settings := self._settings(options):
            made["settings"] = {"index": settings}
        return made

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`; no refreshes until :meth:`finish`."""
        made = self.creation(options)
        made["mappings"].setdefault("_meta", {})[META] = orjson.loads(state_bytes(state))
        made.setdefault("settings", {}).setdefault("index", {})["refresh_interval"] = "-1"
        answer = self._ask("PUT", self._path, made, allow=400)
        if answer is None:  # it may be there of a request whose answer was lost
            held = self.state() if self.exists() else None
            if held is None or held.plan != state_of(orjson.loads(state_bytes(state)), "").plan:
                self._ask("PUT", self._path, made)

    def drop(self) -> None:
        """See :class:`RemoteIndex`."""
        self._ask("DELETE", self._path, allow=404)

    def _mapping(self) -> dict[str, Any]:
        answer = self._ask("GET", f"{self._path}/_mapping")
        if len(answer) != 1:
            raise ServerError(
                f"{self.address}: stands for {len(answer)} indexes: name one of "
                f"{', '.join(sorted(answer))}"
            )
        found: dict[str, Any] = next(iter(answer.values())).get("mappings", {})
        return found

    def state(self) -> State | None:
        """See :class:`RemoteIndex`."""
        held = self._mapping().get("_meta", {}).get(META)
        return None if held is None else state_of(held, str(self.address))

    @cached_property
    def _is_ours(self) -> bool:
        return self.state() is not None

    def keep(self, state: State) -> None:
        """See :class:`RemoteIndex`; what others have put into ``_meta`` stays."""
        meta = self._mapping().get("_meta", {})
        meta[META] = orjson.loads(state_bytes(state))
        self._ask("PUT", f"{self._path}/_mapping", {"_meta": meta})

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`."""
        mapping = self._mapping()
        if META in mapping.get("_meta", {}):
            super().look(field)
            return
        found = {f.path: f for f in vector_fields(mapping.get("properties", {}), self.types)}
        if field is None and len(found) == 1:
            field = next(iter(found))
        if field not in found:
            lacks = f"no field {field!r}" if field else f"{len(found) or 'no'} fields"
            there = f"; there are {', '.join(sorted(found))}" * bool(found)
            raise BadInputError(
                f"has {lacks} of type {' or '.join(self.types)}{there}"
                f"{': say --field NAME' * (field is None and len(found) > 1)}",
                str(self.address),
            )
        self._take(found[field])

    def _take(self, found: VectorField) -> None:
        """Ask for this field from now on."""
        self.field = self.feed.field = found.path
        self._nested = found.nested

    # Filled

    def items(
        self, batch: ImpactBatch | SparseBatch, names: Names, fields: Sequence[Fields] | None
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`RemoteIndex`: the two lines of a bulk request."""
        numbers, found = weights_of(batch).tolist(), names(batch.indices)
        indptr = batch.indptr.tolist()
        for row, doc_id in enumerate(batch.ids):
            of = slice(indptr[row], indptr[row + 1])
            # A row at a time: what orjson makes of a number lies in kilobytes until it is let go.
            cells = list(zip(found[of], map(orjson.dumps, numbers[of]), strict=True))
            line = self.feed.document(doc_id, cells)
            if fields and fields[row]:
                line = line[:-2] + b"," + orjson.dumps(fields[row])[1:] + b"\n"
            yield line, len(line)

    def write(self, items: list[Any]) -> None:
        """See :class:`RemoteIndex`."""
        answer = self._ask(
            "POST", f"{self._path}/_bulk", b"".join(items), filter_path="errors,items.*.error"
                                                                        ",items.*._id,items.*.status",
        )  # fmt: skip
        if failed := self._failed(answer):
            raise Refused(failed)

    def _failed(self, answer: Any) -> list[tuple[str, str]]:
        """Id and reason of each item of a bulk request that failed.

        Raises:
            Busy, ServerError: the server was busy, or lets nothing be written.
        """
        if not answer.get("errors"):
            return []
        failed = [
            (item["_id"], item["status"], _why(item))
            for entry in answer["items"]
            for item in entry.values()
            if "error" in item
        ]
        if blocked := next((why for *_, why in failed if why.startswith(BLOCKED)), None):
            raise self._blocked(blocked)
        # What was busy is sent again with the whole block: writing twice changes nothing.
        if busy := next((why for _, status, why in failed if status in ITEM_BUSY), None):
            raise Busy(f"{self.address}: {busy}")
        return [(doc_id, why) for doc_id, _, why in failed]

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`."""
        self._ask("PUT", f"{self._path}/_settings", {"index": {"refresh_interval": None}})
        self.settle(merge=merge)

    def settle(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`."""
        self._ask("POST", f"{self._path}/_refresh")
        if merge:
            self._ask("POST", f"{self._path}/_forcemerge", max_num_segments=1)
            self._ask("POST", f"{self._path}/_refresh")

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        lines = b"".join(b'{"delete":{"_id":%b}}\n' % orjson.dumps(i) for i in doc_ids)
        answer = self._ask("POST", f"{self._path}/_bulk", lines, refresh="true")
        if failed := self._failed(answer):
            raise Refused(failed)
        return sum(item["delete"].get("result") == "deleted" for item in answer["items"])

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        return int(self._ask("GET", f"{self._path}/_count")["count"])

    def _source(self) -> Any:
        """What of ``_source`` is asked for.

        Raises:
            BadInputError: the vectors are not in it.
        """
        told = self._mapping().get("_source", {})
        kept, left = told.get("includes", ["*"]), told.get("excludes", [])
        names = [self.field, *(self.field[:i] for i, c in enumerate(self.field) if c == ".")]
        if (
            told.get("enabled", True) in (False, "false")
            or any(fnmatchcase(name, pattern) for name in names for pattern in left)
            or not any(fnmatchcase(self.field, f"{pattern}*") for pattern in kept)
        ):
            raise BadInputError(
                f"its mapping leaves the field {self.field!r} out of _source: {self.engine} finds "
                "documents by it, but has no vector to give back; load the vectors from where they "
                "came from, into an index whose _source keeps them",
                str(self.address),
            )
        return [self.field, *([INFERRED] if self._is_inferred else [])]

    @property
    def _is_inferred(self) -> bool:
        """Whether a model in the engine may have made the vectors, by ``semantic_text``."""
        return self._nested is not None and self._nested.endswith(INFERRED_CHUNKS)

    def _rows_of(self, hit: Mapping[str, Any]) -> Iterator[Row]:
        """The vector of a document, or those of its chunks."""
        source = hit.get("_source", {})
        held = list(_at(source, self.field))
        if not held and self._is_inferred:
            held = list(inferred(source, self.field))
        if not held and self._is_ours:
            raise BadInputError(
                f"document {quoted(hit['_id'])} has no field {self.field!r} in its _source",
                str(self.address),
            )
        if self._nested is not None and held:
            for number, vector in enumerate(held):
                yield self._row(f"{hit['_id']}#{number}", vector)
        elif len(held) == 1:
            yield self._row(hit["_id"], held[0])
        else:  # of several the engine takes the largest weights
            merged: dict[str, Any] = {}
            for vector in held:
                for name, weight in vector.items():
                    merged[name] = max(weight or 0, merged.get(name, 0))
            yield self._row(hit["_id"], merged)

    def _row(self, doc_id: str, vector: Any) -> Row:
        names, weights = pairs(vector, f"{self.address}: document {quoted(doc_id)}")
        if None in weights:  # a feature without a weight is none
            there = {name: weight for name, weight in vector.items() if weight is not None}
            names, weights = list(there), list(there.values())
        return Row(doc_id, names, weights)

    def rows(self) -> Iterator[Row]:
        """See :class:`RemoteIndex`: of one state of the index, in pages.

        Chunks in nested fields, as ``semantic_text`` keeps them, are passages: ``id#0``, ``id#1``.
        """
        body = {
            "query": {"match_all": {}},
            "_source": self._source(),
            "track_total_hits": False,
            **self._beside_source,
        }
        for hits in self._pages(body, PAGE):
            for hit in hits:
                yield from self._rows_of(hit)

    @abc.abstractmethod
    def _pages(self, body: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
        """The hits of a search, page after page, of one state of the index."""

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        wanted = set(doc_ids)
        ids = list(dict.fromkeys(i if self._nested is None else CHUNK.sub("", i) for i in doc_ids))
        found = self._got(ids)
        rows = [row for doc in found["docs"] if doc.get("found") for row in self._rows_of(doc)]
        return [row for row in rows if row.doc_id in wanted]

    def stored_text(self, doc_id: str, name: str) -> str | None:
        """See :class:`RemoteIndex`."""
        asked = {"docs": [{"_id": doc_id, "_source": [name]}]}
        (found,) = self._ask("POST", f"{self._path}/_mget", asked)["docs"]
        text = found.get("_source", {}).get(name)
        return text if isinstance(text, str) else None

    def _got(self, ids: Sequence[str]) -> Any:
        """What ``_mget`` answers, which also knows what no search finds yet."""
        source = self._source()
        if self._is_inferred:  # which _mget does not give
            body = {
                "query": {"ids": {"values": list(ids)}},
                "size": len(ids),
                "_source": source,
                **self._beside_source,
            }
            hits = self._ask("POST", f"{self._path}/_search", body)["hits"]["hits"]
            return {"docs": [{**hit, "found": True} for hit in hits]}
        return self._ask(
            "POST", f"{self._path}/_mget", {"docs": [{"_id": i, "_source": source} for i in ids]}
        )

    @property
    def _beside_source(self) -> dict[str, Any]:
        """What a search asks for so that its ``_source`` has all vectors."""
        return {"fields": [INFERRED]} if self._is_inferred else {}

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`."""
        halved = self.feed.halvings(int(weights.max()))
        cells = [
            (orjson.dumps(name), b"%d" % w if not halved else orjson.dumps(w / (1 << halved)))
            for name, w in zip(names, weights.tolist(), strict=True)
        ]
        body = orjson.loads(self.feed.query(cells, min(n, self.most_hits)))
        if self._nested is not None:
            body["query"] = {
                "nested": {"path": self._nested, "score_mode": "max", "query": body["query"]}
            }
        if only is not None:
            body["query"] = {"bool": {"must": [body["query"]], "filter": [only]}}
        if n <= self.most_hits:
            answer = self._ask("POST", f"{self._path}/_search", body, **self._searching)
            hits = answer["hits"]["hits"]
        else:
            hits = []
            for page in self._pages({**body, "sort": [{"_score": "desc"}]}, self.most_hits):
                hits += page
                if len(hits) >= n:
                    break
        hits = hits[:n]
        scores = np.array([hit["_score"] for hit in hits], dtype=np.float64) * (1 << halved)
        return [hit["_id"] for hit in hits], scores

    def told(self) -> dict[str, Any]:
        """See :class:`RemoteIndex`."""
        answer = self._ask("GET", self._path)
        name, found = next(iter(answer.items()))
        settings = found.get("settings", {}).get("index", {})
        properties = found.get("mappings", {}).get("properties", {})
        there = {f.path: f.told for f in vector_fields(properties, self.types)}
        return {
            "server": self._versions(),
            "index": name,
            "field": {self.field: there.get(self.field)},
            **{key: settings[key] for key in self.shown if key in settings},
        }

    def _versions(self) -> list[str]:
        """Of its nodes, each once; none where we may not know."""
        try:
            told = self._ask("GET", "/_nodes", filter_path="nodes.*.version")
        except ServerError:
            return []
        return sorted({node["version"] for node in told.get("nodes", {}).values()})

    def size(self) -> int | None:
        """See :class:`RemoteIndex`."""
        told = self._ask("GET", f"{self._path}/_stats/store", filter_path="_all.primaries.store")
        return int(told["_all"]["primaries"]["store"]["size_in_bytes"])

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`.

        Raises:
            BadInputError: it is the name of an index, or stands for several.
        """
        place = str(self.address)
        path = quote(alias, safe="")
        found = self._ask("GET", f"/_alias/{path}", allow=404)
        if found is None and self._ask("GET", f"/{path}/_mapping", allow=404) is not None:
            raise BadInputError(f"{alias} is an index, and no alias: name another one", place)
        if found and len(found) > 1:
            raise BadInputError(f"{alias} stands for {', '.join(sorted(found))}: not one", place)
        return next(iter(found)) if found else None

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`: both in one step."""
        answer = self._ask("POST", "/_aliases", {
            "actions": [
                {"remove": {"index": "*", "alias": alias, "must_exist": False}},
                {"add": {"index": self.address.name, "alias": alias}},
            ]
        }, allow=404)  # fmt: skip
        if answer is None:
            if not self.exists():
                raise self.missing()
            # One that ``*`` stood for was deleted before the server came to it.
            raise Busy(f"{self.address}: another index went while the alias was switched")


class VectorField(NamedTuple):
    """A field that holds vectors.

    Attributes:
        path: its name behind those of the objects that it lies in, with dots.
        nested: the path of the nested documents that it lies in, if it does.
        told: its mapping.
    """

    path: str
    nested: str | None
    told: Mapping[str, Any]


def vector_fields(
    properties: Mapping[str, Any], types: Sequence[str], before: str = "", nested: str | None = None
) -> Iterator[VectorField]:
    """Those of a mapping that are of one of ``types``, and those that ``semantic_text`` hides."""
    for name, told in properties.items():
        path = f"{before}{name}"
        of = told.get("type")
        if of in types:
            yield VectorField(path, nested, told)
        elif of == "semantic_text":
            if told.get("model_settings", {}).get("task_type") == "sparse_embedding":
                chunks = f"{path}.inference.chunks"
                yield VectorField(f"{chunks}.embeddings", chunks, told)
        elif "properties" in told:
            inside = path if of == "nested" else nested
            yield from vector_fields(told["properties"], types, f"{path}.", inside)


def _at(source: Any, path: str) -> Iterator[Any]:
    """What stands at a path of a document, in whatever lists and under names that hold dots."""
    if isinstance(source, list):
        for one in source:
            yield from _at(one, path)
    elif not path:
        if source is not None:
            yield source
    elif isinstance(source, dict):
        for name, inside in source.items():
            if path == name:
                yield from _at(inside, "")
            elif path.startswith(f"{name}."):
                yield from _at(inside, path[len(name) + 1 :])


def inferred(source: Mapping[str, Any], path: str) -> Iterator[Any]:
    """The vectors of a field's chunks in the newer layout of ``semantic_text``.

    ::

        {"_inference_fields": {"text": {"inference": {"chunks": {
            "text": [{"start_offset": 0, "end_offset": 9, "embeddings": {"cat": 0.5}}],
            "title": [...]}}}}}

    The chunks stand by the field whose text they are of (``copy_to`` makes several). The older
    layout has them in ``text.inference.chunks`` as they are nested. Elasticsearch's reference,
    "Semantic text field type".
    """
    chunks, _, last = path.rpartition(".")
    for of_fields in _at(source.get(INFERRED) or {}, chunks):
        for several in of_fields.values():
            yield from _at(several, last)


def content_type(path: str, body: bytes | None) -> dict[str, str]:
    """The header of a request that has a body."""
    kind = "application/x-ndjson" if path.endswith("/_bulk") else "application/json"
    return {"content-type": kind} if body else {}


def basic_login(secrets: Secrets, user: str) -> dict[str, str]:
    """The header of user and password, in UTF-8, which the clients do not make of each password.

    Args:
        user: where none is told.
    """
    login = b64encode(f"{secrets.user or user}:{secrets.password}".encode()).decode()
    return {"authorization": f"Basic {login}"}


def _why(answer: Any) -> str:
    """What the server says is wrong, in a line."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        causes = error.get("root_cause") or [error]
        cause = error.get("caused_by") or causes[0]
        return f"{cause.get('type', '')}: {cause.get('reason', '')}".strip(": ")
    return str(error)[:500]


def _type(answer: Any) -> str:
    """Of the error that the server tells."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error.get("type", "")) if isinstance(error, dict) else ""
