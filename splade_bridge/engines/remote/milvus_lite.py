"""Milvus Lite 2.5: Milvus' C++ core at work on a file, for one process at a time."""

from __future__ import annotations

import importlib.metadata
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from splade_bridge.engines.remote.faults import ServerError, missing_client
from splade_bridge.engines.remote.held import holder, running
from splade_bridge.errors import BadInputError, MissingToolError, UsageError, install
from splade_bridge.files.address import Address

LITE = "2.5."
"""Versions of milvus-lite that hold Milvus' core; 3.x is written anew in Python."""
FILE_NAME = re.compile(r"[a-zA-Z0-9._-]{1,33}\.db")
"""Milvus Lite takes no other."""
SQLITE = b"SQLite format 3\0"
LISTENS = 60
"""Seconds in which the core listens, on a busy machine."""
LET_GO = 10.0
"""Seconds in which the core of a killed process ends."""


def check_lite(address: Address, extra: str) -> None:
    """Refuse a file that Milvus Lite would not open, and another Milvus Lite.

    Args:
        address: of the file.
        extra: of pyproject.toml, that brings Milvus Lite.

    Raises:
        MissingToolError: it is not installed, or is the imitation.
        UsageError: the name of the file.
        BadInputError: it is no database.
    """
    path = address.folder
    assert path is not None
    try:
        version = importlib.metadata.version("milvus-lite")
    except importlib.metadata.PackageNotFoundError:
        raise MissingToolError(f"{address} needs milvus-lite: {install(extra)}") from None
    if not version.startswith(LITE):
        raise MissingToolError(
            f"milvus-lite {version} is written anew in Python and is not Milvus' core: "
            f"pip install milvus-lite==2.5.1, or {install(extra)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pkg_resources, which it still uses
            import milvus_lite.server  # noqa: F401
    except ImportError as error:
        raise MissingToolError(missing_client("Milvus Lite", extra, error)) from error
    if not FILE_NAME.fullmatch(path.name):
        raise UsageError(
            f"{address}: Milvus Lite takes a file name of 36 characters at most, of "
            "letters, digits, '.', '_' and '-', that ends in .db"
        )
    if path.is_dir():
        raise BadInputError("is a folder, and no file of Milvus Lite", str(address))
    if path.exists() and path.stat().st_size:
        with path.open("rb") as held:
            if held.read(len(SQLITE)) != SQLITE:
                raise BadInputError("is no file of Milvus Lite, or is damaged", str(address))


class LiteFile:
    """Milvus' core at work on a file; it ends with its last user."""

    def __init__(self, path: Path) -> None:
        # Told before pymilvus tries, which would not say who holds it.
        lock = path.with_name(f".{path.name}.lock")
        until = time.monotonic() + LET_GO
        while (who := holder([lock])) is None and running("milvus", path):
            if time.monotonic() > until:
                raise ServerError(f"milvus:{path}: Milvus' core of a process that ended is at work")
            time.sleep(0.05)
        if who is not None:
            raise ServerError(
                f"milvus:{path}: is held by {who}, and one process at a time may have it open: "
                "wait until it has ended"
            )
        self._home = tempfile.TemporaryDirectory(prefix="splade-bridge-milvus-")
        self._server = _server(path, self._home.name)
        if not (self._server.init() and self._server.start()):
            raise BadInputError(
                "Milvus Lite cannot open it: another process holds it, or it is damaged",
                f"milvus:{path}",
            )

        self.uri: str = self._server.uds_path
        # It is waited for half a second, and on a busy machine listens later than that.
        until = time.monotonic() + LISTENS
        while not Path(self.uri.removeprefix("unix:")).exists() and time.monotonic() < until:
            time.sleep(0.02)

    def __del__(self) -> None:
        if hasattr(self, "uri"):
            self._server.stop()
            self._home.cleanup()


def _server(path: Path, home: str) -> Any:
    """Milvus Lite's server of a file, in a home of its own.

    The core empties ``~/.cache/milvus`` when it begins and when it ends, also where another one
    is at work there. And it writes logs into the folder of temporary files, three at each start,
    and leaves them.
    """
    from milvus_lite.server import Server

    class AtHome(Server):  # type: ignore[misc]
        @property
        def args(self) -> list[str]:
            return ["/usr/bin/env", f"HOME={home}", f"GLOG_log_dir={home}", *map(str, super().args)]

    return AtHome(str(path))
