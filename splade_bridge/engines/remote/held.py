"""Files and folders that one process at a time may have open: shared within it, told otherwise."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

LOCKS = Path("/proc/locks")
_open: WeakValueDictionary[Path, object] = WeakValueDictionary()
_guard = threading.Lock()


def shared(path: Path, opened: Callable[[Path], T]) -> T:
    """What is open at ``path`` in this process, or else what ``opened`` gives for it.

    It ends with the last who holds it: whatever holds a file must let go of it when it is deleted.
    """
    place = path.resolve()
    with _guard:
        found = _open.get(place)
        if found is None:
            _open[place] = found = opened(place)
        return found  # type: ignore[return-value]


def holder(paths: Iterable[Path]) -> str | None:
    """Another process that holds a lock on one of these files, for a message.

    None where there is none, or this system does not say (it has no ``/proc/locks``).
    """
    files = set()
    for path in paths:
        try:
            told = path.stat()
        except OSError:
            continue
        device = f"{os.major(told.st_dev):02x}:{os.minor(told.st_dev):02x}"
        files.add(f"{device}:{told.st_ino}")
    try:
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # "1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF"; who waits has "->" behind the number.
        words = line.split()
        if len(words) == 8 and words[5] in files and int(words[4]) not in (0, -1, os.getpid()):
            return f"process {words[4]}{_command(int(words[4]))}"
    return None


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    # The program and its command, as `python -m splade_bridge index`; no further arguments.
    shown = " ".join(os.fsdecode(word) for word in words[:4] if word)
    return f" ({shown[:100]})" if shown else ""


def running(program: str, file: Path) -> bool:
    """Whether a program of this name, which this process did not start, was started for a file.

    False where this system does not say.
    """
    wanted = os.fsencode(file)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in words[1:] and Path(os.fsdecode(words[0])).name == program:
            return True
    return False
