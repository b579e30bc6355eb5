"""Items that a thread makes while the caller works on the ones before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


class ReadAhead(Iterator[T]):
    """The same items, the next one being made by a thread while the caller works.

    What making them raises is raised where the item is wanted. Any thread may close it.
    """

    _LOOK_UP = 0.2
    """Seconds after which a waiting thread looks whether it is still wanted."""

    def __init__(self, items: Iterable[T]) -> None:
        self._made: Queue[tuple[T] | BaseException | None] = Queue(1)
        self._closed = Event()
        Thread(target=self._make, args=(items,), name="read-ahead", daemon=True).start()

    def __next__(self) -> T:
        while not self._closed.is_set():
            with contextlib.suppress(Empty):
                made = self._made.get(timeout=self._LOOK_UP)
                if made is None:
                    break
                if isinstance(made, BaseException):
                    self.close()
                    raise made
                return made[0]
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Let the thread end after the item that it is at."""
        self._closed.set()

    def _make(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                if not self._put((item,)):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, made: tuple[T] | BaseException | None) -> bool:
        while not self._closed.is_set():
            with contextlib.suppress(Full):
                self._made.put(made, timeout=self._LOOK_UP)
                return True
        return False
