"""Commands in processes of their own, which can be killed at any moment and leave none behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from small import hear_sigint
from soak.frame import Finding

PATIENCE = 600.0
"""Seconds that a command may take; all take some seconds, on a machine that does nothing else."""
END = 60.0
"""Seconds that children of a killed command may live on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, a signal as its negative number.
        err: its stderr.
        seconds: that it took.
    """

    code: int
    err: str
    seconds: float

    @property
    def last(self) -> str:
        """The last line of stderr."""
        return self.err.rstrip().rpartition("\n")[2]


class Running:
    """A command that was started, as the leader of a session of its own."""

    def __init__(self, pid: int, log: Path, waiter: Waiter) -> None:
        if pid <= 1:  # to the system a signal to one of these is one to many
            raise RuntimeError(f"no command has the number {pid}")
        self.pid = pid
        self._log = log
        self._waiter = waiter
        self._began = time.monotonic()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole group as a terminal does; nothing if it ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def ended(self, seconds: float) -> bool:
        """Wait so long for its end; whether it came."""
        return self._waiter.wait(seconds) is not None

    def finish(self, what: str) -> Ended:
        """Wait for the end, also of its children.

        Raises:
            Finding: it hangs, or a child lives on.
        """
        code = self._waiter.wait(PATIENCE)
        seconds = time.monotonic() - self._began
        if code is None:
            self.end_all()
            self._waiter.wait(PATIENCE)
            raise Finding(f"{what}: still running after {PATIENCE:.0f} s\n{self._text()}")
        deadline = time.monotonic() + END
        while left := list(members(self.pid)):
            if time.monotonic() > deadline:
                names = [name_of(pid) for pid in left]
                self.end_all()
                raise Finding(f"{what}: ended with {code}, and {END:.0f} s later lived {names}")
            time.sleep(0.02)
        return Ended(code, self._text(), seconds)

    def end_all(self) -> None:
        """Kill it and all its children, which are those of its session."""
        for pid in members(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _text(self) -> str:
        return self._log.read_text(errors="replace")


class Waiter:
    """What knows the exit status of a process."""

    def wait(self, seconds: float) -> int | None:
        """The status once it is known; None if it is not after so many seconds."""
        raise NotImplementedError


class OwnChild(Waiter):
    """A child of this process."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def wait(self, seconds: float) -> int | None:
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def members(session: int) -> Iterator[int]:
    """The processes of a session that live."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, *rest = (place / "stat").read_text().rpartition(")")[2].split()
                if int(rest[2]) == session and state not in "ZX":
                    yield int(place.name)


def name_of(pid: int) -> str:
    """The command line of a process, shortened."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    return f"process {pid}"


def environment(folder: Path) -> dict[str, str]:
    """Of a command: temporary files below ``folder``, nothing from the network."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary), "COLUMNS": "80",
            "SPLADE_BRIDGE_JAVA_CACHE": "off"}  # fmt: skip


def start_fresh(arguments: Sequence[str], work: Path, log: Path, env: Mapping[str, str]) -> Running:
    """A command as a shell starts it, imports included."""
    with open(log, "wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "splade_bridge", *arguments],
            cwd=work,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=hear_sigint,
        )
    return Running(child.pid, log, OwnChild(child))


class Forker(Waiter):
    """A process that has loaded the libraries and forks commands: a moment falls into their work.

    One command at a time.

    Args:
        light: load no more than what needs no torch.
    """

    def __init__(self, *, light: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "soak.forker", *(["light"] if light else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the campaign alone
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._status: int | None = None
        if self._read(PATIENCE) is None:
            raise RuntimeError("the process that forks commands does not start")

    def start(
        self,
        arguments: Sequence[str],
        work: Path,
        log: Path,
        env: Mapping[str, str],
        *,
        largest_file: int | None = None,
    ) -> Running:
        """A command; with ``largest_file`` no file may grow beyond so many bytes."""
        asked = {
            "arguments": list(arguments),
            "work": str(work),
            "log": str(log),
            "environment": {k: v for k, v in env.items() if os.environ.get(k) != v},
            "largest_file": largest_file,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        self._status = None
        pid = self._read(PATIENCE)
        assert pid is not None
        return Running(pid, log, self)

    def wait(self, seconds: float) -> int | None:
        """The status of the command that was started last."""
        if self._status is None:
            self._status = self._read(seconds)
        return self._status

    def _read(self, seconds: float) -> int | None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.raw.readline()  # type: ignore[attr-defined]
        if not line:
            raise RuntimeError("the process that forks commands has ended")
        return int(line)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
