"""Processes that a native library lives in, one a thread; what they run is library_server.py."""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from splade_bridge.data.closing import Closing
from splade_bridge.engines import library_server
from splade_bridge.engines.process import LAST_LINES, EngineProcess, LentPaths
from splade_bridge.errors import ExternalProgramError

MOST_AHEAD = 12_000
"""Bytes of a request that may wait in a pipe; pipes hold 16 kB (macOS) or more."""
PATIENCE = 600
"""Seconds that the answer to a query may take: on a damaged index it may never come."""


class LibraryProcess(EngineProcess):
    """One process with one open index.

    Args:
        library: its name, for messages.
        server: the file that knows it; see :mod:`.library_server`.
        folder: of the index.
        opening: the method that is called first, with the name of ``folder`` as the process
            understands it, and its further arguments.
        made_of: what the server's ``Index`` is made of.
        patience: most seconds of a request; 0 for any.
        environment: of the process; None for ours.

    Attributes:
        opened: what the first call gave.

    Raises:
        ExternalProgramError: from any method, when the process died; with the end of its log.
    """

    def __init__(
        self,
        library: str,
        server: str,
        folder: Path,
        opening: tuple[Any, ...],
        *,
        made_of: Sequence[str] = (),
        patience: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._library = library
        self._folder = folder
        self._patience = patience

        def line(requests: int, answers: int) -> list[str]:
            # -P: nothing that lies in the working directory, or beside the file, is imported.
            program = [sys.executable, "-P", library_server.__file__]
            return [*program, str(requests), str(answers), str(patience), server, *made_of]

        with LentPaths() as paths:
            name = paths.name(folder)
            super().__init__(line, lend=paths.open, environment=environment)
        method, *arguments = opening
        try:
            self.opened = self.call(method, name, *arguments)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Send and receive."""
        self.send(method, *arguments)
        return self.receive()

    def send(self, method: str, *arguments: Any) -> None:
        """Ask for a method of the server's ``Index``, or for :func:`.library_server.best`."""
        self.send_request(request(method, *arguments))

    def send_request(self, asked: bytes) -> None:
        """The same, of what :func:`request` gave."""
        try:
            self.requests.write(asked)
            self.requests.flush()
        except (OSError, ValueError):  # it is dead, or closed
            raise self._failure() from None

    def receive(self) -> Any:
        """Wait for the answer to the oldest request."""
        try:
            return pickle.load(self.answers)  # noqa: S301 - of our own process
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            raise self._failure() from None

    def _failure(self) -> ExternalProgramError:
        death = self.death()
        if death.status == -signal.SIGALRM:
            return ExternalProgramError(
                f"{self._folder}: {self._library} did not answer in {self._patience} seconds and "
                "was stopped; is the index damaged? splade-bridge inspect tells"
            )
        said = " | ".join(death.log[-LAST_LINES:]) or "no message"
        return ExternalProgramError(f"{self._folder}: {self._library} {death.how}: {said}")


def request(method: str, *arguments: Any) -> bytes:
    """What asks a process for a method."""
    return pickle.dumps((method, arguments), protocol=pickle.HIGHEST_PROTOCOL)


class LibraryPool(Closing):
    """Processes with the same index, started when they are needed and kept.

    Args:
        start: makes one.
    """

    def __init__(self, start: Callable[[], LibraryProcess]) -> None:
        self._start = start
        self._lock = threading.RLock()  # a search that is collected here gives back, too
        self._all: list[LibraryProcess] = []
        self._idle: list[LibraryProcess] = []

    @contextlib.contextmanager
    def borrowed(self, count: int) -> Iterator[list[LibraryProcess]]:
        """Processes that nobody else asks meanwhile: two searches may run at once, half-read."""
        with self._lock:
            while len(self._idle) < count:
                new = self._start()
                self._all.append(new)
                self._idle.append(new)
            taken = [self._idle.pop() for _ in range(count)]
        try:
            yield taken
        except BaseException:  # answers may be on their way that nobody waits for
            with self._lock:
                self._all = [p for p in self._all if p not in taken]
            for process in taken:
                process.close()
            raise
        with self._lock:
            self._idle += taken

    def call(self, method: str, *arguments: Any) -> Any:
        """The answer of any of them."""
        with self.borrowed(1) as (process,):
            return process.call(method, *arguments)

    def ask(
        self, method: str, questions: Iterable[tuple[Any, ...] | None], threads: int
    ) -> Generator[Any, None, None]:
        """The answer to each question in order; None to None."""
        with self.borrowed(threads) as processes:
            waiting: deque[LibraryProcess | None] = deque()
            for number, question in enumerate(questions):
                if question is None:
                    waiting.append(None)
                    continue
                process = processes[number % len(processes)]
                asked = request(method, *question)
                # One question waits in the pipe while its process is busy, so that neither side
                # idles. One that may not fit into the pipe would block us, and an answer the
                # process.
                ahead = 2 if len(asked) <= MOST_AHEAD else 1
                while sum(busy is process for busy in waiting) >= ahead:
                    yield _answer(waiting)
                process.send_request(asked)
                waiting.append(process)
            while waiting:
                yield _answer(waiting)

    def close(self) -> None:
        """End them."""
        with self._lock:
            processes, self._all, self._idle = self._all, [], []
        for process in processes:
            process.close()


def _answer(waiting: deque[LibraryProcess | None]) -> Any:
    process = waiting.popleft()
    return None if process is None else process.receive()
