"""Models for engines: what is traced says what encode says, and its files are what engines read.

That OpenSearch's own ml-commons runs them is tried in tests/test_models_inside.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from checkpoints import VOCABULARY, one_thread, save_checkpoint  # noqa: F401
from splade_bridge.data.manifest import Manifest
from splade_bridge.encoding.exports.export_model import export_model
from splade_bridge.encoding.exports.torch_script import _written
from splade_bridge.errors import BadInputError
from test_onnx import KINDS, SIDES, TEXTS, WIDER, inference_free, weights


def stripping(folder: Path, kind: str = "bert") -> Path:
    """A checkpoint whose tokenizer does as BERT's uncased one: Elasticsearch has no other."""
    save_checkpoint(folder, kind, len(VOCABULARY) + WIDER)
    file = folder / "tokenizer.json"
    parts = json.loads(file.read_text())
    parts["normalizer"]["strip_accents"] = None
    file.write_text(json.dumps(parts))
    return folder


def rows(run: Any, tokenizer: Tokenizer) -> np.ndarray:
    """What an engine makes of TEXTS, one at a time, by the exported tokenizer and ``run``."""
    found = np.zeros((len(TEXTS), len(VOCABULARY)), np.float32)
    for row, text in zip(found, TEXTS, strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        if text and ids.shape[1]:
            with torch.no_grad():
                row[:] = run(ids, torch.ones_like(ids))[0].numpy()
    return found


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_opensearch_is_given(tmp_path: Path, kind: str) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", kind, len(VOCABULARY) + WIDER)
    manifest = export_model(str(checkpoint), tmp_path / "out", "opensearch", max_length=50)
    assert {file.path for file in manifest.files} == {"model.zip", "ml-commons_model_config.json"}
    content = (tmp_path / "out" / "model.zip").read_bytes()
    told = json.loads((tmp_path / "out" / "ml-commons_model_config.json").read_text())
    assert told["model_content_hash_value"] == hashlib.sha256(content).hexdigest()
    assert told["model_content_size_in_bytes"] == len(content) and told["total_chunks"] == 1
    assert (told["function_name"], told["model_format"]) == ("SPARSE_ENCODING", "TORCH_SCRIPT")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sorted(archive.namelist()) == ["model.pt", "tokenizer.json"]
        script = torch.jit.load(io.BytesIO(archive.read("model.pt")))
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())

    def run(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = script({"input_ids": ids, "attention_mask": mask})["output"]
        return found

    wanted = weights(checkpoint, max_length=50)
    np.testing.assert_allclose(rows(run, tokenizer), wanted, rtol=0, atol=1e-4)
    ids = torch.tensor([[*tokenizer.encode(TEXTS[0]).ids, 0, 0, 0]] * 3)
    with torch.no_grad():
        padded = run(ids, (ids > 0).to(torch.int64))
    np.testing.assert_allclose(padded, wanted[[0, 0, 0]], rtol=0, atol=1e-4)


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_elasticsearch_is_given(tmp_path: Path, kind: str) -> None:
    checkpoint = stripping(tmp_path / "model", kind)
    export_model(str(checkpoint), tmp_path / "out", "elasticsearch")
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert told["inference_config"]["text_expansion"]["tokenization"]["bert"] == {
        "do_lower_case": True,
        "with_special_tokens": True,
        "max_sequence_length": 64,
        "truncate": "first",
    }
    definition = tmp_path / "out" / "traced_pytorch_model.pt"
    assert told["metadata"]["total_definition_length"] == definition.stat().st_size
    vocabulary = json.loads((tmp_path / "out" / "vocabulary.json").read_text())["vocabulary"]
    assert vocabulary == VOCABULARY
    script = torch.jit.load(definition)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(64)

    def run(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = script(
            ids, mask, torch.zeros_like(ids), torch.arange(ids.shape[1])[None]
        )
        assert found.shape == (1, len(VOCABULARY))
        return found

    np.testing.assert_allclose(rows(run, tokenizer), weights(checkpoint), rtol=0, atol=1e-4)


def test_tables_are_tokenizers_with_the_weight_of_each_token(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    bert = save_checkpoint(tmp_path / "bert", width=len(VOCABULARY) + WIDER)
    inference_free(tmp_path / "model", bert)
    manifest = export_model(str(tmp_path / "model"), tmp_path / "out", "opensearch")
    assert [export["folder"] for export in manifest.options["exports"]] == ["document", "query"]
    told = json.loads((tmp_path / "out" / "query" / "ml-commons_model_config.json").read_text())
    assert told["function_name"] == "SPARSE_TOKENIZE"
    with zipfile.ZipFile(tmp_path / "out" / "query" / "model.zip") as archive:
        assert sorted(archive.namelist()) == ["idf.json", "tokenizer.json"]
        table = json.loads(archive.read("idf.json"))
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
    assert set(table) == set(VOCABULARY)  # a token that is not there counts 1
    wanted = weights(tmp_path / "model", "query")
    for row, text in zip(wanted, TEXTS, strict=True):
        tokens = tokenizer.encode(text).tokens  # special ones, which ml-commons adds and drops
        found = {token: table[token] for token in tokens if table[token] > 0}
        assert found == pytest.approx({VOCABULARY[i]: row[i] for i in np.flatnonzero(row)})


def test_prompts_are_put_in_front_by_elasticsearch_and_not_by_opensearch(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from test_encode_formats import parts, save

    bert = stripping(tmp_path / "bert")
    modules = [
        parts().Transformer(str(bert), transformer_task="fill-mask"),
        parts().SpladePooling(),
    ]
    save(tmp_path / "model", modules, prompts={"query": "is: ", "document": "of: "})
    export_model(str(tmp_path / "model"), tmp_path / "out", "elasticsearch")
    for side, place in zip(SIDES, ("ingest", "search"), strict=True):
        told = json.loads((tmp_path / "out" / side / "config.json").read_text())
        assert told["prefix_strings"] == {place: {"query": "is: ", "document": "of: "}[side]}
    with pytest.raises(BadInputError, match="the document side has the prompt 'of: ', and OpenSe"):
        export_model(str(tmp_path / "model"), tmp_path / "os", "opensearch")
    assert not (tmp_path / "os").exists()


def test_tokenizers_that_elasticsearch_lacks_are_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model")
    with pytest.raises(BadInputError, match="lowercase True and strip_accents False, and Elastic"):
        export_model(str(checkpoint), tmp_path / "out", "elasticsearch")
    file = checkpoint / "tokenizer.json"
    parts = json.loads(file.read_text())
    parts["pre_tokenizer"] = {"type": "Whitespace"}
    file.write_text(json.dumps(parts))
    with pytest.raises(BadInputError, match=r"its tokenizer is not BERT's \(WordPiece, with"):
        export_model(str(checkpoint), tmp_path / "out", "elasticsearch")


def test_the_same_model_gives_the_same_graph(tmp_path: Path) -> None:
    checkpoint = stripping(tmp_path / "model")
    one, two = (export_model(str(checkpoint), tmp_path / f"onnx{n}", "onnx") for n in range(2))
    assert one.files == two.files
    for target in ("opensearch", "elasticsearch"):
        made = export_model(str(checkpoint), tmp_path / target, target)  # type: ignore[arg-type]
        assert Manifest.load(tmp_path / target) == made


def test_classes_of_a_checkpoint_are_named_as_torchscript_can_read(tmp_path: Path) -> None:
    """transformers calls the module of such a class by a hash, which may begin with a digit."""
    hashed = "transformers_modules.model.40774845dcf080af.own"
    own = type("Own", (torch.nn.Linear,), {"__module__": hashed})(3, 3)
    ids = torch.eye(3)
    script = _written(torch.nn.Sequential(own).eval(), (ids,), tmp_path / "model.pt")
    assert torch.equal(script(ids), own(ids))
    assert type(own).__module__ == hashed
