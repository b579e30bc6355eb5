"""What goes wrong behind an address, and whether asking again may help."""

from __future__ import annotations

from collections.abc import Sequence

from splade_bridge.errors import ExternalProgramError, install


class Busy(Exception):
    """The engine does not answer now, or asks to be left alone: what was asked may be asked again.

    Too many requests, a time-out, a connection that broke, a node that is being started.
    """


class Refused(Exception):
    """Documents that the engine does not take; those beside them are stored.

    Args:
        reasons: id and what the engine said.
    """

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


class ServerError(ExternalProgramError):
    """The engine behind an address cannot be reached, refuses, or lacks what is asked for."""


def missing_client(engine: str, extra: str, error: ImportError) -> str:
    """What is said where a client is not installed."""
    return f"{engine} needs {error.name or error}: {install(extra)}"
