"""Engines of a comparison that are addresses: each variant has an index of its own there.

Of a server it is called ``NAME_HASH``, after the step that loads it. ``milvus:NAME.db`` and
``qdrant:NAME`` lie in the folder of that step, below the output of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.registry import algorithms_of, connect
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import ImpactSource

HASH = 8
"""Characters of a step's key in the name of an index."""


@dataclass(frozen=True)
class Loaded:
    """An index that was loaded.

    Attributes:
        bytes: that it takes; 0 where its engine does not tell.
        server: name and version of the engine, as far as it tells.
    """

    address: Address
    manifest: Manifest
    bytes: int
    server: str


def engine_address(name: str) -> Address | None:
    """The address that an engine of a comparison is; None for the name of an engine.

    Raises:
        UsageError: it begins as an address and is none, or is that of a folder elsewhere.
    """
    found = place_of(name)
    if not isinstance(found, Address):
        return None
    if found.folder is not None and found.folder.name != str(found.folder):
        raise UsageError(
            f"{name}: in a comparison it lies below the output: give its name alone, as "
            f"{found.scheme}:{found.folder.name}"
        )
    return found


def check_address(address: Address) -> tuple[str, ...]:
    """The algorithms of what is behind an address.

    Raises:
        MissingToolError: its client is not installed.
        ServerError: it does not answer, or refuses us.
    """
    if address.folder is None:
        with connect(address):
            pass
    return algorithms_of(address)


def load_variant(
    address: Address, opened: Callable[[], ImpactSource], folder: Path, own: Any
) -> Loaded:
    """Load the documents of a variant; a load that was stopped goes on.

    Args:
        opened: gives them anew.
        folder: of the step.
        own: what only this engine knows, an instance of its options.

    Raises:
        SpladeBridgeError: see :func:`splade_bridge.engines.remote.load.load`.
    """
    if address.folder is not None:
        mine = replace(address, folder=folder / address.folder.name)
    else:
        mine = address.with_name(f"{address.name}_{folder.name[:HASH]}")
    made = RemoteOptions(own=asdict(own) if own else {})
    with connect(mine) as index:
        manifest = load(index, opened, LoadOptions(made), plan={"step": folder.name})
        told = index.told().get("server") or ""
        server = told if isinstance(told, str) else ", ".join(told)
        return Loaded(mine, manifest, index.size() or 0, server)


def is_there(address: Address) -> bool:
    """Whether an index of ours is there, and whole."""
    with connect(address) as index:
        state = index.state() if index.exists() else None
    return state is not None and state.manifest is not None


def dropped(address: Address) -> int:
    """Throw an index of ours away; the bytes that this freed, as far as its engine tells."""
    if not is_there(address):
        return 0
    with connect(address) as index:
        freed = index.size() or 0
        index.drop()
    return freed
