"""What callers give, plain values of many kinds, as what the library works on."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from splade_bridge.conversion.detect import SourceOptions, path_opener
from splade_bridge.data.choices import Rounding, check_choice
from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.data.quantize import QuantizeOptions, for_integers
from splade_bridge.data.quantize import quantize_options as options_of
from splade_bridge.data.vector_set import MEMORY, VectorSet
from splade_bridge.encoding.choices import ModelChoices, QueryMode
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.qrels import Qrels, check_grade, read_qrels
from splade_bridge.files.address import Address, place_of
from splade_bridge.files.checks import unchecked
from splade_bridge.files.sizes import size_in_bytes
from splade_bridge.formats.base import ImpactSource, StoreSource, clipped
from splade_bridge.formats.choices import CiffDocids, SourceFormat
from splade_bridge.formats.memory import Impacts, RecordSource, has_vector, vector_records
from splade_bridge.formats.queries import Queries, all_of, read_queries
from splade_bridge.formats.vocabularies import read_vocabulary
from splade_bridge.retrieval.encode_queries import QueryEncoder, query_texts
from splade_bridge.retrieval.runs import Run, read_run
from splade_bridge.text.corpora import Role, texts_in_memory

Place = str | os.PathLike[str]
"""A path, or the address of an index that an engine holds: docs/engines.md."""

T = TypeVar("T")


def is_place(given: object) -> bool:
    """Whether this is a path."""
    return isinstance(given, str | os.PathLike)


def place(given: Place) -> Path | Address:
    """The path or the address that is given.

    Raises:
        UsageError: it begins as an address and is none, or holds a password.
    """
    return place_of(given if isinstance(given, str) else Path(given))


def filter_text(given: str | Mapping[str, Any] | None) -> str | None:
    """A filter as the command line takes it."""
    return given if given is None or isinstance(given, str) else json.dumps(given)


def size(memory: int | str) -> int:
    """Bytes, from a number of them or from ``"500M"``, ``"2G"``.

    Raises:
        UsageError: it is no such size.
    """
    return size_in_bytes(str(memory), "memory ")


def quantize_options(
    scale: float | None, rounding: str | None, clip: int | None
) -> QuantizeOptions | None:
    """None where nothing was said, so that each source takes its default.

    Raises:
        UsageError: an unknown rounding.
    """
    if rounding is not None:
        check_choice("rounding", rounding, Rounding)
    chosen = cast("Rounding | None", rounding)
    return options_of(None if scale is None else float(scale), chosen, clip)


def model_choices(
    revision: str | None,
    prompt: str | None,
    prompt_name: str | None,
    query_mode: str,
    normalize: bool,
    trust_remote_code: bool,
) -> ModelChoices:
    """How a checkpoint is read.

    Raises:
        UsageError: an unknown way, or what does not fit together.
    """
    mode = cast(QueryMode, query_mode)
    return ModelChoices(revision, prompt, prompt_name, mode, normalize, trust_remote_code)


def items_of(given: Any) -> Iterable[Any]:
    """The rows of a DataFrame as records, the pairs of a mapping, or the iterable itself.

    Raises:
        UsageError: it is nothing of these.
    """
    pandas = sys.modules.get("pandas")  # a DataFrame can only come from there
    if pandas is not None and isinstance(given, pandas.DataFrame):
        return cast("Iterable[Any]", given.to_dict("records"))
    if isinstance(given, Mapping):
        return given.items()
    if not isinstance(given, Iterable):
        raise UsageError(f"a path, an iterable, a mapping or a DataFrame, not {given!r}")
    return given


def source_options(
    source_format: str | None,
    *,
    vocabulary: Place | None = None,
    skip_others: bool = False,
    ciff_docids: str = "gaps",
    field: str | None = None,
) -> SourceOptions:
    """How a path is read.

    Raises:
        UsageError: an unknown format or kind of docids.
        BadInputError: the vocabulary cannot be read.
    """
    if source_format is not None:
        check_choice("from", source_format, SourceFormat)
    check_choice("ciff_docids", ciff_docids, CiffDocids)
    return SourceOptions(
        cast(SourceFormat | None, source_format),
        None if vocabulary is None else read_vocabulary(Path(vocabulary)),
        skip_others,
        cast(CiffDocids, ciff_docids),
        field,
    )


def source_opener(
    given: Any,
    *,
    source_format: str | None = None,
    quantize: QuantizeOptions | None = None,
    memory: int,
    temporary: Path | None = None,
    role: Role = "documents",
    once: bool = False,
    skip_others: bool = False,
    ciff_docids: str = "gaps",
    field: str | None = None,
    no_check: bool = False,
) -> Callable[[], ImpactSource]:
    """What opens vectors as impacts, as often as it is called.

    Args:
        given: a path, a :class:`VectorSet`, :class:`Impacts`, or vectors in memory.
        once: it will be called once only; else an iterator is read into a list.
        skip_others: leave out what a folder holds beside vectors.
        ciff_docids: ``absolute`` for a path of CIFF whose postings hold docids and not gaps.
        field: of an address, that holds the vectors.
        no_check: do not compare the files of a path with the hashes in its manifest.

    Raises:
        UsageError: an unknown format, or one that is named for what is no path; options for
            weights, and these are impacts.
        BadInputError: no such path; or what opening raises.
    """
    if source_format is not None and not is_place(given):
        raise UsageError("from_ is for paths; vectors in memory need none")
    if ciff_docids != "gaps" and not is_place(given):
        raise UsageError("ciff_docids is for paths; vectors in memory need none")
    if field is not None and not is_place(given):
        raise UsageError("field is for addresses; vectors in memory have none")
    if is_place(given):
        opener = path_opener(
            place(given),
            source_options(
                source_format, skip_others=skip_others, ciff_docids=ciff_docids, field=field
            ),
            quantize=quantize,
            memory=memory,
            temporary=temporary,
        )

        def opened() -> ImpactSource:
            with unchecked(no_check):
                return opener()

        return opened
    if isinstance(given, VectorSet):
        return lambda: StoreSource(given, quantize or QuantizeOptions())
    if isinstance(given, Impacts):
        impacts = given.open_source
        for_integers(quantize, MEMORY, None)  # now, and not when they are read
        return lambda: clipped(impacts(), for_integers(quantize, MEMORY, None))
    items = items_of(given)
    if not once and isinstance(items, Iterator):
        items = list(items)
    return lambda: RecordSource(vector_records(items, role), quantize)


def queries(
    given: Any,
    model: Place | QueryEncoder | None,
    quantize: QuantizeOptions | None,
    max_length: int = 256,
    *,
    checkpoint: ModelChoices = ModelChoices(),
    split: str | None = None,
    pre_encoded: bool = False,
    allow_mismatch: bool = False,
) -> Queries:
    """Queries from a path or from memory, text or vectors; text needs a model.

    Args:
        checkpoint, split, pre_encoded, allow_mismatch: see
            :func:`splade_bridge.retrieval.encode_queries.load_queries`.

    Raises:
        UsageError: text without a model.
        BadInputError: what reading or encoding them raises.
    """
    made = model

    def encoder() -> QueryEncoder:
        assert made is not None
        if isinstance(made, QueryEncoder):
            return made
        return QueryEncoder(str(made), quantize, max_length, checkpoint)

    found = _queries(given, None if model is None else encoder, quantize, split, pre_encoded)
    return replace(found, allow_mismatch=True) if allow_mismatch else found


def _queries(
    given: Any,
    encoder: Callable[[], QueryEncoder] | None,
    quantize: QuantizeOptions | None,
    split: str | None,
    pre_encoded: bool,
) -> Queries:
    """See :func:`queries`; ``encoder`` loads a model, if there is one."""
    if isinstance(given, Queries):
        return given
    if is_place(given):
        if encoder is None:
            return read_queries(Path(given), quantize, pre_encoded=pre_encoded)
        texts = query_texts(str(given), split)  # before a model is loaded for nothing
        return encoder()(texts, Path(given))
    if isinstance(given, VectorSet | Impacts):
        return all_of(source_opener(given, quantize=quantize, memory=0)())
    stream = iter(items_of(given))
    first = next(stream, None)
    if first is None:
        raise BadInputError("holds no queries", str(MEMORY))
    items = chain([first], stream)
    if has_vector(first, "queries"):
        return all_of(RecordSource(vector_records(items, "queries"), quantize))
    texts = list(texts_in_memory(items, "queries"))
    if encoder is None:
        raise UsageError("these queries are text: name a model, or give vectors")
    return encoder()(texts, MEMORY)


def run(given: Any) -> Run:
    """A run from a file, ``{query id: {document id: score}}``, a DataFrame or records.

    Raises:
        BadInputError: a broken file, a score that is no finite number, or a document twice for
            one query.
    """
    if is_place(given):
        return read_run(Path(given))
    return _judged(given, "score", ("score",), _score)


def qrels(given: Any, split: str | None = None) -> Qrels:
    """Judgements from a file, ``{query id: {document id: grade}}``, a DataFrame or records.

    Args:
        split: of a BEIR folder.

    Raises:
        BadInputError: a broken file, a grade that is no integer, a document twice for one query,
            or no judgements at all.
    """
    if is_place(given):
        return read_qrels(Path(given), split=split)
    found = _judged(given, "grade", ("label", "relevance"), _grade)
    if not found:
        raise BadInputError("holds no judgements", str(MEMORY))
    for query_id, judged in found.items():
        for doc_id, grade in judged.items():
            check_grade(grade, f"query {query_id}, document {doc_id}")
    return found


QUERY_NAMES, DOC_NAMES = ("qid", "query_id"), ("docno", "doc_id")


def _judged(
    given: Any, what: str, names: tuple[str, ...], number: Callable[[Any], T]
) -> dict[str, dict[str, T]]:
    """Numbers by query and document."""
    found: dict[str, dict[str, T]] = {}
    for query_id, doc_id, value in _triples(given, (QUERY_NAMES, DOC_NAMES, names)):
        query, document = checked_id(query_id, "a query"), checked_id(doc_id, "a document")
        place = f"query {query}, document {document}"
        documents = found.setdefault(query, {})
        if document in documents:
            raise BadInputError("stands there twice", place)
        try:
            documents[document] = number(value)
        except (TypeError, ValueError, OverflowError):
            raise BadInputError(f"{quoted(value)} is not a {what}", place) from None
    if isinstance(given, Mapping):  # a query without documents is one, too
        for query_id in given:
            found.setdefault(checked_id(query_id, "a query"), {})
    return found


def _triples(given: Any, names: Sequence[tuple[str, ...]]) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(given, Mapping):
        for query_id, documents in given.items():
            if not isinstance(documents, Mapping):
                raise BadInputError("must be {document id: number}", f"query {query_id}")
            for doc_id, value in documents.items():
                yield query_id, doc_id, value
        return
    for number, item in enumerate(items_of(given), start=1):
        row = tuple(_named(item, known, f"row {number}") for known in names)
        yield cast("tuple[Any, Any, Any]", row)


def _named(item: Any, names: tuple[str, ...], place: str) -> Any:
    for name in names:
        if isinstance(item, Mapping):
            if name in item:
                return item[name]
        elif hasattr(item, name):
            return getattr(item, name)
    raise BadInputError(f"has no {' or '.join(names)}", place)


def _score(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found) or isinstance(value, str | bool):
        raise ValueError
    return found


def _grade(value: Any) -> int:
    if isinstance(value, str | bool) or int(value) != value:
        raise ValueError
    return int(value)
