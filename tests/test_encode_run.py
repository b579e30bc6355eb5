"""Corpora into vector stores: killed, resumed, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from checkpoints import one_thread, save_checkpoint, write_corpus  # noqa: F401
from splade_bridge.cli.encode import command
from splade_bridge.cli.groups import EncodeFlags, ModelFlags
from splade_bridge.data.store import VectorStore
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.encoding.shards import Shard
from splade_bridge.errors import BadInputError, Interrupted, UsageError
from splade_bridge.files.outputs import STORE_MANIFEST
from splade_bridge.text.corpora import Text, read_texts

PART_ROWS = 16
TEXTS = 150


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


@pytest.fixture
def encoder(model: Path) -> Encoder:
    return load_encoder(str(model), "document", EncodeOptions(max_length=32, device="cpu"))


def encode(encoder: Encoder, corpus: Path, out: Path, **options: object) -> None:
    encode_to_store(
        read_texts(str(corpus)), encoder, out, corpus="corpus", part_rows=PART_ROWS, **options  # type: ignore[arg-type]
    )  # fmt: skip


def content(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


def stopping(corpus: Path, after: int, error: BaseException) -> Iterator[Text]:
    for i, text in enumerate(read_texts(str(corpus))):
        if i == after:
            raise error
        yield text


def test_the_store_holds_what_the_encoder_says(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    encode(encoder, corpus, tmp_path / "v")
    store = VectorStore(tmp_path / "v")
    batches = list(store.batches(rows=PART_ROWS))
    wanted = list(encoder.encode(read_texts(str(corpus)), window=PART_ROWS))
    for found, batch in zip(batches, wanted, strict=True):
        assert found.ids == batch.ids
        np.testing.assert_array_equal(found.indices, batch.indices)
        np.testing.assert_array_equal(found.weights, batch.weights)
    assert store.manifest.counts.documents == TEXTS
    assert store.manifest.counts.empty > 0
    info = store.manifest.encoding
    assert info is not None
    assert (info.side, info.pooling, info.dtype, info.max_length) == (
        "document", "max", "float32", 32,
    )  # fmt: skip
    assert 0 < info.truncated < TEXTS
    assert info.truncated * 2 == encoder.stats.truncated  # encoded twice here


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_bytes(
    model: Path, encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    """SIGKILL at several moments of one encoding, each time with the same command."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    encode(encoder, corpus, whole)
    script = Path(__file__).with_name("encode_killed.py")
    arguments = [sys.executable, str(script), str(model), str(corpus), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    assert content(out) == content(whole)


def begun(
    encoder: Encoder,
    corpus: Path,
    out: Path,
    error: BaseException = BadInputError("stop"),
    seen: type[Exception] = BadInputError,
    told: str = "stop",
) -> None:
    """An encoding that stopped after 40 texts."""
    with pytest.raises(seen, match=told):
        encode_to_store(
            stopping(corpus, 40, error), encoder, out, corpus="corpus", part_rows=PART_ROWS
        )


@pytest.mark.parametrize("missing", ["_manifest.json", "last part"])
def test_what_a_kill_at_the_end_leaves(
    encoder: Encoder, corpus: Path, tmp_path: Path, missing: str
) -> None:
    out = tmp_path / "v"
    encode(encoder, corpus, out)
    whole = content(out)
    (out / STORE_MANIFEST).unlink()
    if missing == "last part":
        last = sorted(out.glob("part-*"))[-1]
        last.rename(last.with_name(f".{last.name}.partial-1"))
    encode(encoder, corpus, out)
    assert content(out) == whole


def test_an_interrupted_run_says_what_is_kept(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v"
    begun(encoder, corpus, out, KeyboardInterrupt(), Interrupted, "32 texts are kept")
    seen: list[tuple[int, int]] = []
    encode(encoder, corpus, out, progress=lambda *step: seen.append(step))
    assert seen[0] == (32, 0)
    assert sum(n for n, _ in seen) == TEXTS


@pytest.mark.parametrize("change", ["text", "id", "shorter", "swapped"])
def test_a_changed_corpus_is_refused(
    encoder: Encoder, corpus: Path, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "v"
    begun(encoder, corpus, out)
    before = content(out)
    lines = corpus.read_text().splitlines()
    lines = {
        "text": [*lines[:20], lines[20].replace('"text": "', '"text": "of '), *lines[21:]],
        "id": [lines[0].replace("d0", "d_0"), *lines[1:]],
        "shorter": lines[:20],
        "swapped": [lines[1], lines[0], *lines[2:]],
    }[change]
    corpus.write_text("\n".join(lines))
    with pytest.raises(BadInputError, match=r"corpus is not the one .* --overwrite"):
        encode(encoder, corpus, out)
    assert content(out) == before
    encode(encoder, corpus, out, overwrite=True)
    assert VectorStore(out).manifest.counts.documents == len(lines)


def test_changed_settings_are_refused(
    model: Path, encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v"
    begun(encoder, corpus, out)
    other = load_encoder(
        str(model), "document", EncodeOptions(max_length=16, pooling="sum", device="cpu")
    )
    with pytest.raises(UsageError, match=r"max_length: 32 -> 16, pooling: 'max' -> 'sum'"):
        encode(other, corpus, out)
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    touched = load_encoder(str(model), "document", EncodeOptions(max_length=32, device="cpu"))
    with pytest.raises(UsageError, match="settings_sha256"):
        encode(touched, corpus, out)


def test_a_finished_store_is_kept(encoder: Encoder, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    encode(encoder, corpus, out)
    before = content(out)
    encode(encoder, corpus, out)  # there already
    assert content(out) == before
    with pytest.raises(UsageError, match=r"another plan \(shard.*--overwrite"):
        encode(encoder, corpus, out, shard=Shard(0, 1))
    with pytest.raises(BadInputError, match="no such file"):
        encode(encoder, tmp_path / "nowhere.jsonl", out, overwrite=True)
    assert content(out) == before


def test_nothing_is_left_before_the_first_part(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v"
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadInputError, match="no texts in it"):
        encode(encoder, tmp_path / "empty.jsonl", out)
    with pytest.raises(BadInputError, match="stop"):
        encode_to_store(
            stopping(corpus, 9, BadInputError("stop")), encoder, out, corpus="corpus",
            part_rows=PART_ROWS,
        )  # fmt: skip
    with pytest.raises(Interrupted, match="nothing was written"):
        encode_to_store(
            stopping(corpus, 9, KeyboardInterrupt()), encoder, out, corpus="corpus",
            part_rows=PART_ROWS,
        )  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.jsonl", "empty.jsonl"]


def test_warnings_name_what_was_lost(
    encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [Text("a", "the " * 99, ""), Text("b", " ", ""), Text("c", "\udfff of", "")]
    manifest = encode_to_store(texts, encoder, tmp_path / "v", corpus="corpus")
    assert manifest.encoding is not None
    assert manifest.encoding.truncated == 1
    assert manifest.counts.empty_ids == ["b"]
    said = " ".join(caplog.messages)
    assert "1 of 3 texts are longer than 32 tokens" in said
    assert "1 of 3 texts have no terms: b" in said
    assert "1 texts held lone surrogates" in said


def test_the_command(
    model: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v"
    command(str(corpus), out, document_model=str(model), json=True)
    said = json.loads(capfd.readouterr().out)
    assert said["counts"]["documents"] == TEXTS
    assert said["tokens_per_second"] > 0
    with pytest.raises(UsageError, match="--overwrite"):
        command(str(corpus), out, model=str(model), max_length=17)
    with pytest.raises(UsageError, match="no model"):
        command(str(corpus), out, query_model=str(model), texts=EncodeFlags(overwrite=True))
    command(
        str(corpus), out, query_model=str(model), side="query", texts=EncodeFlags(overwrite=True)
    )
    assert capfd.readouterr().out == ""
    unknown = ModelFlags(query_mode="x")  # type: ignore[arg-type]
    for option in (
        {"side": "both"},
        {"pooling": "mean"},
        {"dtype": "int"},
        {"checkpoint": unknown},
    ):
        with pytest.raises(UsageError):
            command(str(corpus), tmp_path / "w", model=str(model), **option)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="auto or a number"):
        command(str(corpus), tmp_path / "w", model=str(model), batch_tokens="many")
    assert not (tmp_path / "w").exists()
