"""Qdrant: sparse vectors in float32, of a server or, by Qdrant Edge, of a folder.

A point has a number or a UUID, so a document's is the UUID of its id (:func:`.point_id`), and the
id itself stands in its payload. A dimension that stood twice in a vector would be kept twice and
scored twice; the rows of an ImpactBatch hold none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Float32Array, Int32Array
from splade_bridge.engines.remote.base import FieldValue, Float64Array, RemoteOptions, Row
from splade_bridge.engines.remote.numbered import STATE, NumberedIndex, above_0, numbers
from splade_bridge.engines.remote.qdrant_store import NewPoint, Store
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State, state_bytes
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.qdrant import PAYLOAD_ID, point_id
from splade_bridge.formats.feeds.weights import as_float32

log = logging.getLogger(__name__)


class Qdrant(NumberedIndex):
    """A collection with one sparse vector."""

    engine = "Qdrant"
    extra = "qdrant"
    most_hits = 1 << 31
    entry_bytes = 16
    own_fields = (PAYLOAD_ID,)

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        self._ours = True
        self._points: Store
        if address.folder is not None:
            from splade_bridge.engines.remote.qdrant_folder import FolderStore

            self._points = FolderStore(address, self.extra)
            self.in_process = True
        else:
            from splade_bridge.engines.remote.qdrant_server import ServerStore

            self._points = ServerStore(address, secrets, self.extra)

    def close(self) -> None:
        """End the connection, or let go of the folder."""
        self._points.close()

    def key(self, doc_id: str) -> str:
        """The UUID; of an index that others made the id is the point's own."""
        return point_id(doc_id) if self._ours else doc_id

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`; what makes its scores no plain sums is said."""
        fields = self._points.fields()
        self.field = self.vector_field(fields, field)
        self._ours = self._points.read_beside(STATE) is not None
        for problem in inexact(fields[self.field]):
            log.warning("%s: %s", self.address, problem)

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        return self._points.exists()

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: the body of ``PUT /collections/NAME``."""
        return self._points.creation(self.field, options)

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`."""
        self.field, self._ours = type(self).field, True
        self._points.create(self.field, options, {STATE: state_bytes(state)})

    def drop(self) -> None:
        """See :class:`RemoteIndex`."""
        self._points.drop()

    def read_beside(self, name: str) -> bytes | None:
        """See :class:`NumberedIndex`."""
        return self._points.read_beside(name)

    def write_beside(self, name: str, content: bytes) -> None:
        """See :class:`NumberedIndex`."""
        self._points.write_beside(name, content)

    # Filled

    def _item(
        self, doc_id: str, indices: Int32Array, values: Float32Array, kept: dict[str, FieldValue]
    ) -> NewPoint:
        if PAYLOAD_ID in kept:
            raise BadInputError(
                f"document {quoted(doc_id)}: the field {PAYLOAD_ID!r} of the payload holds the "
                "document's id: name the stored field otherwise"
            )
        return NewPoint(self.key(doc_id), indices, values, {PAYLOAD_ID: doc_id, **kept})

    def _store(self, items: list[Any]) -> None:
        self._points.upsert(self.field, items)

    def _id_of(self, item: Any) -> str:
        return str(item.payload[PAYLOAD_ID])

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`; Qdrant merges its segments as its own settings say."""
        self._points.finish()

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        there = [point.key for point in self._points.retrieve(self._keys(doc_ids), self.field)]
        if there:
            self._points.delete(there)
        return len(there)

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        return self._points.count()

    def _id(self, key: str, payload: Mapping[str, Any] | None) -> str:
        if not self._ours:
            return key
        if not payload or not isinstance(found := payload.get(PAYLOAD_ID), str):
            raise BadInputError(f"point {key} has no id in its payload", str(self.address))
        return found

    def _keys(self, doc_ids: Sequence[str]) -> list[str]:
        return [self.key(doc_id) for doc_id in doc_ids]

    def rows(self) -> Iterator[Row]:
        """See :class:`RemoteIndex`."""
        for point in self._points.scroll(self.field):
            yield Row(self._id(point.key, point.payload), point.indices, numbers(point.values))

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        return [
            Row(self._id(point.key, point.payload), point.indices, numbers(point.values))
            for point in self._points.retrieve(self._keys(doc_ids), self.field)
        ]

    def stored_text(self, doc_id: str, name: str) -> str | None:
        """See :class:`RemoteIndex`."""
        found = self._points.retrieve(self._keys([doc_id]), self.field, [name])
        text = found[0].payload.get(name) if found else None
        return text if isinstance(text, str) else None

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`.

        Args:
            only: Qdrant's own filter, as its JSON.
        """
        found = self._points.query(self.field, list(names), as_float32(weights).tolist(), n, only)
        ids = [self._id(key, payload) for key, payload, _ in found]
        return above_0(ids, (score for *_, score in found))

    def approximate(self, own: Mapping[str, Any]) -> None:
        """See :class:`RemoteIndex`: what makes its scores so is how its weights are stored."""
        settings = self._points.fields()[self.field]
        if not inexact(settings):
            raise UsageError(
                f"{self.address}: keeps its weights as float32, and Qdrant answers exactly: leave "
                "--approximate out"
            )
        self.algorithm = ",".join(_datatypes(settings)) or "modified"

    def told(self) -> dict[str, Any]:
        """See :class:`RemoteIndex`."""
        fields = self._points.fields()
        notes = [problem for settings in fields.values() for problem in inexact(settings)]
        return {**self._points.told(), "sparse_vectors": fields} | (
            {"notes": notes} if notes else {}
        )

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`."""
        try:
            return self._points.aliased(alias)
        except NotImplementedError:
            raise self._no_aliases() from None

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`."""
        try:
            self._points.point(alias)
        except NotImplementedError:
            raise self._no_aliases() from None


def _datatypes(settings: Mapping[str, Any]) -> list[str]:
    """Those of weights that are not float32."""
    index = settings.get("index") or {}
    found = {str(one).lower() for one in (settings.get("datatype"), index.get("datatype")) if one}
    return sorted(found - {"float32"})


def inexact(settings: Mapping[str, Any]) -> list[str]:
    """What makes the scores of a sparse vector something else than sums of float32 products."""
    problems = [
        f"Qdrant keeps its weights as {datatype}, so scores are approximate"
        for datatype in _datatypes(settings)
    ]
    if (modifier := settings.get("modifier")) and str(modifier).lower() != "none":
        problems.append(f"Qdrant changes its scores by the modifier {modifier}")
    return problems
