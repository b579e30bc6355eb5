"""Engines in which terms are numbers: what these stand for is kept beside the index.

The state of an index and its vocabulary are JSON. An engine that holds rows keeps them in pieces,
each under a version: a version counts once all of its pieces are there, and older ones are removed
after that, so a process may be killed at any moment.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson

from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import Fields, RemoteIndex
from splade_bridge.engines.remote.faults import Refused, ServerError
from splade_bridge.engines.remote.states import State, state_bytes, state_of
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, typed
from splade_bridge.formats.feeds.names import Naming
from splade_bridge.formats.feeds.weights import SINGLE

STATE, VOCABULARY = "state", "vocabulary"
BESIDE = "__splade_bridge"
"""Behind the name of a collection: what is kept beside it."""
PIECE = 15_000
"""Characters of a piece: 60,000 bytes at most, and Milvus takes 65,535."""

MOST_INTEGER = 1 << 53

T = TypeVar("T")


@dataclass(frozen=True)
class _Terms:
    """What is kept of a vocabulary."""

    terms: list[str]
    observed: bool


class NumberedIndex(RemoteIndex):
    """An index that holds float32 weights of numbered dimensions."""

    naming: Naming = "number"
    kept = SINGLE

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

    def stored_singly(
        self, items: Sequence[T], id_of: Callable[[T], str], store: Callable[[list[T]], object]
    ) -> None:
        """Store one by one what the engine has refused as a block.

        Raises:
            Refused: for some of them.
            ServerError: it refuses all.
        """
        refused: list[tuple[str, str]] = []
        last: ServerError | None = None
        for item in items:
            try:
                store([item])
            except ServerError as error:
                last = error
                refused.append((id_of(item), str(error)))
        if last is not None and len(refused) == len(items):
            raise last
        if refused:
            raise Refused(refused)


def numbers(values: Sequence[float]) -> Sequence[int] | Sequence[float]:
    """Weights as they were loaded: engines give floats, and whole ones were integers."""
    found = np.asarray(values, dtype=np.float64)
    whole = np.rint(found)
    if not np.array_equal(found, whole) or (len(found) and abs(whole).max() > MOST_INTEGER):
        return values
    integers: list[int] = whole.astype(np.int64).tolist()
    return integers


def fields_size(kept: Fields) -> int:
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
