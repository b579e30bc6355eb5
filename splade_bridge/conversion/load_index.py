"""From any source of vectors into an index that an engine holds itself, by its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from splade_bridge.conversion.corpus_fields import texts_with, types_of
from splade_bridge.conversion.detect import SourceOptions, path_opener, weight_opener
from splade_bridge.data.ids import DuplicateGuard, checked_id, quoted
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.registry import check_approximate, connect
from splade_bridge.engines.remote.base import Fields
from splade_bridge.engines.remote.change import delete
from splade_bridge.engines.remote.change import update as change
from splade_bridge.engines.remote.choices import Check, FieldType
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.states import Change
from splade_bridge.errors import MismatchError, UsageError
from splade_bridge.files.address import Address, Place, paths
from splade_bridge.files.finished import fingerprints
from splade_bridge.files.lines import text_lines
from splade_bridge.formats.base import ImpactSource, Watch, WeightSource, watched


@dataclass(frozen=True)
class Given:
    """How a source is read, and what is stored beside its vectors.

    Attributes:
        read_as: how a path or an address is read.
        quantize: see :func:`.detect.open_source`.
        memory: budget in bytes of reading the source.
        with_contents: the corpus that was encoded, in the same order; its texts are stored in the
            field ``text``.
        fields: further fields of that corpus to be stored, with their types; None for the type
            that their values have.
        watch: wraps the stream of batches of each pass, for a progress bar.
    """

    read_as: SourceOptions = SourceOptions()
    quantize: QuantizeOptions | None = None
    memory: int = DEFAULT_MEMORY
    with_contents: str | None = None
    fields: Mapping[str, FieldType | None] = field(default_factory=dict)
    watch: Watch | None = None


def load_index(
    source: Place, address: Address, options: LoadOptions = LoadOptions(), given: Given = Given()
) -> Manifest:
    """Load ``source`` into a new index at ``address``, and check that it holds all of it.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError, UsageError: see
            :func:`splade_bridge.engines.remote.load.load`.
        MissingToolError: the client of the engine is not installed.
    """
    opened: Callable[[], ImpactSource | WeightSource]
    if options.keep_weights:
        check_unscaled(given.quantize)
        opened = weight_opener(source, given.read_as, memory=given.memory)
    else:
        opened = _impacts(source, given)
    return load_opened(lambda: watched(opened(), given.watch), source, address, options, given)


def update_index(
    source: Place, address: Address, options: LoadOptions = LoadOptions(), given: Given = Given()
) -> Change:
    """Add the documents of ``source`` to the index at ``address``, or replace those of their ids.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError, UsageError: see
            :func:`splade_bridge.engines.remote.change.update`.
        MissingToolError: the client of the engine is not installed.
    """
    opened = _impacts(source, given)
    return update_opened(lambda: watched(opened(), given.watch), source, address, options, given)


def _impacts(source: Place, given: Given) -> Callable[[], ImpactSource]:
    return path_opener(source, given.read_as, quantize=given.quantize, memory=given.memory)


def check_unscaled(quantize: QuantizeOptions | None) -> None:
    """Raise UsageError for what makes impacts of weights that are to stay weights."""
    if quantize is not None:
        raise UsageError("--keep-weights and --scale, --rounding or --clip: one or the other")


def load_opened(
    opened: Callable[[], ImpactSource | WeightSource],
    source: Place | None,
    address: Address,
    options: LoadOptions,
    given: Given,
) -> Manifest:
    """:func:`load_index` from a source that is a path, an address or in memory.

    Args:
        opened: gives it anew.
        source: its place; None in memory, where its content tells one load from another.
    """
    options = _checked(source, address, options, given)
    plan = _plan(opened, source, options, given)
    texts = _texts(given, options)
    check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        return load(index, opened, options, texts=texts, plan=plan)


def update_opened(
    opened: Callable[[], ImpactSource],
    source: Place | None,
    address: Address,
    options: LoadOptions,
    given: Given,
) -> Change:
    """:func:`update_index` from the same; see :func:`load_opened`."""
    options = _checked(source, address, options, given)
    plan = _plan(opened, source, options, given)
    texts = _texts(given, options)
    with connect(address) as index:
        return change(index, opened, options, texts=texts, plan=plan)


def _texts(given: Given, options: LoadOptions) -> Texts | None:
    if given.with_contents is None:
        return None
    return Texts(given.with_contents, options.made.columns)


def _checked(
    source: Place | None, address: Address, options: LoadOptions, given: Given
) -> LoadOptions:
    """``options`` with the fields that are stored."""
    if source == address:
        raise UsageError(f"{address}: is read, too; name another output")
    if given.fields and given.with_contents is None:
        raise UsageError("--fields are fields of the corpus that --with-contents names")
    return _with_columns(options, given)


def _plan(
    opened: Callable[[], ImpactSource | WeightSource],
    source: Place | None,
    options: LoadOptions,
    given: Given,
) -> dict[str, Any]:
    """What tells one load from another."""
    if source is None:
        looked = opened()
        looked.read_all()
        return _held(options) | {"content": str(looked.content), "contents": given.with_contents}
    return _held(options) | {
        "files": list(fingerprints(paths([source])).values()),
        "quantize": asdict(given.quantize) if given.quantize else None,
        "contents": given.with_contents,
    }


def _held(options: LoadOptions) -> dict[str, Any]:
    return {"weights": True} if options.keep_weights else {}


def read_ids(path: Path) -> list[str]:
    """The ids in a file, one a line; ``-`` is stdin.

    Raises:
        BadInputError: the file cannot be read; a line that is no id, or one that was there before.
    """
    guard, found = DuplicateGuard(), []
    for line, place in text_lines(path, pipe=True):
        found.append(checked_id(line, place))
        guard.check(line, place)
    return found


def delete_documents(
    place: Place, ids: Sequence[str], *, missing_ok: bool = False, check: Check | None = None
) -> Change:
    """Delete documents from the index at an address.

    Args:
        ids: checked as those of documents are, none twice.
        missing_ok, check: see :func:`splade_bridge.engines.remote.change.delete`.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError: see there.
        MissingToolError: the client of the engine is not installed.
        UsageError: ``place`` is a folder, or the index is of others; or no ids.
    """
    if not isinstance(place, Address):
        raise UsageError(
            f"{place}: is no address, and indexes of files are made anew: leave the documents out "
            "of the source, and index it with --overwrite"
        )
    guard, found = DuplicateGuard(), []
    for number, doc_id in enumerate(ids, start=1):
        where = f"the ids to be deleted, number {number:,}"
        found.append(checked_id(doc_id, where))
        guard.check(found[-1], where)
    if not found:
        raise UsageError("no ids of documents to be deleted: give --id or --ids")
    with connect(place) as index:
        return delete(index, found, missing_ok=missing_ok, check=check)


def _with_columns(options: LoadOptions, given: Given) -> LoadOptions:
    """The same, with further fields that are stored."""
    if not given.fields or given.with_contents is None:
        return options
    columns = types_of(given.with_contents, given.fields)
    return replace(options, made=replace(options.made, columns=columns))


def creation(address: Address, options: LoadOptions, given: Given) -> dict[str, Any]:
    """What would make the index at ``address``, as its engine takes it; nothing is made.

    Raises:
        BadInputError: the engine takes no field of such a name, or the corpus has none.
        MissingToolError, ServerError: see :func:`.registry.connect`.
        UsageError: see :func:`.registry.check_approximate`.
    """
    options = _with_columns(options, given)
    check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        index.use(options.made)
        index.check_fields(options.made)
        return index.creation(options.made)


class Texts:
    """The texts of a corpus that comes in the order of the vectors, and fields of it."""

    def __init__(self, corpus: str, columns: Mapping[str, FieldType] = {}) -> None:
        self._corpus = corpus
        self._texts = texts_with(corpus, columns)

    def __call__(self, ids: Sequence[str]) -> list[Fields]:
        """Those of the documents that come next.

        Raises:
            MismatchError: the corpus has another document there, or ends.
        """
        return list(self._next(ids))

    def _next(self, ids: Sequence[str]) -> Iterator[Fields]:
        found = list(islice(self._texts, len(ids)))
        for doc_id, text in zip(ids, found, strict=False):
            if doc_id != text.id:
                raise MismatchError(
                    f"{self._corpus}: has document {quoted(text.id)} where the vectors have "
                    f"{quoted(doc_id)}: give the corpus that was encoded"
                )
            yield {"text": text.text, **(text.further or {})}
        if len(found) < len(ids):
            raise MismatchError(
                f"{self._corpus}: ends before document {quoted(ids[len(found)])}: give the corpus "
                "that was encoded"
            )
