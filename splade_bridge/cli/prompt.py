"""A prompt on an open index: ``search --interactive``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from splade_bridge.cli import signals
from splade_bridge.cli.explain import show
from splade_bridge.cli.reading import Paper, show_found
from splade_bridge.cli.telling import ORIGIN, note, say
from splade_bridge.data.ids import quoted
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.retrieval.words import checked_text

if TYPE_CHECKING:
    from splade_bridge.server.answers import Found
    from splade_bridge.server.served import Served

SIGN = "search> "
HELP = """\
words          search for them
:k 20          show so many documents from now on
:terms         all terms of the last query, with their weights
:explain ID    what each of them adds to the score of a document
:help          this
an empty line, :quit or Ctrl-D ends it"""


def check_terminal() -> None:
    """See that somebody can be asked.

    Raises:
        UsageError: stdin or stdout is no terminal.
    """
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout)):
        if stream is None or stream.closed or not stream.isatty():
            raise UsageError(
                f"--interactive asks on a terminal, and {name} is none: give a text, or - to read "
                "a query a line from stdin"
            )


def typed_line() -> str:
    """A line that is typed at the prompt; an empty one for Ctrl-D and Ctrl-C.

    Raises:
        KeyboardInterrupt: by SIGTERM.
        UsageError: it is not valid Unicode.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  what lets a line be edited, and earlier ones come back
    try:
        return input(SIGN).strip()
    except UnicodeDecodeError:
        raise UsageError("what was typed is not valid Unicode") from None
    except (EOFError, KeyboardInterrupt) as end:
        if isinstance(end, KeyboardInterrupt) and signals.status() not in (None, 130):
            raise
        say("")
        return ""


def converse(served: Served, k: int, ask: Callable[[], str] = typed_line) -> None:
    """Answer queries and commands until an empty line; what is wrong with one is told.

    Args:
        served: one index.
        k: documents a query, at first.
        ask: gives a line.

    Raises:
        ExternalProgramError: the engine died.
    """
    talk = Talk(served, k)
    while True:
        try:
            if not (line := ask()):
                return
            if not talk.answer(line):
                return
        except (UsageError, BadInputError) as error:
            note(f"error: {error}")


class Talk:
    """What was asked last, and how many documents are shown."""

    def __init__(self, served: Served, k: int) -> None:
        self._served, self._k = served, k
        self._paper = Paper()
        self._last: Found | None = None

    def answer(self, line: str) -> bool:
        """Answer one line; False where it is the end.

        Raises:
            UsageError: no such command, or one that cannot be meant.
            BadInputError: no such document, or a query that cannot be encoded.
        """
        name, _, given = line.partition(" ")
        if not name.startswith(":"):
            self._last = self._served.search(0, checked_text(line), None, None, self._k, True)
            show_found(self._paper, self._last, named=False)
            return True
        given = given.strip()
        if name == ":k":
            self._depth(given)
        elif name == ":terms":
            for term in self._asked().terms:
                say(f"{term.weight:>10,}  {term.word:<20} {ORIGIN[term.original]}".rstrip())
        elif name == ":explain":
            if not given:
                raise UsageError(":explain takes the id of a document, as the results show it")
            query = self._asked().query
            show(self._served.explain([0], given, query, None, None), [""])
        elif name in (":quit", ":q"):
            return False
        elif name == ":help":
            for each in HELP.splitlines():
                note(each)
        else:
            raise UsageError(f"no command {quoted(name)}; :help tells which there are")
        return True

    def _depth(self, given: str) -> None:
        if given:
            if not (given.isascii() and given.isdecimal() and 0 < len(given) < 10 and int(given)):
                raise UsageError(f":k takes a whole number from 1, not {quoted(given)}")
            self._k = int(given)
        note(f"{self._k:,} documents a query")

    def _asked(self) -> Found:
        if self._last is None:
            raise UsageError("nothing was asked yet: type a query first")
        return self._last
