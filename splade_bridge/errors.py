"""Every error a user can meet, as one tree; each class carries the exit code of the shell command.

Messages say what is wrong, where (``file:line`` or a query id) and what to do about it.
"""

from __future__ import annotations

import importlib.util

EXTRAS = {
    "encode": ("torch", "transformers", "safetensors"),
    "train": ("sentence_transformers", "datasets", "accelerate", "peft", "tensorboard"),
}
"""Extras of pyproject.toml that :func:`require` knows, and what is imported of them."""


def install(extra: str) -> str:
    """The command that brings an extra; pip takes what it names from the installed package."""
    return f"pip install 'splade-bridge[{extra}]'"


def require(extra: str, what: str) -> None:
    """Look for the packages of an extra, without importing any.

    Args:
        what: what they are needed for, as the subject of the message.

    Raises:
        MissingToolError: one is missing; the message names the extra.
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingToolError(f"{what} needs {package}: {install(extra)}")


class SpladeBridgeError(Exception):
    """Root of the tree; never raised itself."""

    exit_code = 1


class UsageError(SpladeBridgeError):
    """Arguments that cannot be meant: an existing output, an unknown measure."""

    exit_code = 2


class MissingToolError(SpladeBridgeError):
    """A program, package or extra is not installed; the message holds the command that mends it."""

    exit_code = 3


class BadInputError(SpladeBridgeError):
    """Input that breaks its format.

    Args:
        message: what is wrong and what to do.
        place: where, as ``file`` or ``file:line``; put in front of the message.
    """

    exit_code = 4

    def __init__(self, message: str, place: str | None = None) -> None:
        self.place = place
        super().__init__(f"{place}: {message}" if place else message)


class MismatchError(SpladeBridgeError):
    """Artefacts that are fine alone but do not fit together (vocabularies, scales, counts)."""

    exit_code = 5


class ExternalProgramError(SpladeBridgeError):
    """Java, PISA or a full disk: something outside failed, or its result was not to be believed."""

    exit_code = 6


class CheckFailedError(SpladeBridgeError):
    """A comparison that was asked for found a difference."""

    exit_code = 7


class Interrupted(SpladeBridgeError):
    """Stopped by the user; what was finished is kept and the same command goes on from there."""

    exit_code = 130
