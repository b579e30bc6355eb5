"""``splade-bridge index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.engine_flags import takes_engine_options
from splade_bridge.cli.groups import LoadFlags, QuantizeFlags, SourceFlags
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import Needs, unless
from splade_bridge.cli.options import Engine, Json, Memory, NoCheck, Overwrite, Threads, output_flag
from splade_bridge.cli.telling import note, print_json, watching
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address, Place

if TYPE_CHECKING:
    from splade_bridge.data.manifest import Manifest, QuantizationInfo
    from splade_bridge.engines.remote.states import Change

NAME = "index"
SEVERAL = Needs(
    "with an engine that builds in one thread",
    "leave it out, or take --engine pisa or lucene's --route anserini",
    lambda given: (
        given["threads"] == 1
        or given["engine"] in (None, "pisa")
        or (given["engine"], given["lucene_route"]) == ("lucene", "anserini")
    ),
)


@takes_engine_options
def command(
    source: Annotated[
        Place, typer.Argument(help="Any vectors: a store, JSON lines, CIFF, an index, an address.")
    ],
    output: Annotated[
        Place, output_flag("Folder of the new index, or an address: docs/engines.md."), WRITES
    ],
    engine: Engine = None,
    read_as: SourceFlags = SourceFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    loading: LoadFlags = LoadFlags(),
    threads: Annotated[Threads, SEVERAL] = 1,
    memory: Memory = "2G",
    no_check: NoCheck = False,
    overwrite: Annotated[Overwrite, unless("--update")] = False,
    json: Json = False,
    *,
    engine_options: Any = None,
) -> None:
    """Build an index from vectors. What it holds is read back, and must be all of them.

    Documents, postings and the sum of impacts are read back from the engine; an index that lacks
    any is thrown away and exit code 6 returned. What is loaded by an address is read back whole;
    with --update documents are added to what is there, once all of them were found to fit.
    """
    from splade_bridge.conversion.build_index import build_index
    from splade_bridge.conversion.corpus_fields import wanted_fields
    from splade_bridge.conversion.load_index import Given, creation, load_index, update_index
    from splade_bridge.engines.base import BuildOptions
    from splade_bridge.engines.registry import LISTED
    from splade_bridge.files.sizes import size_in_bytes

    if isinstance(output, Address):
        if engine is not None or threads != 1:
            raise UsageError(
                f"{output}: the address says the engine, which builds as it does: leave --engine "
                "and --threads out"
            )
        options = loading.options(engine_options, overwrite=overwrite)
        fields = {} if loading.fields is None else wanted_fields(loading.fields)
        given = Given(
            read_as.options,
            quantize.options,
            size_in_bytes(memory),
            loading.with_contents,
            fields,
            watching(f"loading {output.scheme}"),
        )
        if loading.dry_run:
            print_json(creation(output, options, given))
            return
        change = None
        if loading.update:
            if engine_options not in (None, type(engine_options)()):
                raise UsageError(
                    f"{output}: its engine's own flags are of a new index: leave them out with "
                    "--update"
                )
            change = update_index(source, output, options, given)
            manifest = change.manifest
        else:
            manifest = load_index(source, output, options, given)
        _say(output, output.scheme, manifest, manifest.quantization, change, json=json)
        return
    if engine is None:
        raise UsageError(f"--engine is missing: {LISTED}; or give an address as output")
    manifest, lost = build_index(
        source,
        output,
        engine,
        engine_options=engine_options,
        read_as=read_as.options,
        quantize=quantize.options,
        options=BuildOptions(threads, size_in_bytes(memory)),
        overwrite=overwrite,
        watch=watching(f"indexing with {engine}"),
    )
    _say(output, engine, manifest, lost, json=json)


def _say(
    output: Path | Address,
    engine: str,
    manifest: Manifest,
    lost: QuantizationInfo | None,
    change: Change | None = None,
    *,
    json: bool,
) -> None:
    counts = manifest.counts
    if json:
        print_json({"output": str(output), "engine": engine, "counts": counts,
                    "quantization": manifest.quantization,
                    "added": change and change.added,
                    "replaced": change and change.replaced})  # fmt: skip
        return
    if change:
        note(f"{change.added:,} documents added, {change.replaced:,} replaced")
    if lost and lost.dropped_to_zero:
        note(f"{lost.dropped_to_zero:,} weights rounded to 0 and were dropped")
    if lost and lost.clipped:
        note(f"{lost.clipped:,} impacts were clipped to {lost.clip}")
    if columns := manifest.options.get("columns"):
        told = (f"{name} ({kind})" for name, kind in columns.items())
        note(f"fields that filters may ask for: {', '.join(told)}")
    numbers = f"impacts of {counts.impact_sum:,} in sum, largest {counts.max_impact:,}"
    if not counts.max_impact:
        numbers = "float weights"
    note(
        f"{output}: {counts.documents:,} documents, {counts.postings:,} postings, {numbers}; all "
        f"read back from {engine}"
    )
