"""``splade-bridge delete``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.options import CheckStored, Json
from splade_bridge.cli.telling import note, print_json
from splade_bridge.files.address import Place

NAME = "delete"


def command(
    index: Annotated[Place, typer.Argument(help="The address of an index that we have made.")],
    doc_ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Of a document; repeatable.", show_default=False),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", help="File with an id a line; - is stdin.", show_default=False),
    ] = None,
    missing_ok: Annotated[
        bool,
        typer.Option(
            "--missing-ok",
            help="Pass over ids that are not there; else nothing is deleted if there are any.",
        ),
    ] = False,
    check: CheckStored = None,
    json: Json = False,
) -> None:
    """Delete documents from an index that an engine holds. It must hold the others as they
    were.

    An index of files is made anew: leave the documents out of its source, and index that with
    --overwrite.
    """
    from splade_bridge.conversion.load_index import delete_documents, read_ids

    named = [*(doc_ids or []), *(read_ids(ids) if ids is not None else [])]
    done = delete_documents(index, named, missing_ok=missing_ok, check=check)
    counts = done.manifest.counts
    if json:
        print_json({"index": str(index), "deleted": done.deleted, "not_there": done.missing,
                    "counts": counts})  # fmt: skip
        return
    missing = f", {done.missing:,} were not there" * bool(done.missing)
    note(f"{index}: {done.deleted:,} documents deleted{missing}; {counts.documents:,} are left")
