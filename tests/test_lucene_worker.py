"""One JVM for an open index: many calls at once, odd names, noise on its stdout, and its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from odd_names import check_in_a_plain_locale
from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines import java_worker, lucene_index
from splade_bridge.engines.base import limit_memory
from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.java import JavaProcess
from splade_bridge.engines.java_worker import Call, JavaWorker
from splade_bridge.engines.lucene import LuceneSearcher
from splade_bridge.engines.lucene_version import Version
from splade_bridge.engines.process import LentPaths
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError

ROOT = Path(__file__).parents[1]
TERMS = [f"t{i}" for i in range(40)]
DOC_IDS = [f"d{i * 7919 % 1000}{'é' if i % 11 == 0 else ''}" for i in range(300)]
DOCUMENTS = random_matrix(1, 300, 40, 0.3, 9)
WEIGHTS = random_matrix(2, 24, 40, 0.3, 9)
BATCH = queries_of(WEIGHTS, TERMS).batch
LONG = BATCH.take(np.tile(np.arange(len(WEIGHTS)), 50))
"""So many answers that no pipe holds them: a JVM killed after the first has not given them all."""

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def index(lucene: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "index"
    engine("lucene").build(MemorySource(DOCUMENTS, DOC_IDS, TERMS), path)
    return path


@pytest.fixture(scope="module")
def shared_searcher(index: Path) -> Iterator[LuceneSearcher]:
    with open_index(index) as searcher:
        assert isinstance(searcher, LuceneSearcher)
        yield searcher


@pytest.fixture
def searcher(index: Path) -> Iterator[LuceneSearcher]:
    """One whose JVM a test may harm."""
    with open_index(index) as searcher:
        assert isinstance(searcher, LuceneSearcher)
        yield searcher


def pid_of(searcher: LuceneSearcher) -> int:
    return searcher.index.worker().pid


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_default_is_the_algorithm_that_is_faster(searcher: LuceneSearcher) -> None:
    """And gives what scoring every document gives."""
    ks = (1, 100, 101, 1000)
    for k in ks:
        default, *every = (
            [(h.query_id, as_pairs(h)) for h in searcher.search(BATCH, k, algorithm=name)]
            for name in (None, *searcher.algorithms)
        )
        assert every == [default] * len(searcher.algorithms)
    for major, wanted in ((9, [True, True, False, False]), (10, [True] * 4)):
        lucene = searcher.index.lucene
        searcher.index.lucene = replace(lucene, version=Version(major, 9))
        found = [searcher.default_algorithm(k) == "block_max_maxscore" for k in ks]
        assert found == wanted


def test_calls_of_many_threads_do_not_mix(shared_searcher: LuceneSearcher) -> None:
    pid = pid_of(shared_searcher)
    expected = {
        (n, k): brute_force(DOCUMENTS, DOC_IDS, WEIGHTS[n], k)
        for n in range(len(WEIGHTS))
        for k in (1, 20, 300)
    }

    def ask(seed: int) -> int:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            n, k = int(rng.integers(len(WEIGHTS))), int(rng.choice([1, 20, 300]))
            algorithm = str(rng.choice(shared_searcher.algorithms))
            (hits,) = shared_searcher.search(BATCH.rows(n, n + 1), k, algorithm=algorithm)
            assert (hits.query_id, as_pairs(hits)) == (f"q{n}", expected[n, k])
            document = int(rng.integers(len(DOC_IDS)))
            asked = rng.integers(0, len(TERMS), 5).tolist()
            impacts = shared_searcher.impacts(DOC_IDS[document], asked)
            assert impacts == DOCUMENTS[document, asked].tolist()
            whole = shared_searcher.search(BATCH, k, threads=2)
            assert [as_pairs(h) for h in whole] == [expected[i, k] for i in range(len(WEIGHTS))]
        return seed

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == list(range(8))
    assert pid_of(shared_searcher) == pid, "all in one JVM"


def test_searches_that_are_left_half_read_disturb_nobody(shared_searcher: LuceneSearcher) -> None:
    expected = [brute_force(DOCUMENTS, DOC_IDS, query, 300) for query in WEIGHTS]
    open_ones = [shared_searcher.search(BATCH, 300, threads=1 + n % 3) for n in range(30)]
    for taken, search in enumerate(open_ones):
        for _ in range(taken % 5 + 1):
            next(search)
    assert [as_pairs(h) for h in shared_searcher.search(BATCH, 300)] == expected
    for taken, search in enumerate(open_ones):
        if taken % 2:
            assert [as_pairs(h) for h in search] == expected[taken % 5 + 1 :]
        else:
            search.close()  # type: ignore[attr-defined]
    worker = shared_searcher.index.worker()
    assert worker._wanted == set() and worker._arrived == {}, "nothing is kept for those that left"
    assert [as_pairs(h) for h in shared_searcher.search(BATCH, 300)] == expected


def test_frequencies_terms_and_stored_fields(
    shared_searcher: LuceneSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = (DOCUMENTS > 0).sum(axis=0)
    assert shared_searcher.document_frequencies().tolist() == counted.tolist()
    monkeypatch.setattr(lucene_index, "TERMS_A_REQUEST", 7)
    assert shared_searcher.document_frequencies().tolist() == counted.tolist()
    matches = (WEIGHTS > 0).astype(int) @ (DOCUMENTS > 0).astype(int).T
    assert shared_searcher.matching_terms(BATCH) == pytest.approx(matches.mean())
    used = sorted(TERMS[i] for i in np.flatnonzero(counted))
    assert list(shared_searcher.index.terms()) == used
    assert shared_searcher.stored(DOC_IDS[11]) == {"id": DOC_IDS[11]}
    assert shared_searcher.stored("nobody") is None


def test_more_terms_than_fit_into_one_answer(lucene: None, tmp_path: Path) -> None:
    terms = [f"{i:06d}-{'ü' * 20}" for i in range(30_000)]  # 1.4 MB
    engine("lucene").build(
        MemorySource(np.ones((1, len(terms)), np.int64), ["d"], terms), tmp_path / "i"
    )
    (tmp_path / "i" / "manifest.json").unlink()  # then the index itself is asked
    with open_index(tmp_path / "i") as searcher:
        assert list(searcher.vocabulary.terms) == terms
        assert searcher.document_frequencies() is not None


def test_a_request_that_fails_harms_no_other(shared_searcher: LuceneSearcher) -> None:
    with Call(shared_searcher.index.worker()) as call:
        call.send(99, b"")
        call.send(lucene_index.STATISTICS, b"")
        call.send(lucene_index.IMPACTS, b"\x09")
        with pytest.raises(ExternalProgramError, match="IOException: unknown method 99"):
            call.receive()
        assert len(call.receive()) == 40
        with pytest.raises(ExternalProgramError, match="BufferUnderflow"):
            call.receive()


def test_a_killed_jvm_is_an_error_and_the_next_call_starts_another(
    searcher: LuceneSearcher,
) -> None:
    search, other = searcher.search(LONG, 300), searcher.search(LONG, 300)
    next(search), next(other)
    pid = pid_of(searcher)
    os.kill(pid, signal.SIGKILL)
    for half_read in (search, other):
        with pytest.raises(ExternalProgramError, match=r"worker .*SIGKILL .*: no message$"):
            list(half_read)
    assert len(list(searcher.search(BATCH, 3))) == len(BATCH)
    assert pid_of(searcher) != pid


def test_a_crash_names_its_signal_and_leaves_no_file(
    searcher: LuceneSearcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = searcher.search(LONG, 300)
    next(search)
    os.kill(pid_of(searcher), signal.SIGSEGV)
    with pytest.raises(ExternalProgramError, match="SIGSEGV"):
        list(search)
    assert list(tmp_path.iterdir()) == []


def test_a_heap_that_is_too_small_is_named(index: Path) -> None:
    class_path = lucene_for_writing().class_path
    with (
        JavaWorker(index, class_path, 48 * MEGABYTE, ExternalProgramError) as worker,
        pytest.raises(
            ExternalProgramError,
            match=r"OutOfMemoryError.* heap of 48 MB; give it more with --memory$",
        ),
    ):
        worker.receive(worker.send(0, 1, lucene_index.TERMS, bytes(100 * MEGABYTE)))


def test_what_java_says_at_its_start_is_no_reason(
    searcher: LuceneSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These print thousands of lines to stdout, and one to stderr.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:+PrintFlagsFinal -Xlog:gc*=debug")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "--add-modules=java.logging")
    found = [as_pairs(h) for h in searcher.search(BATCH, 20)]
    assert found == [brute_force(DOCUMENTS, DOC_IDS, query, 20) for query in WEIGHTS]
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:+UseSerialGC")
    class_path = lucene_for_writing().class_path
    process = JavaProcess("worker", Path("/"), class_path=class_path, heap=MEGABYTE << 8, about="x")
    with process:
        os.kill(process.pid, signal.SIGTERM)
        message = str(process.failure())
    assert "SIGTERM" in message or "status 143" in message
    assert "Picked up" not in message and "WARNING" not in message


def test_closing_wakes_who_waits(searcher: LuceneSearcher) -> None:
    worker = searcher.index.worker()
    os.kill(worker.pid, signal.SIGSTOP)  # never answers
    failed = []

    def wait() -> None:
        with pytest.raises(ExternalProgramError, match="stopped"):
            list(searcher.search(BATCH, 3))
        failed.append(True)

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    time.sleep(0.3)
    worker.close()
    for thread in waiting:
        thread.join(20)
    assert len(failed) == 3


def test_the_jvm_ends_with_its_owner(index: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from splade_bridge.engines.registry import open_index\n"
        "searcher = open_index(Path(sys.argv[1]))\n"
        "print(searcher.index.worker().pid, flush=True)\n"
        "sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.kill()
    owner.communicate()
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_does_not_reach_the_jvm(searcher: LuceneSearcher) -> None:
    assert os.getpgid(pid_of(searcher)) != os.getpgid(0)


def test_an_interrupted_wait_does_not_leave_half_an_answer(
    searcher: LuceneSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searcher.search(BATCH, 300)
    next(search)
    worker = searcher.index.worker()
    read = worker._process.answers.read

    class Interrupted:
        """Ctrl-C after the head of an answer."""

        def read(self, size: int) -> bytes:
            if size != java_worker._ANSWER.size:
                raise KeyboardInterrupt
            return read(size)

    with monkeypatch.context() as patch:
        patch.setattr(worker._process, "answers", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            list(search)
    found = [as_pairs(h) for h in searcher.search(BATCH, 20)]
    assert found == [brute_force(DOCUMENTS, DOC_IDS, query, 20) for query in WEIGHTS]


def test_what_is_no_index_is_refused_by_its_path(lucene: None, tmp_path: Path) -> None:
    (tmp_path / "segments_1").write_bytes(b"no index")
    with pytest.raises(BadInputError, match=str(tmp_path)):
        open_index(tmp_path)


@pytest.mark.long
def test_odd_names_in_a_plain_locale(lucene: None, tmp_path: Path) -> None:
    jars = Path(os.fsdecode(os.fsencode(tmp_path) + b"/jars: \xff"))
    jars.mkdir()
    for jar in lucene_for_writing().class_path:
        (jars / jar.name).symlink_to(jar)
    check_in_a_plain_locale(tmp_path, "lucene", SPLADE_BRIDGE_LUCENE=str(jars))


@pytest.mark.parametrize("name", [b"\xff", b"a:b", "ä".encode(), b"plain"])
def test_a_lent_path_has_a_plain_name_and_is_given_back(tmp_path: Path, name: bytes) -> None:
    file = tmp_path / os.fsdecode(name)
    for make in (file.touch, file.mkdir):
        make()
        with LentPaths() as paths:
            told = paths.name(file)
            assert told.isascii() and ":" not in told
            assert Path(told).samefile(file)
            lent = list(paths.open)
        assert bool(lent) == (name != b"plain")
        for number in lent:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)
        file.rmdir() if file.is_dir() else file.unlink()
    with LentPaths() as paths:
        if name != b"plain":
            with pytest.raises(BadInputError, match="cannot be opened"):
                paths.name(file)


def test_memory_is_the_heap_of_the_jvm(tmp_path: Path) -> None:
    engine("lucene").build(MemorySource(np.array([[1, 2]]), ["d"], ["a", "b"]), tmp_path / "i")
    with open_index(tmp_path / "i") as searcher:
        limit_memory([searcher], 64 << 20)
        assert searcher.impacts("d", [0, 1]) == [1, 2]
        pid = searcher.index.worker().pid
        assert b"-Xmx64m" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        with pytest.raises(UsageError, match="32MiB or more"):
            limit_memory([searcher], 1 << 20)
