"""A process that an engine lives in: private pipes to it, a log of what it prints, its death told.

Requests and answers go through two pipes of their own, whose numbers the process is told, so that
nothing that it, its libraries or their start-up print can be taken for an answer: stdout and stderr
are the log. The request pipe ends with us, however we end, and the process must end then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from splade_bridge.data.closing import Closing
from splade_bridge.errors import BadInputError, ExternalProgramError

PATIENCE = 10.0
"""Seconds that a process whose pipe has ended may take to end itself."""

PROC = Path("/proc/self/fd")
LOG_END = 1 << 16
LAST_LINES = 3


class Death(NamedTuple):
    """How a process ended.

    Attributes:
        status: as :class:`subprocess.Popen` has it, a signal as its negative number.
        how: the same in words.
        log: the last lines that it printed, empty ones left out.
    """

    status: int
    how: str
    log: list[str]


class EngineProcess(Closing):
    """A child process with pipes; closing kills it.

    Args:
        command: makes the command line from the numbers of the pipe that it reads requests from
            and of the one that it writes answers to.
        lend: further file descriptors that it may use.

    Attributes:
        requests: to write to.
        answers: to read from.
        pid: of the process.

    Raises:
        ExternalProgramError: it cannot be started.
    """

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        *,
        lend: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._killed = False
        with contextlib.ExitStack() as lent, contextlib.ExitStack() as kept:
            requests, answers = (self._pipe(lent, kept, ours) for ours in ("wb", "rb"))
            self.requests, their_requests = requests
            self.answers, their_answers = answers
            self._log = kept.enter_context(tempfile.TemporaryFile())
            line = command(their_requests, their_answers)
            try:
                self._process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=[their_requests, their_answers, *lend],
                    env=environment,
                    process_group=0,  # Ctrl-C is for us alone, and we end the process
                )
            except OSError as error:
                raise ExternalProgramError(f"{line[0]} cannot be started: {error}") from error
            kept.pop_all()  # closed by close() from now on
        self.pid = self._process.pid

    @staticmethod
    def _pipe(
        lent: contextlib.ExitStack, kept: contextlib.ExitStack, mode: str
    ) -> tuple[BinaryIO, int]:
        """A new pipe: our end, for reading or writing, and the number of the other."""
        read, write = os.pipe()
        ours, theirs = (write, read) if mode == "wb" else (read, write)
        lent.callback(os.close, theirs)
        return kept.enter_context(cast(BinaryIO, open(ours, mode, 1 << 16))), theirs

    def kill(self) -> None:
        """End the process now; whoever reads :attr:`answers` sees their end."""
        self._killed = True
        self._process.kill()

    def wait(self) -> int:
        """Wait for the process to end by itself; its status."""
        return self._process.wait()

    def finish(self, patience: float) -> None:
        """Ask for nothing more, and give the process so many seconds to end by itself.

        Raises:
            ExternalProgramError: it takes longer.
        """
        self.requests.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise ExternalProgramError(f"process {self.pid} does not end") from None

    def death(self) -> Death:
        """How the process ended, which it must have begun to: it is killed if it goes on."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        return Death(status, "was stopped" if self._killed else ended(status), self._log_end())

    def _log_end(self) -> list[str]:
        try:
            size = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, size - LOG_END))
            text = self._log.read().decode(errors="replace")
        except ValueError:  # closed meanwhile
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def close(self) -> None:
        """Kill the process, if it lives, and forget its log."""
        self.kill()
        self._process.wait()
        for file in (self.requests, self.answers, self._log):
            with contextlib.suppress(OSError):  # what was not sent yet cannot be any more
                file.close()


def ended(status: int) -> str:
    """How a process ended, by its status, in words."""
    if status >= 0:
        return f"ended with status {status}"
    by_system = " (by the system, if memory ran out)" if status == -signal.SIGKILL else ""
    return f"was ended by {_signal_name(-status)}{by_system}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def has_plain_name(path: Path) -> bool:
    """Whether any process understands the name of ``path``; see :class:`LentPaths`."""
    raw = os.fsencode(path.absolute())
    return raw.isascii() and b":" not in raw


class LentPaths(Closing):
    """Names for paths that any process understands; close it once the process is started.

    A JVM makes text of names with the charset of its locale, and under LC_ALL=C, or where a name
    is not valid in any, what comes of it opens nothing. So a path with a byte that is not ASCII is
    opened here and lent to the process, which finds it by its number below /proc/self/fd; so is
    one with a colon, which would part a class path. Where there is no /proc (macOS) names are
    UTF-8, for everybody.

    Attributes:
        open: the file descriptors to lend.
    """

    def __init__(self) -> None:
        self.open: list[int] = []

    def name(self, path: Path) -> str:
        """The name of ``path`` for the process.

        Raises:
            BadInputError: there is nothing at ``path``.
        """
        if has_plain_name(path) or not PROC.is_dir():
            return str(path)
        try:
            number = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise BadInputError(f"cannot be opened: {error.strerror}", str(path)) from error
        self.open.append(number)
        return f"{PROC}/{number}{'/.' if path.is_dir() else ''}"  # not the link, what it leads to

    def close(self) -> None:
        """Take back what was lent; the process keeps its own."""
        for number in self.open:
            os.close(number)
        self.open.clear()
