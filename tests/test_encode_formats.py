"""Folders saved by sentence-transformers, with its own SparseEncoder as the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from checkpoints import VOCABULARY, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import Text
from test_encode import dense

pytest.importorskip("sentence_transformers")

TEXTS = ["the cat sat on the mat", "x", "was with by " * 40, "42 of (his) [SEP] not"]
SIDES = ("document", "query")


def parts() -> Any:
    from sentence_transformers.sparse_encoder import modules

    return modules


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    for seed in range(2):
        save_checkpoint(folder / str(seed), width=len(VOCABULARY) + 3, seed=seed)
    return folder


def transformer(plain: Path, seed: int = 0) -> Any:
    return parts().Transformer(str(plain / str(seed)), transformer_task="fill-mask")


def static(seed: int = 5) -> Any:
    weight = torch.rand(len(VOCABULARY), generator=torch.Generator().manual_seed(seed)) * 3
    weight[:5] = 0
    return parts().SparseStaticEmbedding(tokenizer=wordpiece_tokenizer(), weight=weight)


def save(folder: Path, modules: list[Any], **options: Any) -> Any:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(modules=modules, device="cpu", **options)
    model.save_pretrained(str(folder), create_model_card=False)
    return SparseEncoder(str(folder), device="cpu")


def check(folder: Path, oracle: Any, side: Any, texts: list[str] = TEXTS) -> np.ndarray:
    encoder = load_encoder(str(folder), side, EncodeOptions(max_length=None))
    found = dense(next(encoder.encode([Text(str(i), t, "") for i, t in enumerate(texts)])))
    encode = oracle.encode_query if side == "query" else oracle.encode_document
    wanted = encode(texts, convert_to_sparse_tensor=False, show_progress_bar=False)
    wanted = wanted.cpu().numpy()[:, : len(VOCABULARY)]
    assert (wanted > 0).any()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    return found


def know_each_other(folder: Path) -> None:
    """The sides of a checkpoint name each other as partners, and so they fit."""
    infos = [load_encoder(str(folder), side).info(0) for side in SIDES]  # type: ignore[arg-type]
    assert infos[0].partner == infos[1].sha256
    assert infos[1].partner == infos[0].sha256


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_one_encoder(tmp_path: Path, plain: Path, pooling: str, activation: str) -> None:
    pool = parts().SpladePooling(pooling, activation)
    oracle = save(tmp_path, [transformer(plain), pool], prompts={"query": "is this: "})
    found = [check(tmp_path, oracle, side) for side in SIDES]
    assert not np.allclose(*found)  # the prompt was used
    know_each_other(tmp_path)
    overridden = load_encoder(str(tmp_path), "query", EncodeOptions(pooling="sum"))
    assert overridden.loaded.pooling == "sum"


def test_most_active_terms(tmp_path: Path, plain: Path) -> None:
    modules = [transformer(plain), parts().SpladePooling()]
    found = check(tmp_path, save(tmp_path, modules, max_active_dims=9), "document")
    assert ((found > 0).sum(1) == 9).all()


def test_two_encoders(tmp_path: Path, plain: Path) -> None:
    router = parts().Router.for_query_document(
        query_modules=[transformer(plain, 1), parts().SpladePooling("max")],
        document_modules=[transformer(plain, 0), parts().SpladePooling("sum")],
    )
    oracle = save(tmp_path, [router])
    found = {side: check(tmp_path, oracle, side) for side in SIDES}
    assert not np.allclose(found["query"], found["document"])
    loaded = {side: load_encoder(str(tmp_path), side).loaded for side in SIDES}  # type: ignore[arg-type]
    assert loaded["query"].weights_sha256 != loaded["document"].weights_sha256
    know_each_other(tmp_path)
    assert loaded["query"].vocabulary.sha256() == loaded["document"].vocabulary.sha256()


def test_inference_free_queries(tmp_path: Path, plain: Path) -> None:
    router = parts().Router.for_query_document(
        query_modules=[static()],
        document_modules=[transformer(plain), parts().SpladePooling("max", "log1p_relu")],
    )
    oracle = save(tmp_path, [router])
    for side in SIDES:
        check(tmp_path, oracle, side)
    queries = load_encoder(str(tmp_path), "query")
    assert queries.loaded.network is None
    assert queries.info(0).pooling == "static"
    document = load_encoder(str(tmp_path), "document")
    assert document.info(0).pooling == "max log1p_relu"
    assert queries.loaded.vocabulary.sha256() == document.loaded.vocabulary.sha256()
    know_each_other(tmp_path)


def test_token_weights_as_json(tmp_path: Path, plain: Path) -> None:
    """The older way to save IDF weights: a file of tokens, its name in the settings."""
    router = parts().Router.for_query_document(
        query_modules=[static()], document_modules=[transformer(plain), parts().SpladePooling()]
    )
    save(tmp_path, [router])
    query = next(tmp_path.glob("query_0_*"))
    (query / "model.safetensors").unlink()
    (query / "config.json").write_text('{"frozen": true, "path": "idf.json"}')
    with pytest.raises(BadInputError, match=r"idf.json, .* is missing"):
        load_encoder(str(tmp_path), "query")
    (query / "idf.json").write_text(json.dumps({"the": 0.25, "x": 3.5}))
    encoder = load_encoder(str(tmp_path), "query")
    found = next(encoder.encode([Text("1", "The x, the of", "")]))
    assert [encoder.loaded.vocabulary[j] for j in found.indices] == ["x", "the"]
    assert found.weights.tolist() == [3.5, 0.25]


def test_lexical_weights(tmp_path: Path, plain: Path) -> None:
    """A network whose weights count only for the text's own tokens."""
    save_checkpoint(tmp_path / "narrow")  # sentence-transformers cannot do it with a wider head
    network = parts().Transformer(str(tmp_path / "narrow"), transformer_task="fill-mask")
    folder = tmp_path / "model"
    oracle = save(folder, [network, parts().SpladePooling(), static()])
    found = check(folder, oracle, "document")
    assert ((found > 0).sum(1) < 15).all()


def test_saved_by_older_versions(tmp_path: Path, plain: Path) -> None:
    """MLMTransformer, a length limit and lower-casing in sentence_bert_config.json."""
    oracle = save(tmp_path, [transformer(plain), parts().SpladePooling()])
    modules = orjson.loads((tmp_path / "modules.json").read_bytes())
    modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
    (tmp_path / "modules.json").write_bytes(orjson.dumps(modules))
    (tmp_path / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 16, "do_lower_case": true}'
    )
    oracle.max_seq_length = 16
    check(tmp_path, oracle, "document", ["THE CAT", *TEXTS])


def test_without_sentence_transformers(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, [transformer(plain), parts().SpladePooling()])
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    assert load_encoder(str(tmp_path), "document").loaded.network is not None


def test_old_weights_are_fetched_where_there_are_no_safe_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is downloaded is made up here; what is asked for goes through the hub's filter."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    there = [
        "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "README.md",
        "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin",
        "onnx/model.onnx", "3_Other/config.json", "3_Other/model.safetensors",
        "3_Other/pytorch_model.bin",
    ]  # fmt: skip
    folder = tmp_path / "snapshot"

    def download(name: str, allow_patterns: list[str], **_: Any) -> str:
        assert name == "someone/model"
        for wanted in filter_repo_objects(there, allow_patterns=allow_patterns):
            (folder / wanted).parent.mkdir(parents=True, exist_ok=True)
            (folder / wanted).touch()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = find_snapshot("someone/model").folder
    got = {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()}
    left = {"pytorch_model.bin", "README.md", "onnx/model.onnx", "3_Other/pytorch_model.bin"}
    assert got == set(there) - left
