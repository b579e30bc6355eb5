"""What is kept beside an index of ours, in the engine: how far it is made, or being changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from splade_bridge.data.manifest import Manifest
from splade_bridge.files.typed import Where, typed


@dataclass(frozen=True)
class Change:
    """What is being made of an index that is whole; the same command goes on with it.

    Attributes:
        plan: what is added or deleted, and how; the same command has the same one.
        manifest: of the index as it will be.
        added, replaced, deleted, missing: documents, and ids that were not there.
        loaded: the first so many documents of the source are stored.
    """

    plan: dict[str, Any]
    manifest: Manifest
    added: int = 0
    replaced: int = 0
    deleted: int = 0
    missing: int = 0
    loaded: int = 0


@dataclass(frozen=True)
class State:
    """What is kept beside an index of ours, in the engine.

    Attributes:
        plan: what it is made of and how; the same command has the same one.
        loaded: the first so many documents of the source are stored.
        manifest: None until the index is whole and was checked.
        change: what was begun upon a whole index and has not ended; ``manifest`` is that of before.
    """

    plan: dict[str, Any]
    loaded: int = 0
    manifest: Manifest | None = None
    change: Change | None = None


def state_bytes(state: State) -> bytes:
    """The state as JSON."""
    return orjson.dumps(state)


def state_of(tree: object, place: str) -> State:
    """What :func:`state_bytes` has written, and JSON has read.

    Raises:
        BadInputError: it is something else, or of a newer format.
    """
    return typed(State, tree, Where(place, said="is not what is kept beside an index ({})"))
