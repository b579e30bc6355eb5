"""The encoder against the plain formula and against itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import (  # noqa: F401
    VOCABULARY,
    config,
    one_thread,
    random_model,
    save_checkpoint,
    wordpiece_tokenizer,
)
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import (
    DTYPES,
    EncodeOptions,
    Encoder,
    load_encoder,
    pick_device,
)
from splade_bridge.encoding.head import ChunkedHead, LinearHead, activate_
from splade_bridge.encoding.masked_lm import split_model
from splade_bridge.encoding.prepacked import PrepackedLinear, available, prepack
from splade_bridge.encoding.progress import known_count, progress_bar
from splade_bridge.encoding.tokens import without_surrogates
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.text.corpora import Text

KINDS = ("bert", "distilbert", "roberta", "modernbert", "electra", "deberta")
WIDER = 7
"""Columns of the tested heads beyond the vocabulary."""

TEXTS = [
    "the cat sat on the mat",
    "",
    "of and to in is that it " * 20,
    "x",
    "\x00\x01\u200b",
    "not his from (this) 42? é 漢 snowman: ☃",
    "a lone \ud800 surrogate",
    "  ",
    "[SEP] and [MASK]",
    "was was was " * 4,
    "on " * 37,
]
EMPTY_ROWS = [1, 4, 7]
MAX_LENGTH = 40


def as_texts(texts: list[str]) -> list[Text]:
    return [Text(f"t{i}", text, f"texts:{i + 1}") for i, text in enumerate(texts)]


def dense(batch: SparseBatch, width: int = len(VOCABULARY)) -> np.ndarray:
    matrix = np.zeros((len(batch), width), dtype=np.float32)
    rows = np.repeat(np.arange(len(batch)), np.diff(batch.indptr))
    matrix[rows, batch.indices] = batch.weights
    return matrix


def encode(encoder: Encoder, texts: list[str], **options: Any) -> np.ndarray:
    return np.concatenate([dense(b) for b in encoder.encode(as_texts(texts), **options)])


def plain_formula(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """log(1 + ReLU(logits)) times the mask, pooled over positions, on B x L x V."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        [without_surrogates(t) for t in texts],
        padding=True,
        truncation=True,
        max_length=MAX_LENGTH,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    with torch.no_grad():
        weights = torch.log1p(torch.relu(model(**inputs).logits))
    weights = weights * inputs["attention_mask"][..., None]
    pooled = weights.amax(1) if pooling == "max" else weights.sum(1)
    return pooled[:, : len(VOCABULARY)].numpy()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one checkpoint of each kind, their heads wider than the vocabulary."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        save_checkpoint(folder / kind, kind, len(VOCABULARY) + WIDER)
    return folder


@pytest.fixture(scope="module")
def bert(checkpoints: Path) -> Encoder:
    return load_encoder(str(checkpoints / "bert"), "document")


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_plain_formula(checkpoints: Path, kind: str, pooling: Any) -> None:
    options = EncodeOptions(max_length=MAX_LENGTH, pooling=pooling, batch_tokens=1000)
    encoder = load_encoder(str(checkpoints / kind), "document", options)
    assert encoder.loaded.network is not None
    expected_head = ChunkedHead if kind == "deberta" else LinearHead
    assert isinstance(encoder.loaded.network.head, expected_head)
    found = encode(encoder, TEXTS)
    wanted = plain_formula(checkpoints / kind, TEXTS, pooling)
    wanted[EMPTY_ROWS] = 0  # by decision: the special tokens alone say nothing of the text
    assert 0.1 < (wanted > 0).mean() < 0.9
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert encoder.stats.texts == len(TEXTS)
    assert encoder.stats.truncated == 1
    assert encoder.stats.replaced == 1
    assert encoder.loaded.network.packed == (kind != "deberta")
    assert (encoder.stats.padding_share == 0) == encoder.loaded.network.packed
    assert encoder.stats.padding_share < 0.05
    assert encoder.info(1).pooling == pooling


def test_sliding_windows_of_attention(tmp_path: Path) -> None:
    """ModernBERT's local layers see 3 positions to each side; texts have up to 40."""
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_config(
        config("modernbert", len(VOCABULARY), local_attention=6, global_attn_every_n_layers=2)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    wordpiece_tokenizer().save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), "document", EncodeOptions(max_length=MAX_LENGTH))
    assert encoder.loaded.network is not None
    assert encoder.loaded.network.packed
    wanted = plain_formula(tmp_path, TEXTS, "max")
    wanted[EMPTY_ROWS] = 0
    np.testing.assert_allclose(encode(encoder, TEXTS), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_bytes_do_not_depend_on_the_batch(checkpoints: Path, dtype: Any) -> None:
    """Rows of a product, and so all weights, are the same whatever stands beside them."""
    if dtype != "int8" and not available(DTYPES[dtype]):
        pytest.skip(f"no prepacked products in {dtype} on this processor")
    folder = str(checkpoints / "bert")
    encoder = load_encoder(folder, "document", EncodeOptions(dtype=dtype))
    found = []
    for tokens in (1, 30, 100, 4096):
        encoder.budget.tokens = tokens
        found.append(encode(encoder, TEXTS).tobytes())
    assert len(set(found)) == 1


def test_the_vocabulary_is_the_tokenizers(bert: Encoder) -> None:
    assert list(bert.loaded.vocabulary.terms) == VOCABULARY


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=8),
    st.integers(1, 5),
    st.sampled_from([1, 30, 100, 4096]),
)
def test_neighbours_do_not_matter(
    bert: Encoder, texts: list[str], window: int, batch_tokens: int
) -> None:
    bert.budget.tokens = batch_tokens
    together = encode(bert, texts, window=window)
    bert.budget.tokens = 2048
    alone = np.concatenate([encode(bert, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_the_same_bytes_again(bert: Encoder) -> None:
    first, again = (next(bert.encode(as_texts(TEXTS))) for _ in range(2))
    assert first.weights.tobytes() == again.weights.tobytes()
    assert first.indices.tobytes() == again.indices.tobytes()


def test_rows_come_in_the_order_of_the_corpus(bert: Encoder) -> None:
    batches = list(bert.encode(as_texts(TEXTS), window=4))
    assert [len(b) for b in batches] == [4, 4, 3]
    assert [i for b in batches for i in b.ids] == [f"t{i}" for i in range(len(TEXTS))]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_half_precision_stays_near(checkpoints: Path, kind: str, dtype: Any) -> None:
    """In 16 bits weights are off by at most 0.1 and by 0.01 on average, of weights up to 2."""
    folder = str(checkpoints / kind)
    exact = encode(load_encoder(folder, "document"), TEXTS)
    near = encode(load_encoder(folder, "document", EncodeOptions(dtype=dtype)), TEXTS)
    assert exact.max() > 1
    assert np.abs(near - exact).max() < 0.1
    assert np.abs(near - exact).mean() < 0.01


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("prepacked", [True, False])
def test_the_head_equals_the_plain_formula(
    pooling: Any, activation: Any, prepacked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a CPU and the way of a GPU without a fused kernel, several tiles each."""
    if not prepacked:
        monkeypatch.setattr("splade_bridge.encoding.head.available", lambda dtype: False)
    torch.manual_seed(0)
    weight, bias = torch.randn(9000, 16), torch.randn(9000)
    lengths = [11, 11, 7, 3, 1]
    hidden = torch.randn(sum(lengths), 16)
    reduce = torch.amax if pooling == "max" else torch.sum
    wanted = torch.stack(
        [
            reduce(activate_(text @ weight.t() + bias, activation), 0)
            for text in torch.split(hidden, lengths)
        ]
    )
    found = LinearHead(weight, bias)(hidden, lengths, pooling, activation)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("prepacked", [True, False])
def test_the_head_in_bfloat16(
    pooling: Any, prepacked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly all maxima are negative before their bias: bit patterns must not deceive."""
    if not prepacked:
        monkeypatch.setattr("splade_bridge.encoding.head.available", lambda dtype: False)
    torch.manual_seed(0)
    weight, bias = torch.randn(3000, 64).bfloat16() / 8, torch.randn(3000) - 3
    lengths = [9, 9, 4, 1]
    hidden = torch.randn(sum(lengths), 64).bfloat16()
    wanted = LinearHead(weight.float(), bias)(hidden.float(), lengths, pooling, "relu")
    found = LinearHead(weight, bias)(hidden, lengths, pooling, "relu")
    assert 0.02 < (wanted > 0).float().mean() < 0.5
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02 if pooling == "max" else 0.05)


@pytest.mark.parametrize("fault", [torch.nan, -torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_states_that_are_not_finite_show(fault: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = LinearHead(torch.randn(99, 16).to(dtype), torch.full((99,), -99.0))
    hidden = torch.randn(6, 16).to(dtype)
    hidden[3, 5] = fault
    found = head(hidden, [2, 3, 1], "max", "relu")
    assert torch.isfinite(found).all(1).tolist() == [True, False, True]


def test_ids_without_a_token_are_dropped(tmp_path: Path) -> None:
    """Gaps in the tokenizer's ids: the terms keep their columns."""
    gapped = {token: i if i < 50 else i + 3 for i, token in enumerate(VOCABULARY)}
    tokenizer = wordpiece_tokenizer()
    from tokenizers import models

    tokenizer.backend_tokenizer.model = models.WordPiece(gapped, unk_token="[UNK]")
    random_model("bert", len(VOCABULARY) + 3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), "document", EncodeOptions(max_length=MAX_LENGTH))
    assert list(encoder.loaded.vocabulary.terms) == VOCABULARY
    model = random_model("bert", len(VOCABULARY) + 3)
    ids = torch.tensor([[2, *(gapped[t] for t in ("the", "of", "x")), 3]])
    with torch.no_grad():
        weights = torch.log1p(torch.relu(model(ids).logits)).amax(1)[0]
    wanted = weights[torch.tensor([gapped[t] for t in VOCABULARY])].numpy()
    np.testing.assert_allclose(encode(encoder, ["the of x"])[0], wanted, rtol=0, atol=1e-5)


def no_room_beyond(encoder: Encoder, tokens: int, fail: Callable[[], object]) -> Encoder:
    """An encoder like ``encoder`` whose network fails at more than so many tokens."""
    network = encoder.loaded.network
    assert network is not None

    def body(ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        if len(ids) > tokens:
            fail()
        return network.body(ids, lengths)

    loaded = replace(encoder.loaded, network=replace(network, body=body))
    return Encoder(loaded, encoder.side, encoder.dtype, encoder.batch_tokens)


def cuda_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def cpu_out_of_memory() -> None:
    torch.empty(1 << 50)  # torch's own error, whatever its text is by now


@pytest.mark.parametrize("fail", [cuda_out_of_memory, cpu_out_of_memory])
def test_out_of_memory_halves_the_budget(
    bert: Encoder, fail: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="splade_bridge.encoding.budget")
    texts = [*TEXTS, "the of and to"] * 4
    wanted = encode(bert, texts)
    encoder = no_room_beyond(bert, 150, fail)
    found = encode(encoder, texts)
    if available(torch.float32):
        assert found.tobytes() == wanted.tobytes()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert 75 <= encoder.budget.tokens <= 150
    assert encoder.budget.held <= 150
    assert encoder.stats.texts == len(texts)
    assert "out of memory with a batch of" in caplog.text
    assert f"fitted into memory so far: {encoder.budget.held} tokens" in caplog.text
    assert encoder.batch_tokens is None  # what was asked for, and so a plan to resume, is the same
    halvings = len(caplog.records)
    encode(encoder, texts)
    assert len(caplog.records) == halvings


def test_a_single_text_that_does_not_fit(bert: Encoder) -> None:
    encoder = no_room_beyond(bert, 20, cuda_out_of_memory)
    with pytest.raises(UsageError, match="a single text of 39 tokens: use a smaller --max-length"):
        encode(encoder, ["x", "on " * 37, "y"])


def test_other_errors_are_no_lack_of_memory(bert: Encoder) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        encode(no_room_beyond(bert, 0, lambda: torch.ones(2, 3) @ torch.ones(2, 3)), ["x"])


def test_bag_of_words_queries(checkpoints: Path) -> None:
    options = EncodeOptions(checkpoint=ModelChoices(query_mode="bow"))
    encoder = load_encoder(str(checkpoints / "bert"), "query", options)
    found = encode(encoder, ["the cat the", "", "[SEP]"])
    tokens = {"the", "c", "##a", "##t"}
    assert {VOCABULARY[j] for j in np.flatnonzero(found[0])} == tokens
    assert set(found[0]) == {0.0, 1.0}
    assert not found[1:].any()
    document = load_encoder(str(checkpoints / "bert"), "document")
    assert encoder.loaded.vocabulary.sha256() == document.loaded.vocabulary.sha256()


def test_weights_that_are_not_finite_name_the_text(tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    model = BertForMaskedLM(config("bert", len(VOCABULARY), tie_word_embeddings=False))
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[VOCABULARY.index("x")] = torch.inf
    model.save_pretrained(tmp_path)
    wordpiece_tokenizer().save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), "document")
    with pytest.raises(BadInputError, match=r"texts:2: .*'t1' are not finite in float32"):
        list(encoder.encode(as_texts(["the cat", "x"])))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = random_model()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[3] = torch.nan
    model.save_pretrained(tmp_path)
    wordpiece_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadInputError, match="its weights are damaged"):
        load_encoder(str(tmp_path), "document")


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    random_model().bert.save_pretrained(tmp_path)
    with pytest.raises(BadInputError, match=r"weights lack cls\.predictions"):
        load_encoder(str(tmp_path), "document")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, width=len(VOCABULARY) - 4)
    with pytest.raises(BadInputError, match="do not belong together"):
        load_encoder(str(tmp_path), "document")


@pytest.mark.parametrize("limit", ["512", [512], {}, True, -1])
def test_a_limit_of_a_tokenizer_that_is_no_number_is_named(tmp_path: Path, limit: object) -> None:
    save_checkpoint(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": limit}))
    with pytest.raises(BadInputError, match=r"tokenizer_config\.json: model_max_length must be"):
        load_encoder(str(tmp_path), "document")


def test_a_model_that_cannot_be_split_says_so() -> None:
    class Odd(torch.nn.Module):
        base_model_prefix = "nothing"

        def __init__(self) -> None:
            super().__init__()
            self.embeddings = torch.nn.Embedding(9, 4)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.embeddings

        def get_output_embeddings(self) -> None:
            return None

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            from transformers.modeling_outputs import MaskedLMOutput

            return MaskedLMOutput(logits=self.embeddings(input_ids).repeat(1, 1, 3))

    with pytest.raises(BadInputError, match="Odd cannot be split"):
        split_model(Odd(), torch.arange(9), torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "neither a folder nor a reachable or cached model"),
        ({}, "neither config.json nor modules.json"),
        ({"config.json": "{"}, "cannot be loaded"),
        ({"config.json": '{"model_type": "bert"}'}, "no weights in it"),
        (
            {"config.json": '{"model_type": "bert"}', "model.safetensors": "no"},
            "a network of 109,482,240 parameters, and the weights beside it are 2 bytes",
        ),
        (
            {
                "config.json": '{"model_type": "bert", "num_hidden_layers": 1, "vocab_size": 9}',
                "model.safetensors": "no",
            },
            "cannot be loaded",
        ),
        (  # transformers would build layer after layer until the memory is full
            {
                "config.json": '{"model_type": "bert", "num_hidden_layers": 2147483648}',
                "model.safetensors": "no",
            },
            "config.json: num_hidden_layers is above 1,000",
        ),
        ({"modules.json": "["}, "modules.json: not JSON"),
        (
            {"modules.json": '[{"path": "", "type": "sentence_transformers.Pooling"}]'},
            "module Pooling is not part of a SPLADE model",
        ),
        (
            {"modules.json": '[{"path": "", "type": "sentence_transformers.Transformer"}]'},
            "a dense encoder without a masked-LM head",
        ),
        (
            {
                "modules.json": '[{"path": "", "type": "sentence_transformers.Router"}]',
                "router_config.json": '{"types": {}, "structure": {"query": []}}',
            },
            "no route for the document side, only query",
        ),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: dict[str, str] | None, message: str) -> None:
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_encoder(str(folder), "document")


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no such model", "../nowhere"])
def test_unknown_names_fail_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        BadInputError, match=r"no folder, and not in the cache|neither a folder nor a reachable"
    ):
        load_encoder(name, "document")


def test_options_that_cannot_be_meant(checkpoints: Path) -> None:
    folder = str(checkpoints / "bert")
    for options in (
        EncodeOptions(max_length=2),
        EncodeOptions(batch_tokens=0),
        EncodeOptions(threads=0),
        EncodeOptions(dtype="int4"),  # type: ignore[arg-type]
        EncodeOptions(device="tpu"),
    ):
        with pytest.raises(UsageError):
            load_encoder(folder, "document", options)
    with pytest.raises(MissingToolError):
        pick_device("cuda:99")


def test_the_models_own_limit_is_kept(tmp_path: Path) -> None:
    """66 positions, of which RoBERTa uses none up to its padding id 0; the tokenizer says 512."""
    folder = save_checkpoint(tmp_path, "roberta", max_length=512)
    encoder = load_encoder(str(folder), "document", EncodeOptions(max_length=300))
    assert encoder.loaded.max_length == 65
    assert encode(encoder, ["the " * 500]).any()
    assert encoder.stats.truncated == 1


def test_a_text_of_a_million_characters(bert: Encoder) -> None:
    found = encode(bert, ["the cat sat " * 90_000, "x"])
    assert found.any(1).all()


@pytest.mark.long
def test_memory_stays_below_one_tensor_of_logits(tmp_path: Path) -> None:
    """8 texts of 256 tokens with 30,522 terms: B x L x V would be 250 MB in float32."""
    script = Path(__file__).with_name("encode_peak.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    grown, logits = map(int, done.stdout.split())
    assert grown < logits / 2


def test_the_progress_bar(
    bert: Encoder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    encoder = Encoder(bert.loaded, "document", "float32", None)
    with progress_bar(len(TEXTS), lambda: encoder.stats, shown=True) as bar:
        list(encoder.encode(as_texts(TEXTS), window=4, progress=bar))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert f"{len(TEXTS)}/{len(TEXTS)}" in captured.err
    for figure in ("texts/s", "tokens/s", "padding", "GiB", "0:00:00"):
        assert figure in captured.err


def test_counts_for_the_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "x"}\n\n{"id": "2", "text": "y"}\n')
    table = pa.table({"id": ["3", "4", "5"], "text": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert known_count(str(tmp_path / "b.parquet"), "documents") == 3
    assert known_count(str(tmp_path), "documents") == 5
    for source in ("-", str(tmp_path / "nothing"), "no/such-data-set"):
        assert known_count(source, "documents") is None


class Twice(torch.nn.Module):
    """One layer's output goes through GELU and past it, another's only through GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(32, 48), torch.nn.Linear(48, 16)
        self.act, self.last = torch.nn.GELU(), torch.nn.GELU()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        first = self.first(rows)
        found: torch.Tensor = self.last(self.second(self.act(first) + first))
        return found


def test_prepacked_layers_do_what_they_did() -> None:
    """An activation is taken into the layer only where nothing else needs the layer's output."""
    if not available(torch.float32):
        pytest.skip("no prepacked products on this processor")
    torch.manual_seed(0)
    rows = torch.randn(7, 32)
    model = Twice()
    with torch.inference_mode():
        wanted = model(rows)
        prepack(model, lambda: model(rows))
        torch.testing.assert_close(model(rows), wanted)
    assert isinstance(model.first, PrepackedLinear)
    assert isinstance(model.act, torch.nn.GELU)

    plain = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.GELU(), torch.nn.Linear(48, 16))
    with torch.inference_mode():
        wanted = plain(rows)
        prepack(plain, lambda: plain(rows))
        torch.testing.assert_close(plain(rows), wanted)
    assert [type(m) for m in plain] == [PrepackedLinear, torch.nn.Identity, PrepackedLinear]
