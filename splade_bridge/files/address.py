"""Where an index is: a path, or the address of an index that a server or a library holds.

::

    elasticsearch://HOST:PORT/INDEX         elasticsearch+https://... for TLS
    opensearch://HOST:PORT/INDEX            opensearch+https://...
    milvus://HOST:PORT/COLLECTION           milvus+https://...      milvus:FILE.db, without a server
    qdrant://HOST:PORT/COLLECTION           qdrant+https://...      qdrant:FOLDER, without a server
    postgresql://HOST:PORT/DATABASE/TABLE

A user's name may stand before the host, a password never: see :mod:`.engines.remote.secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote, unquote, urlsplit

from splade_bridge.errors import UsageError

Scheme = Literal["elasticsearch", "opensearch", "milvus", "qdrant", "postgresql"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
PORTS: dict[Scheme, int] = {
    "elasticsearch": 9200, "opensearch": 9200, "milvus": 19530, "qdrant": 6333, "postgresql": 5432,
}  # fmt: skip
EMBEDDED: tuple[Scheme, ...] = ("milvus", "qdrant")
"""Those that a library holds in a file or folder, too."""
NAMES: dict[Scheme, tuple[str, ...]] = {
    "elasticsearch": ("INDEX",), "opensearch": ("INDEX",), "milvus": ("COLLECTION",),
    "qdrant": ("COLLECTION",), "postgresql": ("DATABASE", "TABLE"),
}  # fmt: skip

NAME_SIGNS, USER_SIGNS = "%/?#", "%/?#:@[]"
"""What ends a name and a user in an address, where it does not stand as ``%2F``."""

BEGINS = re.compile(r"(?P<scheme>[a-z]+)(?P<tls>\+https)?:(?P<rest>.*)", re.DOTALL)
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Address:
    """An index that is not files of ours; as a string it is what the user has written.

    Attributes:
        scheme: whose it is.
        host, port: of the server; ``host`` is empty where there is none.
        secure: by TLS.
        user: None for what the environment says.
        names: what lies behind the host: the index, the database and the table.
        folder: the file or folder of what needs no server.
    """

    scheme: Scheme
    host: str
    port: int
    secure: bool
    user: str | None
    names: tuple[str, ...]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Of the index, collection or table; of the file where there is no server."""
        return self.folder.name if self.folder is not None else self.names[-1]

    @property
    def server(self) -> str:
        """The address without the index, as messages name a server."""
        if self.folder is not None:
            return str(self)
        at = f"{_escaped(self.user, USER_SIGNS)}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        tls = "+https" if self.secure else ""
        return f"{self.scheme}{tls}://{at}{host}:{self.port}"

    def with_name(self, name: str) -> Address:
        """The address of another index beside this one."""
        return Address(
            self.scheme, self.host, self.port, self.secure, self.user, (*self.names[:-1], name)
        )

    def __str__(self) -> str:
        if self.folder is not None:
            return f"{self.scheme}:{self.folder}"
        return "/".join((self.server, *(_escaped(name, NAME_SIGNS) for name in self.names)))


Place = Path | Address
"""Where an index is."""


def place_of(text: str | Path) -> Place:
    """The address that ``text`` is, or the path.

    Raises:
        UsageError: it begins as an address and is none, of no engine, or holds a password.
    """
    if isinstance(text, Path):
        return text
    found = BEGINS.fullmatch(text)
    scheme = next((s for s in SCHEMES if found and s == found["scheme"]), None)
    if found is None or scheme is None:
        if url := URL.match(text):
            raise UsageError(
                f"{_shown(text)}: no engine is called {url['scheme']}; an address is one of "
                f"{', '.join(f'{s}://' for s in SCHEMES)}"
            )
        return Path(text)
    if found["rest"].startswith("//"):
        return _with_server(text, scheme, bool(found["tls"]), found["rest"])
    if scheme not in EMBEDDED or found["tls"] or not found["rest"]:
        raise UsageError(f"{_shown(str(text))}: an address is {_form(scheme)}")
    return Address(scheme, "", 0, False, None, (), Path(found["rest"]))


def refuse_address(given: str | Path, what: str, *, written: bool = False) -> None:
    """Raise UsageError for an address where a file or a folder is wanted.

    Args:
        what: wants it, as ``--output``.
        written: it is an output; a file that is there and has such a name may be read.
    """
    text = str(given)
    found = BEGINS.fullmatch(text)
    if found is None or found["scheme"] not in SCHEMES or not found["rest"]:
        return
    if not written and Path(text).exists():
        return
    if isinstance(given, Path):
        text = re.sub(r":/(?!/)", "://", text, count=1)  # as it was before it was a path
    remedy = (
        "index is what writes to one" if written else "convert makes files of what is behind one"
    )
    raise UsageError(f"{_shown(text)}: is an address, and {what} takes files here: {remedy}")


def paths(places: Iterable[Place]) -> list[Path]:
    """Those that are no addresses."""
    return [place for place in places if isinstance(place, Path)]


def _with_server(text: str, scheme: Scheme, secure: bool, rest: str) -> Address:
    try:
        parts = urlsplit(rest)
    except ValueError:  # a bracket that is not closed
        raise UsageError(f"{_shown(text)}: an address is {_form(scheme)}") from None
    if parts.password is not None or "?" in rest or "#" in rest:
        what = "holds a password, which everybody can read in the list of processes"
        if parts.password is None:
            what = "holds ? or #"
        raise UsageError(
            f"{_shown(text)}: {what}; an address is {_form(scheme)}, passwords and keys come from "
            f"SPLADE_BRIDGE_PASSWORD, SPLADE_BRIDGE_API_KEY or the file of SPLADE_BRIDGE_SECRETS"
        )
    try:
        port = parts.port or PORTS[scheme]
        host = parts.hostname
    except ValueError:
        raise UsageError(f"{_shown(text)}: no such port; an address is {_form(scheme)}") from None
    names = tuple(unquote(name) for name in parts.path.strip("/").split("/"))
    if not host or len(names) != len(NAMES[scheme]) or "" in names:
        raise UsageError(f"{_shown(text)}: an address is {_form(scheme)}")
    if secure and scheme == "postgresql":
        raise UsageError(
            f"{_shown(text)}: PostgreSQL's client asks for TLS by PGSSLMODE; an address is "
            f"{_form(scheme)}"
        )
    user = unquote(parts.username) if parts.username else None
    return Address(scheme, host, port, secure, user, names)


def _form(scheme: Scheme) -> str:
    form = f"{scheme}://HOST:PORT/{'/'.join(NAMES[scheme])}"
    return f"{form}, or {scheme}:{_file(scheme)}" if scheme in EMBEDDED else form


def _file(scheme: Scheme) -> str:
    return "FILE.db" if scheme == "milvus" else "FOLDER"


def _escaped(text: str, signs: str) -> str:
    return "".join(quote(c, safe="") if c in signs or c.isspace() else c for c in text)


def _shown(text: str) -> str:
    """``text`` without what may be a password, wherever it was put."""
    text = re.sub(r"[?#].*", "?...", text, flags=re.DOTALL)
    return re.sub(r"(//[^:@/]*:).*@", r"\1...@", text, flags=re.DOTALL)
