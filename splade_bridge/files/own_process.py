"""A process that runs a module of ours, and a socket to it that carries pickles."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

START = (
    "import sys; sys.path.insert(0, sys.argv[2]); import splade_bridge; del sys.path[0]\n"
    "from {module} import main; main(int(sys.argv[1]))"
)
"""What a process runs; with -m its messages would be of a module __main__ that is ours here.

The package is found where ours is, and nothing that lies in the working directory is imported.
"""
PACKAGE_ROOT = Path(__file__).parents[2]


class OwnProcess:
    """A process that runs ``main`` of a module, with the number of its end of a socket.

    It must end when the socket does.

    Args:
        module: its full name.

    Attributes:
        connection: our end.
        process: the process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, module: str) -> None:
        self.connection: Connection
        self.connection, theirs = Pipe()
        with theirs:
            start = START.format(module=module)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", start, str(theirs.fileno()), str(PACKAGE_ROOT)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is no data
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for us alone, and we end the process
            )

    def kill(self) -> None:
        """End it now; :meth:`join` waits until it has ended."""
        self.process.kill()
        self.connection.close()

    def join(self) -> int:
        """Wait for its end; its status."""
        return self.process.wait()
