"""Options that several commands share, so that they look and mean the same everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.errors import UsageError
from splade_bridge.reading.sizes import size_in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from splade_bridge.data.quantize import QuantizeOptions
    from splade_bridge.formats.queries import Queries

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished output.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads to use.")]
Memory = Annotated[
    str, typer.Option("--memory", help="Budget for sorting, as 500M or 2G.", metavar="SIZE")
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        help="Impact = weight x scale, rounded. 100 for a vector store; files with float weights "
        "must be told; integers are taken as they are.",
        show_default=False,
    ),
]
RoundingOption = Annotated[
    str, typer.Option("--rounding", help="nearest (half to even) or down.", metavar="HOW")
]
Clip = Annotated[
    int | None,
    typer.Option("--clip", help="Cut impacts to this, and count it.", show_default=False),
]
QueriesOption = Annotated[
    str,
    typer.Option(
        "--queries",
        "-q",
        metavar="Q",
        help="Queries: pre-encoded (TSV of repeated tokens, JSON lines with vectors, a vector "
        "store), or text with --model.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "--query-model",
        "-m",
        help="Checkpoint (name or folder) that encodes text queries.",
        show_default=False,
    ),
]
IdField = Annotated[
    str | None,
    typer.Option("--id-field", help="Field of the id.", show_default="id, _id or docid"),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", help="Field of the text.", show_default="contents or text"),
]
TitleField = Annotated[
    str, typer.Option("--title-field", help="Field put in front of the text, if there.")
]
MaxLength = Annotated[
    int, typer.Option("--max-length", min=3, help="Tokens of a query that are read.")
]


def quantize_options(
    scale: float | None, rounding: str, clip: int | None
) -> QuantizeOptions | None:
    """Options from flags; None if no flag was given, so that each source takes its default."""
    from splade_bridge.data.quantize import DEFAULT_SCALE, QuantizeOptions

    if rounding not in ("nearest", "down"):
        raise UsageError(f"--rounding is nearest or down, not {rounding!r}")
    if scale is None and rounding == "nearest" and clip is None:
        return None
    return QuantizeOptions(
        DEFAULT_SCALE if scale is None else scale,
        "nearest" if rounding == "nearest" else "down",
        clip,
    )


def parse_size(text: str) -> int:
    """Bytes of ``500M``, ``2GiB``, ``1048576``; see :func:`size_in_bytes`."""
    return size_in_bytes(text)


def load_queries(
    queries: str, model: str | None, quantize: QuantizeOptions | None, max_length: int
) -> Queries:
    """Queries from text with a model, or pre-encoded."""
    from splade_bridge.formats.queries import read_queries
    from splade_bridge.retrieval.encode_queries import encode_queries

    if model is None:
        return read_queries(Path(queries), quantize)
    return encode_queries(queries, model, quantize, max_length)


def print_json(content: Any) -> None:
    """One object on stdout, for scripts."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    sys.stdout.buffer.write(orjson.dumps(content, option=options) + b"\n")
    sys.stdout.buffer.flush()


def note(message: str) -> None:
    """One line for people, on stderr: stdout belongs to data."""
    typer.echo(message, err=True)


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
