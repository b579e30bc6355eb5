"""``splade-bridge beir``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.interrupted import keeping_steps
from splade_bridge.cli.marks import ADDS_TO, READS
from splade_bridge.cli.options import (
    Hits,
    Json,
    MaxLength,
    NoCheck,
    Split,
    measures_flag,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.engines.registry import EngineName
from splade_bridge.files.shown import shown

if TYPE_CHECKING:
    from splade_bridge.report.beir_table import BeirTable

NAME = "beir"


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            help="Data sets in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/), or folders of "
            "such; cqadupstack is the mean of its parts.",
        ),
    ],
    output: Annotated[Path, output_flag("Folder of the results and of all work."), ADDS_TO],
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Checkpoint that encodes text: a folder or a hub name; repeatable.",
            show_default=False,
        ),
        READS,
    ],
    measures: Annotated[list[str] | None, measures_flag("nDCG@10 R@100")] = None,
    split: Split = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", "-e", help="What searches; all give the same.")
    ] = "exact",
    max_length: MaxLength = 256,
    k: Hits = 1000,
    drop_indexes: Annotated[
        bool, typer.Option("--drop-indexes", help="Delete the indexes at the end.")
    ] = False,
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Evaluate models on many data sets, as BEIR does. Texts are encoded, indexed and searched.

    Title and text are joined by a blank; judgements are those of test, and dev of msmarco; the
    document whose id is the query's is left out. Writes results.json, table.md and table.tex,
    with figures that others have published beside ours. What is finished is not done again: add
    data sets or models, or stop it, and give the same command.
    """
    from splade_bridge.comparison.beir import LATEX, TABLE, BeirOptions, beir

    options = BeirOptions(tuple(measures or BeirOptions.measures), split, engine, max_length, k)
    with keeping_steps(output):
        outcome = beir(folders, models, output, options, say=note, drop_indexes=drop_indexes)
    if json:
        print_json(
            {
                "output": str(output),
                "table": str(output / TABLE),
                "latex": str(output / LATEX),
                "steps_done": outcome.done,
                "steps_kept": outcome.kept,
                "evaluations": outcome.results,
                "tables": outcome.tables,
            }
        )
        return
    for table in outcome.tables:
        _show(table)
    freed = f"; {outcome.freed / 1e6:,.1f} MB of indexes deleted" if outcome.freed else ""
    note(
        f"{sum(outcome.done.values()):,} steps done, {sum(outcome.kept.values()):,} were there"
        f"{freed}; the tables are in {output / TABLE}"
    )


def _show(table: BeirTable) -> None:
    from rich.console import Console
    from rich.table import Table

    from splade_bridge.report import text
    from splade_bridge.report.beir_table import MEAN

    drawn = Table(title=table.measure, caption="; ".join(table.sources) or None)
    drawn.add_column("data set")
    for model in (*table.models, *table.published):
        drawn.add_column(shown(model), justify="right")
    for name, found in table.values.items():
        if name == MEAN:
            drawn.add_section()
        cells = [
            text.measured(found[m]) if m in found else "" for m in (*table.models, *table.published)
        ]
        drawn.add_row(shown(name), *cells)
    console = Console()
    if not console.is_terminal:  # a file has room
        console = Console(width=160)
    console.print(drawn)
