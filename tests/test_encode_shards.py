"""Parts dealt out: to shards that are merged, and to processes of one machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import one_thread, save_checkpoint, write_corpus  # noqa: F401
from children import children
from splade_bridge.cli.encode import command as encode_command
from splade_bridge.cli.groups import EncodeFlags
from splade_bridge.cli.merge import command as merge_command
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.data.store import VectorStore
from splade_bridge.encoding.devices import DeviceRunner, parse_devices
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.merge import merge_shards
from splade_bridge.encoding.runner import encode_to_store, fill_store
from splade_bridge.encoding.shards import Shard
from splade_bridge.encoding.worker import EncoderSpec
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    Interrupted,
    MismatchError,
    MissingToolError,
    UsageError,
)
from splade_bridge.files.outputs import STORE_MANIFEST
from splade_bridge.files.own_process import OwnProcess
from splade_bridge.text.corpora import Corpus
from test_encode_resume import PART_ROWS, TEXTS, content, unfinished

OPTIONS = EncodeOptions(max_length=32, threads=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and a corpus."""
    folder = tmp_path_factory.mktemp("shards")
    save_checkpoint(folder / "model")
    write_corpus(folder / "corpus.jsonl", TEXTS)
    return folder


@pytest.fixture(scope="module")
def encoder(place: Path) -> Encoder:
    return load_encoder(str(place / "model"), "document", OPTIONS)


@pytest.fixture(scope="module")
def whole(place: Path, encoder: Encoder) -> Path:
    """The store that one process makes without shards."""
    encode(place, encoder, place / "whole")
    return place / "whole"


def encode(place: Path, encoder: Encoder, out: Path, shard: str | None = None) -> Manifest:
    corpus = place / "corpus.jsonl"
    return encode_to_store(
        Corpus(str(corpus)), encoder, out, corpus="corpus", files=[corpus], part_rows=PART_ROWS,
        shard=Shard.parse(shard) if shard else None,
    )  # fmt: skip


@pytest.fixture
def shards(place: Path, encoder: Encoder, tmp_path: Path) -> list[Path]:
    for i in range(3):
        encode(place, encoder, tmp_path / f"s{i}", f"{i}/3")
    return [tmp_path / f"s{i}" for i in range(3)]


# ---------------------------------------------------------------- shards


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_merged_shards_are_the_store_of_one_process(
    place: Path, encoder: Encoder, whole: Path, tmp_path: Path, count: int
) -> None:
    """Of 12 shards two have no part at all."""
    folders = [tmp_path / f"s{i}" for i in range(count)]
    for i, folder in enumerate(folders):
        manifest = encode(place, encoder, folder, f"{i}/{count}")
        assert list(part_files(folder)) == list(range(i, 10, count))
        assert manifest.kind == "shard"
    merge_shards(folders[::-1], tmp_path / "merged")
    assert content(tmp_path / "merged") == content(whole)
    assert VectorStore(tmp_path / "merged").manifest.counts.documents == TEXTS


def test_a_shard_resumes_and_is_no_vector_store(
    place: Path, encoder: Encoder, shards: list[Path]
) -> None:
    before = content(shards[1])
    unfinished(shards[1], 4)
    with pytest.raises(BadInputError, match="not finished: run its encode command again"):
        merge_shards(shards, shards[0].parent / "merged")
    with pytest.raises(UsageError, match="shard: '1/3' -> '2/3'"):
        encode(place, encoder, shards[1], "2/3")
    encode(place, encoder, shards[1], "1/3")
    assert content(shards[1]) == before
    with pytest.raises(BadInputError, match="holds shard, not vectors; splade-bridge merge"):
        VectorStore(shards[1])


def test_merging_copies_where_it_cannot_link(
    shards: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge_shards(shards, tmp_path / "linked")
    assert (tmp_path / "linked" / "part-00000.parquet").stat().st_nlink > 1

    def refuse(*_: Any) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    merge_shards(shards, tmp_path / "copied")
    assert (tmp_path / "copied" / "part-00000.parquet").stat().st_nlink == 1
    assert content(tmp_path / "linked") == content(tmp_path / "copied") == content(whole)


def edit(file: Path, change: Callable[[Any], object]) -> None:
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("damage", "error", "named"),
    [
        (lambda s: s.pop(), MismatchError, "shards are missing: 2/3"),
        (lambda s: s.append(s[0]), MismatchError, "are both shard 0/3"),
        (
            lambda s: edit(s[1] / "_plan.json", lambda p: p.update(max_length=9)),
            MismatchError,
            "differ in max_length",
        ),
        (
            lambda s: edit(s[1] / "_plan.json", lambda p: p.update(shard="1/4")),
            MismatchError,
            "s0 is shard 0/3, .*s1 is 1/4",
        ),
        (
            lambda s: edit(
                s[1] / STORE_MANIFEST, lambda m: m["options"]["corpus_end"].update(digest="x")
            ),
            MismatchError,
            "read different texts",
        ),
        (
            lambda s: (s[0] / "part-00003.parquet").unlink(),
            BadInputError,
            "part-00003.parquet is missing",
        ),
        (
            lambda s: flip(s[0] / "part-00003.parquet"),
            BadInputError,
            r"s0: part-00003.parquet was changed",
        ),
        (
            lambda s: shutil.copy(s[0] / "part-00003.parquet", s[1] / "part-00010.parquet"),
            BadInputError,
            "part-00010.parquet does not belong to it",
        ),
        (lambda s: (s[2] / "_plan.json").write_text("{"), BadInputError, "damaged"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    shards: list[Path],
    tmp_path: Path,
    damage: Callable[[list[Path]], object],
    error: type[Exception],
    named: str,
) -> None:
    damage(shards)
    with pytest.raises(error, match=named):
        merge_shards(shards, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".*"))


def flip(file: Path) -> None:
    found = bytearray(file.read_bytes())
    found[len(found) // 2] ^= 1
    file.write_bytes(found)


def test_shards_of_a_stream_that_changed_between_them_are_refused(
    place: Path, encoder: Encoder, tmp_path: Path
) -> None:
    """Nobody but the digests can tell: the changed text is in a part of the other shard."""
    texts = list(Corpus(str(place / "corpus.jsonl")))
    for i in range(2):
        encode_to_store(
            iter(texts), encoder, tmp_path / f"s{i}", corpus="-", part_rows=PART_ROWS,
            shard=Shard(i, 2),
        )  # fmt: skip
        texts[20] = texts[20]._replace(text="his")
    with pytest.raises(MismatchError, match="read different texts"):
        merge_shards([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged")


def test_a_finished_store_is_no_shard(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds vectors, not a shard"):
        merge_shards([whole], tmp_path / "merged")
    with pytest.raises(BadInputError, match="no such folder"):
        merge_shards([tmp_path / "nowhere"], tmp_path / "merged")


@pytest.mark.parametrize("text", ["1", "1/", "a/b", "-1/4", "1/4/2", "0/0"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        Shard.parse(text)


def test_shards_count_from_zero() -> None:
    with pytest.raises(UsageError, match="count from 0, so the last of 4 is 3/4"):
        Shard.parse("4/4")
    dealt = [[n for n in range(10) if Shard(i, 4).has(n)] for i in range(4)]
    assert sorted(n for numbers in dealt for n in numbers) == list(range(10))


def test_the_commands(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common: dict[str, Any] = {
        "model": str(place / "model"), "texts": EncodeFlags(part_rows=40), "json": True,
    }  # fmt: skip
    corpus = str(place / "corpus.jsonl")
    encode_command(corpus, tmp_path / "whole", **common)
    for i in range(2):
        encode_command(corpus, tmp_path / f"s{i}", shard=f"{i}/2", **common)
    capfd.readouterr()
    merge_command([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged", json=True)
    assert json.loads(capfd.readouterr().out)["counts"]["documents"] == TEXTS
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    merge_command([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged")  # there already
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    encode_command(
        corpus, tmp_path / "other", **{**common, "texts": EncodeFlags(part_rows=75), "shard": "0/1"}
    )
    with pytest.raises(UsageError, match=r"another plan.*--overwrite"):
        merge_command([tmp_path / "other"], tmp_path / "merged")
    merge_command([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged", overwrite=True)


# ---------------------------------------------------------------- devices


def test_names_of_devices() -> None:
    there = torch.cuda.device_count()
    assert parse_devices("auto") == [f"cuda:{n}" for n in range(there)] or ["cpu"]
    assert parse_devices("cpu") == ["cpu"]
    assert parse_devices("cpu:3") == ["cpu", "cpu", "cpu"]
    for wrong in ("tpu", "cpu:0", "cuda:", "cpu,,cpu", "", "-1", "cpu:x"):
        with pytest.raises(UsageError, match="--devices"):
            parse_devices(wrong)
    for many in (str(there + 1), f"cuda:{there}", "0"):
        with pytest.raises(MissingToolError, match=f"sees {there} CUDA devices"):
            parse_devices(many)


def test_names_of_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert parse_devices("auto") == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert parse_devices("2") == ["cuda:0", "cuda:1"]
    assert parse_devices("cuda:1,cuda:3") == ["cuda:1", "cuda:3"]
    assert parse_devices("cuda") == ["cuda:0"]
    with pytest.raises(UsageError, match="cuda:1 stands there twice"):
        parse_devices("cuda:1,cuda:1")
    with pytest.raises(UsageError, match="name one kind"):
        DeviceRunner(EncoderSpec("m", "document", OPTIONS), ["cpu", "cuda:0"])


def fill(place: Path, runner: DeviceRunner, out: Path, **options: Any) -> Manifest:
    corpus = place / "corpus.jsonl"
    return fill_store(
        runner, Corpus(str(corpus)), out, corpus="corpus", files=[corpus], part_rows=PART_ROWS,
        **options,
    )  # fmt: skip


@pytest.mark.long
def test_two_processes_make_the_store_of_one(place: Path, whole: Path, tmp_path: Path) -> None:
    """Killed first: one of the processes, whose death is an error that can be gone on from."""
    spec = EncoderSpec(str(place / "model"), "document", OPTIONS)
    before = children()
    out = tmp_path / "v"
    with DeviceRunner(spec, parse_devices("cpu:2")) as runner:
        started = sorted(set(children()) - set(before))
        assert len(started) == 2

        def kill_one(texts: int, tokens: int, *_: object) -> None:
            if len(part_files(out)) >= 2 and started:
                os.kill(started.pop(), signal.SIGKILL)

        with pytest.raises(ExternalProgramError, match=r"for cpu \(pid \d+\) was ended by SIGKILL"):
            fill(place, runner, out, progress=kill_one)
        assert children() == before
    kept = part_files(out)
    assert 2 <= len(kept) < 10
    seen: list[int] = []
    with DeviceRunner(spec, parse_devices("cpu:2")) as runner:
        fill(place, runner, out, progress=lambda texts, *_: seen.append(texts))
        assert runner.stats.texts == TEXTS - len(kept) * PART_ROWS
    assert children() == before
    assert sum(seen) == TEXTS
    assert content(out) == content(whole)


@pytest.mark.long
def test_interrupted_processes_end(
    place: Path, whole: Path, encoder: Encoder, tmp_path: Path
) -> None:
    spec = EncoderSpec(str(place / "model"), "document", OPTIONS)
    before = children()
    out = tmp_path / "v"

    def stop(*_: object) -> None:
        if len(part_files(out)) >= 3:
            raise KeyboardInterrupt

    with (
        DeviceRunner(spec, parse_devices("cpu:2")) as runner,
        pytest.raises(Interrupted, match="texts are kept"),
    ):
        fill(place, runner, out, progress=stop)
    assert children() == before
    assert not (out / STORE_MANIFEST).exists()
    encode(place, encoder, out)  # one process goes on where two were
    assert content(out) == content(whole)


@pytest.mark.long
def test_modules_in_the_working_directory_are_not_imported(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "numpy", "splade_bridge"):
        (tmp_path / f"{name}.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    spec = EncoderSpec(str(place / "model"), "document", OPTIONS)
    with DeviceRunner(spec, ["cpu"]) as runner:
        assert runner.provenance.vocabulary


@pytest.mark.long
def test_an_error_in_a_process_is_told(place: Path, tmp_path: Path) -> None:
    before = children()
    with pytest.raises(BadInputError, match="neither a folder nor"):
        DeviceRunner(EncoderSpec("./nowhere", "document", OPTIONS), ["cpu", "cpu"])
    assert children() == before


def test_a_process_ends_when_its_parent_does() -> None:
    process = OwnProcess("splade_bridge.encoding.worker")
    process.connection.close()
    assert process.process.wait(60) == 1
