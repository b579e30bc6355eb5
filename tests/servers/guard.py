"""Runs one server and ends it: when told to, or when the process that it belongs to has ended.

    python -I guard.py OWNER USER SIGNAL FOLDER COMMAND...

OWNER is a process id, or 0 for none; USER the number of the user to run as, or - for ours; SIGNAL
the number of that which stops this server. The guard holds the lock FOLDER/alive as long as the
server runs, and writes both process ids into it. SIGTERM stops the server, SIGINT kills it; the
end of the owner stops it and removes FOLDER. If the guard itself is killed, the kernel kills the
server.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 20.0
"""Seconds that a server may take to stop before it is killed."""
PR_SET_PDEATHSIG = 1


def main(owner: int, user: int | None, stop: int, folder: Path, command: list[str]) -> int:
    waiting = [] if owner == 0 else [_opened(owner)]
    alive = (folder / "alive").open("r+" if (folder / "alive").exists() else "w+")
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    libc = ctypes.CDLL(None)

    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        process_group=0,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    alive.truncate(0)
    alive.write(f"{os.getpid()} {server.pid}\n")
    alive.flush()

    ended = os.pidfd_open(server.pid)
    ready, _, _ = select.select([*waiting, ended, told], [], [])
    if told not in ready or os.read(told, 1)[0] == signal.SIGTERM:
        server.send_signal(stop)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    server.wait()
    if waiting and waiting[0] in ready:
        shutil.rmtree(folder, ignore_errors=True)
    return server.returncode


def _opened(owner: int) -> int:
    try:
        return os.pidfd_open(owner)
    except ProcessLookupError:
        sys.exit("the owner has ended")


if __name__ == "__main__":
    owner, user, stop, folder, *command = sys.argv[1:]
    as_user = None if user == "-" else int(user)
    sys.exit(main(int(owner), as_user, int(stop), Path(folder), command))
