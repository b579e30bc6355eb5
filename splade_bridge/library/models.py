"""Models for other runtimes, and those inside engines, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack, cast

from splade_bridge.data.choices import Side
from splade_bridge.encoding.choices import ExportTarget, ModelChoices, Pooling
from splade_bridge.errors import UsageError, require
from splade_bridge.evaluation.probe import Probe
from splade_bridge.files.address import Address
from splade_bridge.library import given
from splade_bridge.library.keywords import Checkpoint, takes


@takes(Checkpoint)
def export_model(
    model: str | Path,
    output: str | Path,
    *,
    to: str,
    side: str | None = None,
    max_length: int | None = None,
    pooling: str | None = None,
    overwrite: bool = False,
    **checkpoint: Unpack[Checkpoint],
) -> list[dict[str, Any]]:
    """Write a model for another runtime, with weights equal to those of ``encode``.

    Args:
        model: checkpoint, a folder or a hub name.
        output: a folder.
        to: ``onnx``, ``opensearch`` or ``elasticsearch``.
        side: "document" or "query"; None for both.
        max_length: tokens of a text that are read; None for the model's own limit.
        pooling: "max" or "sum"; None for what was saved with the model.
        overwrite: replace an output that is there, if it is ours.
        revision, trust_remote_code: see :func:`open_index`.

    Returns:
        One entry for both sides, or one for each: its ``sides``, its ``folder`` in the output,
        its ``encoding`` and the ``largest_difference`` of a weight.

    Raises:
        BadInputError: no such model, or not one that gives weights of terms.
        CheckFailedError: what was exported says something else than ``encode``.
        MissingToolError: the extra ``encode`` or ``onnx`` is not installed.
        UsageError: the output exists, or was made otherwise.
    """
    require("encode", "exporting a model")
    from splade_bridge.encoding.exports.export_model import export_model as export

    manifest = export(
        str(model),
        Path(output),
        cast(ExportTarget, to),
        side=cast("Side | None", side),
        max_length=max_length,
        pooling=cast("Pooling | None", pooling),
        overwrite=overwrite,
        **checkpoint,
    )
    return cast("list[dict[str, Any]]", manifest.options["exports"])


@takes(Checkpoint)
def probe_model(
    address: str,
    *,
    model: str | Path,
    probe: str,
    probe_query: str | None = None,
    max_length: int = 256,
    **checkpoint: Unpack[Checkpoint],
) -> list[Probe]:
    """Does the model inside an engine say what a checkpoint says? As ``verify --probe``.

    Args:
        address: of an index of that engine, which need not be there.
        model: checkpoint, a folder or a hub name.
        probe: id of the engine's model.
        probe_query: of its model of queries; None for the same.
        max_length: tokens of a text that are read here.
        revision, trust_remote_code: see :func:`open_index`.

    Returns:
        A short and a long text for each side; each says whether it is ``equal``. A difference
        raises nothing here.

    Raises:
        BadInputError: no such model, or the engine's gives no weights of terms.
        ExternalProgramError: the engine has no such model, or cannot be reached.
        MissingToolError: the extra ``encode``, or the client of the engine, is not installed.
        UsageError: no address, or an engine that runs no models.
    """
    from splade_bridge.evaluation.probe import probe as probed

    place = given.place(address)
    if not isinstance(place, Address):
        raise UsageError(f"{place}: give an address, as opensearch://localhost:9200/passages")
    engine_models: dict[Side, str] = {"document": probe, "query": probe_query or probe}
    return probed(place, str(model), engine_models, max_length, ModelChoices(**checkpoint))
