"""PostgreSQL that lets nobody in yet, or no more: asked again, whatever a ping says a moment later.

A listener speaks as much of the protocol as is needed, since the moment between the two is too
short to be met with a real server except by chance.
"""

from __future__ import annotations

import multiprocessing
import socketserver
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from splade_bridge.engines.remote.faults import Busy, ServerError
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.files.address import Address, place_of

pytest.importorskip("psycopg")
from splade_bridge.engines.remote.postgresql_sessions import Sessions

ENCRYPTED = {80877103, 80877104}
"""Requests for TLS and GSSAPI, which a server answers with one letter: protocol-message-formats."""

PASSWORD = b"R" + struct.pack(">II", 8, 3)
"""AuthenticationCleartextPassword: a server that is there, for PQping."""


class Refusing(socketserver.ThreadingTCPServer):
    """Refuses the first to come with ``first``, and wants a password of all others."""

    daemon_threads = True

    def __init__(self, first: tuple[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.refusals = iter([first])


class _Asked(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        code = 0
        while head := self.rfile.read(8):
            size, code = struct.unpack(">II", head)
            self.rfile.read(size - 8)
            if code not in ENCRYPTED:
                break
            self.wfile.write(b"N")
        if not head:
            return
        assert isinstance(self.server, Refusing)
        if (refusal := next(self.server.refusals, None)) is None:
            self.wfile.write(PASSWORD)
            return
        state, words = refusal
        fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": words}
        body = b"".join(f"{name}{text}\0".encode() for name, text in fields.items()) + b"\0"
        self.wfile.write(b"E" + struct.pack(">I", len(body) + 4) + body)


def serve(first: tuple[str, str], port: Connection) -> None:
    """Until it is killed."""
    with Refusing(first) as server:
        port.send(server.server_address[1])
        server.serve_forever()


@pytest.fixture
def refused_once(request: pytest.FixtureRequest) -> Iterator[Address]:
    spawning = multiprocessing.get_context("spawn")  # psycopg's ping holds Python's lock
    port, theirs = spawning.Pipe()
    process = spawning.Process(target=serve, args=(request.param, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its death is no wait
    try:
        place = place_of(f"postgresql://127.0.0.1:{port.recv()}/base/table")
        assert isinstance(place, Address)
        yield place
    finally:
        process.kill()
        process.join()


# Those of PostgreSQL 17's backend_startup.c, all of 57P03 (cannot_connect_now).
@pytest.mark.parametrize(
    "refused_once",
    [
        ("57P03", f"the database system is {state}")
        for state in (
            "starting up",
            "not yet accepting connections",
            "not accepting connections",
            "shutting down",
            "in recovery mode",
        )
    ],
    indirect=True,
    ids=lambda first: first[1],
)
def test_a_server_between_two_states_is_asked_again(refused_once: Address) -> None:
    sessions = Sessions(refused_once, Secrets())
    with pytest.raises(Busy, match=r"is busy .*the database system is"), sessions.session():
        pass
    with pytest.raises(ServerError, match="does not let us in"), sessions.session():
        pass


@pytest.mark.parametrize("refused_once", [("28P01", "no such user")], indirect=True)
def test_who_is_not_let_in_is_not_asked_again(refused_once: Address) -> None:
    sessions = Sessions(refused_once, Secrets())
    with pytest.raises(ServerError, match="no such user"), sessions.session():
        pass
