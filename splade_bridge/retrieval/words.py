"""A query as the terms that an index is asked, and where terms stand in texts.

For an index of a model's vectors the model says both; for one of BM25 weights Lucene's analyzer.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.bm25 import analyze
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.lines import STDIO, numbered_lines
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.encode_queries import QueryEncoder
from splade_bridge.retrieval.terms import Term, ranked_terms, spelling_of
from splade_bridge.text.corpora import Text

BM25 = "bm25"
"""The name that stands for Lucene's analyzer where a model is named."""
ASKED = Path("query")
KEPT_BAGS = 256
"""Queries whose terms are kept."""
REMEMBERED = 100_000
"""Words whose terms are kept, so that no JVM is started for them again."""
WORD = re.compile(r"\w+(?:['’.]\w+)*")


class Span(NamedTuple):
    """A term in a text, from character ``start`` to before ``stop``."""

    start: int
    stop: int
    term: str


@dataclass(frozen=True)
class Bag:
    """A text as an index is asked it.

    Attributes:
        terms: weights are whole numbers, 1 or more.
        milliseconds: that encoding it took.
    """

    terms: list[Term]
    milliseconds: float

    @property
    def weights(self) -> dict[str, int]:
        """Term -> weight."""
        return {term.term: int(term.weight) for term in self.terms}


class Words(ABC):
    """What makes terms of text.

    Attributes:
        name: of the model, as it was named; or :data:`BM25`.
    """

    name: str

    def __init__(self) -> None:
        self._bags: OrderedDict[str, Bag] = OrderedDict()
        self._encoding = Lock()

    @abstractmethod
    def queries(self, texts: Sequence[Text]) -> Queries:
        """The queries of some texts."""

    @abstractmethod
    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where terms stand in each text, in order; none where that cannot be told."""

    @abstractmethod
    def _named(self, text: str, terms: Sequence[str], weights: Sequence[int]) -> list[Term]: ...

    def bag(self, text: str) -> Bag:
        """The terms of one query, heaviest first; those of the last queries are kept.

        Raises:
            BadInputError: its weights are not finite.
        """
        with self._encoding:  # whoever asks for the same meanwhile waits for it
            if text not in self._bags:
                self._bags[text] = self._encoded(text)
                if len(self._bags) > KEPT_BAGS:
                    self._bags.popitem(last=False)
            self._bags.move_to_end(text)
            return self._bags[text]

    def _encoded(self, text: str) -> Bag:
        began = time.perf_counter()
        asked = self.queries([Text(ASKED.name, text, "the query")])
        took = (time.perf_counter() - began) * 1000
        indices, impacts = asked.batch.row(0)
        terms = [asked.vocabulary[i] for i in indices.tolist()]
        return Bag(self._named(text, terms, impacts.tolist()), took)


class ModelWords(Words):
    """The query side of a model, which is called ``name``."""

    def __init__(self, name: str, encoder: QueryEncoder) -> None:
        super().__init__()
        self.name, self._encoder = name, encoder
        self._spelling = spelling_of(self._encoder.vocabulary)

    def queries(self, texts: Sequence[Text]) -> Queries:
        """See :class:`Words`."""
        return self._encoder(texts, ASKED)

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """See :class:`Words`."""
        return [[Span(*span) for span in self._encoder.spans(text)] for text in texts]

    def _named(self, text: str, terms: Sequence[str], weights: Sequence[int]) -> list[Term]:
        held = self._encoder.held(text)
        return ranked_terms(terms, weights, [term in held for term in terms], self._spelling)


class AnalyzedWords(Words):
    """Lucene's analyzer for English: each term of a query with how often it occurs."""

    name = BM25

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, str | None] = {}
        self._lock = Lock()

    def queries(self, texts: Sequence[Text]) -> Queries:
        """See :class:`Words`."""
        vocabulary = Vocabulary(observed=True)
        count = Quantizer(QuantizeOptions(scale=1))
        batches = [count(batch) for batch in analyze(texts, vocabulary)]
        return Queries(ASKED, ImpactBatch.concat(batches), vocabulary)

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """See :class:`Words`: a word of letters and digits stands for the term that it makes."""
        words = [[(m.start(), m.end(), m.group()) for m in WORD.finditer(text)] for text in texts]
        terms = self._terms({word for found in words for _, _, word in found})
        return [
            [Span(start, stop, term) for start, stop, word in found if (term := terms[word])]
            for found in words
        ]

    def _terms(self, words: set[str]) -> Mapping[str, str | None]:
        with self._lock:
            if new := sorted(words - self._known.keys()):
                if len(self._known) + len(new) > REMEMBERED:
                    self._known.clear()
                    new = sorted(words)
                vocabulary = Vocabulary(observed=True)
                asked = [Text(str(i), word, "a word") for i, word in enumerate(new)]
                rows = ImpactBatch.concat(
                    [Quantizer(QuantizeOptions(scale=1))(b) for b in analyze(asked, vocabulary)]
                )
                for row, word in enumerate(new):
                    indices, _ = rows.row(row)
                    self._known[word] = vocabulary[int(indices[0])] if len(indices) else None
            return {word: self._known[word] for word in words}

    def _named(self, text: str, terms: Sequence[str], weights: Sequence[int]) -> list[Term]:
        return ranked_terms(terms, weights, [True] * len(terms), "words")


def words_of(
    model: str,
    quantize: QuantizeOptions | None = None,
    max_length: int = 256,
    checkpoint: ModelChoices = ModelChoices(),
) -> Words:
    """What makes terms of text: the query side of ``model``, or for ``bm25`` Lucene's analyzer.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        MissingToolError: what is needed is not installed.
    """
    if model == BM25:
        return AnalyzedWords()
    return ModelWords(model, QueryEncoder(model, quantize, max_length, checkpoint))


def asked_texts(text: str) -> list[str]:
    """The queries of a command line: ``text`` itself, or the lines of stdin for ``-``.

    Lines that are empty are left out.

    Raises:
        UsageError: nothing is asked, or it is not valid Unicode.
        BadInputError: a line that is not UTF-8, or stdin is closed.
    """
    if text != str(STDIO):
        queries = [checked_text(text)]
    else:
        queries = []
        for number, line in numbered_lines(STDIO):
            try:
                queries.append(line.decode().strip())
            except UnicodeDecodeError as error:
                raise BadInputError(f"is not UTF-8 ({error.reason})", f"stdin:{number}") from None
    found = [query for query in queries if query]
    if not found:
        raise UsageError("an empty text: nothing is asked")
    return found


def checked_text(text: str) -> str:
    """A text as it was typed, without blanks around it.

    Raises:
        UsageError: it is not valid Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{quoted(text)} is not valid Unicode") from None
    return text.strip()


def queries_of(weights: Mapping[str, int]) -> Queries:
    """One query of terms and weights, those of weight 0 left out.

    Args:
        weights: whole numbers, 0 or more.
    """
    asked = {term: weight for term, weight in weights.items() if weight}
    indices = np.arange(len(asked), dtype=np.int32)
    row = indices, np.fromiter(asked.values(), dtype=np.int32, count=len(asked))
    return Queries(ASKED, ImpactBatch.of_rows([ASKED.name], [row]), Vocabulary(asked))
