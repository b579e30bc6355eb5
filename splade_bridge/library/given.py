"""What callers give, plain values of many kinds, as what the library works on."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from splade_bridge.conversion.detect import SourceOptions, path_opener, weight_opener
from splade_bridge.data.choices import Rounding, check_choice
from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.data.quantize import QuantizeOptions, for_integers
from splade_bridge.data.quantize import quantize_options as options_of
from splade_bridge.data.vector_set import MEMORY, VectorSet
from splade_bridge.encoding.choices import ModelChoices, PairChoices
from splade_bridge.engines.remote.choices import Approximation, Asking
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.qrels import Qrels, check_grade, read_qrels
from splade_bridge.files.address import Address, place_of, refuse_address
from splade_bridge.files.checks import unchecked
from splade_bridge.files.outputs import check_output
from splade_bridge.files.sizes import size_in_bytes
from splade_bridge.formats.base import (
    ImpactSource,
    StoreSource,
    StoreWeights,
    WeightSource,
    clipped,
)
from splade_bridge.formats.choices import CiffDocids, SourceFormat
from splade_bridge.formats.memory import (
    Impacts,
    RecordSource,
    are_weights,
    has_vector,
    vector_records,
    weights_in_memory,
)
from splade_bridge.formats.queries import Queries, all_of, read_queries
from splade_bridge.formats.vocabularies import read_vocabulary
from splade_bridge.library.keywords import (
    AskingMany,
    Choosing,
    Opening,
    Pairing,
    Place,
    Prompting,
    Quantizing,
    Reading,
    ReadingTexts,
    part,
)
from splade_bridge.retrieval.encode_queries import QueryEncoder, query_texts
from splade_bridge.retrieval.runs import Run, read_run
from splade_bridge.text.corpora import CorpusOptions, Role, Text, texts_in_memory

T = TypeVar("T")


def is_place(given: object) -> bool:
    """Whether this is a path."""
    return isinstance(given, str | os.PathLike)


def several(given: Place | Iterable[Place]) -> list[Place]:
    """One place, or all of them, as a list."""
    return [given] if isinstance(given, str | os.PathLike) else list(given)


def place(given: Place) -> Path | Address:
    """The path or the address that is given.

    Raises:
        UsageError: it begins as an address and is none, or holds a password.
    """
    return place_of(given if isinstance(given, str) else Path(given))


def filter_text(given: str | Mapping[str, Any] | None) -> str | None:
    """A filter as the command line takes it."""
    return given if given is None or isinstance(given, str) else json.dumps(given)


def output_path(given: Place) -> Path:
    """The file or folder that is to be made.

    Raises:
        UsageError: it is an address, which ``index`` alone writes to.
    """
    refuse_address(os.fspath(given), "output", written=True)
    return Path(given)


def run_file(output: Place | None, *, overwrite: bool) -> Path | None:
    """Where a run is to be written, if it is.

    Raises:
        UsageError: something is there that may not be replaced.
    """
    if output is None:
        return None
    out = output_path(output)
    check_output(out, overwrite=overwrite, kind="file")
    return out


def size(memory: int | str) -> int:
    """Bytes, from a number of them or from ``"500M"``, ``"2G"``.

    Raises:
        UsageError: it is no such size.
    """
    return size_in_bytes(str(memory), "memory ")


def quantize_options(
    scale: float | None, rounding: str | None = None, clip: int | None = None
) -> QuantizeOptions | None:
    """None where nothing was said, so that each source takes its default.

    Raises:
        UsageError: an unknown rounding.
    """
    if rounding is not None:
        check_choice("rounding", rounding, Rounding)
    chosen = cast("Rounding | None", rounding)
    return options_of(None if scale is None else float(scale), chosen, clip)


def model_choices(choosing: Choosing) -> ModelChoices:
    """How a checkpoint is read.

    Raises:
        UsageError: an unknown way, or what does not fit together.
    """
    return ModelChoices(**cast("dict[str, Any]", part(Choosing, choosing)))


def pair_choices(pairing: Pairing) -> PairChoices:
    """How a checkpoint of both sides is read.

    Raises:
        UsageError: an unknown way, or what does not fit together.
    """
    return PairChoices(**cast("dict[str, Any]", part(Pairing, pairing)))


def prompt_choices(prompting: Prompting) -> ModelChoices:
    """How a checkpoint of dense vectors is read.

    Raises:
        UsageError: two prompts.
    """
    return ModelChoices(**cast("dict[str, Any]", part(Prompting, prompting)))


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


def corpus_options(reading: ReadingTexts) -> CorpusOptions:
    """How texts are found in records and files."""
    return CorpusOptions(
        reading["id_field"],
        reading["text_field"],
        reading["title_field"],
        reading["skip_others"],
        reading["split"],
    )


def source_options(reading: Reading) -> SourceOptions:
    """How a path is read.

    Raises:
        UsageError: an unknown format or kind of docids.
        BadInputError: the vocabulary cannot be read.
    """
    source_format, vocabulary = reading["from_"], reading["vocabulary"]
    if source_format is not None:
        check_choice("from", source_format, SourceFormat)
    check_choice("ciff_docids", reading["ciff_docids"], CiffDocids)
    return SourceOptions(
        cast(SourceFormat | None, source_format),
        None if vocabulary is None else read_vocabulary(Path(vocabulary)),
        reading["skip_others"],
        cast(CiffDocids, reading["ciff_docids"]),
        reading["field"],
    )


def source_opener(
    given: Any,
    reading: Reading,
    *,
    quantize: QuantizeOptions | None = None,
    temporary: Path | None = None,
    role: Role = "documents",
    once: bool = False,
) -> Callable[[], ImpactSource]:
    """What opens vectors as impacts, as often as it is called.

    Args:
        given: a path, a :class:`VectorSet`, :class:`Impacts`, or vectors in memory.
        once: it will be called once only; else an iterator is read into a list.

    Raises:
        UsageError: an unknown format, or one that is named for what is no path; options for
            weights, and these are impacts.
        BadInputError: no such path; or what opening raises.
    """
    if is_place(given):
        read_as, memory = source_options(reading), size(reading["memory"])
        opener = path_opener(
            place(given), read_as, quantize=quantize, memory=memory, temporary=temporary
        )
        return _opener(opener, no_check=reading["no_check"])
    _check_in_memory(reading)
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


def weights_opener(given: Any, reading: Reading) -> Callable[[], WeightSource]:
    """The same of float weights, which stay what they are.

    Args:
        given: a path, a :class:`VectorSet`, or vectors in memory.

    Raises:
        UsageError: it holds impacts, or see :func:`source_opener`.
        BadInputError: see there.
    """
    if is_place(given):
        opener = weight_opener(
            place(given), source_options(reading), memory=size(reading["memory"])
        )
        return _opener(opener, no_check=reading["no_check"])
    _check_in_memory(reading)
    if isinstance(given, VectorSet):
        return lambda: StoreWeights(given)
    are_floats = False
    if not isinstance(given, Impacts):
        are_floats, records = are_weights(vector_records(items_of(given), "documents"))
    if not are_floats:
        raise UsageError("keep_weights is for float weights, and these are impacts: leave it out")
    held = weights_in_memory(records)
    return lambda: StoreWeights(held)


def _opener(opener: Callable[[], T], *, no_check: bool) -> Callable[[], T]:
    def opened() -> T:
        with unchecked(no_check):
            return opener()

    return opened


def _check_in_memory(reading: Reading) -> None:
    """Raise UsageError for what says how a path is read."""
    if reading["from_"] is not None:
        raise UsageError("from_ is for paths; vectors in memory need none")
    if reading["ciff_docids"] != "gaps":
        raise UsageError("ciff_docids is for paths; vectors in memory need none")
    if reading["vocabulary"] is not None:
        raise UsageError("vocabulary is for paths; vectors in memory have terms")
    if reading["field"] is not None:
        raise UsageError("field is for addresses; vectors in memory have none")


def asking(opening: Opening) -> Asking:
    """How an index behind an address is asked.

    Raises:
        UsageError: an option of an engine's approximation without ``approximate``.
        BadInputError: the vocabulary cannot be read.
    """
    vocabulary, approximate = opening["vocabulary"], opening["approximate"]
    names = {option.name for option in fields(Approximation)}
    own = {name: value for name, value in opening.items() if name in names and value is not None}
    if own and not approximate:
        name = next(iter(own))
        raise UsageError(f"{name} has no effect without approximate: add that, or leave {name} out")
    return Asking(
        opening["field"],
        None if vocabulary is None else read_vocabulary(Path(vocabulary)),
        Approximation(**cast("dict[str, Any]", own)) if approximate else None,
        filter_text(opening["filter"]),
    )


def queries(given: Any, asking: AskingMany, encoder: QueryEncoder | None = None) -> Queries:
    """Queries from a path or from memory, text or vectors; text needs a model.

    Args:
        encoder: the model of ``asking``, where it is loaded already.

    Raises:
        UsageError: text without a model.
        BadInputError: what reading or encoding them raises.
    """
    found = _queries(given, asking, encoder)
    return replace(found, allow_mismatch=True) if asking["allow_mismatch"] else found


def _queries(given: Any, asking: AskingMany, encoder: QueryEncoder | None) -> Queries:
    quantize, model = quantize_options(**part(Quantizing, asking)), asking["model"]

    def encoded(texts: Sequence[Text], source: Path) -> Queries:
        assert model is not None
        checkpoint = model_choices(asking)
        loaded = encoder or QueryEncoder(str(model), quantize, asking["max_length"], checkpoint)
        return loaded(texts, source)

    if isinstance(given, Queries):
        return given
    if is_place(given):
        if model is None:
            return read_queries(Path(given), quantize, pre_encoded=asking["pre_encoded"])
        texts = query_texts(str(given), asking["split"])  # before a model is loaded for nothing
        return encoded(texts, Path(given))
    if isinstance(given, VectorSet | Impacts):
        return all_of(source_opener(given, part(Reading, {}), quantize=quantize)())
    stream = iter(items_of(given))
    first = next(stream, None)
    if first is None:
        raise BadInputError("holds no queries", str(MEMORY))
    items = chain([first], stream)
    if has_vector(first, "queries"):
        return all_of(RecordSource(vector_records(items, "queries"), quantize))
    texts = list(texts_in_memory(items, "queries"))
    if model is None:
        raise UsageError("these queries are text: name a model, or give vectors")
    return encoded(texts, MEMORY)


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
