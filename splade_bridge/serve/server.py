"""The server: a socket of this machine, and an end that leaves nothing running."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from splade_bridge.errors import UsageError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_ANSWERS = 5
"""Seconds that answers which are on their way may take at the end."""
MOST_CONNECTIONS = 1000


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        UsageError: no such address of this machine, or it is in use.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named: else
        # each of them waits 40 ms.
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: no address of this machine ({error.strerror})") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(MOST_CONNECTIONS)
    except OSError as error:
        found.close()
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}): name another "
            "port, or 0 for any that is free"
        ) from error
    return found


def address_of(listener: socket.socket, host: str) -> str:
    """The address that a browser is given."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def names_of(host: str) -> Collection[str] | None:
    """What requests may call the host that listens; None for anything, where it is every address.

    The names of this machine itself, and what it was called.
    """
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return None
    return {host.lower(), "localhost", "127.0.0.1", "::1"}


def serve(app: ASGIApp, listener: socket.socket, begun: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM, and return.

    Args:
        begun: called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_ANSWERS,
        limit_concurrency=MOST_CONNECTIONS,
    )
    _Server(config, begun).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A signal is how it ends: it is not raised again, as uvicorn does."""

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when requests are answered."""
        await super().startup(sockets)
        self._begun()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear of those signals that our caller does not have us ignore."""
        before = {s: signal.getsignal(s) for s in SIGNALS}
        heard = {s: old for s, old in before.items() if old is not signal.SIG_IGN}
        for number in heard:
            signal.signal(number, self._end)
        try:
            yield
        finally:
            for number, old in heard.items():
                signal.signal(number, old)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True
