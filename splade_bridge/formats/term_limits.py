"""What terms a format or its readers cannot hold, refused by whoever writes it.

A vocabulary may hold such a term without harm, as those of byte-level BPE do (runs of blanks, as
one token each); it is refused where it has a posting.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splade_bridge.data.ids import MAX_TERM_BYTES, quoted
from splade_bridge.data.vectors import BoolArray, Int32Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError

DROPPING = (
    "leave them out with splade-bridge prune --method drop-terms --value @white-space, or a file "
    "of terms"
)
MAX_TOKEN = 255
"""UTF-16 units of a token of Lucene's WhitespaceTokenizer, which cuts up longer ones."""

Problem = Callable[[str], str | None]
"""Why a term cannot be held, as what follows the term; None for one that can."""


def white_space(term: str) -> str | None:
    """For lines in which blanks stand between terms."""
    return None if term.split() == [term] else "holds white space and would be read as others"


def anserini_token(term: str) -> str | None:
    """For what Anserini tokenizes again."""
    if len(term) > MAX_TOKEN // 2 and len(term.encode("utf-16-le")) > 2 * MAX_TOKEN:
        return f"has over {MAX_TOKEN} characters, at which Anserini cuts it"
    return white_space(term)


def lucene_term(term: str) -> str | None:
    """For Lucene's index."""
    if len(term) > MAX_TERM_BYTES // 4 and len(term.encode()) > MAX_TERM_BYTES:
        size = len(term.encode())
        return f"has {size:,} bytes of {MAX_TERM_BYTES:,} at most"
    return None


class TermLimit:
    """Refuses postings of terms that a format cannot hold.

    Args:
        name: of the format, for the message.
        problem: what it cannot hold.
        remedy: beside leaving the terms out.
        vocabulary: it may grow.
    """

    def __init__(self, name: str, problem: Problem, remedy: str, vocabulary: Vocabulary) -> None:
        self._name = name
        self._problem = problem
        self._remedy = remedy
        self._vocabulary = vocabulary
        self._refused: BoolArray = np.zeros(0, dtype=bool)
        self._any = False

    def check(self, indices: Int32Array) -> None:
        """Raise BadInputError if one of the term ids ``indices`` is of such a term."""
        new = self._vocabulary.terms[len(self._refused) :]
        if new:
            found = np.array([self._problem(term) is not None for term in new])
            self._refused = np.append(self._refused, found)
            self._any = bool(self._refused.any())
        if not self._any:
            return
        used = indices[self._refused[indices]]
        if used.size:
            term = self._vocabulary[int(used[0])]
            others = int(self._refused.sum()) - 1
            beside = f" (and {others:,} more such terms read so far)" if others else ""
            raise BadInputError(
                f"term {quoted(term)}{beside} {self._problem(term)}, so {self._name} cannot hold "
                f"it: {DROPPING}; or {self._remedy}"
            )
