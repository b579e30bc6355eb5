"""Steps that are done once: each is named by a hash of all that decides its result.

::

    work/KIND/HASH/begun.json   inputs and versions of a step that is not finished
    work/KIND/HASH/step.json    the same, outcome, seconds; written last
    work/KIND/HASH/...          what the step made
    work/KIND/HASH.aside/       what an interrupted step of other versions left; may be deleted
    work/hashes.json            of input files, by path, size and time

Versions decide a step, too: those of other versions are made again, and stay beside the new ones.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from splade_bridge import __version__
from splade_bridge.comparison.versions import changes
from splade_bridge.data.manifest import FORMAT_VERSION
from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import all_files
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.typed import Where, checked, json_file, typed
from splade_bridge.files.writing import atomic_writer, sha256_file

log = logging.getLogger(__name__)

N = TypeVar("N", int, float)

NOTE, BEGUN, ASIDE = "step.json", "begun.json", ".aside"
VERSIONS = "versions"
"""Key of a step's inputs: name -> version of what decides the outcome beside them."""
FORMAT = 3
"""Part of every hash: raise it when a step's result means something else than before."""


@dataclass(frozen=True)
class Step:
    """A finished step.

    Attributes:
        folder: where its files are.
        outcome: what it found out; JSON.
        seconds: that it took when it was done.
    """

    key: str
    folder: Path
    outcome: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class _Note:
    """What a step leaves behind."""

    what: str
    inputs: dict[str, Any]
    outcome: dict[str, Any]
    seconds: float
    sha256: str
    """Over all else: an outcome has no type, but must be what was written."""
    made_by: dict[str, str] = field(default_factory=dict)


def _note(path: Path) -> _Note:
    """What a finished step left.

    Raises:
        BadInputError: it is damaged.
    """
    where = Where(str(path), said="damaged ({}): the step is done again")
    found = typed(_Note, json_file(where), where)
    if found.sha256 != digest({k: v for k, v in vars(found).items() if k != "sha256"}):
        where.fail("it was changed after it was written")
    return found


@dataclass(frozen=True)
class _Begun:
    """What a step leaves while it is done."""

    inputs: dict[str, Any]
    made_by: dict[str, str]


class Steps:
    """The finished steps below ``folder``, and a count of what was done and what was there.

    Args:
        say: told what begins.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self._done: set[tuple[str, str]] = set()
        self._kept: set[tuple[str, str]] = set()

    @property
    def done(self) -> dict[str, int]:
        """How many steps of each kind were done now."""
        return dict(sorted(Counter(kind for kind, _ in self._done).items()))

    @property
    def kept(self) -> dict[str, int]:
        """How many steps of each kind were needed and had been done before."""
        return dict(sorted(Counter(kind for kind, _ in self._kept - self._done).items()))

    def run(
        self,
        kind: str,
        what: str,
        inputs: dict[str, Any],
        make: Callable[[Path], dict[str, Any]],
    ) -> Step:
        """The step, done now if it was not done before.

        Args:
            what: for the user.
            inputs: everything that decides the outcome; JSON or dataclasses. Those under
                :data:`VERSIONS` may change between two runs of a comparison: the step is then made
                again, and ``say`` is told why.
            make: does it in an own folder, in which an earlier attempt may have left files.
        """
        known = self.known(kind, inputs)
        if known:
            return known
        self.say(what)
        folder = self._folder(kind, inputs)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / BEGUN).is_file():
            self._pass_over_others(kind, what, inputs)
            given, made_by = _parted(inputs)
            with atomic_writer(folder / BEGUN) as out:
                out.write(_json({"inputs": given, "made_by": made_by}))
        started = time.perf_counter()
        outcome = make(folder)
        return self.store(kind, what, inputs, outcome, time.perf_counter() - started)

    def known(self, kind: str, inputs: dict[str, Any]) -> Step | None:
        """The step if it was done before."""
        folder = self._folder(kind, inputs)
        note = folder / NOTE
        if not note.is_file():
            return None
        try:
            found = _note(note)
        except BadInputError as error:
            log.warning("%s", error)
            return None
        self._kept.add((kind, folder.name))
        return Step(folder.name, folder, found.outcome, found.seconds)

    def store(
        self, kind: str, what: str, inputs: dict[str, Any], outcome: dict[str, Any], seconds: float
    ) -> Step:
        """Remember a step that was done now."""
        seconds = float(seconds)
        folder = self._folder(kind, inputs)
        given, made_by = _parted(inputs)
        content = _json(
            {"what": what, "inputs": given, "made_by": made_by, "outcome": outcome,
             "seconds": seconds}
        )  # fmt: skip
        plain = orjson.loads(content)
        content = _json({**plain, "sha256": digest(plain)})
        with atomic_writer(folder / NOTE) as out:
            out.write(content)
        (folder / BEGUN).unlink(missing_ok=True)
        self._done.add((kind, folder.name))
        return Step(folder.name, folder, plain["outcome"], seconds)

    def forget(self, kind: str, inputs: dict[str, Any]) -> None:
        """Let a step count as not done; what it made stays until it is made again."""
        (self._folder(kind, inputs) / NOTE).unlink(missing_ok=True)

    def _pass_over_others(self, kind: str, what: str, inputs: dict[str, Any]) -> None:
        """Tell of the same step made by other versions; set aside what one of them left undone."""
        given, made_by = _parted(inputs)
        same = digest(given)
        for folder in sorted((self.folder / kind).iterdir()):
            if folder.suffix == ASIDE:
                continue
            for name in (NOTE, BEGUN):
                where = Where(str(folder / name))
                try:
                    found = typed(_Begun, _known_keys(json_file(where)), where)
                except BadInputError:  # none, of an older format, or damaged: not for us
                    continue
                if digest(found.inputs) != same or found.made_by == made_by:
                    continue
                changed = changes(found.made_by, made_by)
                if name == NOTE:
                    self.say(f"{what}: made again ({changed})")
                    break
                left = folder.with_name(f"{folder.name}{ASIDE}")
                shutil.rmtree(left, ignore_errors=True)
                folder.replace(left)
                self.say(f"{what}: begun again ({changed}); what was begun is in {left}")

    def _folder(self, kind: str, inputs: dict[str, Any]) -> Path:
        given, made_by = _parted(inputs)
        content = {"made_by": made_by, "kind": kind, "inputs": given}
        return self.folder / kind / digest(content)[:20]


def _parted(inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What is given to a step, and the versions that make it."""
    given = {k: v for k, v in inputs.items() if k != VERSIONS}
    ours = {"steps": str(FORMAT), "manifests": str(FORMAT_VERSION), "splade-bridge": __version__}
    return given, ours | inputs.get(VERSIONS, {})


def _known_keys(note: Any) -> Any:
    if not isinstance(note, dict):
        return note
    return {k: v for k, v in note.items() if k in ("inputs", "made_by")}


def by_kind(made: list[Step], figure: Callable[[Step], N]) -> dict[str, N]:
    """Sums of a figure: documents and queries are encoded in a step each."""
    sums: dict[str, N] = {}
    for step in made:
        kind, value = step.folder.parent.name, figure(step)
        sums[kind] = sums[kind] + value if kind in sums else value
    return sums


class Hashes:
    """Hashes of input files and folders, remembered as long as sizes and times stay."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, tuple[int, int, str]] = {}
        where = Where(str(file))
        with suppress(BadInputError):  # none yet, or damaged: files are hashed again
            self._known = checked(dict[str, tuple[int, int, str]], json_file(where), where)

    def of(self, path: Path) -> str:
        """Of a file's bytes; of a folder's manifest, or of all its files by name."""
        if path.is_file():
            return self._of_file(path)
        if (manifest := manifest_file(path)).is_file():
            return self._of_file(manifest)
        files = all_files(path)  # what links lead to, too, as they are read
        return digest([[p.relative_to(path).as_posix(), self._of_file(p)] for p in files])

    def _of_file(self, path: Path) -> str:
        found = path.stat()
        name = str(path.resolve())
        known = self._known.get(name)
        if known and known[:2] == (found.st_size, found.st_mtime_ns):
            return known[2]
        computed = sha256_file(path)
        self._known[name] = (found.st_size, found.st_mtime_ns, computed)
        with atomic_writer(self._file) as out:
            out.write(orjson.dumps(self._known, option=orjson.OPT_INDENT_2))
        return computed


def digest(content: Any) -> str:
    """SHA-256 of JSON with sorted keys."""
    return hashlib.sha256(_json(content)).hexdigest()


def _json(content: Any) -> bytes:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(content, default=_plain, option=options | orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: object) -> Any:
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **asdict(value)}
    raise TypeError(f"{value!r} is not JSON")
