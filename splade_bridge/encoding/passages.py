"""Texts that are longer than the model's limit: cut, joined from windows, or split into passages.

A window is as many tokens of the text as fit, with the model's own tokens (and the prompt) around
them, as if it were a text of its own; the first one is what truncation would leave. ``max`` joins
the windows of a text by the maximum of each term's weight, ``passages`` makes each a row of its own
whose scores a search folds by their maximum: Rep-max and Score-max of "Adapting Learned Sparse
Retrieval for Long Documents" (arXiv 2305.18494).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from splade_bridge.data.ids import checked_id
from splade_bridge.data.manifest import EncodingInfo
from splade_bridge.data.store import PART_ROWS
from splade_bridge.data.vectors import Int32Array, SparseBatch, row_numbers, row_pointers
from splade_bridge.encoding.choices import LongMode
from splade_bridge.encoding.encoder import Encoder, Progress, naming
from splade_bridge.encoding.parts import Part, PartNote
from splade_bridge.encoding.tokens import Tokenized
from splade_bridge.errors import UsageError
from splade_bridge.text.corpora import Text


@dataclass(frozen=True)
class LongOptions:
    """What becomes of texts that are longer than the limit.

    Attributes:
        mode: see the module.
        stride: tokens of the text from one window's start to the next one's; None for as many as
            a window holds, so that they do not overlap.
    """

    mode: LongMode = "truncate"
    stride: int | None = None


@dataclass(frozen=True)
class TokenizedPart:
    """A part whose texts are token ids, as an encoder takes them.

    Attributes:
        part: what it is made from.
        rows: the texts, each once for every row that it becomes; passages have their own names.
        tokenized: their tokens.
        counts: rows of each text.
    """

    part: Part
    rows: list[Text]
    tokenized: Tokenized
    counts: list[int]


class PartEncoder:
    """An encoder of whole parts, long texts included.

    Attributes:
        encoder: what runs the model.
        long: with the stride in force.

    Raises:
        UsageError: a stride without windows, or one that would leave out tokens.
    """

    def __init__(self, encoder: Encoder, long: LongOptions = LongOptions()) -> None:
        self.encoder = encoder
        self.long = long
        if long.mode == "truncate":
            if long.stride is not None:
                raise UsageError("--stride is for --long max and --long passages")
            return
        self._before, self._after = encoder.loaded.tokenizer.frame()
        self._room = encoder.loaded.max_length - self._before - self._after
        self._stride = self._room if long.stride is None else long.stride
        if not 1 <= self._stride <= self._room:
            raise UsageError(f"--stride {self._stride}: a window holds {self._room} tokens of text")
        self.long = LongOptions(long.mode, self._stride)

    def info(self) -> EncodingInfo:
        """Provenance, with nothing counted yet."""
        long = self.long
        return dataclasses.replace(self.encoder.info(0), long=long.mode, stride=long.stride)

    def tokenize(self, part: Part) -> TokenizedPart:
        """What encoding begins with; another thread may do it ahead of time.

        Raises:
            BadInputError: the name of a passage would be too long for an id, or a text is too
                long to be tokenized.
        """
        if self.long.mode == "truncate":
            tokenized = self.encoder.tokenize(part.texts)
            return TokenizedPart(part, part.texts, tokenized, [1] * len(part.texts))
        with naming(part.texts):
            whole = self.encoder.loaded.tokenizer.whole([t.text for t in part.texts])
        windows = [list(self._windows(ids)) for ids in whole.ids]
        named = self.long.mode == "passages"
        rows = [
            text._replace(id=checked_id(f"{text.id}#{n}", text.place)) if named else text
            for text, found in zip(part.texts, windows, strict=True)
            for n in range(len(found))
        ]
        ids = [row for found in windows for row in found]
        return TokenizedPart(part, rows, Tokenized(ids, 0, whole.replaced), list(map(len, windows)))

    def encode(
        self, given: TokenizedPart, progress: Progress | None = None
    ) -> tuple[SparseBatch, PartNote]:
        """Weights of a part, and what is noted with it.

        Raises:
            BadInputError: a text whose weights are not finite.
        """
        part = given.part
        if self.long.mode == "truncate":
            batch = self.encoder.encode_window(part.texts, progress, given.tokenized)
        else:
            batch = self._encode_windows(given, progress)
        note = PartNote(
            texts=len(part.texts),
            digest=part.digest,
            before=part.before,
            truncated=given.tokenized.truncated,
            split=sum(n > 1 for n in given.counts),
            replaced=given.tokenized.replaced,
        )
        return batch, note

    def _encode_windows(self, given: TokenizedPart, progress: Progress | None) -> SparseBatch:
        """Rows of all windows, or of all texts where windows are to be joined."""
        stats, texts = self.encoder.stats, given.part.texts
        before = stats.texts
        batches = []
        for start in range(0, len(given.rows), PART_ROWS):
            some = slice(start, start + PART_ROWS)
            batches.append(
                self.encoder.encode_window(
                    given.rows[some],
                    progress and (lambda _, tokens: progress(0, tokens)),
                    Tokenized(given.tokenized.ids[some], 0, 0),
                    normalize=self.long.mode != "max",
                )
            )
        stats.texts = before + len(texts)
        stats.replaced += given.tokenized.replaced
        if progress:
            progress(len(texts), 0)
        batch = SparseBatch.concat(batches)
        if self.long.mode == "max":
            batch = joined(batch, given.counts, [t.id for t in texts])
            return batch.normalized() if self.encoder.loaded.normalize else batch
        return batch

    def _windows(self, ids: Int32Array) -> Iterator[Int32Array]:
        """Token ids of a text in pieces that the model takes."""
        end = len(ids) - self._after
        content = ids[self._before : end]
        if len(content) <= self._room:
            yield ids
            return
        for start in range(0, len(content) - self._room + self._stride, self._stride):
            window = content[start : start + self._room]
            yield np.concatenate([ids[: self._before], window, ids[end:]])


def joined(batch: SparseBatch, counts: Sequence[int], ids: list[str]) -> SparseBatch:
    """The maximum of each term's weight over runs of rows.

    Args:
        batch: sum(counts) rows.
        counts: rows of each run.
        ids: names of the runs.
    """
    bounds = batch.indptr[row_pointers(counts)]
    owner = row_numbers(bounds)
    key = (owner << 32) | batch.indices
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    weights = batch.weights[order]
    if len(first):
        weights = np.maximum.reduceat(weights, first)
    lengths = np.bincount(owner[order][first], minlength=len(counts))
    indices = (key[first] & 0xFFFFFFFF).astype(np.int32)
    return SparseBatch(ids, row_pointers(lengths), indices, weights)
