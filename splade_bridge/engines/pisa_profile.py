"""PISA profiles: encoding, block size, and the algorithm for each k, as TOML in ``pisa/``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from splade_bridge.engines.pisa_options import Encoding, PisaOptions
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.typed import Where, toml_file, typed
from splade_bridge.files.writing import asset

ENCODINGS = get_args(Encoding)
ALGORITHMS = ("block_max_wand", "block_max_maxscore", "maxscore", "wand", "ranked_or")
"""ranked_or_taat is a data race and ranked_or_taat_lazy ignores weights: neither is offered."""
BLOCK_SIZES = range(8, 1025)


@dataclass(frozen=True)
class PisaProfile:
    """How an index is compressed and, unless a search says otherwise, searched.

    Attributes:
        encoding: posting list compression.
        block_size: postings a block of the wand data.
        algorithms: (k, algorithm) with rising k; the first k that is not below the one asked for
            counts, else the last.
    """

    encoding: str
    block_size: int
    algorithms: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class _ProfileFile:
    """What stands in the file."""

    encoding: str
    block_size: int
    algorithm: dict[str, str]


def algorithm_for(k: int, algorithms: tuple[tuple[int, str], ...]) -> str:
    """The algorithm that :attr:`PisaProfile.algorithms` names for ``k``."""
    return next((name for most, name in algorithms if k <= most), algorithms[-1][1])


def load_profile(name: str) -> PisaProfile:
    """A profile of ``pisa/`` by name, or a TOML file.

    Raises:
        UsageError: neither a profile nor a file.
        BadInputError: a key is unknown, missing, or has a value that PISA does not know.
    """
    path = Path(name)
    if path.suffix != ".toml":
        folder = asset("pisa")
        path = folder / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
            raise UsageError(f"no PISA profile {name!r}: there are {known}, or a .toml of your own")
    where = Where(str(path))
    found = typed(_ProfileFile, toml_file(path, "a PISA profile"), where)
    if not found.algorithm:
        where.inside("algorithm").fail("must be a table like {10 = 'maxscore'}")
    try:
        by_k = tuple(sorted((int(k), name) for k, name in found.algorithm.items()))
    except ValueError as error:
        where.inside("algorithm").fail(f"a k must be a number ({error})")
    return checked(PisaProfile(found.encoding, found.block_size, by_k), str(path))


def resolved(options: PisaOptions) -> PisaProfile:
    """The profile of ``options``, with what they name instead of its own.

    Raises:
        UsageError, BadInputError: see :func:`load_profile`.
    """
    profile = load_profile(options.profile)
    size = options.block_size
    return checked(
        replace(
            profile,
            encoding=options.encoding or profile.encoding,
            block_size=profile.block_size if size is None else size,
        )
    )


def checked(profile: PisaProfile, place: str | None = None) -> PisaProfile:
    """``profile``, if PISA knows what it names: the library would abort on the rest.

    Raises:
        UsageError, or BadInputError where ``place`` is a file.
    """
    wrong = None
    if profile.encoding not in ENCODINGS:
        wrong = f"no PISA encoding {profile.encoding!r}: there are {', '.join(ENCODINGS)}"
    elif profile.block_size not in BLOCK_SIZES:
        wrong = f"a PISA block must be 8 to 1024 postings, not {profile.block_size!r}"
    else:
        for k, name in profile.algorithms:
            if name not in ALGORITHMS or k < 1:
                wrong = f"no PISA algorithm {name!r} for k = {k}: there are {', '.join(ALGORITHMS)}"
    if wrong:
        raise BadInputError(wrong, place) if place else UsageError(wrong)
    return profile
