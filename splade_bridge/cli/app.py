"""The Typer application, and how every error becomes a message and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from splade_bridge import __version__, errors
from splade_bridge.cli import (
    beir,
    bench,
    bm25,
    compare,
    convert,
    delete,
    demo,
    dense,
    doctor,
    encode,
    evaluate,
    examples,
    explain,
    export,
    export_model,
    fuse,
    help,
    index,
    inspect,
    merge,
    prune,
    quantize_study,
    rerank,
    search,
    signals,
    terms,
    train,
    verify,
)
from splade_bridge.cli.command import complete, log_to_stderr
from splade_bridge.cli.options import Json, Verbose
from splade_bridge.cli.streams import drop_stdout
from splade_bridge.errors import ExternalProgramError, ReaderGone, SpladeBridgeError, UsageError
from splade_bridge.files.shown import MOST_SHOWN, shown, shown_json

app = typer.Typer(
    name="splade-bridge",
    help="Bring SPLADE vectors to Lucene and PISA: encode, export, index, search, evaluate, "
    "and prove that all engines agree.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 well, 2 usage, 3 a tool or extra is missing, 4 bad input, 5 artefacts do "
    "not fit together, 6 an external program failed, 7 a check failed, 130 interrupted, 141 "
    "whoever read stdout has gone, 143 ended by SIGTERM.",
)

COMMANDS = (
    encode,
    export,
    export_model,
    convert,
    index,
    delete,
    search,
    fuse,
    rerank,
    evaluate,
    verify,
    bench,
    compare,
    beir,
    explain,
    terms,
    inspect,
    merge,
    prune,
    quantize_study,
    bm25,
    dense,
    doctor,
    demo,
    help,
)
for module in COMMANDS:
    app.command(module.NAME, epilog=examples.shown(module.NAME))(complete(module.command))
app.add_typer(train.app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"splade-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Verbose = False,
    json: Json = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    log_to_stderr(verbose=verbose)


PARSING_ERROR: type[Any] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What Typer raises where an argument cannot be parsed; not every version of it names it."""


def main() -> None:
    """Entry point of the console script."""
    json = "--json" in sys.argv[1:]
    status = None
    try:
        # Where errors are to be JSON, Typer must leave its own to us.
        status = app(standalone_mode=not json)
        sys.stdout.flush()
    except SystemExit:
        _flushed(json=json)
        raise
    except SpladeBridgeError as error:
        _stop(error, json=json)
    except PARSING_ERROR as error:
        _stop(UsageError(error.format_message()), json=json)
    except BrokenPipeError:  # where streams were not settled: called from Python
        drop_stdout()
        sys.exit(ReaderGone.exit_code)
    except OSError as error:
        drop_stdout()
        _stop(ExternalProgramError(str(error)), json=json)
    sys.exit(status if isinstance(status, int) else 0)  # of an exit that a command asked for


def _flushed(*, json: bool) -> None:
    """See that all that was said before an exit has arrived."""
    try:
        sys.stdout.flush()
    except SpladeBridgeError as error:
        _stop(error, json=json)


def _stop(error: SpladeBridgeError, *, json: bool) -> NoReturn:
    """Tell of ``error`` on stderr, as the last line, and end with its exit code."""
    drop = isinstance(error, ReaderGone)
    try:
        sys.stdout.flush()
    except (SpladeBridgeError, OSError):
        drop = True
    if drop:
        drop_stdout()
    code = signals.status() or error.exit_code
    if isinstance(error, ReaderGone):
        sys.exit(code)
    if json:
        import orjson

        known = (kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        told = {
            "message": str(error),
            "type": next(known).__name__,
            "exit_code": code,
            "place": getattr(error, "place", None),
        }
        typer.echo(shown_json(orjson.dumps({"error": told}).decode()), err=True)
    else:
        typer.echo(shown(f"error: {error}", most=MOST_SHOWN), err=True)
    sys.exit(code)
