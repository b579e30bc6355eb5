"""What of a text is shown: its words that were found, and the piece that holds most of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from splade_bridge.retrieval.words import Span

LONGEST_TEXT = 20_000
"""Characters of a document in which words are marked; what is beyond is not shown."""
SNIPPET = 300
"""Characters of a snippet, about."""
LEAD = 40
"""Characters that are shown before the first found word of a snippet."""
BLANK = re.compile(r"\s+")


@dataclass(frozen=True)
class Run:
    """A part of a text; all parts one after the other are the text.

    Attributes:
        text: as it stands there.
        term: that was found there; None for what was not.
    """

    text: str
    term: str | None


def marked(text: str, spans: Sequence[Span], terms: Collection[str]) -> list[Run]:
    """``text`` cut where one of ``terms`` begins or ends."""
    runs: list[Run] = []
    at = 0
    for start, stop, term in spans:
        while start < stop and text[start].isspace():
            start += 1
        if term not in terms or not at <= start < stop:
            continue
        if at < start:
            runs.append(Run(text[at:start], None))
        runs.append(Run(text[start:stop], term))
        at = stop
    if at < len(text):
        runs.append(Run(text[at:], None))
    return runs


def snippet(
    text: str, spans: Sequence[Span], scores: Mapping[str, float], size: int = SNIPPET
) -> tuple[list[Run], bool, bool]:
    """The part of ``text`` in which different found terms have the largest sum of ``scores``.

    Among equal ones the first; of a text in which nothing was found the beginning.

    Args:
        scores: what each term adds, above 0.
        size: of the part in characters, about: it begins and ends between words.

    Returns:
        the part, and whether it begins and ends where the text does.
    """
    found = [span for span in spans if span.term in scores]
    first = _best_window(found, scores, size - LEAD)
    begin = found[first].start if found else 0
    start = _word_from(text, begin - LEAD, begin) if begin > 2 * LEAD else 0
    stop = _word_end(text, max(start + size, begin + size - LEAD))
    inside = [Span(a - start, b - start, term) for a, b, term in found if start <= a and b <= stop]
    runs = [
        Run(BLANK.sub(" ", run.text), run.term) for run in marked(text[start:stop], inside, scores)
    ]
    return runs, start == 0, stop == len(text)


def _best_window(found: Sequence[Span], scores: Mapping[str, float], size: int) -> int:
    """The number of the span that the best window begins with; 0 of none."""
    held: dict[str, int] = {}
    best, total, first, after = 0.0, 0.0, 0, 0
    for number, span in enumerate(found):
        while after < len(found) and found[after].stop - span.start <= size:
            term = found[after].term
            total += scores[term] if not held.get(term) else 0
            held[term] = held.get(term, 0) + 1
            after += 1
        if total > best + 1e-9:
            best, first = total, number
        if after > number:
            held[span.term] -= 1
            total -= scores[span.term] if not held[span.term] else 0
        else:  # a term longer than a window
            after = number + 1
    return first


def _word_from(text: str, at: int, last: int) -> int:
    """Where the first word begins after ``at``, which is no later than ``last``."""
    return next((i + 1 for i in range(at, last) if text[i].isspace()), last)


def _word_end(text: str, at: int) -> int:
    """The end of the word at ``at``, if it is near; of a text that ends soon all of it."""
    if at >= len(text) - LEAD:
        return len(text)
    return next((i for i in range(at, at + LEAD) if text[i].isspace()), at)


@dataclass(frozen=True)
class Shown:
    """A document as a person reads it.

    Attributes:
        title: with what was found in it marked.
        text: the same of its body, or the part of it with the most of what was found.
        starts, ends: whether ``text`` begins and ends where the body does.
    """

    title: list[Run]
    text: list[Run]
    starts: bool
    ends: bool


def held_in(spans: Sequence[Span]) -> set[str]:
    """The terms of spans."""
    return {span.term for span in spans}


def read_whole(title: str, body: str, spans: Sequence[Sequence[Span]], terms: set[str]) -> Shown:
    """A document with ``terms`` marked, to its end or to :data:`LONGEST_TEXT`.

    Args:
        spans: of title and body.
    """
    cut = body[:LONGEST_TEXT]
    return Shown(
        marked(title, spans[0], terms), marked(cut, spans[1], terms), True, len(cut) == len(body)
    )


def read_part(
    title: str, body: str, spans: Sequence[Sequence[Span]], scores: Mapping[str, float]
) -> Shown:
    """The same with the best part of the body; see :func:`.marks.snippet`."""
    runs, starts, ends = snippet(body[:LONGEST_TEXT], spans[1], scores)
    ends = ends and len(body) <= LONGEST_TEXT
    return Shown(marked(title, spans[0], scores), runs, starts, ends)
