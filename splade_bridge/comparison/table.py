"""Reading a TOML table strictly: every key must be known and of its type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, overload

from splade_bridge.errors import SpladeBridgeError
from splade_bridge.files.typed import (
    NAMES,
    Where,
    as_table,
    checked,
    refuse_unknown,
    toml_file,
)

T = TypeVar("T")
D = TypeVar("D")


class Table:
    """One table of the file; :meth:`take` its keys, then :meth:`finish`.

    Args:
        content: as ``tomllib`` reads it.
        file: for messages.
        place: what the table is called in messages, as ``[data]``; empty for the whole file.
    """

    def __init__(self, content: object, file: Path, place: str = "") -> None:
        self._file = file
        self.place = place
        self._content = as_table(content, self.where())
        self._taken: list[str] = []

    @classmethod
    def load(cls, file: Path) -> Table:
        """The whole file.

        Raises:
            BadInputError: it cannot be read, or is not TOML.
        """
        return cls(toml_file(file), file)

    def where(self, key: str | None = None) -> Where:
        """The place of ``key``, or of the table."""
        here = Where(str(self._file), self.place, " ")
        return here.inside(key) if key else here

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        """Raise BadInputError that names the file, the table and the key."""
        self.where(key).fail(message)

    def wrong(self, error: SpladeBridgeError, key: str | None = None) -> NoReturn:
        """As :meth:`fail`, for an error from below that cannot know the file."""
        self.fail(str(error), key)

    def has(self, key: str) -> bool:
        """Whether ``key`` is given."""
        return key in self._content

    @overload
    def take(self, key: str, kind: type[T]) -> T: ...

    @overload
    def take(self, key: str, kind: type[T], default: D) -> T | D: ...

    def take(self, key: str, kind: type[Any], default: Any = ...) -> Any:
        """The value of ``key``.

        Raises:
            BadInputError: it is missing and has no default, or is of another type.
        """
        self._taken.append(key)
        if key not in self._content:
            if default is ...:
                self.fail("is missing", key)
            return default
        return self._typed(self._content[key], kind, key)

    def take_list(self, key: str, kind: type[T], default: Sequence[T] | None = None) -> list[T]:
        """A list of values of one type, none of them twice; it may not be empty."""
        self._taken.append(key)
        if key not in self._content and default is not None:
            return list(default)
        found = self._content.get(key)
        if not isinstance(found, list) or not found:
            self.fail(f"must be a list of one or more, each {NAMES[kind]}, not {found!r}", key)
        values = [self._typed(v, kind, f"{key}[{i}]") for i, v in enumerate(found)]
        for value in values:
            if values.count(value) > 1:
                self.fail(f"holds {value!r} twice", key)
        return values

    def take_any(self, key: str) -> Any:
        """A value of any type, None if it is not there."""
        self._taken.append(key)
        return self._content.get(key)

    def table(self, key: str, place: str | None = None) -> Table:
        """A table inside; an empty one if it is not there."""
        self._taken.append(key)
        inside = place or f"{self.place} {key}".strip()
        return Table(self._content.get(key, {}), self._file, inside)

    def tables(self, key: str) -> list[Table]:
        """A list of tables, as ``[[key]]`` makes."""
        self._taken.append(key)
        found = self._content.get(key, [])
        if not isinstance(found, list):
            self.fail(f"must be a list of tables, not {found!r}", key)
        prefix = f"{self.place} {key}" if self.place else f"[[{key}]]"
        return [Table(t, self._file, f"{prefix} {i}") for i, t in enumerate(found, start=1)]

    def keys(self) -> list[str]:
        """All keys, which then count as known."""
        self._taken += self._content
        return list(self._content)

    def finish(self) -> None:
        """Raise BadInputError for a key that nobody took."""
        refuse_unknown(self._content, self._taken, self.where())

    def _typed(self, value: object, kind: type[T], key: str) -> T:
        found: T = checked(kind, value, self.where(key))
        return found
