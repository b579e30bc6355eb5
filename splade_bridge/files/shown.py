"""Text of other people's making as a terminal may show it.

An id, a term or the name of a file may hold what moves a cursor, hides what follows it or starts a
line of its own. Files keep their bytes; what people read has such characters as escapes.
"""

from __future__ import annotations

import unicodedata
from typing import BinaryIO

BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""What changes the direction of the text behind it, so that it reads as another."""
INVISIBLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Categories of Unicode: controls, surrogates, ends of lines and paragraphs."""

MOST_SHOWN = 10_000
"""Characters of a message."""


def shown(text: str, kept: str = "", most: int | None = None) -> str:
    """``text`` with escapes for control characters, ends of lines and changes of direction.

    Args:
        kept: characters among them that stay.
        most: characters that are shown at most; None for all.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]} ..."
    if text.isprintable():  # few texts are not, and blanks are
        return text if BIDIRECTIONAL.isdisjoint(text) else "".join(map(_escaped, text))
    return "".join(c if c in kept else _escaped(c) for c in text)


def shown_json(text: str) -> str:
    """JSON that says the same and holds no such characters but ends of lines."""
    if text.isascii() and "\x7f" not in text:  # JSON itself escapes the controls of ASCII
        return text
    return "".join(c if c == "\n" or not _is_harmful(c) else f"\\u{ord(c):04x}" for c in text)


def _is_harmful(character: str) -> bool:
    return character in BIDIRECTIONAL or unicodedata.category(character) in INVISIBLE


def _escaped(character: str) -> str:
    if _is_harmful(character):
        return character.encode("unicode_escape", "backslashreplace").decode()
    return character


class ShownOnTerminal:
    """A binary stream to a terminal, to which lines of UTF-8 are written in whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, content: bytes) -> int:
        """Write it with escapes; ends of lines and tabs stay."""
        self._stream.write(shown(content.decode(errors="replace"), "\n\t").encode())
        return len(content)

    def flush(self) -> None:
        """Hand on what was written."""
        self._stream.flush()
