"""``splade-bridge verify``."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from splade_bridge.cli.groups import ModelFlags, OpenFlags, QueryFlags
from splade_bridge.cli.options import Hits, Json, NoCheck
from splade_bridge.cli.telling import note, print_json
from splade_bridge.files.address import Place

NAME = "verify"


def command(
    indexes: Annotated[list[Place], typer.Argument(help="Two or more indexes.")],
    asked: QueryFlags,
    k: Hits = 1000,
    opening: OpenFlags = OpenFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Search several indexes with the same queries and compare each with the first.

    On a difference it names query, rank, document and the terms that differ, and exits with 7.
    """
    from splade_bridge.engines.base import limit_memory
    from splade_bridge.engines.registry import open_indexes
    from splade_bridge.errors import CheckFailedError
    from splade_bridge.evaluation.verify import check_count, verify

    check_count(indexes)
    limit, loaded = opening.limit, asked.load(opening, checkpoint)
    with contextlib.ExitStack() as stack:
        searchers = [stack.enter_context(s) for s in open_indexes(indexes, opening.asking)]
        limit_memory(searchers, limit)
        result = verify(searchers, loaded, k)
    if json:
        print_json({"equal": result.equal, **vars(result)})
    for difference in result.differences if not json else []:
        note(
            f"{difference.index}: query {difference.query_id}, rank {difference.rank}: "
            f"{_hit(difference.found)}, but {_hit(difference.expected)} in {indexes[0]}"
        )
        for term in difference.terms:
            impact = "no such document" if term.impact is None else f"impact {term.impact}"
            note(f"    {term.index}: document {term.doc_id}, term {term.term!r}: {impact}")
    if not result.equal:
        differing = ", ".join(f"{n} in {path}" for path, n in result.differing.items() if n)
        raise CheckFailedError(
            f"{result.queries:,} queries compared, results differ for {differing}"
        )
    if not json:
        note(
            f"all {len(indexes)} indexes agree: {result.queries:,} queries, {result.results:,} "
            f"results at k = {k}, the same scores and order"
        )


def _hit(hit: tuple[str, int] | None) -> str:
    return f"{hit[0]} with {hit[1]:,}" if hit else "the end of the list"
