"""Rows of a long benchmark, a line of JSON each, written when it is finished.

The same command after a kill finds them, and measures what is missing. A line that was cut off by
the kill is not a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Key = Mapping[str, Any]
Found = dict[str, Any]


class Rows:
    """The rows of a file; what is in it already stays.

    Args:
        path: of the file; its folder must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, tuple[Found, Found]] = {}
        whole = path.read_bytes() if path.exists() else b""
        kept, _, cut = whole.rpartition(b"\n")
        if cut:  # the next line must not go on with it
            os.truncate(path, len(whole) - len(cut))
        for line in kept.splitlines():
            row = json.loads(line)
            self._rows[_name(row["key"])] = row["key"], row["found"]

    def __iter__(self) -> Iterator[tuple[Found, Found]]:
        """Keys and what was found, in the order in which they were finished."""
        return iter(self._rows.values())

    def get(self, key: Key) -> Found | None:
        """What was found; None for what is not finished."""
        row = self._rows.get(_name(key))
        return None if row is None else row[1]

    def of(self, key: Key, measure: Callable[[], Found]) -> tuple[Found, bool]:
        """What is there of ``key``, or what ``measure`` finds now; and whether it was there."""
        if (there := self.get(key)) is not None:
            return there, True
        found = measure()
        self._rows[_name(key)] = dict(key), found
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": dict(key), "found": found}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return found, False


def _name(key: Key) -> str:
    return json.dumps(key, sort_keys=True)
