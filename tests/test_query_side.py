"""What encodes queries: the checkpoint's own query encoder, tokens of weight 1, or a table."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import command_line
from checkpoints import VOCABULARY, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.data.manifest import Manifest, check_fit
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.text.corpora import Text
from test_encode import dense

QUERIES = ["the cat sat", "42 of the mat", "not [SEP] x"]
TABLE = {"the": 0.25, "x": 3.5, "of": 1.5, "42": 9.0, "not": -1.0, "nowhere": 2.0}


def load(folder: Path, side: Any = "query", mode: Any = "model") -> Encoder:
    options = EncodeOptions(checkpoint=ModelChoices(query_mode=mode))
    return load_encoder(str(folder), side, options)


def rows(encoder: Encoder) -> np.ndarray:
    return dense(next(encoder.encode([Text(str(i), t, "") for i, t in enumerate(QUERIES)])))


def tokens_of(text: str) -> list[int]:
    return list(wordpiece_tokenizer()(text, add_special_tokens=False)["input_ids"])


def weighted(weights: dict[str, float] | None) -> np.ndarray:
    """The plain formula: each token of a query, the special ones apart, with its weight."""
    wanted = np.zeros((len(QUERIES), len(VOCABULARY)), np.float32)
    for row, text in enumerate(QUERIES):
        for token in tokens_of(text):
            word = VOCABULARY[token]
            known = word != "[SEP]" if weights is None else max(weights.get(word, 0.0), 0)
            wanted[row, token] = float(known)
    return wanted


def belong_together(documents: Encoder, queries: Encoder) -> None:
    """They fit without a word; another model's do not."""
    infos = documents.info(0), queries.info(0)
    assert infos[0].partner == infos[1].sha256 or infos[1].partner == infos[0].sha256


def bare(info: Any) -> tuple[str, str | None]:
    return info.pooling, info.encoder


@pytest.mark.parametrize("layout", ["model and query", "below model", "model_q"])
def test_naver_s_query_encoder(tmp_path: Path, layout: str) -> None:
    """``model/`` with ``model/query/``, named with or without ``model``; or ``model_q/``."""
    save_checkpoint(tmp_path / "a" / "model", seed=0)
    query = tmp_path / "a" / ("model_q" if layout == "model_q" else "model/query")
    save_checkpoint(query, seed=1)
    folder = tmp_path / "a" / ("model" if layout == "below model" else "")
    encoders = load(folder, "document"), load(folder)
    for encoder, place in zip(encoders, (folder / ".", query), strict=True):
        alone = tmp_path / "a" / "model" if encoder.side == "document" else place
        (tmp_path / "copy").mkdir(exist_ok=True)
        for file in alone.glob("*.*"):
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
        np.testing.assert_array_equal(rows(encoder), rows(load(tmp_path / "copy", encoder.side)))
    assert not np.allclose(rows(encoders[0]), rows(encoders[1]))
    assert bare(encoders[1].info(0)) == ("max", query.relative_to(folder).as_posix())
    assert encoders[0].info(0).encoder == (None if layout == "below model" else "model")
    belong_together(*encoders)
    np.testing.assert_array_equal(rows(load(folder, mode="bow")), weighted(None))


def test_naver_s_document_only_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_checkpoint(tmp_path / "model")
    (folder / "model_args.json").write_text('{"splade_doc": true, "shared_weights": true}')
    caplog.set_level(logging.INFO, "splade_bridge")
    for place in (folder, tmp_path):
        queries = load(place)
        np.testing.assert_array_equal(rows(queries), weighted(None))
        assert queries.info(0).pooling == "bow"
        belong_together(load(place, "document"), queries)
    assert "says splade_doc: queries are their tokens" in caplog.text


def test_naver_s_query_encoder_that_is_missing(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model")
    for saved, message in (
        ({"shared_weights": False}, "shared_weights: is false, and the query encoder, query/, is"),
        ({"dense": True}, "dense: is a model of dense vectors, not SPLADE"),
        ({"splade_doc": 1}, "splade_doc: must be true or false, not 1"),
    ):
        (folder / "model_args.json").write_text(json.dumps(saved))
        with pytest.raises(BadInputError) as error:
            load(folder)
        assert str(error.value).startswith(f"{folder / 'model_args.json'}: {message}")


def test_opensearch_s_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``idf.json`` beside a plain network."""
    folder = save_checkpoint(tmp_path / "model")
    plain = rows(load(folder))
    (folder / "idf.json").write_text(json.dumps(TABLE))
    for mode in ("model", "idf"):
        queries = load(folder, mode=mode)
        np.testing.assert_array_equal(rows(queries), weighted(TABLE))
        assert bare(queries.info(0)) == ("static", "idf.json")
        belong_together(load(folder, "document"), queries)
    np.testing.assert_array_equal(rows(load(folder, "document")), plain)
    np.testing.assert_array_equal(rows(load(folder, mode="bow")), weighted(None))
    assert f"1 of {len(VOCABULARY)} tokens have a weight below zero" in caplog.text
    assert "idf.json: 2 of its tokens are none of the tokenizer's" in caplog.text


def test_a_table_that_there_is_not(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model")
    with pytest.raises(BadInputError, match=r"--query-mode idf: has no weights of tokens \(idf"):
        load(folder, mode="idf")
    (folder / "idf.json").write_text('{"the": "x"}')
    with pytest.raises(BadInputError, match=r"idf\.json: the: must be a number, not 'x'"):
        load(folder)


def test_an_encoder_of_documents_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A router of sentence-transformers without a route for queries."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder.modules import Router, SpladePooling, Transformer

    from test_encode_formats import save

    save_checkpoint(tmp_path / "plain")
    network = Transformer(str(tmp_path / "plain"), transformer_task="fill-mask")
    router = Router({"document": [network, SpladePooling()]})
    save(tmp_path / "model", [router])
    queries = load(tmp_path / "model")
    assert "has an encoder of documents only: each token of a query has weight 1" in caplog.text
    np.testing.assert_array_equal(rows(queries), weighted(None))
    assert queries.info(0).pooling == "bow"
    belong_together(load(tmp_path / "model", "document"), queries)


def test_two_prompts_or_one_that_is_not_read() -> None:
    with pytest.raises(UsageError, match="--prompt and --prompt-name both say"):
        ModelChoices(prompt="a", prompt_name="b")
    for name in ("prompt", "prompt_name"):
        with pytest.raises(UsageError, match=r"has no effect with --query-mode bow"):
            ModelChoices(query_mode="bow", **{name: "a"})  # type: ignore[arg-type]


@pytest.mark.sample(1)
@pytest.mark.parametrize("mode", ["model", "bow", "idf"])
def test_every_command_asks_as_encode_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """search, verify, bench and explain with a model, and with the vectors that encode made."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "model" / "query", seed=1)
    save_checkpoint(tmp_path / "model")
    (tmp_path / "model" / "idf.json").write_text(json.dumps(TABLE))
    texts = [*QUERIES, "by his with of the", ""]
    for name, given in (("c", texts), ("q", QUERIES)):
        lines = (json.dumps({"id": f"{name}{i}", "text": t}) for i, t in enumerate(given))
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def run(words: str) -> Any:
        status, out, err = command_line.run(capfd, *words.split(), "--json")
        assert status == 0, err
        return json.loads(out)

    run("encode c.jsonl -m model -o v")
    run("index v -o exact -e exact")
    how = f"-m model --query-mode {mode}"
    made = run(f"encode q.jsonl --side query {how} -o qv")["encoding"]
    assert (made["pooling"], made["encoder"]) == {
        "model": ("max", "query"), "bow": ("bow", "query"), "idf": ("static", "idf.json"),
    }[mode]  # fmt: skip
    run("search exact -q qv -o pre.run")
    run(f"search exact -q q.jsonl {how} -o now.run")
    assert Path("pre.run").read_text() == Path("now.run").read_text() != ""
    assert run(f"verify exact exact -q q.jsonl {how}")["equal"]
    assert run(f"bench exact -q q.jsonl {how} -k 2 --repeat 1")["encoding_ms"]
    asked = run(f"explain exact q1 c1 -q q.jsonl {how}")
    assert asked == run("explain exact q1 c1 -q qv")
    manifests = [Manifest.load(tmp_path / name) for name in ("v", "qv")]
    check_fit(*manifests, "v")
