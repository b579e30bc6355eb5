"""Paths that a file of ours names: below the folder that the file is in, or refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from splade_bridge.files.outputs import MANIFEST, MARK, STORE_MANIFEST
from splade_bridge.files.typed import Where, shown

RESERVED = (MANIFEST, STORE_MANIFEST, MARK)
"""What no artefact lists: the list itself, and the mark of a folder that has none."""


def inside(
    folder: Path, name: str, where: Where, *, links: bool = False, itself: bool = False
) -> Path:
    """The path of ``name`` below ``folder``, for reading and for writing.

    Manifests travel with their folders, so one from elsewhere could name any file of the user's,
    which ``merge`` would then write.

    Args:
        name: as it stands in the file at ``where``.
        links: symbolic links may lead out of the folder, as those of the model hub's cache do.
        itself: an empty name is the folder, as in ``modules.json``.

    Raises:
        BadInputError: ``name`` is empty, absolute, reserved, holds a NUL or ``..``, or is a link
            (or below one) that leads out of the folder.
    """
    if not name and itself:
        return folder
    parts = name.split("/")
    if not name or "\0" in name or name in RESERVED:
        where.fail(f"{shown(name)} is no name of a file below the folder")
    if name.startswith("/") or ".." in parts or {"", "."} & set(parts[:-1] or parts):
        where.fail(f"{shown(name)} is not a path below the folder")
    path = folder / name
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # a name too long, a circle of links
        below = links or path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        where.fail(f"{shown(name)} cannot be followed ({why})")
    if not below:
        where.fail(f"{shown(name)} is a link that leads out of the folder")
    return path


def check_all_inside(folder: Path, names: Iterable[str], where: Where) -> None:
    """Check a list of names with :func:`inside`, and that none is there twice.

    Raises:
        BadInputError: see :func:`inside`; the message names the entry.
    """
    seen: set[str] = set()
    for number, name in enumerate(names):
        here = where.item(number).inside("path")
        inside(folder, name, here)
        if name in seen:
            here.fail(f"{shown(name)} stands twice in the list")
        seen.add(name)
