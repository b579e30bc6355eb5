"""The terms of one text, heaviest first: which of them it holds, and which a model has added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splade_bridge.conversion.detect import open_vectors
from splade_bridge.data.ids import quoted
from splade_bridge.data.manifest import Side
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.address import Place
from splade_bridge.text.corpora import Text

Spelling = Literal["wordpiece", "sentencepiece", "bytes", "words"]
"""How a vocabulary marks pieces of words: ``##ing`` goes on with a word; ``▁the`` and ``Ġthe``
begin one, and what has no such mark goes on (the last with letters for bytes, as GPT-2 has them).
"""

BEGINS = {"sentencepiece": "▁", "bytes": "Ġ"}


@dataclass(frozen=True)
class Term:
    """A term of a text.

    Attributes:
        term: as it stands in the vocabulary.
        word: to be read: without marks, but ``##`` before a piece that goes on with a word.
        weight: float; a whole number of what is quantized.
        original: whether the text holds it; None where only the vector is known.
        piece: whether it goes on with a word.
    """

    term: str
    word: str
    weight: float
    original: bool | None
    piece: bool


def terms_of_text(
    model: str,
    text: str,
    side: Side = "document",
    *,
    max_length: int = 256,
    checkpoint: ModelChoices = ModelChoices(),
) -> list[Term]:
    """The terms that ``model`` gives to a text, heaviest first, equal ones by their strings.

    Args:
        model: checkpoint, a folder or a hub name.
        text: of a document or a query.
        max_length: tokens of it that are read.
        checkpoint: how the model is read.

    Raises:
        BadInputError: no such model, or weights that are not finite.
        UsageError: what is said of queries, for a document.
        MissingToolError: the extra ``encode`` is not installed.
    """
    if checkpoint.query_mode != "model" and side != "query":
        raise UsageError("--query-mode has no effect without --side query: leave it out")
    require("encode", "encoding a text")
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    options = EncodeOptions(max_length=max_length, checkpoint=checkpoint)
    encoder = load_encoder(model, side, options)
    batch = next(encoder.encode([Text("text", text, "the text")]))
    vocabulary = encoder.loaded.vocabulary
    held = encoder.held(text)
    indices, weights = batch.row(0)
    return ranked_terms(
        [vocabulary[i] for i in indices.tolist()],
        weights.tolist(),
        np.isin(encoder.loaded.columns.cpu().numpy()[indices], held).tolist(),
        spelling_of(vocabulary),
    )


def terms_of_id(source: Place, text_id: str) -> list[Term]:
    """The terms of one of the vectors at ``source``, as :func:`terms_of_text` orders them.

    Args:
        source: whatever :func:`.detect.open_vectors` reads: a vector store, an export, an index,
            an address, CIFF, JSON lines.
        text_id: of a document or a query.

    Raises:
        BadInputError: no such source, or none of this id.
    """
    opened = open_vectors(source, weights=True)
    with opened.opened():
        for batch in opened.batches():
            if text_id in batch.ids:
                row = batch.rows(at := batch.ids.index(text_id), at + 1)
                values = row.weights if isinstance(row, SparseBatch) else row.impacts
                terms = [opened.vocabulary[i] for i in row.indices.tolist()]
                origins: list[bool | None] = [None] * len(terms)
                return ranked_terms(terms, values.tolist(), origins, spelling_of(opened.vocabulary))
    raise BadInputError(f"no text {quoted(text_id)} among {opened.counts.documents:,}", str(source))


def ranked_terms(
    terms: Sequence[str],
    weights: Sequence[float],
    origins: Sequence[bool | None],
    spelling: Spelling,
) -> list[Term]:
    """Terms with their weights as :class:`Term`, in the order of :func:`terms_of_text`."""
    found = []
    for term, weight, origin in zip(terms, weights, origins, strict=True):
        word, piece = readable(term, spelling)
        found.append(Term(term, word, weight, origin, piece))
    return sorted(found, key=lambda t: (-t.weight, t.term))


def spelling_of(vocabulary: Sequence[str] | Vocabulary) -> Spelling:
    """How the terms of a vocabulary mark pieces of words, by what most of its marks are."""
    marked = {"##": 0, "▁": 0, "Ġ": 0}
    for term in (vocabulary[i] for i in range(len(vocabulary))):
        for mark in marked:
            marked[mark] += term.startswith(mark) and len(term) > len(mark)
    most = max(marked, key=lambda mark: marked[mark])
    if not marked[most]:
        return "words"
    return {"##": "wordpiece", "▁": "sentencepiece", "Ġ": "bytes"}[most]  # type: ignore[return-value]


def readable(term: str, spelling: Spelling) -> tuple[str, bool]:
    """A term as it is read, and whether it goes on with a word; see :class:`Term`."""
    if spelling == "words" or (term[:1], term[-1:]) in (("[", "]"), ("<", ">")):
        return term, False
    if spelling == "wordpiece":
        return term, term.startswith("##") and len(term) > 2
    begins = BEGINS[spelling]
    piece = not term.startswith(begins)
    word = term.removeprefix(begins)
    if spelling == "bytes":
        word = _decoded(word)
    return (f"##{word}" if piece else word or begins), piece


def _decoded(word: str) -> str:
    """Letters that stand for bytes as the text of these bytes; GPT-2's table, which is public.

    Bytes that print stand for themselves, the others are numbered from U+0100 on.
    """
    raw = bytearray()
    for letter in word:
        if (byte := BYTES.get(letter)) is None:
            return word  # no letter of that table: a term of another kind
        raw.append(byte)
    return raw.decode(errors="replace")


def _bytes_by_letter() -> Iterator[tuple[str, int]]:
    other = 0x100
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            yield chr(byte), byte
        else:
            yield chr(other), byte
            other += 1


BYTES = dict(_bytes_by_letter())
