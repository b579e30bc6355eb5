"""What is found, for people: on a terminal with colours and in its width, in a pipe plain."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer

from splade_bridge.cli.telling import note
from splade_bridge.files.shown import shown

if TYPE_CHECKING:
    from rich.console import Console

    from splade_bridge.retrieval.marks import Run
    from splade_bridge.retrieval.systems import Added
    from splade_bridge.server.answers import Found, Hit

Kind = Literal["plain", "head", "faint", "typed", "added"]
STYLES: dict[Kind, str] = {
    "plain": "",
    "head": "bold",
    "faint": "dim",
    "typed": "bold cyan",
    "added": "italic yellow",
}
"""On a terminal; without colours typed words are bold, and those that the model adds slanted."""
MARKS: dict[Kind, str] = {"typed": "*", "added": "_"}
"""Around words of a text in a pipe."""
ORIGINS: tuple[tuple[str, Kind], ...] = (("typed: ", "typed"), ("added: ", "added"))
MOST_TERMS = 10
"""Of each origin that are shown of a query or a document."""
INDENT = 5


class Piece(NamedTuple):
    """A part of a line.

    Attributes:
        marked: whether a pipe shows what kind it is.
    """

    text: str
    kind: Kind = "plain"
    marked: bool = False


class Paper:
    """Where lines are written: stdout."""

    def __init__(self) -> None:
        self._console: Console | None = None
        if sys.stdout.isatty():
            from rich.console import Console

            self._console = Console(highlight=False, markup=False, emoji=False)

    def line(self, *pieces: Piece, indent: int = 0) -> None:
        """Write a line; on a terminal it is wrapped, and holds no control characters."""
        if self._console is None:
            typer.echo(" " * indent + "".join(map(_plain, pieces)))
            return
        from rich.padding import Padding
        from rich.text import Text

        text = Text()
        for piece in pieces:
            text.append(shown(piece.text), STYLES[piece.kind])
        self._console.print(Padding(text, (0, 0, 0, indent), expand=False))


def _plain(piece: Piece) -> str:
    mark = MARKS.get(piece.kind, "") if piece.marked else ""
    return f"{mark}{piece.text}{mark}"


def show_found(paper: Paper, found: Found, *, named: bool) -> None:
    """A ranking with the terms that were asked; how long it took goes to stderr.

    Args:
        named: whether the query stands before it.
    """
    if named:
        paper.line(Piece(found.query, "head"))
    weights = [(term.word, f"{term.weight:,}", term.original) for term in found.terms]
    paper.line(*_by_origin(weights), indent=INDENT)
    for hit in found.hits:
        _show_hit(paper, hit)
    if not found.hits:
        paper.line(Piece("no document holds a term of this query"), indent=INDENT)
    note(
        f"{len(found.hits):,} documents; encoded in {found.encoding_ms:.2f} ms, found in "
        f"{found.retrieval_ms:.2f} ms"
    )


def _show_hit(paper: Paper, hit: Hit) -> None:
    added = hit.added or []
    title = list(_marked(hit.shown.title, added, "head")) if hit.shown else []
    if title:
        title += [Piece("  "), Piece(hit.doc_id, "faint")]
    name = title or [Piece(hit.doc_id, "head")]
    paper.line(Piece(f"{hit.rank:>3}  "), *name, Piece(f"  {hit.score:,}"))
    if hit.shown and hit.shown.text:
        before = [] if hit.shown.starts else [Piece("... ", "faint")]
        after = [] if hit.shown.ends else [Piece(" ...", "faint")]
        paper.line(*before, *_marked(hit.shown.text, added, "plain"), *after, indent=INDENT)
    shares = [(row.word, f"+{row.score:,}", row.original) for row in added]
    paper.line(*_by_origin(shares), indent=INDENT)


def _marked(runs: Iterable[Run], added: Sequence[Added], kind: Kind) -> Iterator[Piece]:
    """A text with what was found marked; pieces of a word that are of one kind are one."""
    origins = {row.term: row.original for row in added}
    kept: Piece | None = None
    for run in runs:
        found = kind if run.term is None else _kind(origins.get(run.term, True))
        if kept is not None and kept.kind == found:
            kept = kept._replace(text=kept.text + run.text)
            continue
        if kept is not None:
            yield kept
        kept = Piece(run.text, found, marked=True)
    if kept is not None:
        yield kept


def _by_origin(terms: Sequence[tuple[str, str, bool | None]]) -> Iterator[Piece]:
    """Typed terms, and then those that the model has added, with their numbers.

    Args:
        terms: word, number and origin of each, the heaviest first.
    """
    between = ""
    for told, kind in ORIGINS:
        mine = [f"{word} {number}" for word, number, original in terms if _kind(original) == kind]
        if mine:
            yield Piece(between + told, "faint")
            yield Piece(", ".join(mine[:MOST_TERMS]), kind)
            between = "; "
        if (more := len(mine) - MOST_TERMS) > 0:
            yield Piece(f" and {more:,} more", "faint")
    if not terms:
        yield Piece("no terms", "faint")


def _kind(original: bool | None) -> Kind:
    return "added" if original is False else "typed"
