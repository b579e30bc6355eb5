"""Engines in which terms are numbers: what these stand for is kept beside the index.

The state of an index and its vocabulary are JSON. An engine that holds rows keeps them in pieces,
each under a version: a version counts once all of its pieces are there, and older ones are removed
after that, so a process may be killed at any moment.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import orjson

from splade_bridge.data.vectors import Float32Array, ImpactBatch, Int32Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import Fields, FieldValue, Float64Array, RemoteIndex
from splade_bridge.engines.remote.faults import Refused, ServerError
from splade_bridge.engines.remote.states import State, state_bytes, state_of
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, typed
from splade_bridge.formats.feeds.names import Names, Naming
from splade_bridge.formats.feeds.weights import SINGLE, as_float32, weights_of

STATE, VOCABULARY = "state", "vocabulary"
BESIDE = "__splade_bridge"
"""Behind the name of a collection: what is kept beside it."""
PIECE = 15_000
"""Characters of a piece: 60,000 bytes at most, and Milvus takes 65,535."""

MOST_INTEGER = 1 << 53


@dataclass(frozen=True)
class _Terms:
    """What is kept of a vocabulary."""

    terms: list[str]
    observed: bool


class NumberedIndex(RemoteIndex):
    """An index that holds float32 weights of numbered dimensions.

    Attributes:
        entry_bytes: about what a term of a document takes when it is sent.
    """

    naming: Naming = "number"
    kept = SINGLE
    block_rows: ClassVar[int] = 500
    entry_bytes: ClassVar[int]

    @abc.abstractmethod
    def read_beside(self, name: str) -> bytes | None:
        """What :meth:`write_beside` has kept under ``name``, whole; None for nothing."""

    @abc.abstractmethod
    def write_beside(self, name: str, content: bytes) -> None:
        """Keep JSON beside the index, in place of what has this name."""

    def state(self) -> State | None:
        """See :class:`RemoteIndex`."""
        held = self.read_beside(STATE)
        return None if held is None else state_of(self._json(held), str(self.address))

    def keep(self, state: State) -> None:
        """See :class:`RemoteIndex`."""
        self.write_beside(STATE, state_bytes(state))

    def keep_vocabulary(self, vocabulary: Vocabulary) -> None:
        """See :class:`RemoteIndex`."""
        kept = _Terms(list(vocabulary.terms), vocabulary.observed)
        self.write_beside(VOCABULARY, orjson.dumps(kept))

    def vocabulary(self) -> Vocabulary | None:
        """See :class:`RemoteIndex`."""
        held = self.read_beside(VOCABULARY)
        if held is None:
            return None
        where = Where(str(self.address), said="is not a vocabulary kept beside an index ({})")
        kept = typed(_Terms, self._json(held), where)
        return Vocabulary(kept.terms, observed=kept.observed)

    def _json(self, held: bytes) -> object:
        try:
            return orjson.loads(held)
        except orjson.JSONDecodeError as error:
            raise BadInputError(
                f"what is kept beside it is damaged ({error})", str(self.address)
            ) from None

    def vector_field(self, fields: Iterable[str], field: str | None) -> str:
        """The one of ``fields``, which hold sparse vectors, that is asked for, or the only one.

        Raises:
            BadInputError: there is none, or there are several and none is named.
        """
        names = sorted(fields)
        fitting = [name for name in names if field in (None, name)]
        if len(fitting) == 1:
            return fitting[0]
        which = f"no sparse vector {field!r}" if field else f"{len(names)} sparse vectors"
        raise BadInputError(
            f"has {which}{' of ' * bool(names)}{', '.join(names)}"
            f"{': name one by --field' * (len(names) > 1)}",
            str(self.address),
        )

    def items(
        self, batch: ImpactBatch | SparseBatch, names: Names, fields: Sequence[Fields] | None
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`RemoteIndex`."""
        indices, values = batch.indices, as_float32(weights_of(batch))
        bounds = pairwise(batch.indptr.tolist())
        for row, (doc_id, (start, stop)) in enumerate(zip(batch.ids, bounds, strict=True)):
            kept = dict(fields[row]) if fields else {}
            size = self.entry_bytes * (stop - start) + len(doc_id) + _fields_size(kept) + 100
            yield self._item(doc_id, indices[start:stop], values[start:stop], kept), size

    @abc.abstractmethod
    def _item(
        self, doc_id: str, indices: Int32Array, values: Float32Array, kept: dict[str, FieldValue]
    ) -> Any:
        """A document as :meth:`_store` takes it.

        Raises:
            BadInputError: one of the fields that are ``kept`` beside its vector cannot be.
        """

    @abc.abstractmethod
    def _store(self, items: list[Any]) -> None:
        """Store all of them, or none where one is refused."""

    @abc.abstractmethod
    def _id_of(self, item: Any) -> str:
        """The document's, for a message."""

    def write(self, items: list[Any]) -> None:
        """See :class:`RemoteIndex`: one by one where the engine has refused a block.

        Raises:
            ServerError: it refuses all.
        """
        try:
            self._store(items)
        except ServerError:
            self._store_singly(items)

    def _store_singly(self, items: list[Any]) -> None:
        refused: list[tuple[str, str]] = []
        last: ServerError | None = None
        for item in items:
            try:
                self._store([item])
            except ServerError as error:
                last = error
                refused.append((self._id_of(item), str(error)))
        if last is not None and len(refused) == len(items):
            raise last
        if refused:
            raise Refused(refused)


class PiecesBeside(abc.ABC):
    """Keeps JSON beside an index as rows: pieces under a version."""

    @abc.abstractmethod
    def _has_beside(self) -> bool:
        """Whether anything is kept."""

    @abc.abstractmethod
    def _pieces(self, name: str) -> list[dict[str, Any]]:
        """All that are kept under ``name``."""

    @abc.abstractmethod
    def _add_pieces(self, new: list[dict[str, Any]]) -> None:
        """Store them."""

    @abc.abstractmethod
    def _remove_pieces(self, keys: list[str]) -> None:
        """Remove those of these keys."""

    def read_beside(self, name: str) -> bytes | None:
        """See :class:`NumberedIndex`."""
        return newest(self._pieces(name))[1] if self._has_beside() else None

    def write_beside(self, name: str, content: bytes) -> None:
        """See :class:`NumberedIndex`."""
        old = self._pieces(name)
        self._add_pieces(pieces(name, newest(old)[0] + 1, content))
        if old:
            self._remove_pieces([piece["key"] for piece in old])


def numbers(values: Sequence[float]) -> Sequence[int] | Sequence[float]:
    """Weights as they were loaded: engines give floats, and whole ones were integers."""
    found = np.asarray(values, dtype=np.float64)
    whole = np.rint(found)
    if not np.array_equal(found, whole) or (len(found) and abs(whole).max() > MOST_INTEGER):
        return values
    integers: list[int] = whole.astype(np.int64).tolist()
    return integers


def above_0(ids: list[str], given: Iterable[float]) -> tuple[list[str], Float64Array]:
    """Hits of scores above 0; negative weights of others may bring them below."""
    scores = np.array(list(given), dtype=np.float64)
    above = scores > 0
    return [i for i, ok in zip(ids, above.tolist(), strict=True) if ok], scores[above]


def _fields_size(kept: Fields) -> int:
    """About how many bytes stored fields of a document take."""
    return sum(len(value) if isinstance(value, str) else 8 for value in kept.values())


def pieces(name: str, version: int, content: bytes) -> list[dict[str, Any]]:
    """JSON as rows."""
    text = content.decode()
    parts = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    return [
        {
            "key": f"{name}-{version}-{part}",
            "name": name,
            "version": version,
            "part": part,
            "parts": len(parts),
            "text": piece,
        }
        for part, piece in enumerate(parts)
    ]


def newest(rows: Iterable[dict[str, Any]]) -> tuple[int, bytes | None]:
    """The highest version of which there is a piece, and the content of the highest whole one."""
    found: dict[int, dict[int, str]] = {}
    wanted: dict[int, int] = {}
    for row in rows:
        found.setdefault(row["version"], {})[row["part"]] = row["text"]
        wanted[row["version"]] = row["parts"]
    for version in sorted(found, reverse=True):
        parts = found[version]
        if len(parts) == wanted[version]:
            whole = "".join(parts[i] for i in range(len(parts)))
            return max(found), whole.encode()
    return max(found, default=0), None
