"""Dropping terms by name: built-in lists, or a file with one term a line."""

from __future__ import annotations

import hashlib
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from splade_bridge.data.vectors import BoolArray
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.lines import text_lines
from splade_bridge.pruning.policy import Collection, Keep, Policy, Rule
from splade_bridge.pruning.rows import Rows

STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there
these they this to was will with
"""
"""Those of Lucene's EnglishAnalyzer."""
SPECIAL_TOKENS = """
[CLS] [SEP] [PAD] [UNK] [MASK] [BOS] [EOS] <s> </s> <pad> <unk> <mask> <bos> <eos> <cls> <sep>
<|endoftext|> <|padding|>
"""
ENGLISH = frozenset(STOP_WORDS.split())
SPECIAL = frozenset(SPECIAL_TOKENS.split())
WORD_STARTS = "\u2581\u0120"
"""How SentencePiece and byte-level BPE mark a piece that begins a word."""


def _is_unused(term: str) -> bool:
    body = term.removeprefix("[unused").removesuffix("]")
    return len(body) == len(term) - 8 and body.isdecimal()


def _is_punctuation(term: str) -> bool:
    body = term.removeprefix("##").lstrip(WORD_STARTS)
    return bool(body) and all(
        c in string.punctuation or unicodedata.category(c)[0] in "PS" for c in body
    )


def _has_white_space(term: str) -> bool:
    return term.split() != [term]


def _is_stop_word(term: str) -> bool:
    return term.lstrip(WORD_STARTS).lower() in ENGLISH


BUILT_IN: dict[str, Callable[[str], bool]] = {
    "@english": _is_stop_word,
    "@punctuation": _is_punctuation,
    "@special": SPECIAL.__contains__,
    "@unused": _is_unused,
    "@white-space": _has_white_space,
}


@dataclass(frozen=True)
class DropTerms(Policy):
    """All postings of the terms in a list; stop words as in Lucene's EnglishAnalyzer.

    ``name`` is a file (UTF-8, one term a line) or one of ``@english``, ``@punctuation`` (only
    Unicode punctuation and symbols), ``@special`` (``[CLS]`` and the like), ``@unused``
    (``[unused0]`` ...) and ``@white-space`` (with any in them). Terms must be equal to those of the
    vocabulary, ``##`` included. Nothing is left to order.
    """

    method: ClassVar[str] = "drop-terms"
    name: str
    listed: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, value: float | str) -> DropTerms:
        """The policy for a built-in list or a file.

        Raises:
            UsageError: no such built-in list.
            BadInputError: the file cannot be read, is not UTF-8 or holds no term.
        """
        name = str(value)
        if name.startswith("@"):
            return cls(name)
        terms = {line for line, _ in text_lines(Path(name), pipe=True)}
        if not terms:
            raise BadInputError("holds no terms: one a line is wanted", name)
        return cls(name, frozenset(terms))

    def __post_init__(self) -> None:
        if self.name.startswith("@") and self.name not in BUILT_IN:
            raise UsageError(
                f"{self.method}: {self.name} is none of {', '.join(BUILT_IN)}; a file of that name "
                f"is ./{self.name}"
            )

    def rule(self, collection: Collection) -> Rule:
        """The list itself; nothing is read."""
        found: dict[str, Any] = {}
        if self.listed:
            digest = hashlib.sha256("\n".join(sorted(self.listed)).encode()).hexdigest()
            found = {"terms": len(self.listed), "sha256": digest}
        return Rule(self._start, found)

    def _start(self) -> Keep:
        is_listed = BUILT_IN.get(self.name, self.listed.__contains__)
        stays: BoolArray = np.ones(0, dtype=bool)

        def keep(rows: Rows[Any]) -> BoolArray:
            nonlocal stays
            vocabulary: Vocabulary = rows.order.vocabulary
            if len(stays) < len(vocabulary):  # an observed vocabulary grows
                new = [not is_listed(term) for term in vocabulary.terms[len(stays) :]]
                stays = np.append(stays, new)
            kept: BoolArray = stays[rows.batch.indices]
            return kept

        return keep
