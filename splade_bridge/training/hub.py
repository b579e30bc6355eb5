"""Models that a recipe or a flag names."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.encoding.snapshot import find_snapshot, model_place
from splade_bridge.errors import BadInputError


def model_folder(
    name: str, asked_by: str, revision: str | None = None, *, graph: bool = False
) -> Path:
    """The folder of model ``name``, which is downloaded unless it is a folder or cached.

    Libraries are given this folder and not the name: they would ask the hub again for every file,
    and for a minute where there is no network.

    Args:
        asked_by: key of the recipe, or flag, for the message.
        revision: branch, tag or commit of a hub name; None, or empty, for its main branch.
        graph: the file of a graph of ONNX will do, too, since nothing is trained.

    Raises:
        BadInputError: neither a folder nor a hub model that is reachable or cached.
        UsageError: a revision of a folder.
    """
    try:
        if graph:
            return model_place(name, revision or None)
        return find_snapshot(name, revision or None).folder
    except BadInputError as error:
        raise BadInputError(
            f"{error}; without a network, name a folder, or a model that was downloaded before "
            "(`hf download NAME`)",
            asked_by,
        ) from error
