"""scripts/servers: fetch, start, stop and list the servers of the tests."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from servers import layouts
from servers.kinds import KINDS
from servers.server import Server
from splade_bridge.errors import SpladeBridgeError


def started(name: str) -> Server | None:
    """The server that was started here, if it runs; its folder is named by a file of the cache."""
    with contextlib.suppress(FileNotFoundError):
        folder = Path(_record(name).read_text())
        if folder.is_dir():
            return Server(name, folder, owner=0)
    return None


def _record(name: str) -> Path:
    return layouts.cache() / "started" / name


def fetch(names: list[str]) -> int:
    missing = 0
    for name in names or KINDS:
        try:
            KINDS[name].fetch()
        except SpladeBridgeError as error:
            missing = error.exit_code
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(f"{name}: is here")
    return missing


def start(names: list[str]) -> int:
    for name in names:
        server = started(name) or Server(name, owner=0)
        try:
            server.start()
        except SpladeBridgeError:
            server.close()
            raise
        _record(name).parent.mkdir(parents=True, exist_ok=True)
        _record(name).write_text(str(server.folder))
        print(f"{name}: {server.url}", flush=True)
    return 0


def stop(names: list[str]) -> int:
    for name in names or KINDS:
        if (server := started(name)) is not None:
            server.close()
            print(f"{name}: stopped")
        _record(name).unlink(missing_ok=True)
    return 0


def status(names: list[str]) -> int:
    for name in names or KINDS:
        server = started(name)
        runs = server is not None and server.is_running()
        print(f"{name}: {server.url if server and runs else 'does not run'}")
    return 0


COMMANDS = {"fetch": fetch, "start": start, "stop": stop, "status": status}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/servers",
        description="Real search engines on loopback, for tests and for trying things. "
        "fetch brings them onto this machine; start runs one until stop; stop also removes "
        "what it holds.",
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KINDS)}")
    told = parser.parse_args()
    for name in told.names:
        if name not in KINDS:
            parser.error(f"there is no {name}; there are {', '.join(KINDS)}")
    if told.command == "start" and not told.names:
        parser.error("start needs a NAME")
    try:
        return COMMANDS[told.command](told.names)
    except SpladeBridgeError as error:
        print(f"scripts/servers: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
