"""Every error a user can meet, as one tree; each class carries the exit code of the shell command.

Messages say what is wrong, where (``file:line`` or a query id) and what to do about it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shlex

NAME = "splade-bridge"
EXTRA = "EXTRA"
"""Stands for the extra where it is named."""

EXTRAS = {
    "encode": ("torch", "transformers", "safetensors"),
    "dense": ("torch", "transformers", "safetensors", "sentence_transformers", "faiss"),
    "onnx": ("onnx", "onnxruntime"),
    "train": ("sentence_transformers", "datasets", "accelerate", "peft", "tensorboard"),
}
"""Extras of pyproject.toml that :func:`require` knows, and what is imported of them."""


def install(extra: str) -> str:
    """The command that brings an extra, from where this installation came from.

    What pip installed from a checkout, a wheel or a repository (PEP 610 says so in its record) is
    named by that place: the registry may have no such package, or another version.
    """
    option, place = _origin()
    place = place if EXTRA in place else f"{place}[{EXTRA}]"
    return f"pip install {option}{shlex.quote(place.replace(EXTRA, extra))}"


@functools.cache
def _origin() -> tuple[str, str]:
    """An option of pip, and what it installs this package from."""
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    try:
        recorded = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError, OSError):
        recorded = {}
    if not isinstance(recorded, dict) or not isinstance(url := recorded.get("url"), str):
        checkout = Path(__file__).parents[1]  # run from a checkout, installed or not
        if not recorded and (checkout / "pyproject.toml").is_file():
            return "-e ", str(checkout)
        return "", NAME
    if (vcs := recorded.get("vcs_info")) and isinstance(vcs, dict):
        commit = f"@{vcs['commit_id']}" if "commit_id" in vcs else ""
        # Extras of what is no path stand before its address.
        return "", f"{NAME}[{EXTRA}] @ {vcs.get('vcs')}+{url}{commit}"
    if urlsplit(url).scheme != "file":
        return "", f"{NAME}[{EXTRA}] @ {url}"
    path = unquote(urlsplit(url).path)
    if not Path(path).exists():  # it was moved, or removed, since
        return "", NAME
    editable = (recorded.get("dir_info") or {}).get("editable")
    return "-e " if editable else "", path


def require(extra: str, what: str, *packages: str) -> None:
    """Look for the packages of an extra, without importing any.

    Args:
        what: what they are needed for, as the subject of the message.
        packages: those of them that are needed; none for all.

    Raises:
        MissingToolError: one is missing; the message names the extra.
    """
    for package in packages or EXTRAS[extra]:
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
    """Stopped by Ctrl-C or SIGTERM; the message says what is left, and whether it goes on.

    The exit code is 143 after SIGTERM.
    """

    exit_code = 130


class ReaderGone(SpladeBridgeError):
    """Whoever read our stdout has gone, as ``| head`` does; nothing is told."""

    exit_code = 141


def is_panic(error: BaseException) -> bool:
    """Whether code in Rust has failed: pyo3 raises its panics beside all other exceptions."""
    return type(error).__name__ == "PanicException"
