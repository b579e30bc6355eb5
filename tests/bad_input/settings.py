"""Kind: checkpoints whose own settings cannot be obeyed."""

from __future__ import annotations

import json
from typing import Any

from bad_input import Row, made

TEXTS = {"c.jsonl": '{"id": "1", "text": "x"}\n'}
OURS = "sentence_transformers"


def model(**files: Any) -> dict[str, Any]:
    """A folder of sentence-transformers: its files, with the dots of their names as ``__``."""
    named = {f"model/{name.replace('__', '.')}": json.dumps(c) for name, c in files.items()}
    return {**TEXTS, **named}


def modules(kind: str) -> list[dict[str, str]]:
    return [{"path": "", "type": kind}]


def row(title: str, words: tuple[str, ...], files: dict[str, Any], more: str = "") -> Row:
    command = f"encode c.jsonl -m model -o out {more}".rstrip()
    return Row(title, command, 4, words, files, imports=("torch",))


def naver(agg: str = "sum", kind: str = "splade", query: str = "null") -> dict[str, Any]:
    """The folder of a training of naver's, without weights."""
    said = f"config: {{matching_type: {kind}}}\ninit_dict:\n  model_type_or_dir_q: {query}\n"
    return {**model(config__json={}), "model/config.yaml": f"{said}  agg: {agg}\n"}


NETWORK = modules(f"{OURS}.base.modules.Transformer")
ROUTER = modules(f"{OURS}.base.modules.Router")
ROWS = [
    row(
        "a module that is the checkpoint's own code",
        ("model/modules.json: [0].type: 'mine.Pooling' is a class of the checkpoint's own",),
        model(modules__json=modules("mine.Pooling")),
    ),
    row(
        "a module without a type",
        ("model/modules.json: [0].type: is missing",),
        model(modules__json=[{"path": ""}]),
    ),
    row(
        "a router without its structure",
        ("model/router_config.json: structure: is missing",),
        model(modules__json=ROUTER, router_config__json={"types": {}}),
    ),
    row(
        "a route that names a module without a type",
        ("model/router_config.json: types.a: is missing",),
        model(
            modules__json=ROUTER,
            router_config__json={"types": {}, "structure": {"document": ["a"]}},
        ),
    ),
    row(
        "a setting that is none of sentence-transformers'",
        ("model/sentence_bert_config.json: unknown key 'max_length'; did you mean max_seq",),
        model(modules__json=NETWORK, sentence_bert_config__json={"max_length": 3}),
    ),
    row(
        "an argument of the tokenizer that names a file",
        ("model/sentence_bert_config.json: tokenizer_args: unknown key 'vocab_file'",),
        model(
            modules__json=NETWORK,
            sentence_bert_config__json={
                "transformer_task": "fill-mask", "tokenizer_args": {"vocab_file": "/etc/hosts"},
            },
        ),
    ),
    row(
        "texts that would be put into a chat template",
        ("modality_config.message: texts are put into a chat template, and that is not done",),
        model(
            modules__json=NETWORK,
            sentence_bert_config__json={
                "transformer_task": "fill-mask", "modality_config": {"message": {}},
            },
        ),
    ),
    row(
        "queries by a table that there is not",
        ("--query-mode idf: has no weights of tokens (idf.json, or a SparseStaticEmbedding",),
        model(config__json={}),
        "--side query --query-mode idf",
    ),
    row(
        "a query encoder that is missing",
        ("model/model_args.json: shared_weights: is false, and the query encoder, query/, is",),
        model(config__json={}, model_args__json={"shared_weights": False}),
        "--side query",
    ),
    row(
        "an aggregation of naver's that there is not",
        ("model/config.yaml: init_dict.agg: is 'mean'; it can be max, sum",),
        naver(agg="mean"),
    ),
    row(
        "dense vectors by naver's configuration",
        ("config.matching_type: is 'siamese', a model of dense vectors that gives no weights",),
        naver(kind="siamese"),
    ),
    row(
        "a query encoder of naver's that is missing",
        ("init_dict.model_type_or_dir_q: names a query encoder, and query/ is missing",),
        naver(query="bert-tiny"),
        "--side query",
    ),
    row(
        "a configuration of naver's that is no YAML",
        ("config.yaml: not YAML (",),
        naver(agg="[sum"),
    ),
    row(
        "the pickled state of a training alone",
        ("model/model/model.tar: is the pickled state of a training, which is not read",),
        {**TEXTS, "model/model/model.tar": b"x"},
    ),
    Row(
        "a revision of a folder",
        "encode c.jsonl -m model -o out --revision v2",
        2,
        ("--revision v2: model is a folder", "leave it out"),
        model(config__json={}),
        imports=("torch",),
    ),
    Row(
        "neither a text nor an id",
        "terms i",
        2,
        ("a text, which a checkpoint encodes, or --id, of vectors: give one",),
        {"i": made.exact},
    ),
    Row("an id that is not there", "terms i --id d9", 4, ("i: no text 'd9' among 3",),
        {"i": made.exact}),
]  # fmt: skip
