"""Threads that take work from one queue, each on cores of its own.

torch cuts every operation into equal shares, one a core, and all wait for the last of them. So
whoever shares one core with another program gets half of each: beside one busy neighbour on two
cores an encoding took 2.6 times as long. A thread that computes alone waits for nobody: a slower
one takes less of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from queue import SimpleQueue
from threading import Barrier, BrokenBarrierError, Event, Lock, Thread
from typing import Generic, NamedTuple, TypeVar

import torch

from splade_bridge.files.cores import usable_cores

Item = TypeVar("Item")
Found = TypeVar("Found")

MOST = 16
"""Threads at once: each holds a batch in memory, and needs Python's lock between two operations.
Where there are more cores, each has several."""


def use_cores(threads: int | None = None) -> None:
    """Let torch compute with so many threads on a CPU.

    Args:
        threads: None for torch's own choice, and no more than there are cores for this process.
    """
    if threads is None:
        threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(threads)


def shares_of_cores(most: int | None = None) -> list[int]:
    """How many of torch's threads each of ours has.

    Args:
        most: of ours, which are :data:`MOST` at most.
    """
    cores = torch.get_num_threads()
    count = max(1, min(cores, MOST, cores if most is None else most))
    return [cores // count + (number < cores % count) for number in range(count)]


def in_threads(
    items: Iterator[Item],
    computes: Sequence[Callable[[Item], Found]],
    cores: Sequence[int],
) -> Generator[Found]:
    """What is computed of ``items``, in the order in which it is done.

    When the iterator is closed, or something is raised, the threads end after the item that each is
    at, and that is waited for. Of several errors the one of the earliest item is raised, which is
    the one that a single thread would have met.

    Args:
        items: of which one thread at a time takes the next.
        computes: what each thread calls.
        cores: how many of torch's threads each has.
    """
    work: _Work[Item, Found] = _Work(items, Barrier(len(computes) + 1))
    threads = [
        Thread(target=work.do, args=(compute, own), name="encode")
        for compute, own in zip(computes, cores, strict=True)
    ]
    faults: list[_Fault] = []
    before = torch.get_num_threads()
    try:
        try:
            for thread in threads:
                thread.start()
            work.ready.wait()
        finally:
            # What a thread sets for itself is what threads to come begin with.
            torch.set_num_threads(before)
        running = len(threads)
        while running:
            found = work.done.get()
            if isinstance(found, _Ended):
                running -= 1
            elif isinstance(found, _Fault):
                faults.append(found)
            elif not faults:
                yield found
    finally:
        work.stopped.set()
        work.ready.abort()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if faults:
        raise min(faults, key=lambda fault: fault.number).error


class _Fault(NamedTuple):
    """What went wrong with an item."""

    number: int
    error: BaseException


class _Ended:
    """A thread has."""


class _Work(Generic[Item, Found]):
    """What the threads share."""

    def __init__(self, items: Iterator[Item], ready: Barrier) -> None:
        self._items = items
        self._taking = Lock()
        self._taken = 0
        self.ready = ready
        self.stopped = Event()
        self.done: SimpleQueue[Found | _Fault | _Ended] = SimpleQueue()

    def do(self, compute: Callable[[Item], Found], cores: int) -> None:
        """What one thread does."""
        number = -1
        try:
            torch.get_num_threads()  # sets the thread up, which would undo what was set before
            torch.set_num_threads(cores)
            self.ready.wait()
            while not self.stopped.is_set():
                with self._taking:
                    number = self._taken
                    self._taken += 1
                    item = next(self._items, _Ended())
                if isinstance(item, _Ended):
                    break
                self.done.put(compute(item))
        except BrokenBarrierError:
            pass
        except BaseException as error:
            self.stopped.set()
            self.done.put(_Fault(number, error))
        finally:
            self.done.put(_Ended())
