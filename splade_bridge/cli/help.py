"""``splade-bridge help``: the pages of docs/, which travel with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import Json
from splade_bridge.cli.telling import note, print_json, say

NAME = "help"
MADE = {"cli", "flags"}
"""Pages of which a terminal has no need: ``--help`` says the same."""
ALSO = {"exit-codes": "errors", "queries": "topics", "files": "formats", "sizes": "errors"}
"""Other names of pages."""


def pages() -> dict[str, Path]:
    """The pages by their names, as ``formats`` and ``engines/milvus``."""
    from splade_bridge.files.writing import asset

    root = asset("docs")
    found = {p.relative_to(root).with_suffix("").as_posix(): p for p in sorted(root.rglob("*.md"))}
    return {name: path for name, path in found.items() if name not in MADE}


def command(
    page: Annotated[
        str | None,
        typer.Argument(help="A name that help lists; none lists them.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show a page on files, topics, errors and more.

    Of a command's own flags its --help tells.
    """
    from splade_bridge.errors import UsageError

    known = pages()
    if page is None:
        titles = {name: _title(path) for name, path in known.items()}
        if json:
            return print_json({"pages": titles})
        for name, title in titles.items():
            say(f"{name:24} {title}")
        return note("splade-bridge help PAGE shows one; splade-bridge COMMAND --help has all flags")
    path = known.get(ALSO.get(page, page))
    if path is None:
        raise UsageError(f"no page {page!r}: splade-bridge help lists them")
    text = path.read_text(encoding="utf-8")
    if json:
        return print_json({"page": page, "text": text})
    if not sys.stdout.isatty():
        return typer.echo(text, nl=False)
    from rich.console import Console
    from rich.markdown import Markdown

    return Console().print(Markdown(text))


def _title(path: Path) -> str:
    with open(path, encoding="utf-8") as lines:
        return next(lines).lstrip("# ").rstrip()
