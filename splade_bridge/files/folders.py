"""Which files of a folder are read: those of the kinds that are asked for, and no other passed over
without a word.

Anserini takes every file of a JsonVectorCollection, whatever its name. So what has another name is
looked into: JSON is taken, an empty file (as Spark's ``_SUCCESS``) holds nothing to take, and all
else is an error that names it, unless it is to be skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import all_files, kind_of, status
from splade_bridge.files.lines import MARK, open_reader, plain_suffix

log = logging.getLogger(__name__)

SHOWN = 5
BLANKS = b" \t\r\n"
SKIPPING = "bm25, encode, export, index and prune"
"""The commands that have ``--skip-others``."""


class Members(NamedTuple):
    """The files of a folder that are to be read, and those that are something else."""

    taken: list[Path]
    others: list[Path]

    def checked(self, folder: Path, wanted: str, *, skip_others: bool) -> list[Path]:
        """Those to be read, if the others may be passed over; they are named in any case.

        Args:
            wanted: what is read, for the message.

        Raises:
            BadInputError: there are others, and ``skip_others`` is not set.
        """
        if self.others:
            names = [_named(folder, path) for path in self.others[:SHOWN]]
            if more := len(self.others) - len(names):
                names.append(f"and {more:,} more")
            if not skip_others:
                raise BadInputError(
                    f"not {wanted}: {', '.join(names)}. Move such files elsewhere, or pass "
                    f"--skip-others ({SKIPPING} have it) to leave them out",
                    str(folder),
                )
            log.warning("%s: left out, as not %s: %s", folder, wanted, ", ".join(names))
        return self.taken


def members(folder: Path, suffixes: Container[str], *, without: str = "") -> Members:
    """The files below ``folder``, in the order of :func:`.inputs.all_files`.

    Args:
        suffixes: those that are taken without being looked into; compression comes after them.
        without: a sub-folder of this name is left out.

    Raises:
        BadInputError: a link to nothing, what cannot be read, or a damaged compressed file.
    """
    found = Members([], [])
    for path in all_files(folder):
        if without in path.relative_to(folder).parts[:-1]:
            continue
        if kind_of(status(path).st_mode) != "a file":
            found.others.append(path)
        elif plain_suffix(path) in suffixes:
            found.taken.append(path)
        elif begins := first_byte(path):
            (found.taken if begins in b"{[" else found.others).append(path)
    return found


def first_byte(path: Path) -> bytes:
    """The first that is no blank; none for a file without any."""
    with open_reader(path) as stream:
        first = stream.read(len(MARK))
        block = b"" if first == MARK else first
        while True:
            block = block.lstrip(BLANKS) or stream.read(1 << 16)
            if not block or block[:1] not in BLANKS:
                return block[:1]


def _named(folder: Path, path: Path) -> str:
    kind = kind_of(status(path).st_mode)
    name = path.relative_to(folder).as_posix()
    return name if kind == "a file" else f"{name} ({kind})"
