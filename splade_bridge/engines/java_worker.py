"""A JVM that lives as long as an index is open, and answers requests of many calls (Worker.java).

Each request has a number, so calls of several threads, and searches that are read only in part, go
on beside each other: whoever waits for an answer reads the pipe and keeps what is for others.
"""

from __future__ import annotations

import itertools
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from splade_bridge.data.closing import Closing
from splade_bridge.engines.java import JavaProcess
from splade_bridge.errors import SpladeBridgeError

_REQUEST = struct.Struct("<iqqiB")
_ANSWER = struct.Struct("<iqB")


class JavaWorker(Closing):
    """One JVM with one open index.

    Args:
        folder: of the index.
        class_path: jars of a Lucene that opens it.
        heap: most bytes of the JVM's heap.
        refused: makes the error of a request that failed from the exception's name and message.
        flags: of this JVM alone.

    Raises:
        MissingToolError: Java or a jar is missing.
        SpladeBridgeError: the index cannot be opened; as ``refused`` has it.
    """

    def __init__(
        self,
        folder: Path,
        class_path: Sequence[Path],
        heap: int,
        refused: Callable[[str, str], SpladeBridgeError],
        flags: Sequence[str] = (),
    ) -> None:
        self._refused = refused
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        self._turn = threading.Condition()
        self._reading = False
        self._wanted = {0}
        self._arrived: dict[int, tuple[bool, bytes]] = {}
        self._fault: SpladeBridgeError | None = None
        self._process = JavaProcess(
            "worker", folder,
            class_path=class_path, heap=heap, about=str(folder), flags=flags,
        )  # fmt: skip
        try:
            self.receive(0)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the JVM."""
        return self._process.pid

    @property
    def dead(self) -> bool:
        """Whether every further request fails."""
        return self._fault is not None

    def send(
        self, call: int, threads: int, method: int, content: bytes, *, flush: bool = True
    ) -> int:
        """Ask; returns the number of the request, for :meth:`receive` or :meth:`forget`.

        Args:
            flush: send it now; else it may wait for the next :meth:`flush`.

        Raises:
            ExternalProgramError: the JVM is dead.
        """
        number = next(self._numbers)
        size = _REQUEST.size - 4 + len(content)
        with self._turn:
            self._wanted.add(number)
        try:
            with self._sending:
                requests = self._process.requests
                requests.write(_REQUEST.pack(size, number, call, threads, method) + content)
                if flush:
                    requests.flush()
        except (OSError, ValueError):  # it is dead, or closed
            raise self._broken() from None
        except BaseException:  # half a request may be sent
            self._stop()
            raise
        return number

    def flush(self) -> None:
        """Send what :meth:`send` has kept.

        Raises:
            ExternalProgramError: the JVM is dead.
        """
        try:
            with self._sending:
                self._process.requests.flush()
        except (OSError, ValueError):  # it is dead, or closed
            raise self._broken() from None
        except BaseException:  # half a request may be sent
            self._stop()
            raise

    def receive(self, number: int) -> bytes:
        """Wait for the answer to a request; to be asked for once.

        Raises:
            ExternalProgramError: the JVM is dead.
            SpladeBridgeError: the request failed; as ``refused`` has it.
        """
        while True:
            with self._turn:
                while self._reading and number not in self._arrived and not self._fault:
                    self._turn.wait()
                if number in self._arrived:
                    self._wanted.discard(number)
                    done, content = self._arrived.pop(number)
                    break
                if self._fault:
                    raise self._again()
                self._reading = True
            try:
                self._read_one()
            finally:
                with self._turn:
                    self._reading = False
                    self._turn.notify_all()
        if done:
            return content
        kind, _, message = content.decode().partition(": ")
        raise self._refused(kind, message)

    def forget(self, number: int) -> None:
        """No longer wait for an answer."""
        with self._turn:
            self._wanted.discard(number)
            self._arrived.pop(number, None)

    def _read_one(self) -> None:
        answers = self._process.answers
        try:
            head = answers.read(_ANSWER.size)
            if len(head) < _ANSWER.size:
                raise EOFError
            size, number, failed = _ANSWER.unpack(head)
            size -= _ANSWER.size - 4
            content = answers.read(size)
            if len(content) < size:
                raise EOFError
        except (OSError, ValueError, EOFError):  # it is dead, or closed
            raise self._broken() from None
        except BaseException:  # half an answer may be read
            self._stop()
            raise
        with self._turn:
            if number in self._wanted:
                self._arrived[number] = (not failed, content)

    def _broken(self) -> SpladeBridgeError:
        with self._turn:
            if self._fault is None:
                self._fault = self._process.failure()
            return self._again()

    def _again(self) -> SpladeBridgeError:
        """The fault anew: each thread raises its own."""
        assert self._fault is not None
        return type(self._fault)(str(self._fault))

    def finish(self, patience: float) -> None:
        """Let the JVM end by itself, within so many seconds; nothing may be asked any more.

        Raises:
            ExternalProgramError: it takes longer.
        """
        self._process.finish(patience)

    def close(self) -> None:
        """End the JVM; whoever waits for an answer gets an error."""
        self._stop()
        self._process.close()

    def _stop(self) -> None:
        self._process.kill()
        with self._turn:
            if self._fault is None:
                self._fault = self._process.failure()


class Call(Closing):
    """Requests of one asker, answered in their order; a context manager that forgets the rest.

    Args:
        threads: how many of its requests the JVM works on at once.
    """

    _numbers = itertools.count()

    def __init__(self, worker: JavaWorker, threads: int = 1) -> None:
        self._worker = worker
        self._threads = threads
        self._number = next(Call._numbers)
        self._waiting: deque[int] = deque()
        self._kept = False

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, method: int, content: bytes, *, flush: bool = True) -> None:
        """Ask; without ``flush`` at the latest when an answer is waited for."""
        self._waiting.append(
            self._worker.send(self._number, self._threads, method, content, flush=flush)
        )
        self._kept = not flush

    def receive(self) -> bytes:
        """The answer to the oldest request that none was received for."""
        if self._kept:
            self._worker.flush()
            self._kept = False
        return self._worker.receive(self._waiting.popleft())

    def close(self) -> None:
        """Forget what was not received."""
        while self._waiting:
            self._worker.forget(self._waiting.popleft())
