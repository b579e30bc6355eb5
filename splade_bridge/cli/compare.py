"""``splade-bridge compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.interrupted import keeping_steps
from splade_bridge.cli.marks import ADDS_TO
from splade_bridge.cli.options import (
    AllowMismatch,
    IndexMemory,
    Json,
    NoCheck,
    TrustRemoteCode,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.files.shown import shown
from splade_bridge.files.sizes import size_in_bytes

if TYPE_CHECKING:
    from splade_bridge.report.results import Results

NAME = "compare"


def command(
    spec: Annotated[Path, typer.Argument(help="SPEC.toml; docs/compare.md describes it.")],
    output: Annotated[Path, output_flag("Folder of the results and of all work."), ADDS_TO],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder that paths in the SPEC start from.",
            show_default="data.root, else the SPEC's folder",
        ),
    ] = None,
    rebench: Annotated[
        bool, typer.Option("--rebench", help="Measure all latencies again, together.")
    ] = False,
    drop_indexes: Annotated[
        bool, typer.Option("--drop-indexes", help="Delete the indexes at the end.")
    ] = False,
    memory: IndexMemory = None,
    allow_mismatch: AllowMismatch = False,
    trust_remote_code: TrustRemoteCode = False,
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Compare variants by quality, latency and size. All are measured in the same way.

    Variants (models, scales, prunings) x engines x algorithms x k. Writes results.json,
    results.csv, charts, table.tex for a paper and report.html, one page that needs nothing else.
    What is finished is not done again: change the SPEC, or stop it, and give the same command.
    """
    from splade_bridge.comparison.compare import REPORT, compare
    from splade_bridge.comparison.read_spec import load_spec

    limit = None if memory is None else size_in_bytes(memory)
    loaded = load_spec(spec, data, trust_remote_code=trust_remote_code)
    with keeping_steps(output):
        outcome = compare(
            loaded,
            output,
            say=note,
            rebench=rebench,
            drop_indexes=drop_indexes,
            allow_mismatch=allow_mismatch,
            memory=limit,
        )
    if json:
        print_json(
            {
                "output": str(output),
                "report": str(output / REPORT),
                "steps_done": outcome.done,
                "steps_kept": outcome.kept,
                "comparison": outcome.results,
            }
        )
        return
    _show(outcome.results)
    freed = f"; {outcome.freed / 1e6:,.1f} MB of indexes deleted" if outcome.freed else ""
    note(
        f"{sum(outcome.done.values()):,} steps done, {sum(outcome.kept.values()):,} were there"
        f"{freed}; the report is {output / REPORT}"
    )


def _show(results: Results) -> None:
    from rich.console import Console
    from rich.table import Table

    from splade_bridge.report import text
    from splade_bridge.report.sentences import findings

    measure = results.main
    quality = Table(
        title=shown(results.title),
        caption=f"p: difference in {measure} from {shown(results.baseline)}, corrected for all "
        "variants",
    )
    cost = Table(caption="milliseconds: mean of a query, one thread, fastest algorithm")
    for table in (quality, cost):
        table.add_column("variant")
    for name in (measure, "p", "overlap@10", "RBO", "postings"):
        quality.add_column(name, justify="right", no_wrap=True)
    for engine in results.engines:
        cost.add_column(f"{engine} MB", justify="right")
        for k in results.ks:
            cost.add_column(f"ms, k = {k}", justify="right")
    for v in results.variants:
        test, rbo = v.tests.get(measure), v.rbo
        quality.add_row(
            shown(v.name), text.measured(v.means[measure]),
            text.p_value(test.corrected) if test else "",
            text.measured(v.overlap[10]) if 10 in v.overlap else "",
            "" if rbo is None else text.measured(rbo), f"{v.postings:,}",
        )  # fmt: skip
        cells = []
        for engine in results.engines:
            cells.append(f"{v.index(engine).bytes / 1e6:.1f}")
            for k in results.ks:
                timed = v.fastest(engine, k)
                cells.append(text.milliseconds(timed.mean) if timed else "")
        cost.add_row(shown(v.name), *cells)
    console = Console()
    if not console.is_terminal:  # a file has room
        console = Console(width=160)
    console.print(quality)
    console.print(cost)
    for sentence in findings(results):
        console.print(shown(sentence), markup=False, highlight=False)
