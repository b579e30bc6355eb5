"""Servers laid out as folders in a cache, of artifacts whose SHA-256 is pinned.

``pins/NAME.sha256`` names what a server consists of, a line an artifact: its SHA-256, its Maven
coordinate (GROUP:ARTIFACT:VERSION[:CLASSIFIER][@zip]) and the folder of the layout that it goes
into. A zip is unpacked there. They are the runtime dependencies of the artifacts that
:mod:`servers.kinds` starts, less what tests of those servers need and what a module would have
twice. A layout's name holds a hash of its pins: what changes is laid out anew, beside the old.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from splade_bridge.engines.jars import repository
from splade_bridge.errors import MissingToolError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.writing import sha256_file

PINS = Path(__file__).with_name("pins")
DOWNLOADS = 6
"""Artifacts that are fetched at once."""


class Artifact(NamedTuple):
    """One file of Maven Central."""

    sha256: str
    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    folder: str

    @property
    def file_name(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"

    @property
    def path(self) -> Path:
        """Where it lies below a Maven repository."""
        return Path(*self.group.split("."), self.name, self.version, self.file_name)


def cache() -> Path:
    """The folder of all layouts: ``$XDG_CACHE_HOME/splade-bridge-servers``, or in ~/.cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "splade-bridge-servers"


def artifacts(name: str) -> Iterator[Artifact]:
    """What the server ``name`` consists of."""
    for line in (PINS / f"{name}.sha256").read_text().splitlines():
        checksum, coordinate, folder = line.split()
        coordinate, _, packaging = coordinate.partition("@")
        group, artifact, version, *classifier = coordinate.split(":")
        yield Artifact(
            checksum, group, artifact, version, "".join(classifier), packaging or "jar", folder
        )


def layout(name: str, finish: Callable[[Path], None], recipe: str = "") -> Path:
    """The folder of a server, made if it is not there; several processes may want it at once.

    Args:
        finish: adds what is not an artifact to the folder.
        recipe: whatever ``finish`` depends on.

    Raises:
        MissingToolError: an artifact cannot be had.
    """
    folder = cache() / f"{name}-{hash_of((PINS / f'{name}.sha256').read_text(), recipe)}"
    return made_once(folder, lambda new: _lay_out(name, new, finish))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, which ``make`` fills; beside its place, and moved there when it is whole."""
    if folder.is_dir():
        return folder
    with scratch_folder(folder.parent) as scratch:
        new = scratch / folder.name
        new.mkdir()
        make(new)
        try:
            new.rename(folder)
        except OSError:  # another process was faster, and its folder is like ours
            if not folder.is_dir():
                raise
    return folder


def _lay_out(name: str, folder: Path, finish: Callable[[Path], None]) -> None:
    with scratch_folder(folder.parent) as scratch, ThreadPoolExecutor(DOWNLOADS) as downloads:

        def place(artifact: Artifact) -> None:
            file = _had(artifact, scratch)
            target = folder / artifact.folder
            target.mkdir(parents=True, exist_ok=True)
            if artifact.packaging == "zip":
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(target)
            else:
                shutil.copyfile(file, target / artifact.file_name)

        try:
            for done in [downloads.submit(place, artifact) for artifact in artifacts(name)]:
                done.result()
        except MissingToolError:
            downloads.shutdown(cancel_futures=True)
            raise
    finish(folder)


def _had(artifact: Artifact, scratch: Path) -> Path:
    """The file, of the local Maven repository or fetched into ``scratch``."""
    here = repository() / artifact.path
    if here.is_file() and sha256_file(here) == artifact.sha256:
        return here
    try:
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        raise MissingToolError(f"{error.name} is not installed, which fetches servers") from error
    try:
        project = MavenContext(repo_cache=scratch, timeout=60).project
        component = project(artifact.group, artifact.name).at_version(artifact.version)
        came: Path = component.artifact(
            classifier=artifact.classifier, packaging=artifact.packaging
        ).resolve()
    except (OSError, RuntimeError) as error:  # requests' and jgo's own
        reason = re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__
        raise MissingToolError(f"{artifact.file_name} cannot be fetched ({reason})") from error
    if (checksum := sha256_file(came)) != artifact.sha256:
        raise MissingToolError(
            f"{artifact.file_name} came with SHA-256 {checksum}, and not {artifact.sha256}"
        )
    return came


def hash_of(*parts: str) -> str:
    """Twelve digits that stand for what a folder is made of."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def linked(tree: Path, copy: Path) -> None:
    """Make ``copy`` of a tree, if it is not there, for a user who may not come to ``tree``.

    Files are hard links where the file system allows.
    """

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    if not copy.exists():
        shutil.copytree(tree, copy, copy_function=link)
