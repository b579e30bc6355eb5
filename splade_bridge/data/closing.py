"""Things that are closed when their ``with`` block ends, however it ends."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context manager that calls :meth:`close`."""

    def close(self) -> None:
        """End what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
