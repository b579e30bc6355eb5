"""Users, passwords and keys: from the environment or a file, never from arguments.

``SPLADE_BRIDGE_USER``, ``SPLADE_BRIDGE_PASSWORD``, ``SPLADE_BRIDGE_API_KEY`` and
``SPLADE_BRIDGE_CA`` (a file of certificates to trust) are for every address.
``SPLADE_BRIDGE_SECRETS`` names a TOML file that only its owner may read (mode 0600), with a table
an address::

    ["opensearch+https://search.example.org:9200"]
    user = "indexer"
    password = "..."

What is in it is shown nowhere: not in messages, logs or manifests.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import PORTS, Address
from splade_bridge.files.typed import Where, as_table, toml_file, typed

PREFIX = "SPLADE_BRIDGE_"
FILE = f"{PREFIX}SECRETS"


@dataclass(frozen=True)
class Secrets:
    """What an address needs to be let in; its text shows none of it.

    Attributes:
        ca: file of the certificates that are trusted; None for those of the system.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    ca: str | None = None

    def hidden(self, message: str) -> str:
        """``message`` without what must not be shown."""
        for secret in (self.password, self.api_key):
            if secret:
                message = message.replace(secret, "...")
        return message


def secrets_of(address: Address) -> Secrets:
    """What the environment and the file of secrets say for ``address``.

    Raises:
        BadInputError: the file can be read by others, or is not what it must be.
        UsageError: a key without TLS to another machine than this, where anybody could read it.
    """
    given = {
        name: os.environ.get(PREFIX + name.upper()) or None
        for name in ("user", "password", "api_key", "ca")
    }
    if path := os.environ.get(FILE):
        found = _from_file(Path(path), address)
        given |= {name: value for name, value in vars(found).items() if value is not None}
    if address.user is not None:
        given["user"] = address.user
    secrets = Secrets(**given)
    told = secrets.password or secrets.api_key
    # PostgreSQL never sends a password as it is, unless its server insists.
    if told and not (address.secure or _is_here(address) or address.scheme == "postgresql"):
        raise UsageError(
            f"{address}: a password or key would go through the network as plain text: write "
            f"{address.scheme}+https://"
        )
    return secrets


def _is_here(address: Address) -> bool:
    if address.host in ("", "localhost"):
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:  # a name, as 127.example.org is one, too
        return False


def _from_file(path: Path, address: Address) -> Secrets:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", str(path)) from error
    if stat.S_IMODE(mode) & 0o077:
        raise BadInputError(f"others may read it: chmod 600 {path}", str(path))
    where = Where(str(path))
    names = {f"{address.scheme}{'+https' * address.secure}://{at}" for at in _hosts(address)}
    for name, table in toml_file(path, "secrets").items():
        if name.rstrip("/") in (names if address.host else {str(address)}):
            inside = where.inside(name)
            try:
                return typed(Secrets, as_table(table, inside), inside)
            except BadInputError:  # which would quote what must not be shown
                raise BadInputError(
                    f"the table of {name} may hold user, password, api_key and ca, each a string",
                    str(path),
                ) from None
    return Secrets()


def _hosts(address: Address) -> tuple[str, ...]:
    host = f"[{address.host}]" if ":" in address.host else address.host
    usual = (host,) if address.port == PORTS[address.scheme] else ()
    return f"{host}:{address.port}", *usual
