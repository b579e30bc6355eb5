"""Queries for other tools: an object that turns one text into ``{term: impact}``."""

from __future__ import annotations

from typing import Unpack

from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vector_set import MEMORY
from splade_bridge.errors import UsageError
from splade_bridge.formats.queries import Queries
from splade_bridge.library.given import model_choices, quantize_options
from splade_bridge.library.keywords import Choosing, Place, takes
from splade_bridge.retrieval.encode_queries import QueryEncoder
from splade_bridge.text.corpora import Text


class OneQueryEncoder:
    """What :func:`query_encoder` gives; several threads may call it, one waits for the other.

    Attributes:
        scale: impact = weight x scale, rounded.
    """

    def __init__(self, encoder: QueryEncoder, scale: float) -> None:
        self.scale = scale
        self._encoder = encoder

    def encode(self, text: str) -> dict[str, int]:
        """The impacts of a query, those of the model's vocabulary that are at least 1.

        Args:
            text: of one query; an empty one has no terms.

        Raises:
            BadInputError: its weights are not finite.
            UsageError: it is no string.
        """
        if not isinstance(text, str):
            raise UsageError(f"a query is a string, not {text!r}")
        found: Queries = self._encoder([Text("query", text, "query")], MEMORY)
        terms, impacts = found.batch.row(0)
        named = (found.vocabulary[int(term)] for term in terms)
        return dict(zip(named, map(int, impacts), strict=True))


@takes(Choosing)
def query_encoder(
    model: Place,
    *,
    scale: float | None = None,
    rounding: str | None = None,
    clip: int | None = None,
    max_length: int = 256,
    **choosing: Unpack[Choosing],
) -> OneQueryEncoder:
    """The query side of a model, for tools that ask for ``encode(text) -> {term: int}``.

    Pyserini's ``LuceneImpactSearcher`` takes it as it is. Its impacts are those that ``search``
    makes of the same text, so that scores are the same, too.

    Args:
        model: checkpoint, a folder or a hub name; loaded now.
        scale: impact = weight x scale, rounded; None is 100.
        rounding: ``nearest`` (half to even; None) or ``down``.
        clip: cut impacts to this.
        max_length: of a text, in tokens.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see
            :func:`open_index`.

    Raises:
        BadInputError: the model cannot be read, or a scale that is not above 0.
        UsageError: an unknown rounding.
        MissingToolError: the extra ``encode`` is not installed.
    """
    quantize = quantize_options(scale, rounding, clip) or QuantizeOptions()
    used = Quantizer(quantize).scale  # a bad one is refused before a model is loaded for nothing
    checkpoint = model_choices(choosing)
    return OneQueryEncoder(QueryEncoder(str(model), quantize, max_length, checkpoint), used)
