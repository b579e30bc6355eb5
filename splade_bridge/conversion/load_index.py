"""From any source of vectors into an index that an engine holds itself, by its address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from splade_bridge.conversion.corpus_fields import texts_with, types_of
from splade_bridge.conversion.detect import SourceOptions, path_opener
from splade_bridge.data.ids import quoted
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.registry import connect
from splade_bridge.engines.remote.base import Fields
from splade_bridge.engines.remote.choices import FieldType
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.errors import MismatchError, UsageError
from splade_bridge.files.address import Address, Place, paths
from splade_bridge.files.finished import fingerprints
from splade_bridge.formats.base import Watch, watched


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
    if fields:
        if with_contents is None:
            raise UsageError("--fields are fields of the corpus that --with-contents names")
        options = with_columns(options, types_of(with_contents, fields))
    opened = path_opener(source, read_as, quantize=quantize, memory=memory)
    plan = {
        "files": list(fingerprints(paths([source])).values()),
        "quantize": asdict(quantize) if quantize else None,
        "contents": with_contents,
    }
    texts = None if with_contents is None else Texts(with_contents, options.made.columns)
    with connect(address) as index:
        return load(index, lambda: watched(opened(), watch), options, texts=texts, plan=plan)


def with_columns(options: LoadOptions, columns: Mapping[str, FieldType]) -> LoadOptions:
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
    """
    if fields and with_contents is not None:
        options = with_columns(options, types_of(with_contents, fields))
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
