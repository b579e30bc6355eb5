"""A side of a model as Elasticsearch's trained models take it, in the form of eland 9.2.

``traced_pytorch_model.pt`` is the definition, put in parts of :data:`PART` bytes, each in base64;
``vocabulary.json`` and ``config.json`` are the bodies of the two other requests. Unlike what eland
writes for ``text_expansion``, the maximum over positions is in the model: Elasticsearch reads the
first position only, as if it were all.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson

from splade_bridge.encoding.exports.exporting import Exporting, largest_difference, padded
from splade_bridge.encoding.exports.torch_script import plain_attention, write_inference
from splade_bridge.errors import BadInputError

DEFINITION = "traced_pytorch_model.pt"
CONFIG = "config.json"
VOCABULARY = "vocabulary.json"
PART = 1 << 20
PREFIXES = {"document": "ingest", "query": "search"}


def export_elasticsearch(exporting: Exporting, folder: Path) -> float:
    """Write the definition, its configuration and its vocabulary.

    Returns:
        The largest difference from ``encode``.

    Raises:
        BadInputError: its tokenizer is not BERT's, as Elasticsearch has it.
        CheckFailedError: what was traced gives other weights.
    """
    tokenization = _tokenization(exporting)
    if exporting.weights.network is not None:
        plain_attention(exporting.weights.network)
    file = folder / DEFINITION
    weights = write_inference(exporting.weights, file)
    worst = largest_difference(exporting.loaded, padded(weights), str(file))
    held = (*exporting.weights.parameters(), *exporting.weights.buffers())
    loaded = exporting.loaded
    config: dict[str, Any] = {
        "description": f"SPLADE, {loaded.method}: weights of terms of "
        f"{' and '.join(exporting.sides)} texts of up to {loaded.max_length} tokens",
        "model_type": "pytorch",
        "inference_config": {"text_expansion": {"tokenization": {"bert": tokenization}}},
        "input": {"field_names": ["text_field"]},
        "metadata": {
            "per_deployment_memory_bytes": sum(t.nbytes for t in held),
            "per_allocation_memory_bytes": 8 * loaded.max_length * exporting.weights.width,
            "total_parts": math.ceil(file.stat().st_size / PART),
            "total_definition_length": file.stat().st_size,
        },
    }
    if prompt := exporting.loaded.prompt:
        config["prefix_strings"] = {PREFIXES[side]: prompt for side in exporting.sides}
    (folder / CONFIG).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    vocabulary = {"vocabulary": exporting.tokens()}
    (folder / VOCABULARY).write_bytes(orjson.dumps(vocabulary))
    return worst


def _tokenization(exporting: Exporting) -> dict[str, Any]:
    """The settings of ``bert``, the tokenizer that Elasticsearch has written itself.

    Raises:
        BadInputError: another tokenizer.
    """
    parts = orjson.loads(exporting.tokenizer.backend_tokenizer.to_str())
    normalizer = parts["normalizer"] or {}
    cuts = parts["pre_tokenizer"] or {}
    if (
        not exporting.is_wordpiece()
        or normalizer.get("type") != "BertNormalizer"
        or cuts.get("type") != "BertPreTokenizer"
    ):
        raise BadInputError(
            "its tokenizer is not BERT's (WordPiece, with BERT's normalizer and pre-tokenizer), the"
            " only one of Elasticsearch's that is known here",
            exporting.loaded.model,
        )
    lower: bool = normalizer["lowercase"]
    if normalizer["strip_accents"] not in (None, lower):
        raise BadInputError(
            f"its tokenizer has lowercase {lower} and strip_accents {normalizer['strip_accents']}, "
            "and Elasticsearch does both or neither: texts with accents would have other tokens",
            exporting.loaded.model,
        )
    return {
        "do_lower_case": lower,
        "with_special_tokens": exporting.special,
        "max_sequence_length": exporting.loaded.max_length,
        "truncate": "first",
    }
