"""Peak resident memory of a process and all its children, by sampling /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from splade_bridge.data.closing import Closing

PR_SET_PDEATHSIG = 1


class PeakMemory(Closing):
    """Samples a process and its descendants ten times a second while the block runs.

    Args:
        pid: of the process; None for this one.

    Attributes:
        private: most bytes held by all of them together that no file stands behind (RssAnon).
        resident: the same with mapped files, which the system may take back at any time.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid or os.getpid()
        self.private = 0
        self.resident = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sample no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            private = resident = 0
            for pid in _family(self._pid):
                status = _status(pid)
                private += status.get("RssAnon", 0)
                resident += status.get("VmRSS", 0)
            self.private = max(self.private, private)
            self.resident = max(self.resident, resident)


class Took(NamedTuple):
    """What a program took.

    Attributes:
        seconds: by the clock; ``processor``: user and system, all threads and children.
        private, resident: bytes; see :class:`PeakMemory`.
        out: what it has printed.
    """

    seconds: float
    processor: float
    private: int
    resident: int
    out: str


def measured(command: Sequence[object], env: Mapping[str, str] | None = None) -> Took:
    """Run a program to its end, and sample its memory; it ends where this process does.

    Raises:
        SystemExit: it failed; with what it has said.
    """
    words = [str(word) for word in command]
    library = ctypes.CDLL(None)
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=said, env=env,
            preexec_fn=lambda: library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )  # fmt: skip
        with PeakMemory(child.pid) as peak:
            assert child.stdout is not None
            out = child.stdout.read().decode()
            _, status, usage = os.wait4(child.pid, 0)  # its JVM is among those that it waited for
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(words)}: {said.read().decode()}")
    return Took(seconds, usage.ru_utime + usage.ru_stime, peak.private, peak.resident, out)


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {k: int(v.split()[0]) * 1024 for k, v in pairs if v.strip().endswith("kB")}
