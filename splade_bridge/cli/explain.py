"""``splade-bridge explain``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splade_bridge.cli.bars import bar
from splade_bridge.cli.groups import ModelFlags, OpenFlags, QueryFlags, ShownTextFlags
from splade_bridge.cli.marks import READS, WRITES
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import Json, NoCheck, Overwrite
from splade_bridge.cli.telling import ORIGIN, note, print_json, say
from splade_bridge.files.address import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splade_bridge.retrieval.systems import Added
    from splade_bridge.server.answers import Explanation

NAME = "explain"


def command(
    index: Annotated[Place, typer.Argument(help="An index.")],
    query_id: Annotated[str, typer.Argument(help="Which of the queries.")],
    doc_id: Annotated[str, typer.Argument(help="Which document.")],
    asked: QueryFlags,
    against: Annotated[
        list[Place] | None,
        typer.Option(
            "--against",
            metavar="INDEX",
            help="Show beside it what this index has of the document: what pruning or another "
            "scale took away; repeatable.",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            help="Texts of the documents, as for encode: tell which terms the text holds.",
            show_default=False,
        ),
        READS,
        needs("--model"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="PATH",
            help="Write it as one HTML page that needs nothing else.",
            show_default=False,
        ),
        WRITES,
    ] = None,
    texts: ShownTextFlags = ShownTextFlags(),
    opening: OpenFlags = OpenFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    no_check: NoCheck = False,
    overwrite: Annotated[Overwrite, needs("--html")] = False,
    json: Json = False,
) -> None:
    """Show what each term adds to the score of a document. All is as the engine has it."""
    from splade_bridge.engines.base import limit_memory
    from splade_bridge.engines.registry import open_indexes
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.writing import atomic_writer
    from splade_bridge.server.explaining import Asked, explanation
    from splade_bridge.server.served import labels_of
    from splade_bridge.server.standalone import explanation_page

    if html is not None:
        check_output(html, overwrite=overwrite, kind="file")
    places, limit = [index, *(against or ())], opening.limit
    if asked.model is not None and not asked.pre_encoded:
        query = Asked.text(
            asked.queries, query_id, asked.model, opening.options, asked.max_length,
            checkpoint.choices, asked.split,
        )  # fmt: skip
    else:
        query = Asked.vector(asked.load(opening, checkpoint), query_id)
    with ExitStack() as stack:
        searchers = [stack.enter_context(s) for s in open_indexes(places, opening.asking)]
        limit_memory(searchers, limit)
        loaded = query.queries(allow_mismatch=asked.allow_mismatch)
        told = explanation(searchers, query, loaded, doc_id, corpus, texts.options())
    if html is not None:
        with atomic_writer(html) as page:
            page.write(explanation_page(told, labels_of(places)).encode())
    if json:
        first = told.systems[0]
        terms = [
            {"index": str(index), "doc_id": doc_id, "term": row.term, "weight": row.weight,
             "impact": row.impact, "score": row.score}
            for row in sorted(first.added, key=lambda row: (-row.score, row.term))
        ]  # fmt: skip
        others = [
            {"index": str(place), "score": system.score, "terms": system.added}
            for place, system in zip(places[1:], told.systems[1:], strict=True)
        ]
        print_json({"query_id": query_id, "doc_id": doc_id, "score": first.score, "terms": terms,
                    "against": others, "output": html and str(html)})  # fmt: skip
        return
    show(told, labels_of(places))
    if html is not None:
        note(f"{html}: the same as a page")


def show(told: Explanation, labels: Sequence[str]) -> None:
    """A line a term that adds something anywhere, and the sums."""
    by_term: dict[str, list[float]] = {}
    rows: dict[str, Added] = {}
    for number, system in enumerate(told.systems):
        for row in system.added:
            rows.setdefault(row.term, row)
            by_term.setdefault(row.term, [0] * len(labels))[number] = row.score
    shown = [term for term, scores in by_term.items() if any(scores)]
    shown.sort(key=lambda term: (-max(by_term[term]), term))
    most = max((max(by_term[term]) for term in shown), default=1)
    several = len(labels) > 1
    if several:
        say("".join(f"{label[-12:]:>13}" for label in labels) + f"{'difference':>13}")
    for term in shown:
        row, scores = rows[term], by_term[term]
        unseen = "" if row.in_text is not False else ", not in the text"
        origin = f"{ORIGIN[row.original]}{unseen}".removeprefix(", ")
        if several:
            say(f"{_numbers(scores)}  {bar(max(scores) / most)}  {row.term:<20} {origin}".rstrip())
        else:
            product = f"{row.weight} x {row.impact:g}"
            say(
                f"{scores[0]:>10,}  {bar(scores[0] / most)}  {row.term:<20} {product:<12} "
                f"{origin}".rstrip()
            )
    sums = [system.score or 0 for system in told.systems]
    say(f"{_numbers(sums)}  in sum" if several else f"{sums[0]:>10,}  in sum")
    for label, system in zip(labels, told.systems, strict=True):
        if system.score is None:
            note(f"{label}: holds no document {told.doc_id}")


def _numbers(scores: Sequence[float]) -> str:
    return "".join(f"{score:>13,}" for score in scores) + f"{scores[-1] - scores[0]:>+13,}"
