"""Text queries as the query side of a model encodes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import Manifest, VocabularyInfo
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.errors import BadInputError, require
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.text.corpora import CorpusOptions, Text, read_texts, tell_splits


class QueryEncoder:
    """The query side of a model, loaded once. Calls from several threads wait for one another.

    Args:
        model: checkpoint, a folder or a name.
        max_length: in tokens.
        checkpoint: how it is read.

    Raises:
        BadInputError: the model cannot be read.
    """

    def __init__(
        self,
        model: str,
        quantize: QuantizeOptions | None = None,
        max_length: int = 256,
        checkpoint: ModelChoices = ModelChoices(),
    ) -> None:
        require("encode", "encoding queries")
        from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

        self._encoder = load_encoder(
            model, "query", EncodeOptions(max_length=max_length, checkpoint=checkpoint)
        )
        self._options = quantize or QuantizeOptions()
        self._lock = Lock()

    def __call__(self, texts: Sequence[Text], source: Path) -> Queries:
        """The vectors of ``texts``, quantized.

        Args:
            source: where the texts come from, for messages.

        Raises:
            BadInputError: a text whose weights are not finite.
        """
        quantizer = Quantizer(self._options)
        counts = Counts()
        batches = []
        with self._lock:
            stats = self._encoder.stats
            before = stats.truncated
            for batch in self._encoder.encode(texts):
                counts.add(batch)
                batches.append(quantizer(batch))
            encoding = self._encoder.info(stats.truncated - before)
        vocabulary = self._encoder.loaded.vocabulary
        manifest = Manifest(
            kind="vectors",
            vocabulary=VocabularyInfo.of(vocabulary),
            counts=counts,
            encoding=encoding,
            quantization=quantizer.info,
        )
        return Queries(source, ImpactBatch.concat(batches), vocabulary, manifest)

    @property
    def vocabulary(self) -> Vocabulary:
        """The terms of the model."""
        return self._encoder.loaded.vocabulary

    def held(self, text: str) -> set[str]:
        """The terms that a text itself holds, as far as it is read.

        Raises:
            BadInputError: it is too long to be tokenized.
        """
        with self._lock:
            found = self._encoder.held(text)
        loaded = self._encoder.loaded
        columns = np.flatnonzero(np.isin(loaded.columns.cpu().numpy(), found))
        return {loaded.vocabulary[column] for column in columns.tolist()}

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Where terms stand in a text: see :meth:`.tokens.TextTokenizer.spans`."""
        with self._lock:
            return self._encoder.loaded.tokenizer.spans(text)


def load_queries(
    source: str,
    model: str | None = None,
    quantize: QuantizeOptions | None = None,
    max_length: int = 256,
    *,
    checkpoint: ModelChoices = ModelChoices(),
    split: str | None = None,
    pre_encoded: bool = False,
    allow_mismatch: bool = False,
) -> Queries:
    """Queries from text, if there is a ``model`` to encode it, or else pre-encoded.

    Args:
        source: what :func:`encode_queries` or :func:`.formats.queries.read_queries` takes.
        model: checkpoint, a folder or a name.
        quantize: of float weights; None for the defaults of the source.
        max_length: of a text, in tokens.
        checkpoint: how the model is read.
        split: of the texts of a BEIR folder; see :class:`.corpora.CorpusOptions`.
        pre_encoded: of vectors; see :func:`.formats.queries.read_queries`.
        allow_mismatch: see :class:`.formats.queries.Queries`.

    Raises:
        BadInputError: the queries or the model cannot be read.
    """
    if model is None:
        return read_queries(
            Path(source), quantize, pre_encoded=pre_encoded, allow_mismatch=allow_mismatch
        )
    encoded = encode_queries(
        source, model, quantize, max_length, checkpoint=checkpoint, split=split
    )
    return replace(encoded, allow_mismatch=allow_mismatch)


def encode_queries(
    source: str,
    model: str,
    quantize: QuantizeOptions | None = None,
    max_length: int = 256,
    *,
    checkpoint: ModelChoices = ModelChoices(),
    split: str | None = None,
) -> Queries:
    """Text queries as the query side of ``model`` encodes them.

    Args:
        source: whatever :func:`splade_bridge.text.corpora.read_texts` reads.
        model: checkpoint, a folder or a name.
        checkpoint, split: see :func:`load_queries`.

    Raises:
        BadInputError: the queries or the model cannot be read.
        MissingToolError: the extra ``encode`` is not installed.
    """
    texts = query_texts(source, split)  # before a model is loaded for nothing
    return QueryEncoder(model, quantize, max_length, checkpoint)(texts, Path(source))


def query_texts(source: str, split: str | None = None) -> list[Text]:
    """All queries that :func:`splade_bridge.text.corpora.read_texts` reads from ``source``.

    Raises:
        BadInputError: there are none, or they cannot be read.
    """
    options = CorpusOptions(split=split)
    tell_splits(source, options)
    texts = list(read_texts(source, "queries", options))
    if not texts:
        raise BadInputError("holds no queries", source)
    return texts
