"""What sentence-transformers reads from a saved folder is obeyed, or refused by its name.

The oracle is its own SparseEncoder, on the same folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import VOCABULARY, one_thread, save_checkpoint  # noqa: F401
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.parts import Part
from splade_bridge.encoding.passages import LongOptions, PartEncoder
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.text.corpora import Text
from test_encode import dense

sentence_transformers = pytest.importorskip("sentence_transformers")
from test_encode_formats import parts, save, static, transformer  # noqa: E402

TEXTS = ["the Cat sat ON the mat", "x", "was with by " * 30 + "cat", "42 of (his) [SEP] not"]
SHORT = [TEXTS[0], TEXTS[1], TEXTS[3]]
SIDES = ("document", "query")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    for seed in range(2):
        save_checkpoint(folder / str(seed), seed=seed)
    return folder


@pytest.fixture
def folder(tmp_path: Path, plain: Path) -> Path:
    """A saved SparseEncoder of one network."""
    save(tmp_path / "model", [transformer(plain), parts().SpladePooling()])
    return tmp_path / "model"


def change(file: Path, **keys: Any) -> None:
    saved = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(saved | keys))


def encoder(folder: Path, side: Any, **checkpoint: Any) -> Encoder:
    return load_encoder(
        str(folder), side, EncodeOptions(max_length=None, checkpoint=ModelChoices(**checkpoint))
    )


def found(folder: Path, side: Any, texts: list[str] = TEXTS, **checkpoint: Any) -> np.ndarray:
    given = [Text(str(i), t, "") for i, t in enumerate(texts)]
    return dense(next(encoder(folder, side, **checkpoint).encode(given)))


def theirs(folder: Path, side: Any, texts: list[str] = TEXTS, **asked: Any) -> np.ndarray:
    model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    encode = model.encode_query if side == "query" else model.encode_document
    rows = encode(texts, convert_to_sparse_tensor=False, show_progress_bar=False, **asked)
    return np.asarray(rows.cpu().numpy()[:, : len(VOCABULARY)])


def compare(folder: Path, texts: list[str] = TEXTS, **asked: Any) -> dict[str, np.ndarray]:
    """Both sides of a folder, equal to sentence-transformers' own; returned to be looked at."""
    both = {side: found(folder, side, texts, **asked) for side in SIDES}
    for side, rows in both.items():
        assert (rows > 0).any()
        np.testing.assert_allclose(rows, theirs(folder, side, texts, **asked), rtol=0, atol=1e-5)
    return both


OBEYED: dict[str, dict[str, Any]] = {
    "text length": {"processing_kwargs": {"text": {"max_length": 9}}},
    "common length": {
        "processing_kwargs": {"text": {"max_length": 9}, "common": {"max_length": 7}},
    },
    "no special tokens": {"processing_kwargs": {"text": {"add_special_tokens": False}}},
    "none of them in common": {"processing_kwargs": {"common": {"add_special_tokens": False}}},
    "lengths of the sides": {"query_length": 6, "document_length": 12},
    "a side longer than all": {"max_seq_length": 8, "document_length": 12},
    "text length over a side's": {
        "query_length": 6, "processing_kwargs": {"text": {"max_length": 10}},
    },
    "max_seq_length": {"max_seq_length": 8},
    "the tokenizer's length over it": {
        "max_seq_length": 8, "tokenizer_args": {"model_max_length": 11},
    },
    "what is read from its end": {
        "processor_kwargs": {"truncation_side": "left", "model_max_length": 10},
    },
    "lower case": {"do_lower_case": True, "max_seq_length": 20},
    "older arguments win": {
        "tokenizer_args": {"model_max_length": 6}, "processor_kwargs": {"model_max_length": 12},
    },
    "another token in its place": {
        "tokenizer_args": {"sep_token": "not", "model_max_length": 12},
        "processing_kwargs": {"text": {"padding": True}},
    },
}  # fmt: skip
WITHOUT_EFFECT: dict[str, dict[str, Any]] = {
    "padding": {"processing_kwargs": {"text": {"padding": "max_length"}}},
    "a multiple": {"processing_kwargs": {"common": {"pad_to_multiple_of": 8}}},
    "how it is loaded": {"model_args": {"attn_implementation": "eager"}},
    "the hub's": {"config_args": {"revision": "x"}, "tokenizer_args": {"trust_remote_code": True}},
    "other inputs": {"processing_kwargs": {"image": {"size": 3}}},
    "nothing": {"query_length": None, "max_seq_length": None, "query_expansion": None},
    "no length of the call": {
        "query_length": 6,
        "document_length": 9,
        "processing_kwargs": {"text": {"max_length": None}},
    },
    "truncation": {"processing_kwargs": {"text": {"truncation": "only_first"}}},
}


@pytest.mark.parametrize("name", OBEYED)
@pytest.mark.sample(5)
def test_what_a_transformer_says_is_obeyed(folder: Path, name: str) -> None:
    before = {side: found(folder, side) for side in SIDES}
    change(folder / "sentence_bert_config.json", **OBEYED[name])
    after = compare(folder)
    assert any(not np.allclose(before[side], after[side]) for side in SIDES)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
@pytest.mark.sample(3)
def test_what_changes_no_weight(folder: Path, name: str) -> None:
    before = {side: found(folder, side) for side in SIDES}
    change(folder / "sentence_bert_config.json", **WITHOUT_EFFECT[name])
    after = compare(folder)
    for side in SIDES:
        np.testing.assert_array_equal(before[side], after[side])


def test_texts_that_are_not_cut(folder: Path) -> None:
    """Longer ones have no position: sentence-transformers fails, here the table is the limit."""
    change(
        folder / "sentence_bert_config.json",
        max_seq_length=8, processing_kwargs={"text": {"truncation": False}},
    )  # fmt: skip
    texts = ["the cat " * 14, *SHORT]
    compare(folder, texts)
    assert encoder(folder, "document").loaded.max_length == 66


def test_more_than_the_configuration_says(tmp_path: Path) -> None:
    """Rotary positions have no table: what is saved may be more than max_position_embeddings."""
    save_checkpoint(tmp_path / "plain", "modernbert", max_length=1000)
    network = parts().Transformer(str(tmp_path / "plain"), transformer_task="fill-mask")
    save(tmp_path / "model", [network, parts().SpladePooling()])
    assert encoder(tmp_path / "model", "query").loaded.max_length == 66
    change(tmp_path / "model" / "sentence_bert_config.json", max_seq_length=100)
    compare(tmp_path / "model")
    assert encoder(tmp_path / "model", "query").loaded.max_length == 100


def test_a_long_text_that_is_read_from_its_end(folder: Path) -> None:
    options = {"truncation_side": "left", "model_max_length": 10}
    change(folder / "sentence_bert_config.json", tokenizer_args=options)
    compare(folder, ["the " * 40_000 + "cat sat on 42", *TEXTS])


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "xlnet"])
def test_the_file_of_another_name(folder: Path, kind: str) -> None:
    (folder / "sentence_bert_config.json").write_text("{}")  # an empty one is passed over
    change(
        folder / f"sentence_{kind}_config.json",
        transformer_task="fill-mask", max_seq_length=7, do_lower_case=True,
    )  # fmt: skip
    compare(folder)
    assert encoder(folder, "query").loaded.max_length == 7


PROMPTS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"prompts": {"query": "is this: ", "document": "it is "}}, {}),
    ({"prompts": {"query": "is this: "}}, {}),
    ({"prompts": {"passage": "it is ", "corpus": "they are "}}, {}),
    ({"prompts": {"other": "by his "}, "default_prompt_name": "other"}, {}),
    ({"prompts": {"other": "by his "}}, {"prompt_name": "other"}),
    ({"prompts": {"query": "is this: ", "document": None}}, {"prompt_name": "document"}),
    ({"prompts": {"query": "is this: "}}, {"prompt": "for this: "}),
    ({"prompts": {"query": "is this: "}}, {"prompt": ""}),
    ({"prompts": None}, {"prompt": "for this: "}),
]


@pytest.mark.parametrize(("saved", "asked"), PROMPTS)
@pytest.mark.sample(4)
def test_prompts(folder: Path, saved: dict[str, Any], asked: dict[str, str]) -> None:
    file = folder / "config_sentence_transformers.json"
    if saved["prompts"] is None:  # which sentence-transformers cannot read
        file.write_text("{}")
        change(file, model_type="SparseEncoder")
    else:
        change(file, prompts=saved["prompts"], default_prompt_name=saved.get("default_prompt_name"))
    both = compare(folder, SHORT, **asked)
    same = np.allclose(both["query"], both["document"])
    prompts = saved["prompts"] or {}
    assert same == (bool(asked) or prompts.get("query") == prompts.get("document"))
    info = encoder(folder, "query", **asked).info(0)
    assert info.prompt == asked.get("prompt", prompts.get(asked.get("prompt_name", "query")) or "")


def test_prompts_that_are_not_applied_are_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(folder / "config_sentence_transformers.json", prompts={"passage": "it is "})
    encoder(folder, "document")
    assert "its prompt 'passage' is not put in front of each document" in caplog.text
    assert "--prompt-name passage does that" in caplog.text
    caplog.clear()
    encoder(folder, "query")
    encoder(folder, "document", prompt_name="passage")
    assert not caplog.text
    with pytest.raises(UsageError, match=r"--prompt-name x: .* has no such prompt \('query', "):
        encoder(folder, "document", prompt_name="x")


@pytest.mark.parametrize("static_first", [False, True])
def test_a_router_inside_a_router(tmp_path: Path, plain: Path, static_first: bool) -> None:
    inner = parts().Router(
        {"text": [transformer(plain, 1), parts().SpladePooling("sum")], "image": [static(3)]},
        default_route="image",
        route_mappings={(None, ("image", "text")): "image", (None, "text"): "text"},
    )
    outer = parts().Router.for_query_document(
        query_modules=[static()] if static_first else [inner],
        document_modules=[inner] if static_first else [transformer(plain), parts().SpladePooling()],
    )
    save(tmp_path / "model", [outer])
    both = compare(tmp_path / "model")
    assert not np.allclose(both["query"], both["document"])
    loaded = encoder(tmp_path / "model", "document" if static_first else "query").loaded
    assert loaded.encoder is not None
    assert loaded.encoder.count("/") == 1
    assert loaded.method == "sum"


def test_pooling_after_a_router(tmp_path: Path, plain: Path) -> None:
    router = parts().Router.for_query_document([transformer(plain, 1)], [transformer(plain, 0)])
    save(tmp_path / "model", [router, parts().SpladePooling("sum")])
    both = compare(tmp_path / "model")
    assert not np.allclose(both["query"], both["document"])


def test_vectors_of_length_1(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder / "config_sentence_transformers.json", similarity_fn_name="cosine")
    rows = found(folder, "query")
    assert "was saved to be compared by cosine" in caplog.text
    caplog.clear()
    unit = found(folder, "query", normalize=True)
    assert not caplog.text
    wanted = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, wanted, rtol=0, atol=1e-6)
    model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    mine = found(folder, "document", normalize=True)
    of_theirs = model.similarity(model.encode_query(TEXTS), model.encode_document(TEXTS))
    np.testing.assert_allclose(unit @ mine.T, of_theirs.numpy(), rtol=0, atol=1e-5)
    assert encoder(folder, "query", normalize=True).info(0).pooling == "max normalized"
    change(folder / "config_sentence_transformers.json", similarity_fn_name="manhattan")
    encoder(folder, "query")
    assert "by manhattan distance, and scores here are dot products" in caplog.text


def test_windows_are_joined_before_they_are_normalized(folder: Path) -> None:
    texts = [Text("a", TEXTS[2], ""), Text("b", "", ""), Text("c", "x", "")]
    rows = {}
    for unit in (False, True):
        options = EncodeOptions(max_length=9, checkpoint=ModelChoices(normalize=unit))
        windows = PartEncoder(load_encoder(str(folder), "document", options), LongOptions("max"))
        part = Part(0, texts, "", "")
        rows[unit] = dense(windows.encode(windows.tokenize(part))[0])
    lengths = np.linalg.norm(rows[False], axis=1, keepdims=True)
    assert lengths[1] == 0
    np.testing.assert_allclose(rows[True], rows[False] / np.maximum(lengths, 1e-9), atol=1e-6)


FILE = "sentence_bert_config.json"
ROUTED = "router_config.json"
SAVED = "config_sentence_transformers.json"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (FILE, {"max_length": 3}, "unknown key 'max_length'; did you mean max_seq_length?"),
    (FILE, {"max_seq_length": "9"}, "max_seq_length: must be a whole number, not '9'"),
    (FILE, {"max_seq_length": 0}, "max_seq_length: is 0, and must be 1 or more"),
    (FILE, {"query_length": -1}, "query_length: is -1, and must be 1 or more"),
    (
        FILE,
        {"transformer_task": "text-generation"},
        "transformer_task: is text-generation: not the",
    ),
    (FILE, {"modality_config": {}}, "modality_config: says nothing of text"),
    (
        FILE,
        {"modality_config": {"message": {}}},
        "modality_config.message: texts are put into a chat template, and that is not done here",
    ),
    (
        FILE,
        {"modality_config": {"text": {"method": "encode", "method_output_name": "x"}}},
        "modality_config.text: takes x of encode, and SPLADE is of the logits of forward",
    ),
    (
        FILE,
        {"module_output_name": "scores"},
        "module_output_name: is scores, and SpladePooling reads",
    ),
    (FILE, {"query_expansion": {"length": 3}}, "query_expansion: is of models of many vectors"),
    (FILE, {"tokenizer_name_or_path": "x"}, "tokenizer_name_or_path: says that the tokenizer is"),
    (FILE, {"model_args": {"variant": "fp16"}}, "model_args.variant: 'fp16' may change what"),
    (FILE, {"config_kwargs": {"num_hidden_layers": 1}}, "config_kwargs.num_hidden_layers: 1 may"),
    (FILE, {"tokenizer_args": {"vocab_file": "/x"}}, "tokenizer_args: unknown key 'vocab_file'"),
    (
        FILE,
        {"processor_kwargs": {"use_fast": 1}},
        "processor_kwargs.use_fast: must be true or false",
    ),
    (FILE, {"processing_kwargs": {"text": 3}}, "processing_kwargs.text: must be a table, not 3"),
    (
        FILE,
        {"processing_kwargs": {"text": {"text_pair": "x"}}},
        "processing_kwargs.text: unknown key 'text_pair'; known here: max_length, truncation",
    ),
    (
        FILE,
        {"processing_kwargs": {"common": {"padding_side": "left"}}},
        "processing_kwargs.common: unknown key 'padding_side'",
    ),
    (
        FILE,
        {"processing_kwargs": {"text": {"truncation": "only_second"}}},
        "processing_kwargs.text.truncation: is only_second; it can be true or false here",
    ),
    (SAVED, {"prompts": ["x"]}, "prompts: must be a table"),
    (SAVED, {"prompts": {"query": 3}}, "prompts.query: must be a string, not 3"),
    (SAVED, {"default_prompt_name": "x"}, "default_prompt_name: there is no prompt 'x'"),
    (SAVED, {"max_active_dims": 0}, "max_active_dims: is 0, and must be 1 or more"),
    ("1_SpladePooling/config.json", {"pooling": "max"}, "unknown key 'pooling'"),
    (
        "1_SpladePooling/config.json",
        {"pooling_strategy": "mean"},
        "pooling_strategy: is 'mean'; it",
    ),
]


@pytest.mark.parametrize(("name", "keys", "message"), REFUSED, ids=[str(r[1]) for r in REFUSED])
def test_what_is_refused_names_file_and_key(
    folder: Path, name: str, keys: dict[str, Any], message: str
) -> None:
    change(folder / name, **keys)
    with pytest.raises(BadInputError) as error:
        encoder(folder, "query")
    assert str(error.value).startswith(f"{folder / name}: {message}")


def test_what_sentence_transformers_passes_over(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(folder / FILE, processing_kwargs={"max_length": {"text": 3}})
    compare(folder)
    assert "processing_kwargs.max_length has no effect, as it has none in" in caplog.text


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    (ROUTED, lambda r: r.pop("structure"), "structure: is missing"),
    (ROUTED, lambda r: r.pop("types"), "types: is missing"),
    (
        ROUTED,
        lambda r: r["types"].pop("query_0_Transformer"),
        "types.query_0_Transformer: is missing",
    ),
    (
        ROUTED,
        lambda r: r["structure"].update(query="x"),
        "structure.query: must be a list, not 'x'",
    ),
    (
        ROUTED,
        lambda r: r["structure"].update(query=["../x"]),
        "structure.query[0]: '../x' is not a path below the folder",
    ),
    (
        ROUTED,
        lambda r: r["types"].update(query_0_Transformer="os.system"),
        "types.query_0_Transformer: 'os.system' is a class of the checkpoint's own, whose code is",
    ),
    (
        ROUTED,
        lambda r: r["parameters"].update(default_route="x"),
        "parameters.default_route: there is no route 'x'",
    ),
    (
        ROUTED,
        lambda r: r["parameters"].update(route_mappings={"('query', 'text')": "x"}),
        "parameters.route_mappings.('query', 'text'): there is no route 'x'",
    ),
    (
        ROUTED,
        lambda r: r["parameters"].update(route_mappings={"query": "query"}),
        "parameters.route_mappings: key 'query' is not a pair like ('query', 'text')",
    ),
    (ROUTED, lambda r: r["parameters"].update(routes={}), "parameters: unknown key 'routes'"),
]


@pytest.mark.parametrize(("name", "damage", "message"), BROKEN, ids=[b[2] for b in BROKEN])
def test_a_broken_router_names_file_and_key(
    tmp_path: Path, plain: Path, name: str, damage: Callable[[dict[str, Any]], Any], message: str
) -> None:
    folder = tmp_path / "model"
    router = parts().Router.for_query_document(
        [transformer(plain, 1), parts().SpladePooling()], [transformer(plain)]
    )
    save(folder, [router])
    saved = json.loads((folder / name).read_text())
    damage(saved)
    (folder / name).write_text(json.dumps(saved))
    with pytest.raises(BadInputError) as error:
        encoder(folder, "query")
    assert str(error.value).startswith(f"{folder / name}: {message}")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("{}", "must be a list, not {}"),
        ("[3]", "[0]: must be a table, not 3"),
        ('[{"path": ""}]', "[0].type: is missing"),
        ('[{"type": "sentence_transformers.Router"}]', "[0].path: is missing"),
        (
            '[{"path": "", "type": "mine.SpladePooling"}]',
            "[0].type: 'mine.SpladePooling' is a class",
        ),
        ('[{"path": "/x", "type": "sentence_transformers.R"}]', "[0].path: '/x' is not a path"),
        ("[", "not JSON"),
    ],
)
def test_broken_modules_name_file_and_key(folder: Path, modules: str, message: str) -> None:
    (folder / "modules.json").write_text(modules)
    with pytest.raises(BadInputError) as error:
        encoder(folder, "query")
    assert str(error.value).startswith(f"{folder / 'modules.json'}: {message}")


def test_weights_below_zero_are_counted(
    tmp_path: Path, plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = static()
    with __import__("torch").no_grad():
        module.weight[20:27] *= -1
    router = parts().Router.for_query_document(
        [module], [transformer(plain), parts().SpladePooling()]
    )
    save(tmp_path / "model", [router])
    caplog.set_level(logging.WARNING)
    rows = found(tmp_path / "model", "query")
    whole = theirs(tmp_path / "model", "query")
    np.testing.assert_allclose(rows, np.maximum(whole, 0), rtol=0, atol=1e-5)
    assert f"7 of {len(VOCABULARY)} tokens have a weight below zero" in caplog.text
