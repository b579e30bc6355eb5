"""Qdrant Edge: the shard of a Qdrant server in this process, in a folder.

Whatever opens the folder with Qdrant Edge finds its shard there; what we keep beside it lies in
``splade_bridge/`` in the folder. Edge opens a shard of which files are cut or missing and says
nothing of the points it lacks, so their number is kept, too, and compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import orjson

from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import ServerError, missing_client
from splade_bridge.engines.remote.held import holder, shared
from splade_bridge.engines.remote.qdrant_store import (
    PAGE,
    NewPoint,
    Point,
    Store,
    datatype_of,
    key_of,
)
from splade_bridge.errors import BadInputError, MissingToolError, UsageError, is_panic
from splade_bridge.files.address import Address
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.feeds.qdrant import PAYLOAD_ID

P = ParamSpec("P")
T = TypeVar("T")

OURS = "splade_bridge"
CONFIG, SEGMENTS = "edge_config.json", "segments"
DOCUMENTS = "documents"
"""How many points there are; it lies there while none is being written."""
POSTINGS_IN_MEMORY = 8_000_000
"""Of those that were written last, of which Edge has its index in memory."""
SEGMENT_KILOBYTES = 100_000
"""Of the segments that Edge makes of them, each in memory while it is made."""
MOST_SEGMENTS = 32
"""Before Edge joins any: else it makes one anew of two or three after each so many postings, which
takes a quarter of the time of a load, and memory."""
BUSY = "WouldBlock"


def _told(method: Callable[P, T]) -> Callable[P, T]:
    """What Edge raises as an error of ours."""

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        store = args[0]
        assert isinstance(store, FolderStore)
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            if not _is_of_edge(error):
                raise
            raise ServerError(f"{store.name}: Qdrant Edge: {error}") from error

    return called


def _give_back() -> None:
    """Give memory back that is free: glibc keeps it, and each thread that writes has its own."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class _Shard:
    """An open shard, which is closed with its last user."""

    def __init__(self, path: Path, edge: Any) -> None:
        self.shard = edge.EdgeShard.load(str(path))

    def __del__(self) -> None:
        if (shard := getattr(self, "shard", None)) is not None:
            shard.close()


class FolderStore(Store):
    """A shard in a folder."""

    def __init__(self, address: Address, extra: str) -> None:
        try:
            import qdrant_edge
        except ImportError as error:
            raise MissingToolError(missing_client("Qdrant Edge", extra, error)) from error
        self._edge = qdrant_edge
        assert address.folder is not None
        self._folder = address.folder
        self.name = str(address)
        self._open: _Shard | None = None
        # What a load that was killed has left is in memory, too: mapped with the first block.
        self._growing, self._grown = threading.Lock(), POSTINGS_IN_MEMORY

    @property
    def _shard(self) -> Any:
        if self._open is None:
            self._open = self._opened()
        return self._open.shard

    def _opened(self) -> _Shard:
        if not (self._folder / SEGMENTS).is_dir():
            raise BadInputError("holds no shard of Qdrant Edge", self.name)
        edge = self._edge
        try:
            found = shared(self._folder, lambda path: _Shard(path, edge))
        except BaseException as error:
            if not _is_of_edge(error):
                raise
            if BUSY in str(error):
                log = self._folder / "wal"
                who = holder([log, *log.iterdir()]) or "another process"
                raise ServerError(
                    f"{self.name}: is held by {who}, and one process at a time may have it open: "
                    "wait until it has ended"
                ) from error
            raise BadInputError(f"Qdrant Edge cannot open it ({error})", self.name) from error
        wanted, there = self._documents(), found.shard.count(edge.CountRequest(exact=True))
        if wanted not in (None, there):
            raise BadInputError(
                f"is damaged: {wanted:,} documents were stored, and Qdrant Edge finds {there:,}",
                self.name,
            )
        return found

    def _documents(self) -> int | None:
        held = self.read_beside(DOCUMENTS)
        return int(held) if held is not None and held.isdigit() else None

    def _writing(self) -> None:
        """Points are about to change: their number is not known until :meth:`_written`."""
        (self._folder / OURS / f"{DOCUMENTS}.json").unlink(missing_ok=True)

    def _written(self) -> None:
        self._shard.flush()
        if (self._folder / OURS).is_dir():
            self.write_beside(DOCUMENTS, b"%d" % self.count())

    def close(self) -> None:
        """Let go of the shard."""
        self._open = None

    def exists(self) -> bool:
        """See :class:`Store`; a folder with anything in it is there."""
        return self._folder.is_file() or (self._folder.is_dir() and any(self._folder.iterdir()))

    def creation(self, field: str, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`Store`: ``edge_config.json``."""
        for name in ("shards", "replicas"):
            if getattr(options, name) is not None:
                raise UsageError(f"{self.name}: Qdrant Edge has no {name}: leave --{name} out")
        return {
            "sparse_vectors": {field: {"datatype": datatype_of(options), "memory": "cached"}},
            "optimizers": {
                "max_segment_size": SEGMENT_KILOBYTES,
                "default_segment_number": MOST_SEGMENTS,
            },
        }

    @_told
    def create(self, field: str, options: RemoteOptions, beside: Mapping[str, bytes]) -> None:
        """See :class:`Store`: made beside its place and renamed."""
        made = self.creation(field, options)
        edge = self._edge
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        making = self._folder.with_name(f".{self._folder.name}.{OURS}-making")
        shutil.rmtree(making, ignore_errors=True)
        (making / OURS).mkdir(parents=True)
        for name, content in beside.items():
            (making / OURS / f"{name}.json").write_bytes(content)
        datatype = getattr(edge.VectorStorageDatatype, datatype_of(options).capitalize())
        config = edge.EdgeConfig(
            sparse_vectors={
                field: edge.EdgeSparseVectorParams(datatype=datatype, memory=edge.Memory.Cached)
            },
            optimizers=edge.EdgeOptimizersConfig(**made["optimizers"]),
        )
        edge.EdgeShard.create(str(making), config).close()
        making.rename(self._folder)
        self._grown = 0  # nothing is in it

    def drop(self) -> None:
        """See :class:`Store`."""
        self.close()
        if self._folder.is_dir():
            dropped = self._folder.with_name(f".{self._folder.name}.{OURS}-dropped")
            shutil.rmtree(dropped, ignore_errors=True)
            self._folder.rename(dropped)
            shutil.rmtree(dropped)

    def read_beside(self, name: str) -> bytes | None:
        """See :class:`NumberedIndex`."""
        try:
            return (self._folder / OURS / f"{name}.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    @_told
    def write_beside(self, name: str, content: bytes) -> None:
        """See :class:`NumberedIndex`; what was stored before is on the disk before this."""
        self._shard.flush()
        with atomic_writer(self._folder / OURS / f"{name}.json") as out:
            out.write(content)

    def fields(self) -> dict[str, dict[str, Any]]:
        """See :class:`Store`: as the segments have them, which is what is searched."""
        _ = self._shard  # which tells whether it is whole, and nobody else's
        found: dict[str, dict[str, Any]] = {}
        for file in sorted((self._folder / SEGMENTS).glob("*/segment.json")):
            where = Where(str(file))
            config = as_table(as_table(json_file(where), where).get("config", {}), where)
            for name, settings in (config.get("sparse_vector_data") or {}).items():
                seen = found.setdefault(name, settings)
                if seen["index"].get("datatype") == "float32":
                    found[name] = settings  # the less exact one is shown
        return found

    def told(self) -> dict[str, Any]:
        """See :class:`Store`."""
        config, version = self._folder / CONFIG, importlib.metadata.version("qdrant-edge-py")
        told = {"config": json_file(Where(str(config)))} if config.is_file() else {}
        return {"server": f"Qdrant Edge {version}", **told}

    @_told
    def upsert(self, field: str, points: Sequence[NewPoint]) -> None:
        """See :class:`Store`."""
        edge = self._edge
        shard = self._shard
        made = [
            edge.Point(
                key_of(p.key),
                {field: edge.SparseVector(p.indices.tolist(), p.values.tolist())},
                p.payload,
            )
            for p in points
        ]
        with self._growing:
            self._writing()
            shard.update(edge.UpdateOperation.upsert_points(made))
            self._grown += sum(len(p.indices) for p in points)
            if self._grown > POSTINGS_IN_MEMORY:  # from there into files that are mapped
                shard.flush()
                shard.optimize()
                _give_back()
                self._grown = 0

    @_told
    def finish(self) -> None:
        """See :class:`Store`."""
        self._shard.flush()
        self._shard.optimize()
        _give_back()
        self._written()

    @_told
    def delete(self, keys: Sequence[str]) -> None:
        """See :class:`Store`."""
        shard = self._shard
        self._writing()
        shard.update(self._edge.UpdateOperation.delete_points([key_of(key) for key in keys]))
        self._written()

    @_told
    def count(self) -> int:
        """See :class:`Store`."""
        return int(self._shard.count(self._edge.CountRequest(exact=True)))

    @_told
    def _page(self, field: str, offset: Any) -> tuple[list[Any], Any]:
        records, after = self._shard.scroll(
            self._edge.ScrollRequest(
                limit=PAGE, offset=offset, with_vector=[field], with_payload=[PAYLOAD_ID]
            )
        )
        return records, after

    @_told
    def retrieve(self, keys: Sequence[str], field: str, payload: Sequence[str] = ()) -> list[Point]:
        """See :class:`Store`."""
        known = [key_of(key) for key in keys if _is_key(key)]
        records = self._shard.retrieve(known, [PAYLOAD_ID, *payload], [field])
        return [self._point(record, field) for record in records]

    @_told
    def query(
        self, field: str, names: list[int], weights: list[float], n: int, only: Any
    ) -> list[tuple[str, dict[str, Any], float]]:
        """See :class:`Store`."""
        edge = self._edge
        hits = self._shard.query(
            edge.QueryRequest(
                query=edge.Query.Nearest(edge.SparseVector(names, weights), using=field),
                limit=n,
                with_payload=[PAYLOAD_ID],
                filter=None if only is None else self._filter(only),
            )
        )
        return [(str(hit.id), hit.payload or {}, hit.score) for hit in hits]

    def _filter(self, only: Any) -> Any:
        """A filter in Qdrant's JSON, of what Edge's classes are made for here.

        Raises:
            BadInputError: it has something else in it.
        """
        if not isinstance(only, dict) or not only or only.keys() - {"must", "should", "must_not"}:
            raise self._no_filter(only)
        made: dict[str, Any] = {
            name: [self._condition(one) for one in _list(found)] for name, found in only.items()
        }
        return self._edge.Filter(**made)

    def _match(self, key: str, kind: str, values: list[Any]) -> Any:
        """One of these values, whole numbers or strings.

        Raises:
            BadInputError: Edge's classes take true for 1, which no document has.
        """
        edge = self._edge
        if any(isinstance(value, bool) for value in values):
            raise BadInputError(
                f"the filter asks whether {key} is true or false, which Qdrant Edge does not find: "
                f"load it as a string (--fields {key}:keyword), and ask for "
                '"true" or "false"',
                self.name,
            )
        if not all(isinstance(value, str | int) for value in values):
            raise self._no_filter({"key": key, "match": {kind: values}})
        match = edge.MatchAny(values) if kind == "any" else edge.MatchValue(values[0])
        return edge.FieldCondition(key, match=match)

    def _condition(self, one: Any) -> Any:
        edge = self._edge
        if isinstance(one, dict) and one.keys() <= {"must", "should", "must_not"}:
            return self._filter(one)
        match one:
            case {"key": str(key), "match": {"value": value}, **rest} if not rest:
                return self._match(key, "value", [value])
            case {"key": str(key), "match": {"any": list(values)}, **rest} if not rest:
                return self._match(key, "any", values)
            case {"key": str(key), "match": {"text": str(text)}, **rest} if not rest:
                return edge.FieldCondition(key, match=edge.MatchText(text))
            case {"key": str(key), "range": dict(found), **rest} if not rest:
                bounds = {str(n): b for n, b in found.items() if isinstance(b, int | float)}
                if bounds and found.keys() == bounds.keys() <= {"gt", "gte", "lt", "lte"}:
                    return edge.FieldCondition(key, range=edge.RangeFloat(**bounds))
            case {"is_null": {"key": str(key)}, **rest} if not rest:
                return edge.IsNullCondition(key)
            case {"is_empty": {"key": str(key)}, **rest} if not rest:
                return edge.IsEmptyCondition(key)
            case {"has_id": list(ids), **rest} if not rest:
                return edge.HasIdCondition({key_of(str(i)) for i in ids})
        raise self._no_filter(one)

    def _no_filter(self, what: Any) -> BadInputError:
        return BadInputError(
            f"the filter holds {orjson.dumps(what, default=str).decode()[:200]}, and for Qdrant "
            "Edge one is made of must, should and must_not with {key, match: {value | any | text}}"
            ", {key, range: {gt | gte | lt | lte}}, {is_null | is_empty: {key}} and {has_id}",
            self.name,
        )


def _is_of_edge(error: BaseException) -> bool:
    """Edge raises plain exceptions, and panics."""
    return type(error) is Exception or is_panic(error)


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _is_key(key: str) -> bool:
    """Whether a point may have it: of others, who ask by any id."""
    if key.isdigit():
        return int(key) < 1 << 64
    try:
        uuid.UUID(key)
    except ValueError:
        return False
    return True
