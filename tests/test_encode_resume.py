"""Encodings that are stopped by anything: kills, full and read-only disks, corpora that change."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoints import one_thread, save_checkpoint, write_corpus  # noqa: F401
from soaking import SEED, often
from splade_bridge.data.parts import part_files, read_part
from splade_bridge.data.store import VectorStore
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.parts import CorpusChangedError, files_content
from splade_bridge.encoding.passages import LongOptions
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files import writing as files
from splade_bridge.files.outputs import STORE_MANIFEST
from splade_bridge.files.read_ahead import ReadAhead
from splade_bridge.text.corpora import corpus_files, read_texts

PART_ROWS, TEXTS = 16, 150


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(str(model), "document", EncodeOptions(max_length=32, threads=1))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


def encode(encoder: Encoder, source: Path, out: Path, **options: Any) -> None:
    usual = {"corpus": "corpus", "part_rows": PART_ROWS, "files": corpus_files(str(source))}
    encode_to_store(read_texts(str(source)), encoder, out, **{**usual, **options})


def content(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


def unfinished(store: Path, *parts: int) -> None:
    """Take away the manifest and some parts, as if they had never been written."""
    (store / STORE_MANIFEST).unlink()
    for number in parts:
        part_files(store)[number].unlink()


# ---------------------------------------------------------------- kills


KILLS = often(5, 200)


@pytest.mark.soak
@pytest.mark.long
def test_kills_at_random_moments_change_nothing(model: Path, corpus: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("encode_kills.py")
    folder = tmp_path / "stores"
    folder.mkdir()
    arguments = [str(model), str(corpus), str(folder), str(SEED), str(KILLS)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    killed, finished = map(int, done.stdout.split())
    assert killed == KILLS
    whole = content(folder / "0")
    assert len(whole) == 10 + 3
    for number in range(1, finished + 1):
        assert content(folder / str(number)) == whole
    assert sorted(p.name for p in folder.iterdir()) == sorted(map(str, range(finished + 1)))


@pytest.mark.parametrize("missing", [(0,), (4, 5), (0, 3, 9), tuple(range(10))])
def test_missing_parts_are_made_wherever_they_are(
    encoder: Encoder, corpus: Path, tmp_path: Path, missing: tuple[int, ...]
) -> None:
    out = tmp_path / "v"
    encode(encoder, corpus, out)
    whole = content(out)
    unfinished(out, *missing)
    before = encoder.stats.texts
    encode(encoder, corpus, out)
    assert content(out) == whole
    assert encoder.stats.texts - before == sum(6 if n == 9 else PART_ROWS for n in missing)


# ---------------------------------------------------------------- what may not change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("grown", r"its files were corpus.jsonl \(\d+ bytes, \w+\), and are"),
        ("shrunk", "its files were"),
        ("other end", "its files were"),
        ("renamed", "its files were"),
    ],
)
def test_a_file_that_changed_is_noticed_before_a_text_is_encoded(
    encoder: Encoder, corpus: Path, tmp_path: Path, change: str, named: str
) -> None:
    out = tmp_path / "v"
    encode(encoder, corpus, out)
    unfinished(out, 8, 9)  # what changes lies behind the parts that are left
    before, encoded = content(out), encoder.stats.texts
    lines = corpus.read_text().splitlines()
    if change == "grown":
        corpus.write_text("\n".join([*lines, '{"id": "new", "text": "of"}']))
    elif change == "shrunk":
        corpus.write_text("\n".join(lines[:-3]))
    elif change == "other end":
        corpus.write_text("\n".join([*lines[:-1], lines[-1].replace("the", "his")]) + "\n")
    else:
        corpus = corpus.rename(corpus.with_name("other.jsonl"))
    with pytest.raises(BadInputError, match=rf"corpus is not the one .*{named}.* --overwrite"):
        encode(encoder, corpus, out)
    assert content(out) == before
    assert encoder.stats.texts == encoded


def test_only_the_ends_of_a_large_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as out:
        out.truncate(1 << 34)  # 16 GiB of nothing
    first = files_content([path])
    with path.open("r+b") as out:
        out.seek(-1, os.SEEK_END)
        out.write(b"x")
    assert files_content([path]) != first
    with pytest.raises(BadInputError, match="cannot be read"):
        files_content([tmp_path / "nowhere"])


@pytest.mark.parametrize("change", ["a text in the middle", "fewer", "other order"])
def test_a_stream_that_changed_is_noticed_in_what_was_encoded(
    encoder: Encoder, corpus: Path, tmp_path: Path, change: str
) -> None:
    """With a hole before the change: what was written before it was noticed is taken back."""
    out = tmp_path / "v"
    texts = list(read_texts(str(corpus)))
    encode(encoder, corpus, out, files=())
    unfinished(out, 0, 5)
    before = content(out)
    changed = {
        "a text in the middle": [*texts[:100], texts[100]._replace(text="his"), *texts[101:]],
        "fewer": texts[:100],
        "other order": [*texts[:33], texts[34], texts[33], *texts[35:]],
    }[change]
    with pytest.raises(CorpusChangedError, match="corpus is not the one"):
        encode_to_store(iter(changed), encoder, out, corpus="corpus", part_rows=PART_ROWS)
    assert content(out) == before
    encode(encoder, corpus, out, files=())
    assert VectorStore(out).manifest.counts.documents == TEXTS


def test_texts_moved_from_one_part_to_another_are_noticed(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    """The part itself is what it was; the texts before it are not."""
    out = tmp_path / "v"
    texts = list(read_texts(str(corpus)))
    encode(encoder, corpus, out, files=())
    unfinished(out, *range(9))
    texts[3], texts[50] = texts[50], texts[3]
    with pytest.raises(CorpusChangedError):
        encode_to_store(iter(texts), encoder, out, corpus="corpus", part_rows=PART_ROWS)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"part_rows": 8}, "part_rows: 16 -> 8"),
        ({"corpus": "other"}, "corpus: 'corpus' -> 'other'"),
        ({"long": LongOptions("max")}, "long: 'truncate' -> 'max'"),
    ],
)
def test_changed_options_are_refused(
    encoder: Encoder, corpus: Path, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    out = tmp_path / "v"
    encode(encoder, corpus, out)
    unfinished(out, 9)
    before = content(out)
    with pytest.raises(UsageError, match=rf"other settings \(.*{named}"):
        encode(encoder, corpus, out, **options)
    assert content(out) == before


# ---------------------------------------------------------------- disks


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of ``size``; skips where this process may not mount one."""
    place.mkdir()
    arguments = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_whole_parts_and_can_be_gone_on_with(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    encode(encoder, corpus, tmp_path / "whole")
    with small_disk(tmp_path / "disk", "2m") as disk:
        filler = disk / "filler"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
        filler.write_bytes(bytes(free - 24_000))
        out = disk / "v"
        with pytest.raises(ExternalProgramError, match=r"No space left.*free some space") as caught:
            encode(encoder, corpus, out)
        assert caught.value.exit_code == 6
        there = part_files(out)
        assert 0 < len(there) < 10
        for part in there.values():
            assert sum(map(len, read_part(part, 100))) == PART_ROWS
        assert not list(out.glob(".*")), "half a part is left"
        filler.unlink()
        encode(encoder, corpus, out)
        assert content(out) == content(tmp_path / "whole")


def test_a_disk_too_small_for_anything(encoder: Encoder, corpus: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4k") as disk:
        with pytest.raises(ExternalProgramError, match="No space left"):
            encode(encoder, corpus, disk / "v")
        assert not list(disk.glob("v/part-*"))


def test_a_read_only_disk_keeps_what_it_has(encoder: Encoder, corpus: Path, tmp_path: Path) -> None:
    encode(encoder, corpus, tmp_path / "whole")
    with small_disk(tmp_path / "disk", "2m") as disk:
        out = disk / "v"
        encode(encoder, corpus, out)
        unfinished(out, 4, 9)
        before = content(out)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for folder in (out, disk / "new"):
            with pytest.raises(ExternalProgramError, match="Read-only file system"):
                encode(encoder, corpus, folder)
        assert content(out) == before
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        encode(encoder, corpus, out)
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize("failing", [3, 11, 12, 13])
def test_a_write_that_fails_leaves_whole_files(
    encoder: Encoder, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The sync of the plan, of a part, of the vocabulary and of the manifest, in turn."""
    out, synced, real = tmp_path / "v", [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(handle)
        if len(synced) == failing:
            raise OSError(errno.EIO, "Input/output error")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(ExternalProgramError, match="Input/output error"):
        encode(encoder, corpus, out)
    assert len(part_files(out)) == min(failing - 2, 10)
    assert not (out / STORE_MANIFEST).exists()
    encode(encoder, corpus, out)
    encode(encoder, corpus, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


# ---------------------------------------------------------------- strange input


def test_an_error_of_the_corpus_reaches_the_caller_after_what_came_before(
    encoder: Encoder, corpus: Path, tmp_path: Path
) -> None:
    lines = corpus.read_text().splitlines()
    corpus.write_text("\n".join([*lines[:40], "{", *lines[41:]]))
    with pytest.raises(BadInputError, match=r"corpus.jsonl:41"):
        encode(encoder, corpus, tmp_path / "v")
    assert list(part_files(tmp_path / "v")) == [0, 1]


def test_an_empty_corpus(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(BadInputError, match="no texts in it"):
        encode(encoder, tmp_path / "empty.jsonl", tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_reading_ahead_stops_with_its_reader() -> None:
    made = []

    def endless() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    inner = ReadAhead(endless())
    stream = ReadAhead(inner)
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    stream.close()
    inner.close()  # while the thread of the outer one waits for it
    assert next(stream, None) is None
    assert len(made) < 12
    deadline = time.monotonic() + 10
    while any(t.name == "read-ahead" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_reading_ahead_raises_what_reading_raises() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise BadInputError("torn")

    stream = ReadAhead(failing())
    assert next(stream) == 1
    with pytest.raises(BadInputError, match="torn"):
        next(stream)
    assert next(stream, None) is None
