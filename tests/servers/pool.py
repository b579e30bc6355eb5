"""The servers of one run of tests: shared by its processes, few JVMs at once.

A server is a folder below that of the run. While a test uses one, its process holds a lock on the
file NAME.use, shared or exclusive; whoever starts or stops a server holds the lock of the run, and
stops only what nobody uses. A server that was stopped to make room keeps its port and what it
holds, and is started again for the next test that names it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from servers.kinds import KINDS
from servers.server import Server
from splade_bridge.errors import ExternalProgramError, MissingToolError

MOST_JAVA = 2
"""JVMs that run at once, each of 200 to 350 MB with some thousand documents."""
WAIT = 900.0
"""Seconds after which a test no longer waits for others to end."""
PAUSE = 0.2


class Pool:
    """Servers in ``folder``, which end with the process ``owner``."""

    def __init__(self, folder: Path, owner: int) -> None:
        self.folder = folder
        self.owner = owner

    def server(self, name: str) -> Server:
        """The handle of a server, whether it runs or not."""
        return Server(name, self.folder / name, self.owner)

    @contextlib.contextmanager
    def use(self, names: Sequence[str], alone: bool = False) -> Iterator[None]:
        """Within the block the servers run, and nobody stops them to make room.

        Args:
            alone: no other test uses them meanwhile.

        Raises:
            ExternalProgramError: one does not start, now or earlier in this run.
            pytest.skip.Exception: one cannot be had on this machine.
        """
        end = time.monotonic() + WAIT
        while True:
            with contextlib.ExitStack() as used, self._locked("run", fcntl.LOCK_EX):
                if self._take(names, alone, used) and self._make_room(
                    names, at_any_rate=time.monotonic() > end
                ):
                    for name in names:
                        self._start(name)
                    yield_now = used.pop_all()
                else:
                    yield_now = None
            if yield_now is not None:
                break
            if time.monotonic() > end + WAIT:
                raise ExternalProgramError(f"other tests use {', '.join(names)} all the time")
            time.sleep(PAUSE)
        with yield_now:
            yield

    def close(self) -> None:
        """Stop all servers and remove what they hold."""
        for name in KINDS:
            if (self.folder / name).is_dir():
                self.server(name).close()

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        """Hold the lock of a file.

        Raises:
            BlockingIOError: another has it, and ``how`` says not to wait.
        """
        handle = os.open(self.folder / f"{name}.use", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)

    def _take(self, names: Sequence[str], alone: bool, used: contextlib.ExitStack) -> bool:
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        for name in names:
            try:
                used.enter_context(self._locked(name, how | fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            os.utime(self.folder / f"{name}.use")
        return True

    def _make_room(self, names: Sequence[str], *, at_any_rate: bool) -> bool:
        """Stop the JVMs unused longest, so that those of ``names`` may start."""
        java = [name for name, kind in KINDS.items() if kind.is_java]
        running = {n for n in java if (self.folder / n).is_dir() and self.server(n).is_running()}
        wanted = {name for name in names if name in java}
        others = sorted(
            running - wanted, key=lambda name: (self.folder / f"{name}.use").stat().st_mtime
        )
        if wanted <= running:
            return True
        excess = len(others) + len(wanted) - max(MOST_JAVA, len(wanted))
        for name in others:
            if excess <= 0:
                break
            unused = self._locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(BlockingIOError), unused:
                self.server(name).stop()
                excess -= 1
        return excess <= 0 or at_any_rate

    def _start(self, name: str) -> None:
        """Start a server if it does not run; what went wrong once is not tried again."""
        missing, failed = (self.folder / f"{name}.{why}" for why in ("missing", "failed"))
        if missing.exists():
            pytest.skip(missing.read_text())
        if failed.exists():
            raise ExternalProgramError(failed.read_text())
        server = self.server(name)
        try:
            server.start()
        except MissingToolError as error:
            server.close()
            missing.write_text(str(error))
            pytest.skip(str(error))
        except ExternalProgramError as error:
            failed.write_text(f"earlier in this run: {error}")
            raise
