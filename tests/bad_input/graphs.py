"""Graphs of ONNX that are not what they say, and models that cannot be exported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bad_input import Content, Row
from bad_input.checkpoints import CORPUS, head_of, made

NEEDED = ("torch", "transformers", "onnx", "onnxruntime")
TERMS = 113
"""Of the tokenizer of :func:`checkpoints.save_checkpoint`."""


def graph(
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    ids: str = "INT64",
    shape: Sequence[str] = ("batch", "length"),
    width: int = TERMS,
    outputs: Sequence[str] = ("logits",),
    step: str | None = None,
    opset: int = 17,
    stored: str | None = None,
) -> Content:
    """A graph that looks each token up in a table: its row are the logits at the position.

    Args:
        step: an operator behind that.
        stored: file that holds the table, beside the graph.
    """

    def make(path: Path) -> None:
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper

        table = numpy_helper.from_array(
            np.random.default_rng(0).normal(size=(200, width)).astype(np.float32), "table"
        )
        if stored is not None:
            table.ClearField("raw_data")
            table.data_location = TensorProto.EXTERNAL
            table.external_data.add(key="location", value=stored)
        nodes = [helper.make_node("Gather", ["table", inputs[0]], ["found"])]
        last = "found"
        if step is not None:
            axes = {"axes": [1], "keepdims": 0} if step.startswith("Reduce") else {}
            nodes.append(helper.make_node(step, ["found"], ["done"], **axes))
            last = "done"
        nodes += [helper.make_node("Identity", [last], [name]) for name in outputs]
        given = [
            helper.make_tensor_value_info(name, getattr(TensorProto, ids), list(shape))
            for name in inputs
        ]
        gives = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        built = helper.make_graph(nodes, "g", given, gives, [table])
        model = helper.make_model(built, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        path.write_bytes(model.SerializeToString())

    return make


def encode(
    title: str, given: Content, *words: str, flags: str = "", code: int = 4, tokenizer: bool = True
) -> Row:
    """A graph that ``encode`` refuses, in a folder with a tokenizer."""
    files: dict[str, Content] = {"c.jsonl": CORPUS, "m/model.onnx": given}
    if tokenizer:
        files = {"m": _tokenizer, **files}
    command = f"encode c.jsonl -m m -o v {flags}".strip()
    return Row(title, command, code, words, files, imports=NEEDED)


def _tokenizer(folder: Path) -> None:
    from checkpoints import wordpiece_tokenizer

    wordpiece_tokenizer().save_pretrained(folder)


def _cut(path: Path) -> None:
    make = graph()
    assert callable(make)
    make(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])


def export(title: str, given: Content, *words: str, flags: str, code: int = 4, **more: Any) -> Row:
    """A model that ``export-model`` refuses."""
    files = {"m": given, **more.pop("files", {})}
    return Row(
        title, f"export-model m -o out {flags}", code, words, files, imports=NEEDED[:2], **more
    )


def with_prompts(folder: Path) -> None:
    """As sentence-transformers saves one: modules beside the network."""
    kinds = {"": "base.modules.Transformer", "1": "sparse_encoder.modules.SpladePooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "1").mkdir()
    for name, content in (
        ("modules.json", modules),
        ("1/config.json", {"pooling_strategy": "max"}),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}),
        ("config_sentence_transformers.json", {"prompts": {"query": "is: ", "document": "of: "}}),
    ):
        (folder / name).write_text(json.dumps(content))


def headless(folder: Path) -> None:
    from checkpoints import save_bert

    save_bert(folder, "bi-encoder")


ROWS = [
    encode("a graph that is cut off", _cut, "m/model.onnx: not a graph of ONNX"),
    encode("an empty file for a graph", "", "m/model.onnx: onnxruntime cannot load it"),
    encode("text for a graph", "no graph\n", "m/model.onnx: not a graph of ONNX"),
    encode(
        "a graph whose inputs have other names",
        graph(inputs=("tokens", "mask")), "its inputs are tokens, mask; known are input_ids",
    ),
    encode(
        "a graph that wants more than tokens",
        graph(inputs=("input_ids", "pixel_values")), "its inputs are input_ids, pixel_values",
    ),
    encode(
        "token ids of three dimensions",
        graph(shape=("batch", "length", "one")), "its input input_ids is tensor(int64) of shape",
        "must be int64 or int32 of [batch, length]",
    ),
    encode(
        "a graph without a tokenizer",
        graph(), "m/model.onnx: no tokenizer in m: put tokenizer.json or vocab.txt",
        tokenizer=False,
    ),
    encode(
        "a tokenizer with more tokens than the graph has terms",
        graph(width=99), "none of its outputs has a column for each of the tokenizer's 113 tokens",
        "logits [2, 11, 99]",
    ),
    encode(
        "two outputs that may be what is meant",
        graph(outputs=("a", "b"), step="ReduceMax"), "more than one of its outputs has a column",
    ),
    encode(
        "weights below 0",
        graph(outputs=("w",), step="ReduceMean"), "its output w has weights below 0",
    ),
    encode(
        "logits with nothing below 0",
        graph(step="Relu"), "its output logits has nothing below 0",
    ),
    encode(
        "listed terms that are no integers",
        graph(outputs=("output_idx", "output_weights")),
        "its output output_idx is tensor(float), not one of tensor(int64)",
    ),
    encode(
        "a version of ONNX's operators that is too new",
        graph(opset=99), "m/model.onnx: onnxruntime cannot load it (", "99",
    ),
    encode(
        "a graph whose larger tensors are not there",
        graph(stored="model.onnx.data"), "model.onnx.data, which holds its weights, is missing",
    ),
    encode(
        "a graph whose larger tensors lie outside of its folder",
        graph(stored="../c.jsonl"), "m/model.onnx: '../c.jsonl' is not a path below the folder",
    ),
    encode(
        "another type for a graph",
        graph(), "--dtype bfloat16: m/model.onnx computes as it was exported", code=2,
        flags="--dtype bfloat16",
    ),
    encode(
        "integers of 8 bits for a graph",
        graph(), "--dtype int8: m/model.onnx computes as it was exported", code=2,
        flags="--dtype int8",
    ),
    encode(
        "a revision of a graph's folder",
        graph(), "--revision v2: m is a folder", code=2, flags="--revision v2",
    ),
    Row(
        "a graph that is not there",
        "encode c.jsonl -m m/none.onnx -o v", 4, ("m/none.onnx: no such file",),
        {"c.jsonl": CORPUS, "m/model.onnx": graph()}, imports=NEEDED,
    ),
    Row(
        "a graph that is to be exported",
        "export-model m -o out --to opensearch", 4,
        ("m: is a graph of ONNX: name the checkpoint it was made from",),
        {"m": _tokenizer, "m/model.onnx": graph()}, imports=NEEDED,
    ),
    Row(
        "a model that is not there, to be exported",
        "export-model no/x/y -o out --to opensearch", 4, ("no/x/y: neither a folder nor",),
        imports=NEEDED[:2],
    ),
    export("a target that there is not", made(), "--to", "vespa", flags="--to vespa", code=2),
    export(
        "an export over a folder of somebody else's",
        made(), "out: ", flags="--to opensearch", code=2, files={"out/mine.txt": "mine"},
    ),
    export(
        "an export over the model itself",
        made(), "m", flags="--to opensearch -o m --overwrite", code=2,
    ),
    export(
        "a network without a language-model head, to be exported",
        headless, "its weights lack", "its terms would be random", flags="--to opensearch",
    ),
    export(
        "a pooling that no target has",
        made(), "m: gives weights by last; what is exported pools", flags="--to opensearch "
        "--pooling last",
    ),
    export(
        "a head of tokens, to be exported",
        made(head_of(32)), "m: gives weights by ", flags="--to opensearch",
    ),
    export(
        "a limit that leaves no room for text",
        made(), "--max-length 2", flags="--to opensearch --max-length 2", code=2,
    ),
    export(
        "a tokenizer that Elasticsearch lacks",
        made(), "m: its tokenizer has lowercase True and strip_accents False",
        flags="--to elasticsearch",
    ),
    export(
        "a prompt that OpenSearch would not put in front",
        made(with_prompts), "side has the prompt", "and OpenSearch puts none in front of a text",
        flags="--to opensearch",
    ),
    export(
        "a damaged configuration, to be exported",
        made(lambda folder: (folder / "config.json").write_text("{")), "m/config.json",
        flags="--to opensearch",
    ),
]  # fmt: skip
