"""What Qdrant's points are kept by: a folder in this process, or a server."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from splade_bridge.data.vectors import Float32Array, Int32Array
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.qdrant_options import QdrantDatatype, QdrantOptions

PAGE = 1000


class Point(NamedTuple):
    """A document as Qdrant keeps it.

    Attributes:
        key: its UUID, or its number.
        payload: with the id, if it is of ours.
    """

    key: str
    indices: list[int]
    values: list[float]
    payload: dict[str, Any]


def key_of(key: str) -> int | str:
    """What a client takes for :attr:`Point.key`: a number, or a UUID."""
    return int(key) if key.isdigit() else key


def datatype_of(options: RemoteOptions) -> QdrantDatatype:
    """Of the weights that are searched, in an index that is made so."""
    return QdrantOptions(**options.own).datatype


class NewPoint(NamedTuple):
    """A document on its way to Qdrant; the attributes are those of :class:`Point`.

    A client takes lists, which are ten times as large: they are made where it takes them, and do
    not wait for their turn.
    """

    key: str
    indices: Int32Array
    values: Float32Array
    payload: dict[str, Any]


class Store(abc.ABC):
    """Points of one collection, wherever it is; each method raises as :class:`RemoteIndex` says."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether it is there."""

    @abc.abstractmethod
    def creation(self, field: str, options: RemoteOptions) -> dict[str, Any]:
        """What makes it."""

    @abc.abstractmethod
    def create(self, field: str, options: RemoteOptions, beside: Mapping[str, bytes]) -> None:
        """Make it, with what is kept beside it; it is there with all of that, or not at all."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Throw it away, and what is kept beside it."""

    @abc.abstractmethod
    def read_beside(self, name: str) -> bytes | None:
        """See :class:`NumberedIndex`."""

    @abc.abstractmethod
    def write_beside(self, name: str, content: bytes) -> None:
        """See :class:`NumberedIndex`."""

    @abc.abstractmethod
    def fields(self) -> dict[str, dict[str, Any]]:
        """Names of its sparse vectors, and their settings as Qdrant names them in JSON."""

    @abc.abstractmethod
    def upsert(self, field: str, points: Sequence[NewPoint]) -> None:
        """Store points in place of those of the same keys."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Keep what was stored, and let Qdrant order it."""

    @abc.abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove points."""

    @abc.abstractmethod
    def count(self) -> int:
        """Points that are there."""

    def scroll(self, field: str) -> Iterator[Point]:
        """All of them."""
        offset = None
        while True:
            records, offset = self._page(field, offset)
            yield from (self._point(record, field) for record in records)
            if offset is None:
                return

    def _point(self, record: Any, field: str) -> Point:
        """What a client gives for a point; one without a vector is an empty document."""
        vector = (record.vector or {}).get(field)
        indices = [] if vector is None else list(vector.indices)
        values = [] if vector is None else list(vector.values)
        return Point(str(record.id), indices, values, record.payload or {})

    @abc.abstractmethod
    def _page(self, field: str, offset: Any) -> tuple[list[Any], Any]:
        """Some points from ``offset`` on, as the client gives them, and where the next begin."""

    @abc.abstractmethod
    def retrieve(self, keys: Sequence[str], field: str, payload: Sequence[str] = ()) -> list[Point]:
        """Those of these keys that are there, with their ids and further fields of the payload."""

    @abc.abstractmethod
    def query(
        self, field: str, names: list[int], weights: list[float], n: int, only: Any
    ) -> list[tuple[str, dict[str, Any], float]]:
        """Key, payload with the id, and score of the best ``n``."""

    @abc.abstractmethod
    def told(self) -> dict[str, Any]:
        """Settings of the collection."""

    def aliased(self, alias: str) -> str | None:
        """The collection that an alias stands for."""
        raise NotImplementedError

    def point(self, alias: str) -> None:
        """Let an alias stand for this collection alone."""
        raise NotImplementedError

    @abc.abstractmethod
    def close(self) -> None:
        """End what is open."""
