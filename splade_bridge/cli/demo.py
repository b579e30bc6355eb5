"""``splade-bridge demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import CheckpointFlags
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.options import Json, Model, Overwrite, output_flag
from splade_bridge.cli.telling import note, print_json

NAME = "demo"


def command(
    output: Annotated[
        Path, output_flag("Folder for everything the demo makes.", default=True), WRITES
    ] = Path("splade-bridge-demo"),
    model: Model = None,
    checkpoint: CheckpointFlags = CheckpointFlags(),
    overwrite: Overwrite = False,
    json: Json = False,
    *,
    context: typer.Context,
) -> None:
    """Run the whole chain on Python's own documentation. Encode, export, index, search,
    evaluate.

    The collection is read from this interpreter. Nothing is downloaded, but for a --model that has
    a hub name; without one, the built-in model is used.
    """
    import contextlib
    import logging
    import sys

    from splade_bridge.cli.demo_chain import DemoResult, as_printed, check_model, run_demo
    from splade_bridge.demo.collection import model_path
    from splade_bridge.encoding.choices import ModelChoices
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.writing import filled_folder

    verbose = ["-v"] if logging.getLogger().isEnabledFor(logging.INFO) else []

    def run(arguments: Sequence[str]) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the demo's own result
            ended = context.find_root().command.main([*verbose, *arguments], standalone_mode=False)
        if ended:  # Typer makes an exit code of a Ctrl-C before the command has begun
            raise KeyboardInterrupt

    chosen = str(model_path()) if model is None else model
    place = Path(chosen).expanduser()
    check_output(output, overwrite=overwrite, inputs=[place])
    choices = ModelChoices(**vars(checkpoint))
    check_model(chosen, choices)
    with filled_folder(output, overwrite=overwrite, inputs=[place]):
        result: DemoResult = run_demo(output, chosen, run, note, choices)
    if json:
        print_json({"output": str(output), **as_printed(result)})
    else:
        _show(result, output)


def _show(result: object, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from splade_bridge.cli.demo_chain import MEASURES, DemoResult

    assert isinstance(result, DemoResult)
    console = Console()
    table = Table(
        title=f"{result.documents:,} passages, {result.questions} questions, one model",
        caption="1.0 is perfect. All engines must show the same quality: they scored the same "
        "integers, which verify has compared rank by rank.",
    )
    for column in ("engine", "built from"):
        table.add_column(column, no_wrap=True)
    for column in ("MB", "ms/query", *MEASURES):
        table.add_column(column, justify="right", no_wrap=True)
    for r in result.engines:
        table.add_row(
            r.engine, Path(r.source).name, f"{r.index_bytes / 1e6:.1f}", f"{r.milliseconds:.2f}",
            *(f"{r.evaluation.means[m]:.4f}" for m in MEASURES),
        )  # fmt: skip
    console.print()
    console.print(table)
    answers = Table(title="Some questions, and the first answer")
    answers.add_column("question")
    answers.add_column("found")
    for question, answer in result.samples:
        answers.add_row(question, answer)
    console.print(answers)
    for name, why in result.skipped.items():
        console.print(f"{name} was left out: {why}", markup=False)
    console.print(
        f"{sum(result.seconds.values()):.0f} s in all. Everything is in {output}; the commands "
        "above can be run by hand."
    )
