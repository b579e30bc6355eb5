"""``splade-bridge terms``."""

from __future__ import annotations

from typing import Annotated

import typer

from splade_bridge.cli.groups import OF_TEXT, ModelFlags
from splade_bridge.cli.marks import READS
from splade_bridge.cli.options import (
    Json,
    MaxLength,
    NoCheck,
    Side,
)
from splade_bridge.cli.telling import ORIGIN, note, print_json, say

NAME = "terms"


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint, with a text; or with --id vectors: a vector store, an index, an "
            "export, CIFF, JSON lines, an address."
        ),
        READS,
    ],
    text: Annotated[
        str | None, typer.Argument(help="What the checkpoint encodes.", show_default=False)
    ] = None,
    text_id: Annotated[
        str | None,
        typer.Option("--id", help="Which of the vectors.", show_default=False),
    ] = None,
    side: Annotated[Side, OF_TEXT] = "document",
    max_length: Annotated[MaxLength, OF_TEXT] = 256,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Show so many of the heaviest.", show_default="all"),
    ] = None,
    checkpoint: ModelFlags = ModelFlags(),
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Show the terms of a text, and those that a model adds. With their weights, the heaviest
    first.

    Pieces that go on with a word are shown with ## before them, whatever the vocabulary has.
    """
    from splade_bridge.errors import UsageError
    from splade_bridge.files.address import place_of
    from splade_bridge.retrieval.terms import terms_of_id, terms_of_text

    if (text is None) == (text_id is None):
        raise UsageError("a text, which a checkpoint encodes, or --id, of vectors: give one")
    if text is not None:
        found = terms_of_text(
            source, text, side, max_length=max_length, checkpoint=checkpoint.choices
        )
    else:
        assert text_id is not None
        found = terms_of_id(place_of(source), text_id)
    shown = found[:top]
    if json:
        print_json({"source": source, "text": text, "id": text_id, "count": len(found),
                    "bag": shown})  # fmt: skip
        return
    for term in shown:
        weight = f"{term.weight:,}" if isinstance(term.weight, int) else f"{term.weight:.4f}"
        say(f"{weight:>10}  {term.word:<20} {ORIGIN[term.original]}".rstrip())
    held = sum(term.original is True for term in found)
    told = f", {held:,} of them in the text" if text is not None else ""
    note(f"{len(found):,} terms{told}; {len(shown):,} shown")
