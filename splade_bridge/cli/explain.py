"""``splade-bridge explain``."""

from __future__ import annotations

from typing import Annotated

import typer

from splade_bridge.cli.groups import ModelFlags, OpenFlags, QueryFlags
from splade_bridge.cli.options import Json, NoCheck
from splade_bridge.cli.telling import print_json, say
from splade_bridge.files.address import Place

NAME = "explain"


def command(
    index: Annotated[Place, typer.Argument(help="An index.")],
    query_id: Annotated[str, typer.Argument(help="Which of the queries.")],
    doc_id: Annotated[str, typer.Argument(help="Which document.")],
    asked: QueryFlags,
    opening: OpenFlags = OpenFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Show what each term adds to the score of a document. All is as the engine has it."""
    from dataclasses import asdict

    from splade_bridge.engines.base import limit_memory
    from splade_bridge.engines.registry import open_index
    from splade_bridge.retrieval.explain import explain

    limit, loaded = opening.limit, asked.load(opening, checkpoint)
    with open_index(index, opening.asking) as searcher:
        limit_memory([searcher], limit)
        found = explain(searcher, loaded, query_id, doc_id)
    total = sum(c.score for c in found)
    if json:
        terms = [{**asdict(c), "score": c.score} for c in found]
        print_json({"query_id": query_id, "doc_id": doc_id, "score": total, "terms": terms})
        return
    for c in found:
        if c.score:
            say(f"{c.score:>10,}  {c.term:<20} {c.weight} x {c.impact}")
    say(f"{total:>10,}  in sum")
