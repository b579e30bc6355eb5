"""``splade-bridge beir``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.groups import PairFlags
from splade_bridge.cli.interrupted import keeping_steps
from splade_bridge.cli.marks import ADDS_TO, READS
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import (
    Hits,
    Json,
    MaxLength,
    NoCheck,
    Split,
    TrustRemoteCode,
    measures_flag,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.encoding.choices import Pooling
from splade_bridge.engines.registry import EngineName
from splade_bridge.errors import UsageError
from splade_bridge.files.shown import shown

if TYPE_CHECKING:
    from splade_bridge.report.beir_table import BeirTable

NAME = "beir"
OF_MODELS = needs("--model")
"""Of what a TOML says, where one is named instead."""


@dataclass(frozen=True, kw_only=True)
class BeirFlags(PairFlags):
    """The same, and code may run for a TOML, too."""

    trust_remote_code: TrustRemoteCode = False


def command(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            help="Data sets in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/), or folders of "
            "such; cqadupstack is the mean of its parts. Or a TOML that names them and models with "
            "their own settings: docs/beir.md.",
        ),
    ],
    output: Annotated[Path, output_flag("Folder of the results and of all work."), ADDS_TO],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Checkpoint that encodes text: a folder or a hub name; repeatable.",
            show_default=False,
        ),
        READS,
    ] = None,
    measures: Annotated[list[str] | None, measures_flag("nDCG@10 R@100"), OF_MODELS] = None,
    split: Annotated[Split, OF_MODELS] = None,
    engine: Annotated[
        EngineName,
        typer.Option("--engine", "-e", help="What searches; all give the same."),
        OF_MODELS,
    ] = "exact",
    max_length: Annotated[MaxLength, OF_MODELS] = 256,
    pooling: Annotated[
        Pooling | None,
        typer.Option("--pooling", help="Over positions.", show_default="as saved, else max"),
        OF_MODELS,
    ] = None,
    k: Annotated[Hits, OF_MODELS] = 1000,
    checkpoint: BeirFlags = BeirFlags(),
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
    from splade_bridge.comparison.beir import LATEX, TABLE, BeirModel, BeirOptions, beir
    from splade_bridge.comparison.read_beir import load_beir, spec_file

    models: Sequence[str | BeirModel]
    folders: Sequence[Path]
    if (file := spec_file(places, model or ())) is not None:
        spec = load_beir(file, trust_remote_code=checkpoint.trust_remote_code)
        folders, models, options = spec.folders, spec.models, spec.options
    elif not model:
        raise UsageError("--model is missing: name one or more, or a TOML that does")
    else:
        folders, models = places, model
        options = BeirOptions(
            tuple(measures or BeirOptions.measures), split, engine, max_length, k, pooling,
            checkpoint.choices,
        )  # fmt: skip
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
