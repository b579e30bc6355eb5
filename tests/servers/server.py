"""One server that runs, or ran, in a folder of its own: started, stopped, killed, asked."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from servers.kinds import HOST, KINDS, Kind
from splade_bridge.errors import ExternalProgramError, MissingToolError

START = 180.0
"""Seconds that a server may take until it answers; 4 to 12 are usual, more on a busy machine."""
STOP = 60.0
TRIES = 3
LOG_END = 4000
GUARD = Path(__file__).with_name("guard.py")
PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients, which could take the port of a stopped server."""

_GUARDS: dict[int, subprocess.Popen[bytes]] = {}
"""The guards that this process started, for whatever handle."""


class Server:
    """A server of one kind on loopback, its data, ports and log in one folder.

    The folder is all its state, so that several processes may hold the same server.

    Args:
        name: of :data:`servers.kinds.KINDS`.
        folder: where it lives; a new one below the system's folder for temporary files if None.
        owner: the process with whose end the server and its folder end; 0 for none.

    Attributes:
        host: 127.0.0.1.
        port: of its clients.
        url: of its clients.
    """

    host = HOST

    def __init__(self, name: str, folder: Path | None = None, owner: int | None = None) -> None:
        self.name = name
        self.kind: Kind = KINDS[name]
        self.owner = os.getpid() if owner is None else owner
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"splade-bridge-{name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def ports(self) -> tuple[int, int]:
        """That of clients, and one that only some kinds use; the same after a restart."""
        file = self.folder / "ports"
        if not file.exists():
            file.write_text(json.dumps(_free_ports()))
        one, other = json.loads(file.read_text())
        return one, other

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def url(self) -> str:
        return self.kind.url(self.port)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> Server:
        """Start it, unless it runs, and wait until it answers; what it held is there again.

        Raises:
            MissingToolError: Java, a package or an artifact cannot be had here.
            ExternalProgramError: it ended, or does not answer.
        """
        if self.is_running():
            return self
        if sys.platform != "linux":
            raise MissingToolError("the guard of a server needs Linux")
        is_new = not (self.folder / "ports").exists()
        for tries in reversed(range(TRIES)):
            command = self.kind.command(self.folder, *self.ports)
            user = self._other_user() if self.kind.refuses_root and os.geteuid() == 0 else "-"
            with self.log.open("ab") as log:
                guard = subprocess.Popen(
                    [sys.executable, "-I", GUARD, str(self.owner), user,
                     str(int(self.kind.stop_signal)), self.folder, *command],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env=self.kind.environment(),
                )  # fmt: skip
            _GUARDS[guard.pid] = guard
            if self._answers(guard):
                return self
            if guard.poll() is None:
                self.kill()
                break
            if not (is_new and tries):
                break
            (self.folder / "ports").unlink()  # one may have been taken meanwhile
        raise ExternalProgramError(f"{self.name} does not answer; its log ends\n{self.log_end()}")

    def _other_user(self) -> str:
        """The number of the user nobody, whose all that was made for this server becomes."""
        nobody = pwd.getpwnam("nobody").pw_uid
        self.folder.chmod(0o711)
        for path in (self.folder / "home", *(self.folder / "home").rglob("*")):
            if path.is_dir() or path.lstat().st_nlink == 1:  # others are those of the layout
                os.lchown(path, nobody, nobody)
        return str(nobody)

    def _answers(self, guard: subprocess.Popen[bytes]) -> bool:
        end = time.monotonic() + START
        while time.monotonic() < end and guard.poll() is None:
            if self.kind.answers(self.port):
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """Stop it, if it runs; what it holds stays for the next start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a failure of its machine does."""
        self._end(signal.SIGINT)

    def restart(self) -> Server:
        """Stop it and start it again, at the same port, with what it holds."""
        self.stop()
        return self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block it takes connections and answers nothing."""
        running = self._running()
        assert running is not None, f"{self.name} does not run"
        os.killpg(running[1], signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(running[1], signal.SIGCONT)

    def close(self) -> None:
        """Stop it, if it runs, and remove all that it holds."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_running(self) -> bool:
        return self._running() is not None

    def log_end(self) -> str:
        """The last lines of what it printed."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")[-LOG_END:]
        return ""

    def _running(self) -> tuple[int, int] | None:
        """The processes of the guard and of the server."""
        try:
            with (self.folder / "alive").open() as alive:
                try:
                    fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    guard, server = alive.read().split() or (0, 0)
                    return (int(guard), int(server)) if guard else None
        except FileNotFoundError:
            pass
        return None

    def _end(self, number: signal.Signals) -> None:
        running = self._running()
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                guard = os.pidfd_open(running[0])
                try:
                    if self._running() == running:  # so the number is still that of the guard
                        signal.pidfd_send_signal(guard, number)
                        if not select.select([guard], [], [], STOP)[0]:
                            raise ExternalProgramError(f"{self.name} does not end")
                finally:
                    os.close(guard)
            _reap()


def _reap() -> None:
    """Forget the guards of this process that have ended."""
    for number, guard in list(_GUARDS.items()):
        if guard.poll() is not None:
            del _GUARDS[number]


def _free_ports() -> tuple[int, int]:
    found: list[int] = []
    for port in random.Random().sample(PORTS, len(PORTS)):
        with socket.socket() as tried:
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == 2:
            return found[0], found[1]
    raise ExternalProgramError("there is no free port")
