"""Which Lucene is used, where its jars are, and fetching them.

Found are, in this order:

1. ``$SPLADE_BRIDGE_LUCENE``: a jar, or a folder of jars of one version. Where it is set it is the
   only one that is used.
2. ``$ANSERINI_JAR`` (the same), or else the fat jar that pyserini carries: the user's Anserini.
3. The pinned releases of Lucene (``java_conf/lucene.sha256``) in the local Maven repository,
   ``$M2_REPO`` or ``~/.m2/repository``. jgo fetches there what is missing, once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from splade_bridge.engines.lucene_version import (
    IndexVersion,
    Version,
    index_version,
    jar_version,
    parse_version,
)
from splade_bridge.errors import ExternalProgramError, MissingToolError, UsageError, install
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.writing import asset, sha256_file

log = logging.getLogger(__name__)

WITHOUT_ANSERINI = "10.4"
"""What indexes are written with where there is no Anserini: the Lucene of Anserini 2.3."""
GROUP = "org.apache.lucene"
ARTIFACTS = ("lucene-core", "lucene-backward-codecs", "lucene-analysis-common")
"""Reading and writing; opening what an older Lucene wrote; the analyzer of BM25."""
PINS = "java_conf/lucene.sha256"
ANSERINI_PROPERTIES = "META-INF/maven/io.anserini/anserini/pom.properties"


@dataclass(frozen=True)
class Lucene:
    """One Lucene.

    Attributes:
        class_path: its jars.
    """

    version: Version
    class_path: tuple[Path, ...]

    def __str__(self) -> str:
        first = self.class_path[0]
        return f"{self.version} ({first if len(self.class_path) == 1 else first.parent})"


def lucene_for_writing(version: str | None = None) -> Lucene:
    """The Lucene that an index is written with; fetched if it is missing.

    Args:
        version: as ``10.4`` or ``10.4.0``; None for that of the user's Anserini, or where there is
            none for :data:`WITHOUT_ANSERINI`.

    Raises:
        MissingToolError: it is not here and cannot be fetched.
        UsageError: ``version`` is not one, or not that of ``$SPLADE_BRIDGE_LUCENE``.
    """
    if version is None:
        chosen = forced() or users_anserini()
        if chosen is not None:
            return chosen
    asked = version or WITHOUT_ANSERINI
    if (only := forced()) is not None:
        if not only.version.fits(asked):
            raise UsageError(
                f"SPLADE_BRIDGE_LUCENE is Lucene {only}, but Lucene {asked} is asked for: unset it"
            )
        return only
    fitting = [lucene for lucene in found() if lucene.version.fits(asked)]
    if fitting:
        return max(fitting, key=lambda lucene: lucene.version)
    return fetch(_pinned(asked))


def lucene_for_reading(index: Path) -> Lucene:
    """The newest Lucene among those found that opens the folder ``index``.

    Where none does, the newest that can be fetched and does.

    Raises:
        BadInputError: not a Lucene index.
        MissingToolError: there is none.
    """
    wanted = index_version(index)
    only = forced()
    here = list(found())
    fitting = [lucene for lucene in here if wanted.opens_in(lucene.version)]
    if fitting:
        return max(fitting, key=lambda lucene: lucene.version)
    fetchable = [version for version in pinned() if wanted.opens_in(version)]
    if fetchable and only is None:
        try:
            return fetch(max(fetchable))
        except MissingToolError as error:
            if not here:
                raise
            raise MissingToolError(f"{_unreadable(index, wanted, here)}: {error}") from error
    raise MissingToolError(
        f"{_unreadable(index, wanted, here)}: set SPLADE_BRIDGE_LUCENE to the jars of one that does"
        " (lucene-core and lucene-backward-codecs), or build the index again with --lucene-version"
    )


def _unreadable(index: Path, wanted: IndexVersion, here: list[Lucene]) -> str:
    there = ", ".join(map(str, here)) or "none"
    newest = max((lucene.version for lucene in here), default=wanted.written)
    why = (
        "an index opens in the same or a later Lucene only"
        if newest[:2] < wanted.written[:2]
        else f"it was begun in Lucene {wanted.created_major}, and opens in that and the next only"
    )
    return f"{index} was written by Lucene {wanted.written}; found is Lucene {there}, and {why}"


def anserini_jar() -> Path:
    """The fat jar of the user's Anserini, found without importing pyserini (4.5 s, 627 MB).

    Raises:
        MissingToolError: there is none.
    """
    for jar in _anserini_jars():
        return jar
    raise MissingToolError(
        f"Anserini is not here: {install('pyserini')}, or set ANSERINI_JAR to its fat jar"
    )


def anserini_version(jar: Path) -> str:
    """What ``jar`` says, inside or in its name."""
    try:
        with zipfile.ZipFile(jar) as archive:
            told = re.search(r"^version=(\S+)", archive.read(ANSERINI_PROPERTIES).decode(), re.M)
    except (OSError, KeyError, zipfile.BadZipFile):
        told = None
    told = told or re.match(r"anserini-([^-]+)-", jar.name)
    return told[1] if told else "unknown"


def users_anserini() -> Lucene | None:
    """The Lucene in the user's Anserini, if there is one."""
    for jar in _anserini_jars():
        return _lucene((jar,), "the fat jar of Anserini")
    return None


def _anserini_jars() -> Iterator[Path]:
    if named := os.environ.get("ANSERINI_JAR"):
        yield from _jars(Path(named), "ANSERINI_JAR")
    named = os.environ.get("SPLADE_BRIDGE_LUCENE")
    if named and re.match(r"anserini-.*fatjar\.jar", Path(named).name):
        yield Path(named)
    spec = importlib.util.find_spec("pyserini")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "resources" / "jars"
        yield from sorted(folder.glob("anserini-*-fatjar.jar"), key=_numbers, reverse=True)


def _numbers(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]


def forced() -> Lucene | None:
    """That of ``$SPLADE_BRIDGE_LUCENE``, if it is set.

    Raises:
        MissingToolError: there is no Lucene.
    """
    variable = "SPLADE_BRIDGE_LUCENE"
    named = os.environ.get(variable)
    return _lucene(_jars(Path(named), variable), variable) if named else None


def _jars(place: Path, variable: str) -> tuple[Path, ...]:
    jars = tuple(sorted(place.glob("*.jar"))) if place.is_dir() else (place,)
    if not jars or not jars[0].exists():
        raise MissingToolError(f"{variable} is {place}, where no jar is")
    return jars


@cache
def _lucene(jars: tuple[Path, ...], what: str) -> Lucene:
    versions = {version for jar in jars if (version := jar_version(jar))}
    if len(versions) != 1:
        held = " and ".join(map(str, sorted(versions))) or "no Lucene"
        raise MissingToolError(
            f"{what} ({jars[0]}{' ...' if jars[1:] else ''}) holds {held}: name a jar, or a folder "
            "of jars of one version"
        )
    return Lucene(versions.pop(), jars)


def found() -> Iterator[Lucene]:
    """Every Lucene that is here, without looking at the network."""
    if (only := forced()) is not None:
        yield only
        return
    if (anserini := users_anserini()) is not None:
        yield anserini
    for version in pinned():
        if (lucene := _in_repository(version, repository())) is not None:
            yield lucene


def repository() -> Path:
    """The local Maven repository."""
    named = os.environ.get("M2_REPO")
    return Path(named) if named else Path.home() / ".m2" / "repository"


@cache
def pinned() -> dict[Version, dict[str, str]]:
    """The releases whose checksums are known: file name -> SHA-256 by version."""
    releases: dict[Version, dict[str, str]] = {}
    for line in asset(PINS).read_text().splitlines():
        checksum, name = line.split()
        version = Version(*parse_version(name.rpartition("-")[2].removesuffix(".jar")))
        releases.setdefault(version, {})[name] = checksum
    return releases


def _pinned(asked: str) -> Version:
    fitting = [version for version in pinned() if version.fits(asked)]
    if not fitting:
        raise MissingToolError(
            f"Lucene {asked} is not here, and of those that can be fetched "
            f"there are {', '.join(map(str, sorted(pinned())))}: set SPLADE_BRIDGE_LUCENE to the "
            "folder of its jars"
        )
    return max(fitting)


def _places(version: Version, root: Path) -> dict[Path, str]:
    folder = root.joinpath(*GROUP.split("."))
    return {
        folder / name.removesuffix(f"-{version}.jar") / str(version) / name: checksum
        for name, checksum in pinned()[version].items()
    }


@cache
def _in_repository(version: Version, root: Path) -> Lucene | None:
    """All jars of a release in a Maven repository; None if any is missing or not what it was."""
    places = _places(version, root)
    if not all(place.is_file() for place in places):
        return None
    for place, checksum in places.items():
        if sha256_file(place) != checksum:
            log.warning("%s is not the jar that was published: it is not used", place)
            return None
    return Lucene(version, tuple(places))


def fetch(version: Version) -> Lucene:
    """Bring a pinned release into the local Maven repository, whole or not at all.

    Raises:
        ExternalProgramError: what came is not what is pinned.
        MissingToolError: jgo is not installed, nothing can be reached, or nothing written there.
    """
    root = repository()
    if (here := _in_repository(version, root)) is not None:
        return here
    try:
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        raise MissingToolError(_three_ways(version, f"{error.name} is not installed")) from error
    places = _places(version, root)
    size = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        with scratch_folder(root) as scratch:
            project = MavenContext(repo_cache=scratch).project
            came = {}
            for place, checksum in places.items():
                artifact = place.parents[1].name
                jar = project(GROUP, artifact).at_version(str(version)).artifact().resolve()
                if (came_with := sha256_file(jar)) != checksum:
                    raise ExternalProgramError(
                        f"{place.name} came with SHA-256 {came_with}, and not {checksum}: it was "
                        "thrown away"
                    )
                size += jar.stat().st_size
                came[place] = jar
            for place, jar in came.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                jar.replace(place)
    except (OSError, RuntimeError) as error:  # requests' and jgo's own
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise MissingToolError(_three_ways(version, f"it cannot be fetched ({reason})")) from error
    log.info(
        "fetched Lucene %s into %s: %d jars, %.1f MB, SHA-256 as pinned",
        version, root, len(places), size / 1e6,
    )  # fmt: skip
    _in_repository.cache_clear()
    return Lucene(version, tuple(places))


def fetch_ahead() -> list[Lucene]:
    """Bring what writes an index by default, and the newest, unless they are here.

    Raises:
        MissingToolError: one cannot be fetched.
    """
    writing = lucene_for_writing()
    newest = max(pinned())
    if forced() is not None or writing.version >= newest:
        return [writing]
    return [writing, fetch(newest)]


def _three_ways(version: Version, why: str) -> str:
    return (
        f"Lucene {version} is not here, and {why}. There are three ways: {install('lucene')} and, "
        "while there is a network, splade-bridge doctor --fetch; "
        f"{install('pyserini')}, which carries one; or SPLADE_BRIDGE_LUCENE, a jar or a folder of "
        "jars of one version"
    )
