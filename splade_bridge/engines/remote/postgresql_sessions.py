"""Connections to PostgreSQL: opened when needed, given back, and watched while they are silent.

libpq has no time-out for a server that takes a question and never answers, and a scan of a large
table may rightly be silent for minutes. So whenever nothing came for a while, the server is asked
whether it is there at all (``PQping``), and only one that is not is given up.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from splade_bridge.engines.remote.faults import Busy, ServerError, missing_client
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.errors import MissingToolError
from splade_bridge.files.address import Address

try:
    import psycopg as psycopg  # from here on for postgresql.py, too
    from psycopg import sql as sql
    from psycopg.conninfo import make_conninfo
except ImportError as error:
    raise MissingToolError(missing_client("PostgreSQL", "postgresql", error)) from error

SECONDS = 10
"""That a connection may take."""
SILENCE = 30.0
"""Seconds without a word before the server is asked whether it is there."""

READING = "set default_transaction_read_only = on; set jit = off"
"""A filter is SQL of the user's; and compiling a query takes longer than most queries."""

AGAIN = {
    "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05",
}  # fmt: skip
"""Serialization, deadlock, too many connections, a lock, a shut-down, a start, an idle session."""
FULL = ("53100", "53200", "53000", "53400")
READ_ONLY = "25006"
DENIED = ("42501", "28000", "28P01")
NO_TABLE = ("42P01", "3F000")
NO_PGVECTOR = ("42704", "42883", "0A000", "58P01")
"""If it is about vectors: no such type, operator or extension."""
USED = "2BP01"
CANCELLED = "57014"
NOT_NOW = (
    "too many clients", "remaining connection slots", "too many connections",
    "the database system is ",
)  # fmt: skip
"""In the words of a failed connection; the last one goes on with starting up, shutting down, in
recovery mode or not (yet) accepting connections."""


class Sessions:
    """Connections to one database, as many as are used at once.

    Args:
        address: of the table; the database stands in it.
        secrets: beside what libpq finds itself: ``PGUSER``, ``PGPASSWORD``, ``PGSSLMODE``,
            ``~/.pgpass`` and the rest.
    """

    def __init__(self, address: Address, secrets: Secrets) -> None:
        self._address, self._secrets = address, secrets
        given: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "dbname": address.names[0],
            "connect_timeout": SECONDS,
        }
        self._ping = make_conninfo(**given, sslmode="prefer")
        given |= {"application_name": "splade-bridge", "client_encoding": "UTF8"}
        if secrets.user:
            given["user"] = secrets.user
        if secrets.ca:
            given |= {"sslmode": "verify-full", "sslrootcert": secrets.ca}
        self._asked = make_conninfo(**given)
        self._idle: dict[bool, deque[_Connection]] = {True: deque(), False: deque()}
        self._closed = False
        self._settings = READING

    def set_for_reading(self, settings: str) -> None:
        """Let the sessions that read have further settings, as statements of SQL."""
        self._settings = f"{READING}; {settings}"
        while self._idle[True]:
            self._idle[True].pop().close()

    def close(self) -> None:
        """End the connections that nobody uses; the others end when they are given back."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    @contextlib.contextmanager
    def session(self, *, reading: bool = False) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit mode.

        Args:
            reading: refuse whatever writes.

        Raises:
            Busy, ServerError: for every error of psycopg, in the block, too.
        """
        idle = self._idle[reading]
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._open(reading)
        keep = False
        try:
            yield connection
            keep = True
        except psycopg.Error as error:
            keep = not connection.closed
            raise self.told(error) from error
        finally:
            # One that was left in the middle of something (a generator that was closed) is ended.
            free = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if keep and free and not self._closed:
                idle.append(connection)
            else:
                connection.close()

    def _open(self, reading: bool) -> _Connection:
        password: dict[str, Any] = {}
        if self._secrets.password:
            password["password"] = self._secrets.password
        try:
            connection: _Connection = _Connection.connect(
                self._asked,
                autocommit=True,
                prepare_threshold=None,  # those who pool connections lose what was prepared
                cursor_factory=psycopg.RawCursor,  # with $1, so that % in a name is itself
                **password,
            )
            connection.server_cursor_factory = psycopg.RawServerCursor
            connection.ping = self._ping
            if reading:
                connection.execute(self._settings)
                connection.read_only = True  # of what begins a transaction of its own
        except psycopg.Error as error:
            raise self._not_let_in(error) from error
        return connection

    def _not_let_in(self, error: psycopg.Error) -> Busy | ServerError:
        """What a failed connection means: psycopg gives no SQLSTATE for it."""
        why = self._secrets.hidden(" ".join(str(error).split()))
        if not _is_there(self._ping):
            host = self._address
            return Busy(f"{host.server}: PostgreSQL cannot be reached ({why}): does it run there?")
        # A server may have got ready between the refusal and the ping.
        if any(words in why for words in NOT_NOW):
            return Busy(f"{self._address.server}: PostgreSQL is busy ({why})")
        remedy = (
            "name a database that is there"
            if f'database "{self._address.names[0]}"' in why
            else "give SPLADE_BRIDGE_USER and SPLADE_BRIDGE_PASSWORD, or what libpq reads, as "
            "PGUSER, PGPASSWORD, PGSSLMODE or ~/.pgpass"
        )
        return ServerError(f"{self._address}: PostgreSQL does not let us in ({why}): {remedy}")

    def told(self, error: psycopg.Error) -> Busy | ServerError:
        """The same error as everybody here tells it."""
        state = error.sqlstate or ""
        words = error.diag.message_primary or " ".join(str(error).split())
        why = self._secrets.hidden(f"{words} ({state})" if state else words)
        at = self._address
        if state in AGAIN or state.startswith("08"):
            return Busy(f"{at}: PostgreSQL is busy ({why})")
        if not state and isinstance(error, psycopg.OperationalError):
            return Busy(f"{at}: the connection to PostgreSQL broke ({why})")
        if state == READ_ONLY:
            return ServerError(
                f"{at}: takes no writing ({why}): the server is a standby, or its transactions are "
                "read-only"
            )
        if state in FULL:
            return ServerError(f"{at}: PostgreSQL has no room left ({why})")
        if state in DENIED:
            return ServerError(f"{at}: PostgreSQL does not let us ({why}): ask for the right")
        if state in NO_TABLE:
            return ServerError(f"{at}: no such index in PostgreSQL ({why})")
        if state in NO_PGVECTOR and "vec" in words:
            return ServerError(
                f"{at}: the database lacks the extension vector, at least 0.7.0, or its schema is "
                f"not in the search_path ({why}): install pgvector there"
            )
        if state == CANCELLED:
            return ServerError(
                f"{at}: PostgreSQL has ended the request ({why}): raise its statement_timeout, as "
                "PGOPTIONS='-c statement_timeout=10min'"
            )
        if state == USED:
            return ServerError(
                f"{at}: something stands upon this table ({why}): load one of another name, and "
                "let --alias switch"
            )
        return ServerError(f"{at}: PostgreSQL refuses ({why})")


class _Connection(psycopg.Connection[Any]):  # type: ignore[misc]
    """One that looks after the server when that is silent.

    Attributes:
        ping: whom to ask whether the server is there.
    """

    ping = ""

    def wait(self, gen: Any, *how: Any, **more: Any) -> Any:
        """See :class:`psycopg.Connection`; all that waits for the server comes through here."""
        return super().wait(self._watched(gen), *how, **more)

    def _watched(self, gen: Any) -> Generator[Any, Any, Any]:
        """``gen``, ended when nothing comes and the server does not answer elsewhere either."""
        try:
            asked, heard = next(gen), time.monotonic()
            while True:
                ready = yield asked
                now = time.monotonic()
                if ready:
                    heard = now
                elif now - heard > SILENCE:
                    heard = now
                    if self.ping and not _is_there(self.ping):
                        self.close()
                        raise psycopg.OperationalError("it does not answer any more")
                asked = gen.send(ready)
        except StopIteration as ended:
            return ended.value


def _is_there(ping: str) -> bool:
    """Whether a server takes connections; whether it would let us in is nothing to it."""
    return bool(psycopg.pq.PGconn.ping(ping.encode()) == psycopg.pq.Ping.OK)
