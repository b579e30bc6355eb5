"""All engines. A new one is named here, and nowhere else: everything goes through this table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from splade_bridge.engines.impact_index_options import ImpactIndexOptions
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.engines.remote.choices import Approximation, Asking
from splade_bridge.engines.remote.opensearch_options import OpenSearchOptions
from splade_bridge.engines.remote.postgresql_options import PostgreSQLOptions
from splade_bridge.engines.remote.qdrant_options import QdrantOptions
from splade_bridge.engines.seismic_options import SeismicOptions
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address, Place, Scheme

if TYPE_CHECKING:
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.data.vocabulary import Vocabulary
    from splade_bridge.engines.base import Engine, Searcher
    from splade_bridge.engines.remote.base import RemoteIndex
    from splade_bridge.formats.base import ImpactSource, WeightSource


class Entry(NamedTuple):
    """An engine before its module is loaded.

    Attributes:
        place: its class, as ``module:name``.
        options: dataclass of what ``index`` may be told for it alone, in a module that loads
            nothing heavy; None for nothing. Field ``x`` of engine ``e`` is the flag ``--e-x``
            (or ``metadata["flag"]``) and the key ``e_x`` of a comparison.
        approximate: documents among the best may be missing in its answers.
        named_only: it is used where it is named, and nowhere on the chance that it is there.
    """

    place: str
    options: type[Any] | None = None
    approximate: bool = False
    named_only: bool = False


EngineName = Literal["lucene", "pisa", "exact", "seismic", "impact-index"]
"""Every engine; the type of flags and options that name one."""

ENGINES: dict[str, Entry] = {
    "lucene": Entry("splade_bridge.engines.lucene:LuceneEngine", LuceneOptions),
    "pisa": Entry("splade_bridge.engines.pisa:PisaEngine", PisaOptions),
    "exact": Entry("splade_bridge.engines.exact:ExactEngine"),
    "seismic": Entry(
        "splade_bridge.engines.seismic:SeismicEngine", SeismicOptions, approximate=True
    ),
    "impact-index": Entry(
        "splade_bridge.engines.impact_index:ImpactIndexEngine", ImpactIndexOptions, named_only=True
    ),
}
NAMES = tuple(ENGINES)
LISTED = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
EXACT: tuple[str, ...] = tuple(name for name, entry in ENGINES.items() if not entry.approximate)
"""Those that give the same results as all others."""
USUAL = tuple(name for name in EXACT if not ENGINES[name].named_only)
"""Those that are used where none is named."""

REMOTE: dict[Scheme, str] = {
    "elasticsearch": "splade_bridge.engines.remote.elastic:Elasticsearch",
    "opensearch": "splade_bridge.engines.remote.opensearch:OpenSearch",
    "milvus": "splade_bridge.engines.remote.milvus:Milvus",
    "qdrant": "splade_bridge.engines.remote.qdrant:Qdrant",
    "postgresql": "splade_bridge.engines.remote.postgresql:PostgreSQL",
}
"""The engines that hold an index themselves, by the scheme of its address."""

REMOTE_OPTIONS: dict[Scheme, type[Any]] = {
    "opensearch": OpenSearchOptions, "qdrant": QdrantOptions, "postgresql": PostgreSQLOptions,
}  # fmt: skip
"""What ``index`` may be told for one of them alone; see :attr:`Entry.options`.

An option of ``metadata["approximate"]`` makes results approximate, and is refused unless that is
asked for: :func:`check_approximate`.
"""

APPROXIMATE_IF_ASKED = ("impact-index",)
"""Engines of ours that answer exactly, and approximately where that is asked for."""

NUMBERED: tuple[Scheme, ...] = ("milvus", "qdrant", "postgresql")
"""Those in which terms are numbers."""


FIRST_ANSWER = 10.0
"""Seconds within which a server must be there."""


def flag(name: str, option: Field[Any]) -> str:
    """The flag of an option of engine ``name``."""
    return str(option.metadata.get("flag", f"--{name}-{option.name.replace('_', '-')}"))


def options_of(name: str) -> type[Any] | None:
    """The dataclass of what only the engine ``name``, or that of the scheme ``name``, knows."""
    remote: dict[str, type[Any]] = {str(s): kind for s, kind in REMOTE_OPTIONS.items()}
    return ENGINES[name].options if name in ENGINES else remote.get(name)


def key(name: str, option: Field[Any]) -> str:
    """What an option of engine ``name`` is called where a flag's name cannot be."""
    return f"{name.replace('-', '_')}_{option.name}"


def own_options(name: str, given: Mapping[str, Any]) -> Any:
    """Options of engine ``name`` from keywords that are named like the flags; None for no options.

    Args:
        given: as ``{"pisa_block_size": 64}`` for ``--pisa-block-size``.

    Raises:
        UsageError: a keyword that is no flag of this engine, or a value that it does not take.
    """
    kind = options_of(name)
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


def check_approximate(scheme: Scheme, own: Mapping[str, Any], *, allowed: bool) -> None:
    """Refuse options that make results approximate where they are to be exact.

    Args:
        own: the options of the engine, by their names.

    Raises:
        UsageError: there is one and ``allowed`` is not set, or it is set and there is none.
    """
    kind = REMOTE_OPTIONS.get(scheme)
    options = {flag(scheme, f): f for f in fields(kind)} if kind else {}
    known = {name: f for name, f in options.items() if f.metadata.get("approximate")}
    given = [name for name, f in known.items() if own.get(f.name, f.default) != f.default]
    if given and not allowed:
        raise UsageError(
            f"{', '.join(given)}: makes results approximate; add --approximate, or leave it out"
        )
    if allowed and not given:
        those = f"needs one of {', '.join(known)}" if known else f"{scheme} has none at loading"
        raise UsageError(f"--approximate has no effect: {those}; leave it out")


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


def _kind(scheme: Scheme) -> type[RemoteIndex]:
    module, _, of_class = REMOTE[scheme].partition(":")
    found: type[RemoteIndex] = getattr(import_module(module), of_class)
    return found


def algorithms_of(address: Address) -> tuple[str, ...]:
    """How the engine behind an address finds the best documents.

    Raises:
        MissingToolError: its client is not installed.
    """
    return (_kind(address.scheme).algorithm,)


def connect(address: Address) -> RemoteIndex:
    """The index at ``address``, there or not; to be closed.

    Raises:
        MissingToolError: its client is not installed.
        ServerError: the engine cannot be reached, or refuses us.
    """
    from splade_bridge.engines.remote.patience import patiently
    from splade_bridge.engines.remote.secrets import secrets_of

    kind, secrets = _kind(address.scheme), secrets_of(address)
    found: RemoteIndex = patiently(lambda: kind(address, secrets), FIRST_ANSWER)
    try:
        if patiently(found.exists, FIRST_ANSWER) and patiently(found.state) is not None:
            patiently(found.look)
    except BaseException:
        found.close()
        raise
    return found


def connect_to(address: Address, field: str | None = None) -> RemoteIndex:
    """The index that is at ``address``, ours or of others; to be closed.

    Args:
        field: that holds the vectors, where others have made several.

    Raises:
        BadInputError: it has no such field, or several and none is named.
        MissingToolError, ServerError: see :func:`connect`; or there is none.
    """
    from splade_bridge.engines.remote.patience import patiently

    found = connect(address)
    try:
        if not patiently(found.exists):
            raise found.missing()
        patiently(lambda: found.look(field))
    except BaseException:
        found.close()
        raise
    return found


def read_remote(
    address: Address, vocabulary: Vocabulary | None = None, field: str | None = None
) -> ImpactSource | WeightSource:
    """The documents of the index at ``address``: impacts, or the weights that others have stored.

    Args:
        vocabulary: what the numbers of terms stand for, where the index does not say.
        field: see :func:`connect_to`.

    Raises:
        BadInputError, MissingToolError, ServerError: see :func:`connect_to`; it is not whole.
    """
    from splade_bridge.engines.remote.index import (
        holds_fractions,
        holds_weights,
        remote_source,
    )

    index = connect_to(address, field)
    state = index.state()
    weights = holds_fractions(index) if state is None else holds_weights(state)
    return remote_source(index, weights=weights, vocabulary=vocabulary)


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


def open_index(place: Place, asking: Asking = Asking()) -> Searcher:
    """A searcher for an index folder of ours, an impact index that Anserini made, or an address.

    Args:
        asking: how it is asked; all but an approximation is for addresses alone.

    Raises:
        BadInputError: not an index, or one whose making was interrupted.
        MismatchError: a vocabulary that is not that of the index.
        MissingToolError: its engine is not installed.
        ServerError: what is behind an address does not answer.
        UsageError: ``asking`` says something that would do nothing, or that the engine lacks.
    """
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.engines.auto import best_algorithm

    if isinstance(place, Address):
        from splade_bridge.engines.remote.index import RemoteSearcher

        approximation = asking.approximation
        if approximation is not None:
            approximation.check({place.scheme})
        index = connect_to(place, asking.field)
        try:
            only = None if asking.only is None else index.filter_of(asking.only)
            return RemoteSearcher(index, only, asking.vocabulary, approximation)
        except BaseException:
            index.close()
            raise
    if replace(asking, approximation=None) != Asking():
        raise UsageError(
            f"{place}: is no address, and --field, --filter and --vocabulary are for those alone: "
            "leave them out"
        )
    manifest = None if _is_foreign(place) else Manifest.load(place)
    chosen = _engine_of(place, manifest)
    searcher = chosen.open(place, manifest)
    try:
        if (approximation := asking.approximation) is not None:
            approximation.check({chosen.name})
            searcher = searcher.approximated(approximation.own(chosen.name))
    except BaseException:
        searcher.close()
        raise
    searcher.measure = best_algorithm
    return searcher


def open_indexes(places: Sequence[Place], asking: Asking = Asking()) -> Iterator[Searcher]:
    """The searchers of several indexes, each opened when it is asked for.

    Args:
        asking: how those are asked that it is for.

    Raises:
        UsageError: ``asking`` says something, and it is for none of them.
    """
    if len(places) == 1 or asking == Asking():
        asking_each = [asking for _ in places]  # each refuses what would do nothing
    else:
        asking_each = _each(places, asking)
    for place, asked in zip(places, asking_each, strict=True):
        yield open_index(place, asked)


def _each(places: Sequence[Place], asking: Asking) -> list[Asking]:
    """What is for each of several engines."""
    approximation = asking.approximation
    if approximation is None:
        names = [place.scheme if isinstance(place, Address) else "" for place in places]
    else:
        names = [_name_of(place) for place in places]
        approximation.check(set(names))
    found = [
        _for(name, asking, remote=isinstance(place, Address))
        for name, place in zip(names, places, strict=True)
    ]
    return found if any(asked != Asking() for asked in found) else [asking for _ in places]


def _for(name: str, asking: Asking, *, remote: bool) -> Asking:
    """What is for one of several engines."""
    approximation = asking.approximation
    if not remote:
        asking = Asking()
    elif name not in NUMBERED:
        asking = replace(asking, vocabulary=None)
    if approximation is None:
        return asking
    own = approximation.own(name)
    if not (own or remote or name in APPROXIMATE_IF_ASKED):
        return asking
    named = {f"{name.replace('-', '_')}_{option}": value for option, value in own.items()}
    return replace(asking, approximation=Approximation(**named))


def _name_of(place: Place) -> str:
    """The engine of an index, or the scheme of its address."""
    from splade_bridge.data.manifest import Manifest

    if isinstance(place, Address):
        return place.scheme
    return _engine_of(place, None if _is_foreign(place) else Manifest.load(place)).name


def _is_foreign(path: Path) -> bool:
    """Whether a Lucene index is another tool's."""
    from splade_bridge.files.outputs import manifest_file

    return is_lucene(path) and not manifest_file(path).exists()


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
