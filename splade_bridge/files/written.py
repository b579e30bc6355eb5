"""Files that we put into a folder of the user's, and replace only as long as they are ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.locks import PARTIAL, remove_partials
from splade_bridge.files.typed import Where, checked, json_file
from splade_bridge.files.writing import atomic_writer, sha256_file


class WrittenFiles:
    """The files below ``folder`` that we wrote, known by their hashes, which ``record`` holds.

    A file is ours as long as its content is what we wrote. The record is written first, so that a
    kill leaves none of ours unknown.
    """

    def __init__(self, folder: Path, record: Path) -> None:
        self._folder = folder
        self._record = record
        self._known: dict[str, list[str]] = {}

    def check(self, names: Iterable[str], folders: Iterable[str] = ()) -> None:
        """Refuse to go on where a file would be replaced that is not ours.

        Args:
            names: paths below the folder that will be written.
            folders: those whose files will be, whatever their names.

        Raises:
            UsageError: one is there, and not ours or changed since.
        """
        self._known = self._read()
        there = list(names)
        for folder in map(self._folder.joinpath, folders):
            if os.path.lexists(folder) and not folder.is_dir():
                raise UsageError(f"{folder}: is no folder, but is to hold files; move it away")
            for path in folder.iterdir() if folder.is_dir() else ():
                if partial := PARTIAL.fullmatch(path.name):
                    remove_partials(folder / partial[1])
                else:
                    there.append(path.relative_to(self._folder).as_posix())
        for name in there:
            if os.path.lexists(path := self._folder / name) and not self._is_ours(name):
                what = "was changed since it was written" if name in self._known else "is not ours"
                raise UsageError(f"{path}: {what}, and would be replaced; move it away")

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write ``contents`` by path below the folder; what of ours is not among them is removed.

        Raises:
            UsageError: see :meth:`check`.
            ExternalProgramError: the place cannot be written.
        """
        self.check(contents)
        new = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        names = {*self._known, *new}
        self._note({n: [*self._known.get(n, []), *([new[n]] if n in new else [])] for n in names})
        for name, content in contents.items():
            with atomic_writer(self._folder / name) as stream:
                stream.write(content)
        for name in self._known.keys() - new.keys():
            if self._is_ours(name):
                (self._folder / name).unlink()
        self._note({name: [digest] for name, digest in new.items()})

    def _is_ours(self, name: str) -> bool:
        path = self._folder / name
        return path.is_file() and sha256_file(path) in self._known.get(name, [])

    def _read(self) -> dict[str, list[str]]:
        where = Where(str(self._record))
        try:
            found = checked(dict[str, list[str]], json_file(where), where)
        except BadInputError:  # none yet, or damaged: then nothing is known to be ours
            return {}
        return {n: d for n, d in found.items() if not (n.startswith("/") or ".." in n.split("/"))}

    def _note(self, known: Mapping[str, list[str]]) -> None:
        with atomic_writer(self._record) as stream:
            stream.write(orjson.dumps(known, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
