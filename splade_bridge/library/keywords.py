"""Keywords that several functions take: each with its type and its default, written once.

A function takes a group of them as ``**name: Unpack[Group]``, which type checkers and editors read;
:func:`takes` gives it their defaults, and shows each of them in ``help``.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypedDict, TypeVar, cast, get_args, get_type_hints

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.encoding.choices import DEFAULT_PART_ROWS

Place = str | os.PathLike[str]
"""A path, or the address of an index that an engine holds: docs/engines.md."""

P = ParamSpec("P")
R = TypeVar("R")
Group = TypeVar("Group")


class Quantizing(TypedDict, total=False):
    """How weights become impacts."""

    scale: Annotated[float | None, None]
    rounding: Annotated[str | None, None]
    clip: Annotated[int | None, None]


class Reading(TypedDict, total=False):
    """How a source is read."""

    from_: Annotated[str | None, None]
    skip_others: Annotated[bool, False]
    ciff_docids: Annotated[str, "gaps"]
    vocabulary: Annotated[Place | None, None]
    field: Annotated[str | None, None]
    memory: Annotated[int | str, DEFAULT_MEMORY]
    no_check: Annotated[bool, False]


class ReadingImpacts(Reading, Quantizing, total=False):
    """How a source of weights or impacts is read, and its weights quantized."""


class ReadingTexts(TypedDict, total=False):
    """How texts are read, and what is made of them is kept."""

    part_rows: Annotated[int, DEFAULT_PART_ROWS]
    id_field: Annotated[str | None, None]
    text_field: Annotated[str | None, None]
    title_field: Annotated[str, "title"]
    skip_others: Annotated[bool, False]
    split: Annotated[str | None, None]
    overwrite: Annotated[bool, False]


class Checkpoint(TypedDict, total=False):
    """Which checkpoint is meant, whatever it does."""

    revision: Annotated[str | None, None]
    trust_remote_code: Annotated[bool, False]


class Prompting(Checkpoint, total=False):
    """The same, and what is put in front of the texts that it encodes."""

    prompt: Annotated[str | None, None]
    prompt_name: Annotated[str | None, None]


class Choosing(Prompting, total=False):
    """How a checkpoint is read that gives weights of terms."""

    query_mode: Annotated[str, "model"]
    normalize: Annotated[bool, False]


class Pairing(Checkpoint, total=False):
    """How a checkpoint is read that encodes queries and documents in one call."""

    query_prompt: Annotated[str | None, None]
    query_prompt_name: Annotated[str | None, None]
    document_prompt: Annotated[str | None, None]
    document_prompt_name: Annotated[str | None, None]
    query_mode: Annotated[str, "model"]
    normalize: Annotated[bool, False]


class PromptingTexts(ReadingTexts, Prompting, total=False):
    """How texts are read, and the checkpoint that makes dense vectors of them."""


class EncodingTexts(ReadingTexts, Choosing, total=False):
    """How texts are read, and the checkpoint that encodes them."""


class AskingAny(Quantizing, Choosing, total=False):
    """How indexes are opened, and queries made for them, by whichever models."""

    max_length: Annotated[int, 256]
    allow_mismatch: Annotated[bool, False]
    memory: Annotated[int | str | None, None]
    field: Annotated[str | None, None]
    vocabulary: Annotated[Place | None, None]
    no_check: Annotated[bool, False]


class AskingOne(AskingAny, total=False):
    """The same, with the model of the queries."""

    model: Annotated[Place | None, None]


class AskingMany(AskingOne, total=False):
    """The same, for queries that may be a file."""

    split: Annotated[str | None, None]
    pre_encoded: Annotated[bool, False]


class Opening(AskingMany, total=False):
    """All that :func:`splade_bridge.open_index` may be told."""

    two_step: Annotated[Place | None, None]
    first_query_terms: Annotated[int | None, None]
    candidates: Annotated[int | None, None]
    filter: Annotated[str | Mapping[str, Any] | None, None]
    approximate: Annotated[bool, False]
    elasticsearch_frequency_ratio: Annotated[float | None, None]
    elasticsearch_weight_ratio: Annotated[float | None, None]
    impact_index_alpha: Annotated[float | None, None]
    impact_index_beta: Annotated[float | None, None]
    milvus_drop_ratio: Annotated[float | None, None]
    postgresql_ef_search: Annotated[int | None, None]
    seismic_query_cut: Annotated[int | None, None]
    seismic_heap_factor: Annotated[float | None, None]


class Running(TypedDict, total=False):
    """How an open index is searched, and what becomes of the results."""

    k: Annotated[int, 1000]
    threads: Annotated[int, 1]
    remove_query: Annotated[bool, False]
    max_passage: Annotated[bool, False]
    output: Annotated[Place | None, None]
    output_format: Annotated[str, "trec"]
    tag: Annotated[str, "splade-bridge"]
    overwrite: Annotated[bool, False]


class Searching(Opening, Running, total=False):
    """All that :func:`splade_bridge.search` may be told of an index and a run."""


def takes(group: type[Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take the keywords of ``group`` as its last parameter, which then has them all.

    Raises:
        TypeError: when the function is called, a keyword that it does not have.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = inspect.signature(function)
        *parameters, _ = own.parameters.values()
        more = _parameters(group)  # type: ignore[arg-type]  # mypy: a class is not hashable
        shown = own.replace(parameters=[*parameters, *more])
        defaults = {parameter.name: parameter.default for parameter in more}

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                shown.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__qualname__}() {error}") from None
            return function(*args, **cast(Any, {**defaults, **kwargs}))

        called.__signature__ = shown  # type: ignore[attr-defined]
        return called

    return decorate


@functools.cache  # a single query asks for two groups, whose hints take long to read
def _parameters(group: type[Any]) -> tuple[inspect.Parameter, ...]:
    found = []
    for name, hint in get_type_hints(group, include_extras=True).items():
        kind, default = get_args(hint)
        found.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
        )
    return tuple(found)


def part(group: type[Group], given: Mapping[str, object]) -> Group:
    """Those of ``given`` that are keywords of ``group``; where it has not all, their defaults."""
    parameters = _parameters(group)  # type: ignore[arg-type]  # as above
    return cast(Group, {p.name: given.get(p.name, p.default) for p in parameters})
