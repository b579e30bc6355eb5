"""Models for other runtimes: what ``export-model`` made, and graphs of ONNX of anybody."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from splade_bridge.errors import BadInputError, install
from splade_bridge.files.typed import Where, as_table
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.look import Look

SUFFIX = ".onnx"
GRAPHS = ("model.onnx", "onnx/model.onnx")
MOST_NAMED = 20


def exported(path: Path, found: Inspection, options: InspectOptions) -> None:
    """What ``export-model`` made, by its manifest; its files are whole, or it was refused."""
    manifest = found.manifest
    assert manifest is not None
    where = Where(str(path), "options")
    target = as_table(manifest.option("plan", dict[str, Any], path, {}), where).get("to")
    found.what = f"a model for {target}"
    found.facts = {
        "to": target,
        "exports": manifest.option("exports", list[dict[str, Any]], path, []),
        "terms": manifest.vocabulary.size,
    }


def recognise(look: Look) -> str | None:
    """A graph, or a folder that has one where optimum and sentence-transformers put it."""
    if look.suffix == SUFFIX:
        return f"its name ends in {SUFFIX}"
    if look.is_ours:
        return None
    return next((f"it has {name}" for name in GRAPHS if look.has(name)), None)


def graph(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Its inputs and outputs; it is not run."""
    file = path if path.is_file() else next(path / n for n in GRAPHS if (path / n).is_file())
    if importlib.util.find_spec("onnx") is None:
        found.unknown.append(f"inputs and outputs: onnx is not installed ({install('onnx')})")
        return
    import onnx

    try:
        model = onnx.load(str(file), load_external_data=False)
    except Exception as error:  # protobuf's own, and what it makes of bad text
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"not a graph of ONNX ({said})", str(file)) from error
    found.facts = {
        "file": file.name,
        "inputs": [_told(value) for value in model.graph.input[:MOST_NAMED]],
        "outputs": [_told(value) for value in model.graph.output[:MOST_NAMED]],
        "opset": max((o.version for o in model.opset_import), default=None),
        "producer": model.producer_name,
        "by_export_model": any(entry.key == "splade-bridge" for entry in model.metadata_props),
    }


def _told(value: Any) -> str:
    """A name with its shape, as ``input_ids [batch, length]``."""
    shape = value.type.tensor_type.shape.dim
    sizes = ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param for d in shape)
    return f"{value.name} [{sizes}]"
