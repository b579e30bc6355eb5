"""Word vectors from counts, which tell a new network which terms are alike before it is trained.

A network with random weights takes most of a short training to learn this. Vectors are those of
Levy, Goldberg and Dagan (TACL 2015, "Improving Distributional Similarity with Lessons Learned from
Word Embeddings"): with n(w, c) the times that two terms stand within WINDOW tokens of each other,
each weighted by 1 / distance,

    PPMI(w, c) = max(0, log(n(w, c) N / (n(w) n(c)^0.75))),   N = sum_c n(c)^0.75

is factorised as U S V^T, and the vector of w is row w of U S^0.5, scaled to length 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splade_bridge.errors import BadInputError

WINDOW = 5
SMOOTHING = 0.75
TOKENS_AT_ONCE = 2_000_000
LOGIT = 10.0
"""What a token at its own place has at most in the new network, before any training."""


def word_vectors(
    tokens: NDArray[np.int32], separator: int, vocabulary: int, width: int, seed: int
) -> NDArray[np.float32]:
    """float32[vocabulary, width], rows of length 1; those of terms that never occur are 0.

    Args:
        tokens: ids of all texts one after the other.
        separator: id that stands between two texts; windows end there.
        width: at most ``vocabulary`` - 1.
        seed: of the factorisation's start.

    Raises:
        BadInputError: there is nothing to count.
    """
    from scipy.sparse.linalg import svds

    table = _ppmi(_counts(tokens, separator, vocabulary))
    if not table.nnz:
        raise BadInputError("the texts have no two terms beside each other: too few for vectors")
    start = np.random.default_rng(seed).standard_normal(vocabulary).astype(np.float32)
    left, singular, _ = svds(table, k=width, v0=start, return_singular_vectors="u")
    vectors = left * np.sqrt(singular)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.where(lengths > 1e-6, vectors / (lengths + 1e-12), 0.0)
    return found.astype(np.float32)


def start_from(model: Any, vectors: NDArray[np.float32]) -> None:
    """Give a new BertForMaskedLM ``vectors`` as its embeddings, tied with its head.

    The head's own layer starts as the identity, so that the logits of a position are at first those
    of its own token (somewhat below LOGIT) and of the terms most like it.
    """
    import torch

    scale = LOGIT / vectors.shape[1] ** 0.5  # layer norm gives hidden states this length
    with torch.no_grad():
        known = torch.from_numpy(np.flatnonzero(vectors.any(axis=1)))
        model.get_input_embeddings().weight[known] = torch.from_numpy(vectors)[known] * scale
        dense = model.cls.predictions.transform.dense
        dense.weight.copy_(torch.eye(len(dense.weight)))


def _counts(tokens: NDArray[np.int32], separator: int, vocabulary: int) -> Any:
    """n(w, c), a symmetric CSR matrix."""
    from scipy import sparse

    total = sparse.csr_matrix((vocabulary, vocabulary), dtype=np.float32)
    for begin in range(0, len(tokens), TOKENS_AT_ONCE):
        part = np.asarray(tokens[begin : begin + TOKENS_AT_ONCE + WINDOW])
        text = np.cumsum(part == separator)
        for distance in range(1, WINDOW + 1):
            # The last WINDOW tokens are the first of the next part.
            first = np.arange(min(TOKENS_AT_ONCE, len(part) - distance))
            second = first + distance
            kept = (text[first] == text[second]) & (part[first] != separator)
            pairs = part[first[kept]], part[second[kept]]
            weights = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
            found = sparse.coo_matrix((weights, pairs), shape=total.shape)
            total = total + found.tocsr()
    return total + total.T


def _ppmi(counts: Any) -> Any:
    """PPMI, a CSR matrix that holds what is above 0."""
    words = np.asarray(counts.sum(axis=1)).ravel()
    contexts = words**SMOOTHING
    cells = counts.tocoo()
    with np.errstate(divide="ignore"):
        values = np.log(cells.data * contexts.sum() / (words[cells.row] * contexts[cells.col]))
    cells.data = np.maximum(values, 0).astype(np.float32)
    table = cells.tocsr()
    table.eliminate_zeros()
    return table
