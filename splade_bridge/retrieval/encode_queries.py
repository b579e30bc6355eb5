"""Text queries as the query side of a model encodes them."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import Manifest, VocabularyInfo
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.errors import BadInputError, require
from splade_bridge.formats.queries import Queries, concatenate
from splade_bridge.text.corpora import read_texts


def encode_queries(
    source: str, model: str, quantize: QuantizeOptions | None = None, max_length: int = 256
) -> Queries:
    """Text queries as the query side of ``model`` encodes them.

    Args:
        source: whatever :func:`splade_bridge.text.corpora.read_texts` reads.
        model: checkpoint, a folder or a name.

    Raises:
        BadInputError: the queries or the model cannot be read.
        MissingToolError: the extra ``encode`` is not installed.
    """
    require("encode", "encoding queries")
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    texts = list(read_texts(source, "queries"))
    if not texts:
        raise BadInputError("holds no queries", source)
    encoder = load_encoder(model, "query", EncodeOptions(max_length=max_length))
    quantizer = Quantizer(quantize or QuantizeOptions())
    counts = Counts()
    batches = []
    for batch in encoder.encode(texts):
        counts.add(batch)
        batches.append(quantizer(batch))
    vocabulary = encoder.loaded.vocabulary
    manifest = Manifest(
        kind="vectors",
        vocabulary=VocabularyInfo.of(vocabulary),
        counts=counts,
        encoding=encoder.info(encoder.stats.truncated),
        quantization=quantizer.info,
    )
    return Queries(Path(source), concatenate(batches), vocabulary, manifest)
