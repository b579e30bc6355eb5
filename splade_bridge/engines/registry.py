"""All engines. A new one is named here, and nowhere else: everything goes through this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.engines.base import Engine, Searcher
    from splade_bridge.formats.base import ImpactSource


class Entry(NamedTuple):
    """An engine before its module is loaded.

    Attributes:
        place: its class, as ``module:name``.
        options: dataclass of what ``index`` may be told for it alone, in a module that loads
            nothing heavy; None for nothing. Field ``x`` of engine ``e`` is the flag ``--e-x``
            (or ``metadata["flag"]``) and the key ``e_x`` of a comparison.
    """

    place: str
    options: type[Any] | None = None


EngineName = Literal["lucene", "pisa", "exact"]
"""Every engine; the type of flags and options that name one."""

ENGINES: dict[str, Entry] = {
    "lucene": Entry("splade_bridge.engines.lucene:LuceneEngine", LuceneOptions),
    "pisa": Entry("splade_bridge.engines.pisa:PisaEngine", PisaOptions),
    "exact": Entry("splade_bridge.engines.exact:ExactEngine"),
}
NAMES = tuple(ENGINES)


def flag(name: str, option: Field[Any]) -> str:
    """The flag of an option of engine ``name``."""
    return str(option.metadata.get("flag", f"--{name}-{option.name.replace('_', '-')}"))


def own_options(name: str, given: Mapping[str, Any]) -> Any:
    """Options of engine ``name`` from keywords that are named like the flags; None for no options.

    Args:
        given: as ``{"pisa_block_size": 64}`` for ``--pisa-block-size``.

    Raises:
        UsageError: a keyword that is no flag of this engine, or a value that it does not take.
    """
    kind = ENGINES[name].options if name in ENGINES else None
    known = {flag(name, f)[2:].replace("-", "_"): f.name for f in fields(kind)} if kind else {}
    hints = get_type_hints(kind) if kind else {}
    found = {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(
                f"engine {name} has no option {key}; it has {', '.join(known) or 'none'}"
            )
        hint = hints[known[key]]
        choices = [
            v for h in (hint, *get_args(hint)) if get_origin(h) is Literal for v in get_args(h)
        ]
        if choices and value is not None and value not in choices:
            raise UsageError(f"{key} is one of {', '.join(choices)}, not {value!r}")
        is_path = Path in get_args(hint) and value is not None
        found[known[key]] = Path(value) if is_path else value
    return kind(**found) if kind else None


def engine(name: str, options: Any = None) -> Engine:
    """The engine called ``name``.

    Args:
        options: an instance of its own options; None for the defaults.

    Raises:
        BadInputError: there is none.
    """
    entry = ENGINES.get(name)
    if entry is None:
        raise BadInputError(f"no engine {name!r}: there are {', '.join(NAMES)}")
    module, _, of_class = entry.place.partition(":")
    found: Engine = getattr(import_module(module), of_class)()
    if options is not None:
        found.options = options
    return found


def is_lucene(path: Path) -> bool:
    """Whether ``path`` is the folder of a Lucene index, ours or of anybody."""
    return path.is_dir() and any(path.glob("segments_*"))


def read_index(
    path: Path, manifest: Manifest | None, memory: int, temporary: Path | None = None
) -> ImpactSource:
    """The documents of an index, as a source for whatever takes one.

    Args:
        manifest: of the index; None for a Lucene index that others made.
        memory: budget in bytes of turning posting lists into documents.
        temporary: folder for what does not fit into it.

    Raises:
        BadInputError: not an index.
        MissingToolError: its engine is not installed.
    """
    return _engine_of(path, manifest).read(path, manifest, memory, temporary)


def open_index(path: Path) -> Searcher:
    """A searcher for an index folder of ours, or for an impact index that Anserini made.

    Raises:
        BadInputError: not an index, or one whose making was interrupted.
        MissingToolError: its engine is not installed.
    """
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.engines.auto import best_algorithm
    from splade_bridge.files.outputs import manifest_file

    is_foreign = is_lucene(path) and not manifest_file(path).exists()
    manifest = None if is_foreign else Manifest.load(path)
    searcher = _engine_of(path, manifest).open(path, manifest)
    searcher.measure = best_algorithm
    return searcher


def _engine_of(path: Path, manifest: Manifest | None) -> Engine:
    if manifest is None:
        return engine("lucene")
    if manifest.kind == "dense":
        raise BadInputError(
            "holds dense vectors and an index of these, and no impacts: search and inspect take it",
            str(path),
        )
    if manifest.kind != "index" or manifest.engine is None:
        raise BadInputError(f"holds {manifest.kind}, not an index", str(path))
    return engine(manifest.engine)
