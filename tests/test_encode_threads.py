"""Encoding by several threads: byte for byte what one thread makes, however it ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import save_checkpoint, write_corpus  # noqa: E402
from splade_bridge.data.vectors import SparseBatch  # noqa: E402
from splade_bridge.encoding.batches import WIDTH  # noqa: E402
from splade_bridge.encoding.encoder import (  # noqa: E402
    DTYPES,
    EncodeOptions,
    Encoder,
    load_encoder,
)
from splade_bridge.encoding.packed import PackedBody  # noqa: E402
from splade_bridge.encoding.prepacked import available  # noqa: E402
from splade_bridge.encoding.runner import encode_to_store  # noqa: E402
from splade_bridge.encoding.side import LoadedSide  # noqa: E402
from splade_bridge.errors import BadInputError, Interrupted, UsageError  # noqa: E402
from splade_bridge.text.corpora import Text, read_texts  # noqa: E402

KINDS = ("bert", "distilbert", "roberta", "modernbert", "electra", "deberta")
TEXTS, PART_ROWS = 150, 60
BATCH_TOKENS = 90


@pytest.fixture(autouse=True)
def torchs_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    assert [t for t in threading.enumerate() if t.name == "encode"] == []


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", TEXTS)


def load(folder: Path, threads: int, **options: Any) -> Encoder:
    options = {"max_length": 32, "batch_tokens": BATCH_TOKENS, **options}
    return load_encoder(str(folder), "document", EncodeOptions(threads=threads, **options))


def encode(encoder: Encoder, corpus: Path, out: Path, texts: Any = None) -> None:
    encode_to_store(
        read_texts(str(corpus)) if texts is None else texts,
        encoder, out, corpus="corpus", part_rows=PART_ROWS,
    )  # fmt: skip


def content(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


def together(encoder: Encoder, corpus: Path) -> bytes:
    """All that the rows of a corpus hold, as one window."""
    found = SparseBatch.concat(list(encoder.encode(read_texts(str(corpus)), window=TEXTS)))
    return b"".join(part.tobytes() for part in (found.indptr, found.indices, found.weights))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """Names of the threads that computed, and how many of torch's threads each had."""
    found: dict[str, set[int]] = {}
    plain = LoadedSide.weights

    def weights(self: LoadedSide, *given: Any) -> Any:
        thread = threading.current_thread().name
        found.setdefault(thread, set()).add(torch.get_num_threads())
        return plain(self, *given)

    monkeypatch.setattr(LoadedSide, "weights", weights)
    return found


@pytest.mark.parametrize(
    ("threads", "most", "cores"),
    [(2, 16, {1}), (3, 16, {1}), (5, 16, {1}), (6, 2, {3}), (8, 2, {4})],
)
def test_a_store_has_the_same_bytes(
    checkpoints: dict[str, Path],
    corpus: Path,
    tmp_path: Path,
    threads: int,
    most: int,
    cores: set[int],
    seen: dict[str, set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where each thread has several cores, as on a machine of many."""
    monkeypatch.setattr("splade_bridge.encoding.in_threads.MOST", most)
    encode(load(checkpoints["bert"], 1), corpus, tmp_path / "one")
    assert seen == {"MainThread": {1}}
    seen.clear()
    encode(load(checkpoints["bert"], threads), corpus, tmp_path / "several")
    assert seen == {"encode": cores}
    assert content(tmp_path / "several") == content(tmp_path / "one")
    assert torch.get_num_threads() == threads


@pytest.mark.sample(len(KINDS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_every_kind_of_network_says_the_same(
    checkpoints: dict[str, Path], corpus: Path, kind: str, pooling: Any, seen: dict[str, set[int]]
) -> None:
    """``deberta`` is padded, and its head hands a hidden state on through one of its modules."""
    wanted = together(load(checkpoints[kind], 1, pooling=pooling), corpus)
    seen.clear()
    assert together(load(checkpoints[kind], 4, pooling=pooling), corpus) == wanted
    assert seen == {"encode": {1}}


@pytest.mark.sample(1)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_batches_that_are_cut_by_default(
    checkpoints: dict[str, Path],
    corpus: Path,
    dtype: Any,
    seen: dict[str, set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are cut into pieces, which are smaller towards the end; once they were not."""
    folder = checkpoints["bert"]
    # So few texts are one piece of a network as narrow as this.
    monkeypatch.setattr("splade_bridge.encoding.batches.NARROWEST", WIDTH)
    with monkeypatch.context() as whole:
        whole.setattr("splade_bridge.encoding.masked_lm._together", lambda model: None)
        wanted = together(load(folder, 1, dtype=dtype, batch_tokens=None), corpus)
    seen.clear()
    for threads in (1, 2, 3):
        encoder = load(folder, threads, dtype=dtype, batch_tokens=None)
        assert together(encoder, corpus) == wanted
    if dtype == "int8" or available(DTYPES[dtype]):
        assert seen == {"MainThread": {1}, "encode": {1}}


def test_a_few_texts_have_all_cores(
    checkpoints: dict[str, Path], seen: dict[str, set[int]]
) -> None:
    """As a query does: there is nothing to deal out."""
    encoder = load(checkpoints["bert"], 3)
    list(encoder.encode([Text("q", "the cat", "queries:1")]))
    assert seen == {"MainThread": {3}}


def test_a_thread_has_modules_of_its_own_and_no_weights(checkpoints: dict[str, Path]) -> None:
    for kind in ("modernbert", "deberta"):
        network = load(checkpoints[kind], 1).loaded.network
        assert network is not None
        twin = network.twin()
        assert twin is not None
        ours, theirs = (dict(n.body.model.named_parameters()) for n in (network, twin))  # type: ignore[attr-defined]
        assert ours.keys() == theirs.keys()
        assert all(ours[name] is theirs[name] for name in ours)
        modules = [set(map(id, n.body.model.modules())) for n in (network, twin)]  # type: ignore[attr-defined]
        assert not modules[0] & modules[1]


@dataclass(frozen=True)
class Failing(PackedBody):
    """A body that does something before it computes a batch."""

    before: Callable[[Any, Sequence[int]], None] = lambda ids, lengths: None

    def __call__(self, ids: Any, lengths: Sequence[int]) -> Any:
        self.before(ids, lengths)
        return super().__call__(ids, lengths)


def failing(encoder: Encoder, before: Callable[[Any, Sequence[int]], None]) -> Encoder:
    """Like ``encoder``, with a body that calls ``before``."""
    network = encoder.loaded.network
    assert network is not None
    body = network.body
    assert isinstance(body, PackedBody)
    made = Failing(body.model, body.hidden, body.first_position, before)
    loaded = replace(encoder.loaded, network=replace(network, body=made))
    return Encoder(loaded, encoder.side, encoder.dtype, encoder.batch_tokens)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_is_raised_and_the_store_is_gone_on_with(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path, threads: int
) -> None:
    encode(load(checkpoints["bert"], 1), corpus, tmp_path / "whole")
    counted: list[int] = []

    def torn(ids: Any, lengths: Sequence[int]) -> None:
        counted.extend(lengths)
        if len(counted) > 80:
            raise RuntimeError("torn")

    encoder = load(checkpoints["bert"], threads)
    with pytest.raises(RuntimeError, match="torn"):
        encode(failing(encoder, torn), corpus, tmp_path / "v")
    assert [p.name for p in (tmp_path / "v").glob("part-*")] == ["part-00000.parquet"]
    encode(encoder, corpus, tmp_path / "v")
    assert content(tmp_path / "v") == content(tmp_path / "whole")


@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_in_the_midst(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path, threads: int
) -> None:
    encode(load(checkpoints["bert"], 1), corpus, tmp_path / "whole")
    main, counted, signals = threading.main_thread().ident, [], [signal.SIGINT]
    assert main is not None

    def interrupting(ids: Any, lengths: Sequence[int]) -> None:
        counted.extend(lengths)
        if len(counted) > 80 and signals:
            with contextlib.suppress(IndexError):  # another thread has sent it
                signal.pthread_kill(main, signals.pop())

    encoder = load(checkpoints["bert"], threads)
    with pytest.raises(Interrupted, match="60 texts are kept"):
        encode(failing(encoder, interrupting), corpus, tmp_path / "v")
    encode(encoder, corpus, tmp_path / "v")
    assert content(tmp_path / "v") == content(tmp_path / "whole")


def test_a_corpus_that_stops_in_the_midst(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    def stopping() -> Iterator[Text]:
        for i, text in enumerate(read_texts(str(corpus))):
            if i == 130:
                raise BadInputError("torn")
            yield text

    encoder = load(checkpoints["bert"], 3)
    with pytest.raises(BadInputError, match="torn"):
        encode(encoder, corpus, tmp_path / "v", stopping())
    assert len(list((tmp_path / "v").glob("part-*"))) == 2
    encode(encoder, corpus, tmp_path / "v")
    encode(load(checkpoints["bert"], 1), corpus, tmp_path / "whole")
    assert content(tmp_path / "v") == content(tmp_path / "whole")


def test_weights_that_are_not_finite_name_the_same_text(
    checkpoints: dict[str, Path], corpus: Path
) -> None:
    """Of several such texts that which one thread would meet first."""

    def told(threads: int) -> str:
        encoder = load(checkpoints["bert"], threads)
        network = encoder.loaded.network
        assert network is not None
        plain = network.head

        def head(hidden: Any, lengths: Sequence[int], *more: Any) -> Any:
            weights = plain(hidden, lengths, *more)
            short = torch.tensor([n < 9 for n in lengths])
            weights[short] = torch.nan
            return weights

        loaded = replace(encoder.loaded, network=replace(network, head=head))
        other = Encoder(loaded, "document", encoder.dtype, encoder.batch_tokens)
        with pytest.raises(BadInputError, match="are not finite") as caught:
            together(other, corpus)
        return str(caught.value)

    assert len({told(threads) for threads in (1, 2, 5)}) == 1


def test_memory_that_runs_out_in_several_threads(
    checkpoints: dict[str, Path], corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(ids: Any, lengths: Sequence[int]) -> None:
        if len(ids) > 50:
            raise torch.OutOfMemoryError("out of memory")

    encoder = failing(load(checkpoints["bert"], 3), no_room)
    found = next(encoder.encode(read_texts(str(corpus)), window=TEXTS))
    wanted = next(load(checkpoints["bert"], 1).encode(read_texts(str(corpus)), window=TEXTS))
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=0, atol=1e-5)
    assert "out of memory with a batch of" in caplog.text

    def no_room_at_all(ids: Any, lengths: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(UsageError, match="out of memory with a single text"):
        together(failing(load(checkpoints["bert"], 3), no_room_at_all), corpus)


def test_progress_that_raises_ends_the_threads(checkpoints: dict[str, Path], corpus: Path) -> None:
    def told(texts: int, tokens: int) -> None:
        raise ValueError("seen enough")

    encoder = load(checkpoints["bert"], 3)
    with pytest.raises(ValueError, match="seen enough"):
        list(encoder.encode(read_texts(str(corpus)), window=TEXTS, progress=told))


def test_a_network_that_cannot_be_copied_computes_alone(
    checkpoints: dict[str, Path], corpus: Path, seen: dict[str, set[int]]
) -> None:
    wanted = together(load(checkpoints["bert"], 1), corpus)
    seen.clear()
    encoder = load(checkpoints["bert"], 3)
    network = encoder.loaded.network
    assert network is not None
    network.body.model.lock = threading.Lock()  # type: ignore[attr-defined]
    with contextlib.suppress(AssertionError):  # products of three threads may round differently
        assert together(encoder, corpus) == wanted
    assert seen == {"MainThread": {3}}


@pytest.mark.long
def test_killed_runs_go_on_to_the_same_bytes(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    """SIGKILL at several moments of one encoding by three threads."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    encode_to_store(
        read_texts(str(corpus)), load(checkpoints["bert"], 1), whole, corpus="corpus", part_rows=16
    )
    script = Path(__file__).with_name("encode_killed.py")
    arguments = [str(checkpoints["bert"]), str(corpus), str(out), "3", str(BATCH_TOKENS)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    assert content(out) == content(whole)
