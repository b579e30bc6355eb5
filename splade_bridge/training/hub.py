"""Models that a recipe or a flag names."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.errors import BadInputError


def model_folder(name: str, asked_by: str) -> Path:
    """The folder of model ``name``, which is downloaded unless it is a folder or cached.

    Libraries are given this folder and not the name: they would ask the hub again for every file,
    and for a minute where there is no network.

    Args:
        asked_by: key of the recipe, or flag, for the message.

    Raises:
        BadInputError: neither a folder nor a hub model that is reachable or cached.
    """
    try:
        return find_snapshot(name).folder
    except BadInputError as error:
        raise BadInputError(
            f"{error}; without a network, name a folder, or a model that was downloaded before "
            "(`hf download NAME`)",
            asked_by,
        ) from error
