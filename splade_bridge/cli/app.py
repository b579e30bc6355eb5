"""The Typer application, and how every error becomes a message and an exit code."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from splade_bridge import __version__
from splade_bridge.cli import (
    bench,
    bm25,
    compare,
    demo,
    doctor,
    encode,
    evaluate,
    explain,
    export,
    index,
    inspect,
    merge,
    prune,
    quantize_study,
    search,
    train,
    verify,
)
from splade_bridge.errors import ExternalProgramError, Interrupted, SpladeBridgeError

app = typer.Typer(
    name="splade-bridge",
    help="Bring SPLADE vectors to Lucene and PISA: encode, export, index, search, evaluate, "
    "and prove that all engines agree.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 well, 2 usage, 3 a tool or extra is missing, 4 bad input, 5 artefacts do "
    "not fit together, 6 an external program failed, 7 a check failed, 130 interrupted.",
)


OUTPUTS = ("out", "latencies")
"""Names of the parameters that name what is written."""
NAMES_OF_INPUTS = ("source", "corpus", "queries", "with_contents", "model", "document_model")
"""Names of the parameters that are a path or something else."""


def _check_places(options: dict[str, Any]) -> None:
    """Refuse outputs that are or contain what any other argument names."""
    from splade_bridge.outputs import check_inputs

    inputs = [
        Path(value)
        for name, given in options.items()
        if name not in OUTPUTS
        for value in (given if isinstance(given, list) else [given])
        if isinstance(value, Path) or (isinstance(value, str) and name in NAMES_OF_INPUTS)
    ]
    for name in OUTPUTS:
        if (out := options.get(name)) is not None:
            check_inputs(Path(out), inputs)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Check places first, and turn Ctrl-C into our own error before Typer makes it exit code 1."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            _check_places(options)
            command(*args, **options)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; nothing half-written is left") from None

    return run


for module in (
    encode,
    export,
    index,
    search,
    evaluate,
    verify,
    bench,
    compare,
    explain,
    inspect,
    merge,
    prune,
    quantize_study,
    bm25,
    doctor,
    demo,
):
    app.command(module.NAME)(_guarded(module.command))
app.add_typer(train.app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"splade-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # The space that sorting takes is stated before it is taken, and what was fetched always.
    for name in ("splade_bridge.data.invert", "splade_bridge.engines.jars"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except SpladeBridgeError as error:
        _stop(f"error: {error}", error.exit_code)
    except BrokenPipeError:  # the reader of our stdout has gone, as `| head` does
        _drop_stdout()
    except OSError as error:  # a full disk behind a redirected stdout
        _drop_stdout()
        _stop(f"error: {error}", ExternalProgramError.exit_code)


def _stop(message: str, status: int) -> None:
    typer.echo(message, err=True)
    sys.exit(status)


def _drop_stdout() -> None:
    """Let Python's last flush go nowhere: it would fail again, with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
