"""What commands say: results on stdout, everything for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any

import typer

from splade_bridge.files.shown import MOST_SHOWN, shown, shown_json

ORIGIN = {True: "text", False: "expansion", None: ""}
"""Where a term is from, by whether the text holds it; nothing where that is not known."""


def print_json(content: Any) -> None:
    """One object on stdout, for scripts; docs/json.md and ``cli/schemas.py`` describe each."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    try:
        printed = orjson.dumps(content, default=str, option=options)
    except TypeError:  # a path that is not UTF-8; the other JSON escapes its bytes
        printed = json.dumps(content, default=_plain, indent=2).encode()
    if sys.stdout.isatty():
        printed = shown_json(printed.decode()).encode()
    sys.stdout.buffer.write(printed + b"\n")
    sys.stdout.buffer.flush()


def _plain(value: Any) -> Any:
    """What :mod:`json` does not know, as orjson has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def note(message: str) -> None:
    """One line for people, on stderr: stdout belongs to data."""
    typer.echo(shown(message, most=MOST_SHOWN), err=True)


def say(line: str, kept: str = "\t") -> None:
    """A line of results on stdout; a terminal gets it without control characters but ``kept``."""
    typer.echo(shown(line, kept) if sys.stdout.isatty() else line)


def watching(what: str) -> Any:
    """A bar that says ``what``, for the ``watch`` of what reads or builds."""
    return partial(_watch, what)


def _watch(what: str, items: Iterable[Any], total: int | None = None) -> Iterator[Any]:
    return progress(items, what, total)


def progress(items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
    """``items`` with a bar on stderr where that is a terminal.

    Each item that has a length counts as that many.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(
                task, 1 if isinstance(item, tuple) or not hasattr(item, "__len__") else len(item)
            )
