"""Texts beyond the limit: cut, joined from windows, or split into passages that a search folds."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import numpy as np
import pytest

import command_line
from checkpoints import one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from splade_bridge.data.ids import MAX_TERM_BYTES
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.passages import LongOptions, PartEncoder, joined
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.encoding.tokens import TextTokenizer
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.retrieval.passages import document_of
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import Text, read_texts

LIMIT, ROOM = 12, 10
WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "é", "漢"]
"""Each is one token."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    # One text a batch: then the weights of a window do not depend on its neighbours in rounding.
    options = EncodeOptions(max_length=LIMIT, threads=1, batch_tokens=1)
    return load_encoder(str(model), "document", options)


def texts(lengths: list[int], seed: int = 0) -> list[Text]:
    rng = np.random.default_rng(seed)
    return [Text(f"d{i}", " ".join(rng.choice(WORDS, n)), "") for i, n in enumerate(lengths)]


def stored(encoder: Encoder, given: list[Text], out: Path, long: LongOptions) -> Manifest:
    return encode_to_store(given, encoder, out, corpus="c", long=long, part_rows=4)


def rows(store: Path) -> dict[str, dict[int, float]]:
    return {k: v for batch in VectorStore(store).batches() for k, v in rows_of(batch).items()}


def rows_of(batch: SparseBatch) -> dict[str, dict[int, float]]:
    ends = zip(batch.ids, batch.indptr, batch.indptr[1:], strict=False)
    return {
        doc_id: dict(zip(batch.indices[a:b].tolist(), batch.weights[a:b].tolist(), strict=True))
        for doc_id, a, b in ends
    }


def windows(text: Text, stride: int) -> list[Text]:
    """The oracle: the windows' words as texts of their own."""
    words = text.text.split()
    starts = range(0, max(1, len(words) - ROOM + stride), stride)
    return [
        Text(f"{text.id}#{n}", " ".join(words[start : start + ROOM]), "")
        for n, start in enumerate(starts)
    ]


LENGTHS = [0, 1, 9, 10, 11, 19, 20, 21, 35, 3, 100, 10, 0]


@pytest.mark.sample(1)
@pytest.mark.parametrize("stride", [10, None, 7, 1])
def test_passages_are_windows_as_texts_of_their_own(
    encoder: Encoder, tmp_path: Path, stride: int | None
) -> None:
    given = texts(LENGTHS)
    manifest = stored(encoder, given, tmp_path / "v", LongOptions("passages", stride))
    pieces = [piece for text in given for piece in windows(text, stride or ROOM)]
    wanted = rows_of(encoder.encode_window(pieces))
    assert rows(tmp_path / "v") == wanted
    assert list(rows(tmp_path / "v")) == [p.id for p in pieces]
    covered = {w for p in pieces if p.id.startswith("d10#") for w in p.text.split()}
    assert covered == set(given[10].text.split())
    info = manifest.encoding
    assert info is not None
    assert (info.long, info.stride, info.truncated) == ("passages", stride or ROOM, 0)
    assert manifest.options["split"] == sum(n > ROOM for n in LENGTHS)


@pytest.mark.sample(1)
@pytest.mark.parametrize("stride", [3, None])
def test_the_maximum_over_windows(encoder: Encoder, tmp_path: Path, stride: int | None) -> None:
    given = texts(LENGTHS, seed=1)
    manifest = stored(encoder, given, tmp_path / "v", LongOptions("max", stride))
    found = rows(tmp_path / "v")
    assert list(found) == [t.id for t in given]
    for text in given:
        wanted: dict[int, float] = {}
        for row in rows_of(encoder.encode_window(windows(text, stride or ROOM))).values():
            for term, weight in row.items():
                wanted[term] = max(weight, wanted.get(term, 0.0))
        assert found[text.id] == dict(sorted(wanted.items()))
    assert manifest.counts.documents == len(given)
    assert manifest.counts.empty_ids == ["d0", "d12"]


def test_the_maximum_of_weights_is_the_maximum_of_impacts(encoder: Encoder, tmp_path: Path) -> None:
    given = texts(LENGTHS, seed=2)
    stored(encoder, given, tmp_path / "p", LongOptions("passages"))
    stored(encoder, given, tmp_path / "m", LongOptions("max"))
    folded: dict[tuple[str, int], int] = {}
    for batch in VectorStore(tmp_path / "p").batches():
        impacts = Quantizer(QuantizeOptions())(batch)
        for i, passage in enumerate(impacts.ids):
            for term, impact in zip(*(a.tolist() for a in impacts.row(i)), strict=True):
                key = document_of(passage), term
                folded[key] = max(impact, folded.get(key, 0))
    whole = {}
    for batch in VectorStore(tmp_path / "m").batches():
        impacts = Quantizer(QuantizeOptions())(batch)
        for i, doc_id in enumerate(impacts.ids):
            for term, impact in zip(*(a.tolist() for a in impacts.row(i)), strict=True):
                whole[doc_id, term] = impact
    assert folded == whole


def test_the_first_window_is_what_truncation_leaves(encoder: Encoder, tmp_path: Path) -> None:
    given = texts(LENGTHS, seed=3)
    stored(encoder, given, tmp_path / "p", LongOptions("passages", 4))
    cut = stored(encoder, given, tmp_path / "t", LongOptions())
    windowed = rows(tmp_path / "p")
    for doc_id, row in rows(tmp_path / "t").items():
        assert windowed[f"{doc_id}#0"] == row
    assert cut.encoding is not None
    assert (cut.encoding.long, cut.encoding.stride) == ("truncate", None)
    assert "split" not in cut.options


def test_a_prompt_stands_before_every_window() -> None:
    tokenizer = TextTokenizer(wordpiece_tokenizer(), 12, prompt="it was : ")
    before, after = tokenizer.frame()
    assert (before, after) == (4, 1)
    row = tokenizer.whole(["the of"]).ids[0].tolist()
    blank = tokenizer.whole([""])
    assert blank.ids[0].size == 0
    assert row[:before] == tokenizer.whole(["in"]).ids[0].tolist()[:before]
    assert len(row) == before + 2 + after
    bare = TextTokenizer(wordpiece_tokenizer(), 12, special=False)
    assert bare.frame() == (0, 0)


def test_joining_rows_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        counts = rng.integers(1, 5, rng.integers(1, 9)).tolist()
        dense = np.where(rng.random((sum(counts), 12)) < 0.3, rng.random((sum(counts), 12)), 0)
        dense = dense.astype(np.float32)
        at, columns = np.nonzero(dense)
        batch = SparseBatch(
            [f"r{i}" for i in range(len(dense))],
            np.concatenate([[0], np.cumsum(np.bincount(at, minlength=len(dense)))]),
            columns.astype(np.int32),
            dense[at, columns],
        )
        found = joined(batch, counts, [f"d{i}" for i in range(len(counts))])
        back = np.zeros((len(counts), 12), np.float32)
        owners = np.repeat(np.arange(len(counts)), np.diff(found.indptr))
        back[owners, found.indices] = found.weights
        ends = np.cumsum(counts)
        for i, end in enumerate(ends):
            np.testing.assert_array_equal(back[i], dense[end - counts[i] : end].max(0))


def test_options_that_cannot_be_meant(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--stride is for"):
        PartEncoder(encoder, LongOptions("truncate", 5))
    for stride in (0, ROOM + 1):
        with pytest.raises(UsageError, match=f"a window holds {ROOM} tokens"):
            PartEncoder(encoder, LongOptions("max", stride))
    long_id = Text("x" * (MAX_TERM_BYTES - 1), "the", "corpus:1")
    with pytest.raises(BadInputError, match="corpus:1: an id of 32,767 bytes"):
        stored(encoder, [long_id], tmp_path / "v", LongOptions("passages"))


# ---------------------------------------------------------------- strange texts


MILLION = 1_000_000
STRANGE = {
    "words": "the cat " * (MILLION // 8),
    "word": "a" * MILLION,
    "blanks": " " * MILLION,
    "surrogates": "\ud800" * MILLION,
    "control": "\x00\x01\x1b[31m\r\n\t\x7f" * (MILLION // 44),
    "ideographs": "漢" * (MILLION // 8),
    "joined": "\U0001f600\u200d" * (MILLION // 4),
    "accents": "e\u0301" * (MILLION // 4),
    "punctuation": "#" * (MILLION // 8),
}


@pytest.mark.long
def test_a_million_characters(model: Path, tmp_path: Path) -> None:
    """Texts that take hours where anything is quadratic, and gigabytes where all is kept."""
    wide = load_encoder(str(model), "document", EncodeOptions(max_length=64, threads=1))
    given = [Text(name, text, "") for name, text in STRANGE.items()]
    began = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = encode_to_store(given, wide, tmp_path / "cut", corpus="c")
    assert manifest.counts.empty_ids == ["blanks", "surrogates"]
    assert manifest.options["replaced"] == 1
    windows = encode_to_store(
        given[:2], wide, tmp_path / "max", corpus="c", long=LongOptions("max")
    )
    assert windows.counts.documents == 2
    assert windows.options["split"] == 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_000_000, f"{grown / 1000:.0f} MB more"
    assert time.process_time() - began < 60


def test_lone_surrogates_are_counted_once_a_text(encoder: Encoder, tmp_path: Path) -> None:
    given = [Text("a", "\ud800 the " * 30, ""), Text("b", "the", ""), Text("c", "\udfff", "")]
    for mode in ("truncate", "max", "passages"):
        manifest = stored(encoder, given, tmp_path / mode, LongOptions(mode))  # type: ignore[arg-type]
        assert manifest.options["replaced"] == 2


def test_the_commands_from_text_to_documents(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Score-max over passages, and a warning where there are none."""
    corpus = tmp_path / "corpus.jsonl"
    given = texts([30, 5, 60, 12, 0], seed=5)
    corpus.write_text("".join(json.dumps({"id": t.id, "text": t.text}) + "\n" for t in given))
    (tmp_path / "q.jsonl").write_text('{"id": "q", "vector": {"the": 3, "of": 1, "to": 2}}\n')
    for long in ("passages", "truncate"):
        vectors, index, run = (tmp_path / f"{long}-{what}" for what in ("v", "i", "run"))
        told = ""
        for line in (
            ("encode", corpus, "-o", vectors, "-m", model, "--max-length", LIMIT, "--long", long),
            ("index", vectors, "-o", index, "-e", "exact"),
            ("search", index, "-q", tmp_path / "q.jsonl", "-o", run, "-k", 3, "--max-passage"),
        ):
            status, _, err = command_line.run(capfd, *line)
            assert status == 0, err
            told += err
        assert set(read_run(run)["q"]) <= {t.id for t in given}
        assert ("not encoded with --long passages" in told) == (long == "truncate")
    info = Manifest.load(tmp_path / "passages-i").encoding
    assert info is not None
    assert info.long == "passages"
    status, _, err = command_line.run(capfd, "encode", corpus, "-o", "x", "--long", "cut")
    assert status == 2 and all(way in err for way in ("truncate", "max", "passages"))


def test_passages_of_a_file(encoder: Encoder, tmp_path: Path) -> None:
    """Ids that come twice only after they are cut, and ids with # of their own."""
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "a#0", "text": "the"}\n{"id": "a", "text": "of"}\n')
    stored(encoder, list(read_texts(str(path))), tmp_path / "v", LongOptions("passages"))
    assert list(rows(tmp_path / "v")) == ["a#0#0", "a#0"]
