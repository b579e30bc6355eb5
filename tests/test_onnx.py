"""Graphs of ONNX: those of others are read, ours are what Anserini's encoders take."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import command_line
from checkpoints import (  # noqa: F401
    VOCABULARY,
    cached,
    one_thread,
    save_checkpoint,
    single_thread,
    wordpiece_tokenizer,
)
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.data.manifest import Manifest, check_fit
from splade_bridge.encoding.choices import ModelChoices, Pooling
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.exports import onnx_file
from splade_bridge.encoding.exports.export_model import export_model
from splade_bridge.encoding.exports.term_weights import TermWeights
from splade_bridge.errors import BadInputError, CheckFailedError, UsageError
from splade_bridge.text.corpora import Text
from test_encode import dense
from test_json import faults

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

TEXTS = [
    "the cat sat on the mat", "x", "", "was with by " * 40, "42 of (his) not", "漢 é the", "to be",
]  # fmt: skip
WIDER = 3
SIDES = ("document", "query")
KINDS = ("bert", "roberta", "distilbert", "modernbert", "electra", "deberta")


def weights(model: Path, side: Any = "document", **options: Any) -> np.ndarray:
    options = {"max_length": None, **options}
    encoder = load_encoder(str(model), side, EncodeOptions(**options))
    texts = [Text(str(i), text, "") for i, text in enumerate(TEXTS)]
    return dense(next(encoder.encode(texts)))


def equal(model: Path, checkpoint: Path, side: Any = "document", **options: Any) -> None:
    """The weights of a graph are those of the checkpoint that it was made from."""
    wanted = weights(checkpoint, side, **options)
    assert 0.1 < (wanted > 0).mean() < 0.9
    np.testing.assert_allclose(weights(model, side, **options), wanted, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head wider than the vocabulary, and more terms than Anserini drops as special ones."""
    folder = tmp_path_factory.mktemp("bert") / "checkpoint"
    return save_checkpoint(folder, width=len(VOCABULARY) + WIDER)


@pytest.fixture(scope="module")
def exported(bert: Path) -> Path:
    out = bert.with_name("onnx")
    with single_thread():
        export_model(str(bert), out, "onnx")
    return out


def inference_free(folder: Path, bert: Path, **options: Any) -> Path:
    """A checkpoint whose queries are looked up in a table."""
    from test_encode_formats import parts, save, static

    router = parts().Router.for_query_document(
        query_modules=[static()],
        document_modules=[
            parts().Transformer(str(bert), transformer_task="fill-mask"),
            parts().SpladePooling("max", "log1p_relu"),
        ],
    )
    save(folder, [router], **options)
    return folder


# What export-model writes


def test_an_export_encodes_as_its_checkpoint(bert: Path, exported: Path) -> None:
    for side in SIDES:
        equal(exported, bert, side)
    equal(exported / "model.onnx", bert)
    manifest = Manifest.load(exported)
    assert manifest.kind == "model"
    assert {file.path for file in manifest.files} >= {"model.onnx", "tokenizer.json", "vocab.txt"}
    [told] = manifest.options["exports"]
    assert told["sides"] == ["document", "query"] and told["largest_difference"] < 1e-5
    loaded = load_encoder(str(exported), "query", EncodeOptions(max_length=None))
    assert (loaded.info(0).pooling, loaded.dtype) == ("max (onnx)", "float32")
    assert loaded.loaded.max_length == 64


def test_an_export_fits_vectors_of_its_checkpoint(bert: Path, exported: Path) -> None:
    """Documents that torch encoded are searched by queries of the graph, and the other way."""
    infos = {
        (place, side): load_encoder(str(place), side).info(0)  # type: ignore[arg-type]
        for place in (bert, exported)
        for side in SIDES
    }
    own = Manifest.load(exported)
    for documents, queries in ((bert, exported), (exported, bert), (exported, exported)):
        check_fit(
            dataclass_with(own, infos[documents, "document"]),
            dataclass_with(own, infos[queries, "query"]),
            "here",
        )


def dataclass_with(manifest: Manifest, encoding: Any) -> Manifest:
    from dataclasses import replace

    return replace(manifest, encoding=encoding)


@pytest.mark.sample(2)
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture(tmp_path: Path, kind: str, pooling: Pooling) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint", kind, len(VOCABULARY) + WIDER)
    export_model(str(checkpoint), tmp_path / "onnx", "onnx", pooling=pooling, max_length=40)
    wanted = weights(checkpoint, pooling=pooling, max_length=40)
    found = weights(tmp_path / "onnx")  # the limit is the export's own
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_inputs_and_outputs_are_those_of_anserinis_encoders(bert: Path, exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / "model.onnx")
    assert [i.name for i in session.get_inputs()] == [
        "input_ids", "token_type_ids", "attention_mask",
    ]  # fmt: skip
    assert [(o.name, o.type) for o in session.get_outputs()] == [
        ("output_idx", "tensor(int64)"),
        ("output_weights", "tensor(float)"),
        ("output_lengths", "tensor(int64)"),
    ]
    model = onnx.load(exported / "model.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    ids = wordpiece_tokenizer()(TEXTS[0])["input_ids"]
    given = np.array([ids])
    terms, found, _ = session.run(
        None,
        {
            "input_ids": given,
            "token_type_ids": np.zeros_like(given),
            "attention_mask": np.ones_like(given),
        },
    )
    row = np.zeros(len(VOCABULARY))
    row[terms] = found
    np.testing.assert_allclose(row, weights(bert)[0], rtol=0, atol=1e-4)


@pytest.mark.long
def test_anserinis_own_encoder_takes_it(tmp_path: Path, anserini: Path, exported: Path) -> None:
    """SpladeV3Encoder of the jar, its two files put where it would fetch them to."""
    from splade_bridge.engines.java import java

    if shutil.which("javac") is None:
        pytest.skip("there is no javac")
    cache = tmp_path / ".cache" / "pyserini" / "encoders"
    cache.mkdir(parents=True)
    shutil.copy(exported / "model.onnx", cache / "splade-v3-optimized.onnx")
    shutil.copy(exported / "vocab.txt", cache / "splade-v3-vocab.txt")
    source = Path(__file__).with_name("AnserinisEncoder.java")
    subprocess.run(["javac", "--release", "17", "-d", tmp_path, source], check=True)
    texts = [text for text in TEXTS if text and text.isascii() and len(text) < 60]
    command = [
        java(), f"-Duser.home={tmp_path}", "-cp", f"{anserini}:{tmp_path}",
        "splade_bridge.AnserinisEncoder", "io.anserini.encoder.sparse.SpladeV3Encoder",
    ]  # fmt: skip
    done = subprocess.run(command, input="\n".join(texts).encode(), capture_output=True, check=True)
    blocks = done.stdout.decode().split("\n\n")
    wanted = weights(exported)[[TEXTS.index(text) for text in texts]]
    dropped = [0, 101, 102]  # what it takes for [PAD], [CLS] and [SEP], whatever they are
    assert len(blocks) == len(texts) + 1
    for block, row, text in zip(blocks, wanted, texts, strict=False):
        found = np.zeros(len(VOCABULARY))
        for line in block.splitlines():
            token, _, weight = line.partition("\t")
            found[VOCABULARY.index(token)] = float(weight)
        row[dropped] = 0
        np.testing.assert_allclose(found, row, rtol=0, atol=1e-4, err_msg=text)
        assert (found > 0).any()


def test_large_tensors_lie_beside_the_graph(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    export_model(str(bert), tmp_path / "large", "onnx")
    assert (tmp_path / "large" / "model.onnx.data").stat().st_size > 50_000
    equal(tmp_path / "large", bert)
    before = load_encoder(str(tmp_path / "large"), "query").loaded.weights_sha256
    data = tmp_path / "large" / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert load_encoder(str(tmp_path / "large"), "query").loaded.weights_sha256 != before
    data.unlink()
    with pytest.raises(BadInputError, match=r"model.onnx.data, which holds its weights, is miss"):
        load_encoder(str(tmp_path / "large"), "query")


def test_sides_that_differ_are_folders_of_their_own(tmp_path: Path, bert: Path) -> None:
    pytest.importorskip("sentence_transformers")
    inference_free(tmp_path / "model", bert, max_active_dims=30)
    export_model(str(tmp_path / "model"), tmp_path / "out", "onnx")
    for side in SIDES:
        wanted = weights(tmp_path / "model", side)
        found = weights(tmp_path / "out" / side, side)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert (wanted > 0).any() and (wanted > 0).mean() < 0.1
    with pytest.raises(BadInputError, match=r"was exported as the query side of .*--side document"):
        load_encoder(str(tmp_path / "out" / "query"), "document")
    export_model(str(tmp_path / "model"), tmp_path / "one", "onnx", side="query")
    assert (tmp_path / "one" / "model.onnx").is_file()


def test_a_prompt_is_put_in_front_by_the_graph_s_reader(tmp_path: Path, bert: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from test_encode_formats import parts, save

    modules = [
        parts().Transformer(str(bert), transformer_task="fill-mask"),
        parts().SpladePooling(),
    ]
    save(tmp_path / "model", modules, prompts={"query": "is this: "})
    export_model(str(tmp_path / "model"), tmp_path / "out", "onnx", side="query")
    found, wanted = weights(tmp_path / "out", "query"), weights(tmp_path / "model", "query")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert not np.allclose(wanted, weights(tmp_path / "model", "document"))


def test_what_is_there_stays(
    tmp_path: Path, bert: Path, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "onnx"
    shutil.copytree(exported, out)
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    with caplog.at_level("INFO"):
        again = export_model(str(bert), out, "onnx")
    assert "already there, made by the same plan" in caplog.text
    assert again == Manifest.load(exported)
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == before
    with pytest.raises(UsageError, match=r"another plan \(max_length: null -> 20\)"):
        export_model(str(bert), out, "onnx", max_length=20)
    export_model(str(bert), out, "onnx", max_length=20, overwrite=True)
    assert load_encoder(str(out), "query", EncodeOptions()).loaded.max_length == 20


def test_an_export_that_gives_other_weights_is_not_written(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TermWeights, "_activated", lambda self, logits: logits.relu())
    with pytest.raises(CheckFailedError, match="weights differ from those of encode by up to"):
        export_model(str(bert), tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_is_not_exported_again(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(BadInputError, match="is a graph of ONNX: name the checkpoint"):
        export_model(str(exported), tmp_path / "out", "onnx")


def test_the_commands(tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "1", "text": "the cat is on it"}\n')
    code, out, _ = command_line.run(
        capfd, "export-model", bert, "-o", tmp_path / "m", "--to", "onnx", "--json"
    )
    assert code == 0
    told = json.loads(out)
    assert told["exports"][0]["folder"] == "."
    assert list(faults(told, RESULTS["export-model"])) == []
    code, out, _ = command_line.run(capfd, "inspect", tmp_path / "m")
    assert code == 0 and "a model for onnx" in out
    for model in (bert, tmp_path / "m" / "model.onnx"):
        out = tmp_path / f"of-{model.name}"
        command = ("encode", tmp_path / "d.jsonl", "-m", model, "-o", out)
        assert command_line.run(capfd, *command)[0] == 0


# Graphs of others


class Logits(torch.nn.Module):
    """What optimum exports for the task fill-mask, or a step of the way to weights."""

    def __init__(self, checkpoint: Path, kind: str) -> None:
        super().__init__()
        from transformers import AutoModelForMaskedLM

        self.network = AutoModelForMaskedLM.from_pretrained(checkpoint).eval()
        self.kind = kind

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        found = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        if self.kind == "hidden":
            return found.hidden_states[-1]
        logits = found.logits * mask[:, :, None]
        pooled = logits.amax(1)
        if self.kind == "listed":
            row = torch.log1p(pooled.relu())[0]
            terms = row.nonzero()[:, 0]
            return terms, row[terms]
        return {
            "logits": logits,
            "activated": torch.log1p(logits.relu()),
            "raw": pooled,
            "pooled": torch.log1p(pooled.relu()),
        }[self.kind]


def graph(
    checkpoint: Path, file: Path, kind: str, *, batch: bool = True, names: tuple[str, ...] = ()
) -> Path:
    """``checkpoint`` as others export it, its tokenizer beside or above the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = file.parent.parent if file.parent.name == "onnx" else file.parent
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if folder != checkpoint:
            shutil.copy(checkpoint / name, folder)
    ids = torch.arange(7)[None].repeat(2 if batch else 1, 1)
    text = {0: "batch", 1: "length"} if batch else {1: "length"}
    outputs = ["output_idx", "output_weights"] if kind == "listed" else [kind]
    names = names or ("input_ids", "attention_mask")
    torch.onnx.export(
        Logits(checkpoint, kind), (ids, torch.ones_like(ids)), str(file), dynamo=False,
        input_names=list(names), output_names=outputs, opset_version=17,
        dynamic_axes={names[0]: text, names[1]: text, **{name: {0: "n"} for name in outputs}},
    )  # fmt: skip
    return file


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "batch"), [("logits", True), ("pooled", True), ("listed", False), ("logits", False)]
)
def test_graphs_of_others(tmp_path: Path, bert: Path, kind: str, batch: bool) -> None:
    file = graph(bert, tmp_path / "m" / "onnx" / "model.onnx", kind, batch=batch)
    equal(tmp_path / "m", bert)
    equal(file, bert, "query")
    if kind == "logits":
        equal(tmp_path / "m", bert, pooling="sum")
    else:
        with pytest.raises(UsageError, match=r"--pooling sum: .* are pooled already; leave it ou"):
            weights(file, pooling="sum")
    with pytest.raises(UsageError, match=r"--dtype bfloat16: .* computes as it was exported"):
        weights(file, dtype="bfloat16")
    with pytest.raises(UsageError, match=r"--query-mode bow: .* computes as it was exported"):
        weights(file, "query", checkpoint=ModelChoices(query_mode="bow"))


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_sentence_transformers_with_a_graph_in_it(tmp_path: Path, bert: Path) -> None:
    """Its modules say how the logits are pooled; weights of PyTorch's come before a graph."""
    pytest.importorskip("sentence_transformers")
    from test_encode_formats import parts, save

    modules = [
        parts().Transformer(str(bert), transformer_task="fill-mask"),
        parts().SpladePooling("sum", "log1p_relu"),
    ]
    save(tmp_path / "m", modules, prompts={"query": "is: "}, max_active_dims=20)
    wanted = {side: weights(tmp_path / "m", side) for side in SIDES}
    graph(tmp_path / "m", tmp_path / "m" / "onnx" / "model.onnx", "logits")
    assert load_encoder(str(tmp_path / "m"), "query").info(0).pooling == "sum log1p_relu"
    (tmp_path / "m" / "model.safetensors").unlink()
    assert load_encoder(str(tmp_path / "m"), "query").info(0).pooling == "sum (onnx)"
    for side in SIDES:
        found = weights(tmp_path / "m", side)
        np.testing.assert_allclose(found, wanted[side], rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_graph_beside_a_vocabulary_as_anserini_has_them(tmp_path: Path, bert: Path) -> None:
    file = graph(bert, tmp_path / "splade-v3-optimized.onnx", "listed", batch=False)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(BadInputError, match=r"no tokenizer in .*: put tokenizer.json or vocab.txt"):
        weights(file)
    (tmp_path / "splade-v3-vocab.txt").write_text("".join(f"{t}\n" for t in VOCABULARY))
    found, wanted = (weights(place, max_length=60) for place in (file, bert))
    accents = [not text.isascii() for text in TEXTS]  # which BERT's uncased tokenizer strips
    assert not np.allclose(found[accents], wanted[accents])
    np.testing.assert_allclose(found[~np.array(accents)], wanted[~np.array(accents)], atol=1e-4)
    shutil.copy(bert / "tokenizer.json", tmp_path)
    np.testing.assert_allclose(weights(file, max_length=60), wanted, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("hidden", r"none of its outputs has a column for each of the tokenizer's 113 tokens; two "
         r"texts of 11 and 6 tokens gave hidden \[2, 11, 32\]. Wanted is \[batch, length, terms\]"),
        ("raw", "its output raw has weights below 0: it is pooled, but without log"),
        ("activated", "its output activated has nothing below 0, so that it may be weights"),
    ],
)  # fmt: skip
def test_other_outputs_are_refused_by_name(
    tmp_path: Path, bert: Path, kind: str, said: str
) -> None:
    file = graph(bert, tmp_path / "model.onnx", kind)
    with pytest.raises(BadInputError, match=said):
        weights(file)


@pytest.mark.filterwarnings("ignore")
def test_other_inputs_are_refused_by_name(tmp_path: Path, bert: Path) -> None:
    file = graph(bert, tmp_path / "m.onnx", "logits", names=("tokens", "attention_mask"))
    with pytest.raises(BadInputError, match="its inputs are tokens, attention_mask; known are"):
        weights(file)


@pytest.mark.filterwarnings("ignore")
def test_another_models_tokenizer_is_refused(tmp_path: Path, bert: Path) -> None:
    file = graph(bert, tmp_path / "model.onnx", "logits")
    more = [*VOCABULARY, *(f"more{i}" for i in range(9))]
    wordpiece_tokenizer(more).save_pretrained(tmp_path)
    with pytest.raises(BadInputError, match="a column for each of the tokenizer's 122 tokens"):
        weights(file)


def test_what_is_no_graph_is_refused(tmp_path: Path, bert: Path, exported: Path) -> None:
    shutil.copytree(exported, tmp_path / "m")
    file = tmp_path / "m" / "model.onnx"
    for content in (b"", b"no graph at all", file.read_bytes()[:5000]):
        file.write_bytes(content)
        with pytest.raises(BadInputError, match=r"model.onnx: (not a graph|onnxruntime cannot)"):
            weights(file)
    model = onnx.load(exported / "model.onnx")
    onnx.save_model(
        model, str(file), save_as_external_data=True, location="weights.bin", size_threshold=64
    )
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    (tmp_path / "m" / "weights.bin").rename(tmp_path / "weights.bin")
    file.write_bytes(model.SerializeToString())
    with pytest.raises(BadInputError, match=r"'\.\./weights.bin' is not a path below the folder"):
        weights(file)


def test_queries_by_a_table_beside_a_graph(tmp_path: Path, bert: Path, exported: Path) -> None:
    """As beside a network of PyTorch's: what encodes queries is the table, and both sides fit."""
    folder = Path(shutil.copytree(exported, tmp_path / "m"))
    (folder / "manifest.json").unlink()
    whole = Path(shutil.copytree(bert, tmp_path / "whole"))
    for place in (folder, whole):
        (place / "idf.json").write_text('{"the": 2.5, "of": 1.5}')
    np.testing.assert_array_equal(weights(folder, "query"), weights(whole, "query"))
    equal(folder, whole)
    infos = {side: load_encoder(str(folder), side).info(0) for side in ("document", "query")}
    assert (infos["query"].pooling, infos["query"].encoder) == ("static", "idf.json")
    assert infos["document"].partner == infos["query"].sha256
    mode = ModelChoices(query_mode="idf")
    np.testing.assert_array_equal(
        weights(folder, "query", checkpoint=mode), weights(whole, "query", checkpoint=mode)
    )


# From the hub


@pytest.mark.parametrize("layout", ["model.onnx", "onnx/model.onnx"])
def test_a_repository_that_holds_a_graph_alone(
    tmp_path: Path, bert: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """By its name with -m, as the hub's cache has it; its revision is told, another one refused."""
    shutil.copytree(exported, repository := tmp_path / "repository")
    (repository / layout).parent.mkdir(exist_ok=True)
    (repository / "model.onnx").rename(repository / layout)
    (repository / "manifest.json").unlink()
    cached(tmp_path / "cache", "someone/graph", {"v1": repository})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for side in SIDES:
        wanted = weights(bert, side)
        for revision in (None, "v1"):
            found = weights(Path("someone/graph"), side, checkpoint=ModelChoices(revision=revision))
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    encoder = load_encoder("someone/graph", "document")
    assert encoder.info(0).revision == f"{1:040x}"
    assert encoder.info(0).pooling == "max (onnx)"
    with pytest.raises(BadInputError, match="not at revision v2 in the cache"):
        weights(Path("someone/graph"), checkpoint=ModelChoices(revision="v2"))
    with pytest.raises(BadInputError, match="is a graph of ONNX: name the checkpoint"):
        export_model("someone/graph", tmp_path / "out", "onnx")


def test_a_file_has_no_revisions(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"--revision v2: .*model.onnx is a file, and revisions"):
        weights(exported / "model.onnx", checkpoint=ModelChoices(revision="v2"))


@pytest.mark.parametrize("named", ["folder", "file"])
@pytest.mark.sample(1, of="file")
def test_a_graph_stands_wherever_a_model_does(
    tmp_path: Path,
    exported: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    """Where files of a checkpoint are looked at before it is loaded, too."""
    model = exported if named == "folder" else exported / "model.onnx"
    (tmp_path / "c.tsv").write_text("d1\tthe cat of his\nd2\tit was not\n")
    (tmp_path / "q.tsv").write_text("q1\tthe cat\n")
    (tmp_path / "r").write_text("q1 Q0 d2 1 2 t\nq1 Q0 d1 2 1 t\n")
    (tmp_path / "qrels").write_text("q1 0 d1 1\n")
    pair = {"query": "the cat", "positive": "the cat of his", "negatives": ["it was not"]}
    (tmp_path / "p.jsonl").write_text(json.dumps(pair) + "\n")
    (tmp_path / "s.toml").write_text(
        '[data]\ncorpus = "c.tsv"\ntopics = "q.tsv"\nqrels = "qrels"\n[engines]\nexact = []\n'
        f'[bench]\nrepeat = 1\nks = [1]\n[[variant]]\nname = "one"\nmodel = "{model}"\n'
    )
    monkeypatch.chdir(tmp_path)
    asked = (
        f"rerank r -m {model} --scorer sparse --corpus c.tsv -q q.tsv",
        f"train score --pairs p.jsonl --teacher sparse -m {model}",
        f"train mine --queries q.tsv --qrels qrels --corpus c.tsv --negatives 1 -m {model}",
        "compare s.toml",
    )
    for number, words in enumerate(asked):
        status, _, err = command_line.run(capfd, *words.split(), "-o", f"out{number}")
        assert status == 0, err
