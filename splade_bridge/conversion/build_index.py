"""From any source of vectors to an index of any engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import EngineName
from splade_bridge.engines.registry import engine as engine_of
from splade_bridge.files.outputs import check_output
from splade_bridge.formats.base import Watch, watched
from splade_bridge.formats.choices import CiffDocids, SourceFormat


def build_index(
    source: Path,
    out: Path,
    engine: EngineName,
    *,
    engine_options: Any = None,
    source_format: SourceFormat | None = None,
    quantize: QuantizeOptions | None = None,
    skip_others: bool = False,
    ciff_docids: CiffDocids = "gaps",
    options: BuildOptions = BuildOptions(),
    overwrite: bool = False,
    watch: Watch | None = None,
) -> tuple[Manifest, QuantizationInfo | None]:
    """Index ``source`` in a new folder ``out``, and check that it holds all of it.

    Args:
        source, source_format, quantize, skip_others, ciff_docids: see
            :func:`splade_bridge.conversion.detect.open_source`.
        engine_options: an instance of the engine's own options; None for the defaults.
        watch: wraps the stream of batches, with their number if known, for a progress bar.

    Returns:
        The manifest, and what quantizing lost by this call (None where the source held impacts).

    Raises:
        BadInputError, ExternalProgramError, MissingToolError, UsageError: see
            :meth:`splade_bridge.engines.base.Engine.build`.
    """
    check_output(out, overwrite=overwrite, inputs=[source])
    impacts = open_source(
        source,
        source_format=source_format,
        quantize=quantize,
        memory=options.memory,
        temporary=out.parent if out.parent.exists() else None,
        skip_others=skip_others,
        ciff_docids=ciff_docids,
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
