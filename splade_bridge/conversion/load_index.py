"""From any source of vectors into an index that an engine holds itself, by its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

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


def load_index(
    source: Place,
    address: Address,
    options: LoadOptions = LoadOptions(),
    *,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    with_contents: str | None = None,
    fields: Mapping[str, FieldType | None] = {},
    watch: Watch | None = None,
) -> Manifest:
    """Load ``source`` into a new index at ``address``, and check that it holds all of it.

    Args:
        source, quantize: see :func:`.detect.open_source`.
        read_as: how ``source`` is read.
        memory: budget in bytes of reading the source.
        with_contents: the corpus that was encoded, in the same order; its texts are stored in the
            field ``text``.
        fields: further fields of that corpus to be stored, with their types; None for the type
            that their values have.
        watch: wraps the stream of batches of each pass, for a progress bar.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError, UsageError: see
            :func:`splade_bridge.engines.remote.load.load`.
        MissingToolError: the client of the engine is not installed.
    """
    _check_apart(source, address)
    options = _with_fields(options, with_contents, fields)
    opened: Callable[[], ImpactSource | WeightSource]
    if options.keep_weights:
        check_unscaled(quantize)
        opened = weight_opener(source, read_as, memory=memory)
    else:
        opened = path_opener(source, read_as, quantize=quantize, memory=memory)
    plan = _plan(source, quantize, with_contents, options)
    texts = _texts(with_contents, options)
    check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        return load(index, lambda: watched(opened(), watch), options, texts=texts, plan=plan)


def check_unscaled(quantize: QuantizeOptions | None) -> None:
    """Raise UsageError for what makes impacts of weights that are to stay weights."""
    if quantize is not None:
        raise UsageError("--keep-weights and --scale, --rounding or --clip: one or the other")


def load_opened(
    opened: Callable[[], ImpactSource | WeightSource],
    address: Address,
    options: LoadOptions = LoadOptions(),
    *,
    source: Place | None,
    quantize: QuantizeOptions | None = None,
    with_contents: str | None = None,
    fields: Mapping[str, FieldType | None] = {},
    update: bool = False,
) -> Manifest:
    """Load an index, or add to one, from a source that is a path, an address or in memory.

    Args:
        opened: gives it anew.
        source: its place; None in memory, where its content tells one load from another.
        quantize, with_contents, fields: see :func:`load_index`.
        update: see :func:`update_index`.

    Raises:
        SpladeBridgeError: see :func:`load_index` and :func:`update_index`.
    """
    _check_apart(source, address)
    options = _with_fields(options, with_contents, fields)
    if source is None:
        looked = opened()
        looked.read_all()
        plan = _held(options) | {"content": str(looked.content), "contents": with_contents}
    else:
        plan = _plan(source, quantize, with_contents, options)
    texts = _texts(with_contents, options)
    if not update:
        check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        if update:
            impacts = cast(Callable[[], ImpactSource], opened)  # keep_weights is of a new index
            return change(index, impacts, options, texts=texts, plan=plan).manifest
        return load(index, opened, options, texts=texts, plan=plan)


def update_index(
    source: Place,
    address: Address,
    options: LoadOptions = LoadOptions(),
    *,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    with_contents: str | None = None,
    fields: Mapping[str, FieldType | None] = {},
    watch: Watch | None = None,
) -> Change:
    """Add the documents of ``source`` to the index at ``address``, or replace those of their ids.

    Args:
        source, read_as, quantize, memory, with_contents, fields, watch: see :func:`load_index`.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError, UsageError: see
            :func:`splade_bridge.engines.remote.change.update`.
        MissingToolError: the client of the engine is not installed.
    """
    _check_apart(source, address)
    options = _with_fields(options, with_contents, fields)
    opened = path_opener(source, read_as, quantize=quantize, memory=memory)
    plan = _plan(source, quantize, with_contents, options)
    texts = _texts(with_contents, options)
    with connect(address) as index:
        return change(index, lambda: watched(opened(), watch), options, texts=texts, plan=plan)


def _texts(with_contents: str | None, options: LoadOptions) -> Texts | None:
    return None if with_contents is None else Texts(with_contents, options.made.columns)


def _check_apart(source: Place | None, address: Address) -> None:
    if source == address:
        raise UsageError(f"{address}: is read, too; name another output")


def _plan(
    source: Place,
    quantize: QuantizeOptions | None,
    with_contents: str | None,
    options: LoadOptions,
) -> dict[str, Any]:
    """What tells one load from another."""
    return _held(options) | {
        "files": list(fingerprints(paths([source])).values()),
        "quantize": asdict(quantize) if quantize else None,
        "contents": with_contents,
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


def _with_fields(
    options: LoadOptions, with_contents: str | None, fields: Mapping[str, FieldType | None]
) -> LoadOptions:
    if not fields:
        return options
    if with_contents is None:
        raise UsageError("--fields are fields of the corpus that --with-contents names")
    return _with_columns(options, types_of(with_contents, fields))


def _with_columns(options: LoadOptions, columns: Mapping[str, FieldType]) -> LoadOptions:
    """The same, with further fields that are stored."""
    return replace(options, made=replace(options.made, columns=columns))


def creation(
    address: Address,
    options: LoadOptions,
    with_contents: str | None = None,
    fields: Mapping[str, FieldType | None] = {},
) -> dict[str, Any]:
    """What would make the index at ``address``, as its engine takes it; nothing is made.

    Args:
        with_contents, fields: see :func:`load_index`.

    Raises:
        BadInputError: the engine takes no field of such a name, or the corpus has none.
        MissingToolError, ServerError: see :func:`.registry.connect`.
        UsageError: see :func:`.registry.check_approximate`.
    """
    if fields and with_contents is not None:
        options = _with_columns(options, types_of(with_contents, fields))
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
