"""stdin, stdout and stderr as a command may count on them, whatever the shell did to them.

A stream that the shell closed (``<&-``, ``>&-``) leaves its number to the next file that is opened,
which a child process or a message would then read or write; so the number is taken first. What goes
wrong on stdout is told as an error of ours, wherever in a library it was written; a reader that has
gone (``| head``) ends the program as it ends any other, with 141. What cannot be told on stderr is
dropped: the work is worth more.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from splade_bridge.errors import ExternalProgramError, ReaderGone

STDIN, STDOUT, STDERR = range(3)


class _Stdout(io.FileIO):
    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            raise ReaderGone("whoever read stdout has gone") from None
        except OSError as error:
            raise ExternalProgramError(
                f"stdout: cannot be written ({error.strerror}); what stands there is not all of it"
            ) from error


class _Stderr(io.FileIO):
    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def settle() -> None:
    """Take the numbers of closed streams, and watch stdout and stderr."""
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # Not open for what it is meant for, so that using it is an error and no silence.
            # The lowest free number is the one that is missing. Children inherit it as any other.
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdout = _text(_Stdout(STDOUT, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(STDERR, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """``raw`` as text, encoded as ``before`` was."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors=getattr(before, "errors", None) or "backslashreplace",
        line_buffering=raw.fileno() == STDERR or raw.isatty(),
        write_through=False,
    )


def drop_stdout() -> None:
    """Let Python's last flush go nowhere: it would fail again, with a traceback."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
