"""A side of a model as a graph of ONNX, as Anserini's query encoders and ``-m`` take it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor, nn

from splade_bridge.encoding.exports.exporting import Exporting, largest_difference
from splade_bridge.encoding.exports.term_weights import TermWeights, example, quietly
from splade_bridge.encoding.onnx_graph import (
    IDS,
    LENGTHS,
    MASK,
    NOTE,
    TERMS,
    TYPES,
    WEIGHTS,
    Graph,
)
from splade_bridge.encoding.onnx_side import VOCABULARY
from splade_bridge.files.locks import scratch_folder

log = logging.getLogger(__name__)

OPSET = 17
"""The onnxruntime 1.17 in Anserini 1.x and 2.x knows it, and it has all that is needed."""
FILE = "model.onnx"
DATA = "model.onnx.data"
LARGEST = 1_800_000_000
"""Bytes of a file; protobuf ends at 2 GiB, and tensors are in a file beside it from here on."""


def export_onnx(exporting: Exporting, folder: Path) -> float:
    """Write a folder that ``-m`` takes; two files of it are what Anserini's query encoders read.

    Returns:
        The largest difference from ``encode``.

    Raises:
        CheckFailedError: the graph gives other weights.
    """
    loaded = exporting.loaded
    note = {
        "model": loaded.model,
        "sides": exporting.sides,
        "method": loaded.method,
        "max_length": loaded.max_length,
        "prompt": exporting.loaded.prompt,
        "special": exporting.special,
        "partners": exporting.partners,
    }
    file = write_graph(exporting.weights, folder, note)
    exporting.tokenizer.save_pretrained(folder)
    if (network := exporting.weights.network) is not None:
        network.config.save_pretrained(folder)
    if exporting.is_wordpiece():
        lines = "".join(f"{token}\n" for token in exporting.tokens())
        (folder / VOCABULARY).write_text(lines, encoding="utf-8")
    else:
        log.info("%s: its tokenizer is not BERT's, the only one that Anserini has", folder)
    graph = Graph(file, torch.device("cpu"))
    output = graph.output(sorted(exporting.tokenizer.get_vocab().values()))
    return largest_difference(
        loaded,
        lambda ids, lengths: graph.weights(ids, lengths, output, loaded.pooling, loaded.activation),
        str(file),
    )


class _Listed(nn.Module):
    """The terms of texts and their weights, one text after another, and how many each has."""

    def __init__(self, weights: TermWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.weights.takes_types:
            mask = mask + types * 0  # Anserini gives them, and an unknown input is an error
        found = self.weights(ids, mask, types)
        places = (found > 0).nonzero()
        return places[:, 1], found[places[:, 0], places[:, 1]], (found > 0).sum(1)


def write_graph(weights: TermWeights, folder: Path, note: dict[str, Any]) -> Path:
    """Write ``model.onnx``, and ``model.onnx.data`` where that is too large for one file.

    Inputs are ``input_ids``, ``token_type_ids`` and ``attention_mask``, int64[batch, length];
    outputs ``output_idx`` int64[n], ``output_weights`` float32[n] (of all texts, one after another)
    and ``output_lengths`` int64[batch]. Of one text the first two are Anserini's.

    Args:
        note: what :class:`splade_bridge.encoding.onnx_side.Note` reads.
    """
    import onnx

    ids, mask, types = example(weights.width)
    texts = {0: "batch", 1: "length"}
    with scratch_folder(folder) as scratch, quietly(), torch.inference_mode():
        made = scratch / FILE
        torch.onnx.export(
            _Listed(weights).eval(),
            (ids, types, mask),
            str(made),
            input_names=[IDS, TYPES, MASK],
            output_names=[TERMS, WEIGHTS, LENGTHS],
            dynamic_axes={
                IDS: texts, TYPES: texts, MASK: texts,
                TERMS: {0: "terms"}, WEIGHTS: {0: "terms"}, LENGTHS: {0: "batch"},
            },
            opset_version=OPSET,
            do_constant_folding=False,  # it would store the embeddings twice
            dynamo=False,  # knows more architectures, and an opset that Anserini does
        )  # fmt: skip
        model = onnx.load(str(made))
    entry = model.metadata_props.add()
    entry.key, entry.value = NOTE, orjson.dumps(note).decode()
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST
    file = folder / FILE
    onnx.save_model(model, str(file), save_as_external_data=large, location=DATA)
    onnx.checker.check_model(str(file))
    return file
