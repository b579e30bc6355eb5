"""Does a model inside an engine say what the checkpoint says? A short and a long text are asked.

An import without the maximum over positions gives other weights for both texts, one that reads
fewer or more tokens for the long one alone. Special tokens are left out of the comparison, since
ml-commons never gives them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from splade_bridge.data.choices import Side
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.registry import connect
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.errors import BadInputError, require
from splade_bridge.files.address import Address

if TYPE_CHECKING:
    from splade_bridge.encoding.encoder import Encoder

Length = Literal["short", "long"]
SHORT = 3
"""Words of the short text; the long one has more than any limit that is tried."""
LIMITS = (64, 128, 256, 384, 512)
"""Tokens that imports are commonly cut at."""
TOLERANCE = 1e-3
"""Of a weight, and relative to those above 1: engines may compute in other types."""


@dataclass(frozen=True)
class Probe:
    """One text, encoded here and by a model inside an engine.

    Attributes:
        engine_model: id of the model in the engine.
        text: which one.
        tokens: of the text as it is read here, special ones included.
        terms: with a weight here.
        engine_terms: the same there.
        largest_difference: of a weight, relative to those above 1.
        term: the one that differs most.
        weight: of that term here; 0 if it has none.
        engine_weight: the same there.
        engine_max_length: the limit, in tokens, by which the difference is explained; None for
            none, or where there is no difference.
    """

    engine_model: str
    side: Side
    text: Length
    tokens: int
    terms: int
    engine_terms: int
    largest_difference: float
    term: str
    weight: float
    engine_weight: float
    engine_max_length: int | None = None

    @property
    def equal(self) -> bool:
        """Whether both say the same."""
        return self.largest_difference <= TOLERANCE


def probe(
    address: Address,
    model: str,
    engine_models: Mapping[Side, str],
    max_length: int | None = None,
    checkpoint: ModelChoices = ModelChoices(),
) -> list[Probe]:
    """Compare the models inside the engine at ``address`` with ``model``.

    Args:
        address: of an index of that engine, which need not be there.
        model: checkpoint, a folder or a hub name.
        engine_models: by side, the id of the model in the engine.
        max_length: tokens of a text that are read here.
        checkpoint: how ``model`` is read.

    Raises:
        BadInputError: no such model, or what the engine gives are no weights of terms.
        MissingToolError: the extra ``encode``, or the client of the engine, is not installed.
        ServerError: the engine has no such model, or cannot be reached.
        UsageError: the engine runs no models.
    """
    require("encode", "encoding what the engine's model is compared with")
    found = []
    index = connect(address)
    try:
        for side, engine_model in engine_models.items():
            loaded = functools.partial(_encoder, model, side, checkpoint)
            encoder = loaded(max_length)
            texts = _texts(encoder)
            given = list(texts.values())
            theirs = patiently(functools.partial(index.encoded_by, engine_model, given))
            if len(theirs) != len(texts):
                raise BadInputError(
                    f"model {engine_model} gives {len(theirs)} results for {len(texts)} texts",
                    str(address),
                )
            for (name, text), weights in zip(texts.items(), theirs, strict=True):
                found.append(_compared(encoder, engine_model, name, text, weights, loaded))
    finally:
        index.close()
    return found


def _encoder(model: str, side: Side, checkpoint: ModelChoices, max_length: int | None) -> Encoder:
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    options = EncodeOptions(max_length=max_length, checkpoint=checkpoint)
    return load_encoder(model, side, options)


def _texts(encoder: Encoder) -> dict[Length, str]:
    """Of words that the model has; the same every time."""
    terms = encoder.loaded.vocabulary.terms
    words = [term for term in terms if term.isascii() and term.isalnum()] or list(terms)
    rng = np.random.default_rng(0)
    long = 2 * max(LIMITS[-1], encoder.loaded.max_length)
    drawn = [words[i] for i in rng.integers(0, len(words), long)]
    return {"short": " ".join(drawn[:SHORT]), "long": " ".join(drawn)}


def _weights(encoder: Encoder, text: str) -> dict[str, float]:
    from splade_bridge.text.corpora import Text

    [batch] = encoder.encode([Text("probe", text, "")])
    vocabulary = encoder.loaded.vocabulary
    return {vocabulary[i]: float(w) for i, w in zip(batch.indices, batch.weights, strict=True)}


def _compared(
    encoder: Encoder,
    engine_model: str,
    name: Length,
    text: str,
    theirs: Mapping[str, float],
    loaded: Callable[[int], Encoder],
) -> Probe:
    ours = _weights(encoder, text)
    special = set(encoder.loaded.tokenizer.special_tokens)
    worst, term = _worst(ours, theirs, special)
    limit = None
    if worst > TOLERANCE and name == "long":
        for tried in LIMITS:
            other = loaded(tried)
            is_new = other.loaded.max_length == tried != encoder.loaded.max_length
            if is_new and _worst(_weights(other, text), theirs, special)[0] <= TOLERANCE:
                limit = tried
                break
    return Probe(
        engine_model=engine_model,
        side=encoder.side,
        text=name,
        tokens=len(encoder.loaded.tokenizer([text]).ids[0]),
        terms=len(ours.keys() - special),
        engine_terms=sum(w > 0 for t, w in theirs.items() if t not in special),
        largest_difference=worst,
        term=term,
        weight=ours.get(term, 0.0),
        engine_weight=theirs.get(term, 0.0),
        engine_max_length=limit,
    )


def _worst(
    ours: Mapping[str, float], theirs: Mapping[str, float], special: set[str]
) -> tuple[float, str]:
    """The largest difference, relative to weights above 1, and its term."""
    terms = sorted({*ours, *theirs} - special)
    most = 1 + max((abs(ours.get(term, 0.0)) for term in terms), default=0.0)
    return max(
        ((abs(ours.get(t, 0.0) - theirs.get(t, 0.0)) / most, t) for t in terms),
        default=(0.0, ""),
    )
