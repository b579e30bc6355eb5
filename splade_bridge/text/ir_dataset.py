"""Data sets by their ir_datasets id, as ``beir/nfcorpus/test``: documents, queries, judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from splade_bridge.data.ids import checked_id
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MissingToolError,
    install,
)


class DatasetText(NamedTuple):
    """A document or a query of a data set.

    Attributes:
        further: those of the fields that were asked for which it has; None for none.
    """

    id: str
    text: str
    place: str
    further: Mapping[str, Any] | None


def may_be_dataset(name: str) -> bool:
    """Whether ``name``, which is no file, looks like an id and not like a path."""
    return not (name.startswith((".", "/", "~")) or Path(name).suffix or ":" in name)


def _loaded(name: str) -> Any:
    """The data set called ``name``.

    Raises:
        BadInputError: there is none, or ``name`` is a path.
        MissingToolError: ir_datasets is not installed.
    """
    if not may_be_dataset(name):
        raise BadInputError("no such file or folder", name)
    try:
        import ir_datasets
    except ImportError:
        raise MissingToolError(
            f"{name}: no such file or folder; if it is an ir_datasets id: {install('datasets')}"
        ) from None
    try:
        return ir_datasets.load(name)
    except KeyError:
        raise BadInputError("neither a file or folder nor an ir_datasets id", name) from None


def dataset_texts(
    name: str, *, queries: bool, further: Sequence[str] = ()
) -> Iterator[DatasetText]:
    """All documents of a data set, or its queries; ``text`` is title and body.

    Args:
        further: names of fields that each keeps, where it has them.

    Raises:
        BadInputError: no such data set, or it has none of these.
        MissingToolError: ir_datasets is not installed.
        ExternalProgramError: it could not be read, as without a network.
    """
    dataset = _loaded(name)
    what = "queries" if queries else "documents"
    if not (dataset.has_queries() if queries else dataset.has_docs()):
        raise BadInputError(f"this data set has no {what}", name)
    records = dataset.queries_iter() if queries else dataset.docs_iter()
    try:
        for number, record in enumerate(records, start=1):
            key = record.query_id if queries else record.doc_id
            title = getattr(record, "title", "")
            body = record.default_text()
            text = body if not title or body.startswith(title) else f"{title} {body}"
            place = f"{name}:{number}"
            kept = {n: v for n in further if (v := getattr(record, n, None)) is not None} or None
            yield DatasetText(checked_id(key, place), text.strip(), place, kept)
    except (OSError, RuntimeError) as error:
        raise ExternalProgramError(f"{name}: ir_datasets could not read it ({error})") from error


def dataset_qrels(name: str) -> Iterator[tuple[str, str, int, str]]:
    """Query id, document id, grade and place of all judgements of a data set.

    Raises:
        BadInputError: no such data set, or it has no judgements.
        MissingToolError, ExternalProgramError: see :func:`dataset_texts`.
    """
    dataset = _loaded(name)
    if not dataset.has_qrels():
        raise BadInputError("this data set has no judgements", name)
    try:
        for number, judged in enumerate(dataset.qrels_iter(), start=1):
            place = f"{name}: judgement {number}"
            ids = checked_id(judged.query_id, place), checked_id(judged.doc_id, place)
            yield *ids, int(judged.relevance), place
    except (OSError, RuntimeError) as error:
        raise ExternalProgramError(f"{name}: ir_datasets could not read it ({error})") from error
