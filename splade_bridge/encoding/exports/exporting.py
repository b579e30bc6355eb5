"""A side of a model on its way to another runtime, and the proof that it arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splade_bridge.data.choices import Side
from splade_bridge.encoding.exports.term_weights import TermWeights
from splade_bridge.encoding.settings import SideSettings
from splade_bridge.encoding.side import LoadedSide
from splade_bridge.encoding.sparse_rows import SparseRows
from splade_bridge.errors import CheckFailedError

TOLERANCE = 1e-4
"""Of a weight, and relative to those above 1."""
PROBE_WORDS = (1, 2, 3, 11, 12, 400)
"""Words of the texts that are compared; what is beyond the limit is cut, as in every text."""

Packed = Callable[[Tensor, Sequence[int]], Tensor]
"""Weights float32[B, W] by token id, of texts laid end to end, and their lengths."""


@dataclass(frozen=True)
class Exporting:
    """A side that is being exported.

    Attributes:
        sides: that it is of.
        loaded: what encodes it here.
        settings: where its parts are, and the prompt.
        weights: the same as a plain module.
        tokenizer: of transformers.
        partners: hash of the weights that the model encodes each side with.
    """

    sides: tuple[Side, ...]
    loaded: LoadedSide
    settings: SideSettings
    weights: TermWeights
    tokenizer: Any
    partners: dict[str, str]

    @property
    def special(self) -> bool:
        """Whether special tokens are added to a text."""
        return self.loaded.network is not None

    def tokens(self) -> list[str]:
        """The token of each id, up to the last; an id without one has a name that no text has."""
        tokens = {i: token for token, i in self.tokenizer.get_vocab().items()}
        return [tokens.get(i, f"[no token {i}]") for i in range(max(tokens) + 1)]

    def is_wordpiece(self) -> bool:
        """Whether its tokenizer is one that BERT's rules describe."""
        return type(self.tokenizer.backend_tokenizer.model).__name__ == "WordPiece"


def padded(weights: Callable[[Tensor, Tensor], Tensor]) -> Packed:
    """The same for texts laid end to end, of what takes ids and mask int64[B, L]."""

    def packed(ids: Tensor, lengths: Sequence[int]) -> Tensor:
        rows = torch.split(ids, list(lengths))
        together = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        mask = torch.arange(together.shape[1]) < torch.tensor(lengths)[:, None]
        with torch.no_grad():
            return weights(together, mask.to(torch.int64))

    return packed


def largest_difference(loaded: LoadedSide, weights: Packed, place: str) -> float:
    """How far weights of some texts, made of the model's own words, are from those of ``encode``.

    Args:
        weights: of what was exported.
        place: of the export, for the message.

    Raises:
        CheckFailedError: too far.
    """
    terms = loaded.vocabulary.terms
    words = [term for term in terms if term.isalnum()] or list(terms)
    rng = np.random.default_rng(0)
    texts = [" ".join(words[i] for i in rng.integers(0, len(words), n)) for n in PROBE_WORDS]
    rows = sorted((row for row in loaded.tokenizer(texts).ids if len(row)), key=len, reverse=True)
    worst = 0.0
    for some in (rows[:2], rows[1:], rows[-1:]):
        ids = torch.from_numpy(np.concatenate(some).astype(np.int64))
        lengths = [len(row) for row in some]
        with torch.inference_mode():
            wanted = _most_active(loaded.weights(ids, lengths), loaded.max_active)
        found = weights(ids, lengths)[:, loaded.columns]
        scale = 1 + wanted.abs().amax(1, keepdim=True)
        worst = max(worst, float(((found - wanted).abs() / scale).max()))
        if not worst <= TOLERANCE:
            raise CheckFailedError(
                f"{place}: its weights differ from those of encode by up to {worst:.2g}, above "
                f"{TOLERANCE:g}: this network cannot be exported. Nothing was written"
            )
    return worst


def _most_active(weights: Tensor, most: int | None) -> Tensor:
    """``weights`` [B, V] as rows of a store hold them."""
    found = torch.zeros_like(weights)
    for row, (indices, values) in zip(found, SparseRows(weights, most).fetch(), strict=True):
        row[indices] = torch.from_numpy(values)
    return found
