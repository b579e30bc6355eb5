"""From any source of vectors to an index of any engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from splade_bridge.conversion.detect import SourceOptions, open_source
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import EngineName
from splade_bridge.engines.registry import engine as engine_of
from splade_bridge.files.address import Place, paths
from splade_bridge.files.outputs import check_output
from splade_bridge.formats.base import Watch, watched


def build_index(
    source: Place,
    out: Path,
    engine: EngineName,
    *,
    engine_options: Any = None,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    options: BuildOptions = BuildOptions(),
    overwrite: bool = False,
    watch: Watch | None = None,
) -> tuple[Manifest, QuantizationInfo | None]:
    """Index ``source`` in a new folder ``out``, and check that it holds all of it.

    Args:
        source, quantize: see :func:`splade_bridge.conversion.detect.open_source`.
        read_as: how ``source`` is read.
        engine_options: an instance of the engine's own options; None for the defaults.
        watch: wraps the stream of batches, with their number if known, for a progress bar.

    Returns:
        The manifest, and what quantizing lost by this call (None where the source held impacts).

    Raises:
        BadInputError, ExternalProgramError, MissingToolError, UsageError: see
            :meth:`splade_bridge.engines.base.Engine.build`.
    """
    check_output(out, overwrite=overwrite, inputs=paths([source]))
    impacts = open_source(
        source,
        read_as,
        quantize=quantize,
        memory=options.memory,
        temporary=out.parent if out.parent.exists() else None,
    )
    builder = engine_of(engine, engine_options)
    manifest = builder.build(watched(impacts, watch), out, options, overwrite=overwrite)
    inherited = impacts.manifest.quantization if impacts.manifest else None
    lost = manifest.quantization
    if lost == inherited:
        return manifest, None
    if lost and inherited:  # impacts that were quantized before, and clipped now
        lost = replace(lost, dropped_to_zero=0, clipped=lost.clipped - inherited.clipped)
    return manifest, lost
