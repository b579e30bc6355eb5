"""Share of the postings whose term the text of the document does not have.

Terms are word pieces or words. A text is split as BERT does (lower case without accents where the
vocabulary has no capitals, at white space and punctuation), and each word is spelled by the longest
pieces that the vocabulary has, ``##`` in front of those inside a word. Stems of another analysis
are spelled badly, which is told, and nothing else then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from splade_bridge.data.vectors import Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.inspection.found import Expansion, Inspection
from splade_bridge.inspection.tally import Tally
from splade_bridge.text.corpora import read_texts

LEAST_SPELLED = 0.6
"""Share of words that the terms must be able to spell, or what they mean is not known."""
LONGEST_WORD = 100


class Speller:
    """Splits texts into the terms of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lower = not any(t != t.lower() for t in vocabulary.terms if not t.startswith("["))
        self.words = self.spelled = 0

    def __call__(self, text: str) -> set[int]:
        """Ids of the terms of ``text``; counts its words, and those that could be spelled."""
        if self._lower:
            text = unicodedata.normalize("NFD", text.lower())
            text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        found: set[int] = set()
        for word in _words(text):
            pieces = self._pieces(word)
            if is_word := any(map(str.isalnum, word)):
                self.words += 1
            if pieces is not None:
                self.spelled += is_word
                found.update(pieces)
        return found

    def _pieces(self, word: str) -> list[int] | None:
        if (whole := self._vocabulary.get(word)) is not None:
            return [whole]
        if len(word) > LONGEST_WORD:
            return None
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if not start else f"##{word[start:end]}"
                if (known := self._vocabulary.get(piece)) is not None:
                    pieces.append(known)
                    start = end
                    break
            else:
                return None
        return pieces


def _words(text: str) -> Iterator[str]:
    word = ""
    for sign in text:
        if sign.isspace():
            if word:
                yield word
            word = ""
        elif unicodedata.category(sign)[0] in "PS":
            if word:
                yield word
            word = ""
            yield sign
        else:
            word += sign
    if word:
        yield word


def expansion(
    tally: Tally, texts: Iterable[tuple[str, str]], found: Inspection, where: str
) -> None:
    """Put the share of expansion terms into ``found``, or why it cannot be known.

    Args:
        texts: id and text, in any order, of more documents than are looked at.
        where: what the texts come from, for people.
    """
    rows = {doc_id: row for row, doc_id in enumerate(tally.sample_ids)}
    speller = Speller(tally.vocabulary)
    size = max(1, len(tally.vocabulary))
    keys: set[int] = set()
    known = np.zeros(len(rows), dtype=bool)
    for doc_id, text in texts:
        row = rows.get(doc_id)
        if row is not None and text and not known[row]:
            known[row] = True
            keys.update(row * size + term for term in speller(text))
            if known.all():
                break
    if not known.any():
        found.unknown.append(f"expansion: {where} has no text of the first documents")
        return
    spelled = speller.spelled / max(1, speller.words)
    if spelled < LEAST_SPELLED:
        found.unknown.append(
            f"expansion: only {spelled:.0%} of the words of {where} can be spelled by the terms "
            "here: these are made by another analysis"
        )
        return
    documents, terms, values = tally.sample()
    inside = known[documents]
    found.expansion = _shares(
        int(known.sum()), spelled, (documents * size + terms)[inside], values[inside], keys
    )


def _shares(
    documents: int,
    spelled: float,
    postings: Int64Array,
    values: npt.NDArray[np.float64],
    keys: set[int],
) -> Expansion:
    outside = ~np.isin(postings, np.fromiter(keys, np.int64, len(keys)))
    return Expansion(
        documents,
        spelled,
        float(outside.mean()) if len(postings) else 0.0,
        float(values[outside].sum() / values.sum()) if len(postings) else 0.0,
    )


def from_corpus(tally: Tally, corpus: str | None, found: Inspection) -> None:
    """The same with the texts of ``--corpus``; without one it is said to be unknown.

    Raises:
        BadInputError: no such corpus, or a broken one.
    """
    if corpus is None:
        found.unknown.append("expansion: no text is at hand; --corpus names it")
        return
    expansion(tally, ((t.id, t.text) for t in read_texts(corpus)), found, corpus)
