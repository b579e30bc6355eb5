"""Threads that take work from one queue: what is computed, what is raised, and their end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from splade_bridge.encoding.in_threads import in_threads, shares_of_cores, use_cores  # noqa: E402


def doubled(item: int) -> int:
    return 2 * item


def running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "encode"]


@pytest.fixture(autouse=True)
def torchs_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert running() == []
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("items", [0, 1, 3, 100])
def test_everything_is_computed_once(threads: int, items: int) -> None:
    found = list(in_threads(iter(range(items)), [doubled] * threads, [1] * threads))
    assert sorted(found) == list(range(0, 2 * items, 2))


def test_each_thread_has_its_own_number_of_torchs_threads() -> None:
    """And neither the caller's nor that of threads to come is another one afterwards."""
    torch.set_num_threads(3)
    met = threading.Barrier(2)

    def counted(item: int) -> int:
        met.wait()
        return torch.get_num_threads()

    assert sorted(in_threads(iter(range(2)), [counted] * 2, [1, 2])) == [1, 2]
    assert torch.get_num_threads() == 3
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]


def test_work_goes_to_whoever_is_free() -> None:
    """One thread is held up by its first item until the other one has done all others."""
    begun, others = threading.Event(), threading.Semaphore(0)
    taken: dict[str, int] = {"held up": 0, "free": 0}

    def held_up(item: int) -> int:
        taken["held up"] += 1
        begun.set()
        for _ in range(9):
            assert others.acquire(timeout=10)
        return item

    def free(item: int) -> int:
        assert begun.wait(timeout=10)
        taken["free"] += 1
        others.release()
        return item

    assert sorted(in_threads(iter(range(10)), [held_up, free], [1, 1])) == list(range(10))
    assert taken == {"held up": 1, "free": 9}


def test_the_error_is_that_of_the_earliest_item() -> None:
    both = threading.Barrier(2)

    def failing(item: int) -> int:
        both.wait()
        if item == 0:
            time.sleep(0.05)  # so that the other one is told first
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(in_threads(iter(range(10)), [failing] * 2, [1, 1]))


def test_after_an_error_nothing_more_is_begun() -> None:
    begun = []

    def failing(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise MemoryError
        return item

    with pytest.raises(MemoryError):
        list(in_threads(iter(range(10_000)), [failing] * 2, [1, 1]))
    assert len(begun) < 10_000


def test_an_error_of_what_is_taken_is_raised() -> None:
    def torn() -> Iterator[int]:
        yield 1
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        list(in_threads(torn(), [doubled] * 2, [1, 1]))


def test_a_reader_that_stops_ends_the_threads() -> None:
    begun = []

    def noted(item: int) -> int:
        begun.append(item)
        time.sleep(0.001)
        return item

    stream = in_threads(iter(range(10**9)), [noted] * 2, [1, 1])
    next(stream)
    assert running() == ["encode"] * 2
    stream.close()
    assert running() == []
    assert len(begun) < 1000


def test_ctrl_c_ends_the_threads() -> None:
    """It comes while all wait for a thread's result."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupting(item: int) -> int:
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.2)
        return item

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(iter(range(10**9)), [interrupting] * 2, [1, 1]))


@pytest.mark.parametrize(
    ("cores", "most", "wanted"),
    [
        (1, 9, [1]),
        (2, 9, [1, 1]),
        (2, 1, [2]),
        (2, 0, [2]),
        (3, 2, [2, 1]),
        (35, 16, [3] * 3 + [2] * 13),
    ],
)
def test_cores_are_dealt_out(cores: int, most: int, wanted: list[int]) -> None:
    torch.set_num_threads(cores)
    assert shares_of_cores(most) == wanted


def test_no_more_cores_are_used_than_this_process_has(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    monkeypatch.setattr("splade_bridge.encoding.in_threads.usable_cores", lambda: 2)
    use_cores()
    assert torch.get_num_threads() == 2
    use_cores(7)  # as it was asked for
    assert torch.get_num_threads() == 7
    use_cores()
    assert torch.get_num_threads() == 2
