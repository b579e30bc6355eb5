"""The table of bad inputs: what a command is given, how it must end, and what it must leave.

A module of this folder holds the rows of one kind of fault, as ``ROWS``; ``test_bad_input.py``
runs them all, and ``scripts/reliability`` makes docs/reliability.md of them, beside what Anserini's
indexer and PISA do with the same files.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers.server import Server

Content = str | bytes | Callable[[Path], object]
"""Text or bytes of a file, or what makes a file or folder at the path that it is given."""


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        title: what is wrong, in a few words; unique in its module.
        command: the command line without the program's name, in the folder of :attr:`files`.
        code: the exit code that it must have.
        words: each must stand in what the program says on stderr.
        files: what is there before, by path below the folder.
        made: what may be there afterwards that was not before; nothing else may, and what was
            there must be as it was. A folder stands for all in it.
        without: what must not stand in stderr.
        imports: modules without which the row cannot be run.
    """

    title: str
    command: str
    code: int
    words: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The command line in words."""
        return shlex.split(self.command)

    def lay_out(self, folder: Path) -> None:
        """Write :attr:`files` below ``folder``."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())


@dataclass(frozen=True, kw_only=True)
class ServerRow(Row):
    """One bad input for a server that runs: ``{at}`` in the command is its host and port.

    Attributes:
        server: its name, of :data:`servers.kinds.KINDS`.
        before: makes there what the row is about.
    """

    server: str
    before: Callable[[Server], object] = lambda _: None


def all_rows() -> Iterator[tuple[str, Row]]:
    """Every row that needs no server, with the name of its module."""
    yield from _named("ROWS")


def server_rows() -> Iterator[tuple[str, ServerRow]]:
    """Every row that needs one, of ``SERVER_ROWS``, with the name of its module."""
    for module, row in _named("SERVER_ROWS"):
        assert isinstance(row, ServerRow)
        yield module, row


def _named(name: str) -> Iterator[tuple[str, Row]]:
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        rows: list[Row] = getattr(importlib.import_module(f"{__name__}.{module}"), name, [])
        for row in rows:
            yield module, row
