"""Qdrant: sparse vectors in float32, of a server or, by Qdrant Edge, of a folder.

A point has a number or a UUID, so a document's is the UUID of its id (:func:`.point_id`), and the
id itself stands in its payload. A dimension that stood twice in a vector would be kept twice and
scored twice; the rows of an ImpactBatch hold none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import ImpactBatch, Int32Array, SparseBatch
from splade_bridge.engines.remote.base import Fields, Float64Array, RemoteOptions, Row
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.engines.remote.numbered import STATE, NumberedIndex, fields_size, numbers
from splade_bridge.engines.remote.qdrant_store import Point, Store
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State, state_bytes
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.names import Names
from splade_bridge.formats.feeds.qdrant import PAYLOAD_ID, point_id
from splade_bridge.formats.feeds.weights import as_float32, weights_of

log = logging.getLogger(__name__)


class Qdrant(NumberedIndex):
    """A collection with one sparse vector."""

    engine = "Qdrant"
    extra = "qdrant"
    most_hits = 1 << 31
    block_rows: ClassVar[int] = 500
    own_fields = (PAYLOAD_ID,)

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        self._ours = True
        self._store: Store
        if address.folder is not None:
            from splade_bridge.engines.remote.qdrant_folder import FolderStore

            self._store = FolderStore(address, self.extra)
        else:
            from splade_bridge.engines.remote.qdrant_server import ServerStore

            self._store = ServerStore(address, secrets, self.extra)

    def close(self) -> None:
        """End the connection, or let go of the folder."""
        self._store.close()

    def key(self, doc_id: str) -> str:
        """The UUID; of an index that others made the id is the point's own."""
        return point_id(doc_id) if self._ours else doc_id

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`; what makes its scores no plain sums is said."""
        fields = self._store.fields()
        fitting = {name: told for name, told in fields.items() if field in (None, name)}
        if len(fitting) != 1:
            which = f"no sparse vector {field!r}" if field else f"{len(fields)} sparse vectors"
            raise BadInputError(
                f"has {which}{' of ' * bool(fields)}{', '.join(sorted(fields))}"
                f"{': name one by --field' * (len(fields) > 1)}",
                str(self.address),
            )
        ((self.field, settings),) = fitting.items()
        self._ours = self._store.read_beside(STATE) is not None
        for problem in inexact(settings):
            log.warning("%s: %s", self.address, problem)

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        return self._store.exists()

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: the body of ``PUT /collections/NAME``."""
        return self._store.creation(self.field, options)

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`."""
        self.field, self._ours = type(self).field, True
        self._store.create(self.field, options, {STATE: state_bytes(state)})

    def drop(self) -> None:
        """See :class:`RemoteIndex`."""
        self._store.drop()

    def read_beside(self, name: str) -> bytes | None:
        """See :class:`NumberedIndex`."""
        return self._store.read_beside(name)

    def write_beside(self, name: str, content: bytes) -> None:
        """See :class:`NumberedIndex`."""
        self._store.write_beside(name, content)

    # Filled

    def items(
        self, batch: ImpactBatch | SparseBatch, names: Names, fields: Sequence[Fields] | None
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`RemoteIndex`: points."""
        indices, indptr = batch.indices.tolist(), batch.indptr.tolist()
        values = as_float32(weights_of(batch)).tolist()
        for row, doc_id in enumerate(batch.ids):
            of = slice(indptr[row], indptr[row + 1])
            kept = dict(fields[row]) if fields else {}
            if PAYLOAD_ID in kept:
                raise BadInputError(
                    f"document {quoted(doc_id)}: the field {PAYLOAD_ID!r} of the payload holds the "
                    "document's id: name the stored field otherwise"
                )
            point = Point(self.key(doc_id), indices[of], values[of], {PAYLOAD_ID: doc_id, **kept})
            size = 16 * (of.stop - of.start) + len(doc_id) + fields_size(kept)
            yield point, size + 100

    def write(self, items: list[Any]) -> None:
        """See :class:`RemoteIndex`."""
        try:
            self._store.upsert(self.field, items)
        except ServerError:
            self.stored_singly(
                items,
                lambda p: str(p.payload[PAYLOAD_ID]),
                lambda one: self._store.upsert(self.field, one),
            )

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`; Qdrant merges its segments as its own settings say."""
        self._store.finish()

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        there = [point.key for point in self._store.retrieve(self._keys(doc_ids), self.field)]
        if there:
            self._store.delete(there)
        return len(there)

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        return self._store.count()

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
        for point in self._store.scroll(self.field):
            yield Row(self._id(point.key, point.payload), point.indices, numbers(point.values))

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        return [
            Row(self._id(point.key, point.payload), point.indices, numbers(point.values))
            for point in self._store.retrieve(self._keys(doc_ids), self.field)
        ]

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`.

        Args:
            only: Qdrant's own filter, as its JSON.
        """
        found = self._store.query(self.field, list(names), as_float32(weights).tolist(), n, only)
        ids = [self._id(key, payload) for key, payload, _ in found]
        scores = np.array([score for *_, score in found], dtype=np.float64)
        above = scores > 0  # a negative weight of others may bring scores below
        return [i for i, ok in zip(ids, above.tolist(), strict=True) if ok], scores[above]

    def approximate(self, own: Mapping[str, Any]) -> None:
        """See :class:`RemoteIndex`: what makes its scores so is how its weights are stored."""
        settings = self._store.fields()[self.field]
        if not inexact(settings):
            raise UsageError(
                f"{self.address}: keeps its weights as float32, and Qdrant answers exactly: leave "
                "--approximate out"
            )
        self.algorithm = ",".join(_datatypes(settings)) or "modified"

    def told(self) -> dict[str, Any]:
        """See :class:`RemoteIndex`."""
        fields = self._store.fields()
        notes = [problem for settings in fields.values() for problem in inexact(settings)]
        return {**self._store.told(), "sparse_vectors": fields} | (
            {"notes": notes} if notes else {}
        )

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`."""
        try:
            return self._store.aliased(alias)
        except NotImplementedError:
            raise self._no_aliases() from None

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`."""
        try:
            self._store.point(alias)
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
