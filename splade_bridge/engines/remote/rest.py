"""What Elasticsearch and OpenSearch have in common: the same requests, each through its client."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import ImpactBatch, Int32Array
from splade_bridge.engines.remote.base import (
    Busy,
    Float64Array,
    Refused,
    RemoteIndex,
    RemoteOptions,
    Row,
    ServerError,
    State,
    state_bytes,
    state_of,
)
from splade_bridge.errors import BadInputError
from splade_bridge.formats.feeds.elastic import Bulk
from splade_bridge.formats.feeds.names import Names, unescaped
from splade_bridge.formats.feeds.weights import halvings

META = "splade_bridge"
"""In ``_meta`` of the mapping: the state of the index."""
BUSY = (408, 429, 502, 503, 504)
DENIED = (401, 403)
PAGE = 1000
KEEP_ALIVE = "5m"
ITEM_BUSY = (429, 503)


class RestIndex(RemoteIndex):
    """An index of a server that is asked by HTTP.

    Attributes:
        feed: how documents and queries are written for its field.
        types: of fields that hold vectors.
    """

    most_id_bytes = 512
    most_hits = 10_000
    types: ClassVar[tuple[str, ...]]
    feed: Bulk

    @abc.abstractmethod
    def _send(
        self, method: str, path: str, body: bytes | None, params: Mapping[str, Any]
    ) -> tuple[int, Any]:
        """Status and answer; raises Busy or ServerError where the server gives none."""

    def _ask(
        self, method: str, path: str, body: object = None, *, allow: int = 0, **params: Any
    ) -> Any:
        """The answer to a request.

        Args:
            body: bytes as they are, anything else as JSON.
            allow: a status beside success that is no error; its answer is None.
        """
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        status, answer = self._send(method, path, content, params)
        if status == allow:
            return None
        if status in BUSY:
            raise Busy(f"{self.address}: {self.engine} is busy ({status}: {_why(answer)})")
        if status in DENIED:
            raise ServerError(
                f"{self.address}: {self.engine} does not let us ({status}: {_why(answer)}): give "
                "SPLADE_BRIDGE_USER and SPLADE_BRIDGE_PASSWORD, or SPLADE_BRIDGE_API_KEY"
            )
        if status == 404:
            raise self.missing()
        if status >= 400:
            raise ServerError(f"{self.address}: {self.engine} refuses ({status}: {_why(answer)})")
        return answer

    @property
    def _path(self) -> str:
        return "/" + quote(self.address.name, safe="")

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        return self._ask("GET", self._path, allow=404) is not None

    def _settings(self, options: RemoteOptions) -> dict[str, Any]:
        """Of the index, on which results or speed depend."""
        given = {"number_of_shards": options.shards, "number_of_replicas": options.replicas}
        return {name: value for name, value in given.items() if value is not None}

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: the body of ``PUT /INDEX``."""
        texts = {name: {"type": "text", "index": False} for name in options.fields}
        vector = {self.field: {"type": self.feed.type}}
        made: dict[str, Any] = {"mappings": {"dynamic": "strict", "properties": vector | texts}}
        if settings := self._settings(options):
            made["settings"] = {"index": settings}
        return made

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`; no refreshes until :meth:`finish`."""
        made = self.creation(options)
        made["mappings"]["_meta"] = {META: orjson.loads(state_bytes(state))}
        made.setdefault("settings", {}).setdefault("index", {})["refresh_interval"] = "-1"
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

    def keep(self, state: State) -> None:
        """See :class:`RemoteIndex`; what others have put into ``_meta`` stays."""
        meta = self._mapping().get("_meta", {})
        meta[META] = orjson.loads(state_bytes(state))
        self._ask("PUT", f"{self._path}/_mapping", {"_meta": meta})

    def find_field(self) -> None:
        """Take the field of an index that is there: ours, or the only one that holds vectors.

        Raises:
            BadInputError: there is none, or there are several.
        """
        properties = self._mapping().get("properties", {})
        fields = [n for n, told in properties.items() if told.get("type") in self.types]
        if len(fields) != 1:
            raise BadInputError(
                f"has {len(fields) or 'no'} fields of type {' or '.join(self.types)}"
                f"{': ' * bool(fields)}{', '.join(sorted(fields))}",
                str(self.address),
            )
        self.field = fields[0]
        self.feed.field = fields[0]

    # Filled

    def items(
        self, batch: ImpactBatch, names: Names, fields: Sequence[Mapping[str, str]] | None
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`RemoteIndex`: the two lines of a bulk request."""
        found = list(zip(names(batch.indices), map(b"%d".__mod__, batch.impacts.tolist()),
                         strict=True))  # fmt: skip
        indptr = batch.indptr.tolist()
        for row, doc_id in enumerate(batch.ids):
            line = self.feed.document(doc_id, found[indptr[row] : indptr[row + 1]])
            if fields and fields[row]:
                line = line[:-2] + b"," + orjson.dumps(fields[row])[1:] + b"\n"
            yield line, len(line)

    def write(self, items: list[Any]) -> None:
        """See :class:`RemoteIndex`."""
        answer = self._ask(
            "POST", f"{self._path}/_bulk", b"".join(items), filter_path="errors,items.*.error"
                                                                        ",items.*._id,items.*.status",
        )  # fmt: skip
        if not answer.get("errors"):
            return
        failed = [
            (item["_id"], item["status"], _why(item))
            for entry in answer["items"]
            for item in entry.values()
            if "error" in item
        ]
        # What was busy is sent again with the whole block: writing twice changes nothing.
        if all(status in ITEM_BUSY for _, status, _ in failed):
            raise Busy(f"{self.address}: {failed[0][2]}")
        raise Refused([(i, why) for i, status, why in failed if status not in ITEM_BUSY])

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`."""
        self._ask("PUT", f"{self._path}/_settings", {"index": {"refresh_interval": None}})
        self._ask("POST", f"{self._path}/_refresh")
        if merge:
            self._ask("POST", f"{self._path}/_forcemerge", max_num_segments=1)
            self._ask("POST", f"{self._path}/_refresh")

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        lines = b"".join(b'{"delete":{"_id":%b}}\n' % orjson.dumps(i) for i in doc_ids)
        answer = self._ask("POST", f"{self._path}/_bulk", lines, refresh="true")
        return sum(item["delete"].get("result") == "deleted" for item in answer["items"])

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        return int(self._ask("GET", f"{self._path}/_count")["count"])

    def _row(self, hit: Mapping[str, Any]) -> Row:
        vector = hit.get("_source", {}).get(self.field)
        if vector is None:
            raise BadInputError(
                f"document {quoted(hit['_id'])} has no field {self.field!r} in its _source: an "
                "index that leaves vectors out gives none back",
                str(self.address),
            )
        names = list(vector)
        if self.naming == "escaped":  # a name is a term of ours, whoever has written it
            for name in names:
                unescaped(name, str(self.address))
        return Row(hit["_id"], names, list(vector.values()))

    def rows(self) -> Iterator[Row]:
        """See :class:`RemoteIndex`: by a point in time, in pages."""
        body = {"query": {"match_all": {}}, "_source": [self.field], "track_total_hits": False}
        for hits in self._pages(body, PAGE):
            yield from map(self._row, hits)

    @abc.abstractmethod
    def _pages(self, body: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
        """The hits of a search, page after page, of one state of the index."""

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        found = self._ask(
            "POST", f"{self._path}/_mget", {"ids": list(doc_ids)}, _source_includes=self.field
        )
        return [self._row(doc) for doc in found["docs"] if doc.get("found")]

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`."""
        halved = halvings(int(weights.max())) if self.feed.halvings(int(weights.max())) else 0
        cells = [
            (orjson.dumps(name), b"%d" % w if not halved else orjson.dumps(w / (1 << halved)))
            for name, w in zip(names, weights.tolist(), strict=True)
        ]
        body = orjson.loads(self.feed.query(cells, min(n, self.most_hits)))
        if only is not None:
            body["query"] = {"bool": {"must": [body["query"]], "filter": [only]}}
        if n <= self.most_hits:
            hits = self._ask("POST", f"{self._path}/_search", body)["hits"]["hits"]
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
        shown = ("number_of_shards", "number_of_replicas", "version")
        field = found.get("mappings", {}).get("properties", {}).get(self.field)
        return {"index": name, "field": {self.field: field}} | {
            key: settings[key] for key in shown if key in settings
        }

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`."""
        found = self._ask("GET", f"/_alias/{quote(alias, safe='')}", allow=404)
        return next(iter(found)) if found else None

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`: both in one step."""
        self._ask("POST", "/_aliases", {
            "actions": [
                {"remove": {"index": "*", "alias": alias, "must_exist": False}},
                {"add": {"index": self.address.name, "alias": alias}},
            ]
        })  # fmt: skip


def _why(answer: Any) -> str:
    """What the server says is wrong, in a line."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        causes = error.get("root_cause") or [error]
        cause = error.get("caused_by") or causes[0]
        return f"{cause.get('type', '')}: {cause.get('reason', '')}".strip(": ")
    return str(error)[:500]
