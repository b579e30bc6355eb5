"""Scores of documents by query, from the files in which teachers and hard negatives come.

| suffix | content |
|---|---|
| ``.json`` | one object ``{query: {document: score}}`` |
| ``.jsonl`` | lines ``{"query_id": ..., "scores": {document: score}}`` or ``{query: {...}}`` |
| ``.parquet`` | columns query_id, doc_id, score; the rows of a query together |
| ``.pkl``, ``.pickle`` | a pickled ``{query: {document: score}}`` of built-in types alone |
| others | a TREC run |

All but Parquet also with ``.gz`` or ``.zst``. A score may be an object ``{name: score}`` of several
teachers, of which one has to be named.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import (
    json_lines,
    open_reader,
    plain_suffix,
    unique_keys,
)
from splade_bridge.retrieval.runs import read_run

QUERY_FIELDS = ("query_id", "qid", "_id")
DOC_FIELDS = ("doc_id", "did", "docid", "corpus_id", "passage_id", "pid")
PICKLE_SUFFIXES = (".pkl", ".pickle")


class QueryScores(NamedTuple):
    """The scores of one query's documents, in the file's order."""

    query_id: str
    scores: dict[str, float]
    place: str


def read_scores(path: Path, name: str | None = None) -> Iterator[QueryScores]:
    """The scores of ``path``, query by query.

    JSON lines and Parquet are streamed; the other formats can only be read whole.

    Args:
        name: of the teacher, where a file holds scores of several. Documents that it has no score
            for are left out.

    Raises:
        BadInputError: the file breaks its format, a query comes twice, or a score is not a finite
            number.
    """
    suffix = plain_suffix(path)
    guard = DuplicateGuard()
    if suffix in (".jsonl", ".ndjson"):
        found = _json_lines(path, name)
    elif suffix == ".json":
        found = _from_mapping(_json_object(path), str(path), name)
    elif suffix == ".parquet":
        found = _parquet(path)
    elif suffix in PICKLE_SUFFIXES:
        found = _from_mapping(read_score_pickle(path), str(path), name)
    else:
        found = (QueryScores(q, s, str(path)) for q, s in read_run(path).items())
    for scores in found:
        guard.check(scores.query_id, scores.place)
        yield scores


def read_json_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Grades from ``{query: {document: grade}}``, as naver's files of judgements have them.

    Raises:
        BadInputError: something else, or a grade that is not a whole number.
    """
    qrels = {}
    for query_id, scores, place in _from_mapping(_json_object(path), str(path), None):
        fractions = [d for d, grade in scores.items() if grade != int(grade)]
        if fractions:
            raise BadInputError(f"query {query_id}: a grade is not an integer", place)
        qrels[query_id] = {d: int(grade) for d, grade in scores.items()}
    return qrels


def read_score_pickle(path: Path) -> Mapping[Any, Any]:
    """A dictionary from a pickle that may hold nothing but built-in types.

    Loading a pickle from elsewhere normally runs whatever its author wished. This reader refuses
    every name that a pickle asks to be imported, which leaves dictionaries, lists, strings and
    numbers; nothing can be called.

    Raises:
        BadInputError: the pickle asks for anything else, is damaged, or is not a dictionary.
    """
    with open_reader(path) as stream:
        try:
            found = _BuiltinsOnly(stream).load()
        except BadInputError as error:
            raise BadInputError(str(error), str(path)) from None
        except (OSError, EOFError) as error:
            raise BadInputError(f"the pickle is cut off or damaged ({error})", str(path)) from error
        except Exception as error:  # a damaged pickle can raise anything
            raise BadInputError(f"not a pickle that can be read ({error})", str(path)) from error
    if not isinstance(found, dict):
        raise BadInputError(
            f"holds {type(found).__name__}, not a dictionary {{query: {{document: score}}}}",
            str(path),
        )
    return found


class _BuiltinsOnly(pickle.Unpickler):
    """Refuses to import anything."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise BadInputError(
            f"this pickle asks for {module}.{name}: only dictionaries, lists, strings and numbers "
            "are read from pickles, as all else can run code. Convert it to JSON lines or Parquet "
            "where it was made"
        )

    def persistent_load(self, pid: Any, /) -> Any:
        raise BadInputError("this pickle refers to objects outside of it, which are not read")


def _json_object(path: Path) -> dict[str, Any]:
    with open_reader(path) as stream:
        content = stream.read()
    try:
        found = json.loads(content, object_pairs_hook=unique_keys(lambda: str(path)))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not JSON ({error})", str(path)) from error
    if not isinstance(found, dict):
        raise BadInputError("not a JSON object {query: {document: score}}", str(path))
    return found


def _json_lines(path: Path, name: str | None) -> Iterator[QueryScores]:
    for record, place in json_lines(path):
        key = next((k for k in QUERY_FIELDS if k in record), None)
        if key is None:
            yield from _from_mapping(record, place, name)
        else:
            query_id = checked_id(record[key], place)
            if "scores" not in record:
                raise BadInputError(f"query {query_id}: no field scores", place)
            yield _checked(query_id, record["scores"], place, name)


def _from_mapping(found: Mapping[Any, Any], place: str, name: str | None) -> Iterator[QueryScores]:
    for query_id, scores in found.items():
        yield _checked(checked_id(query_id, place), scores, place, name)


def _checked(query_id: str, scores: object, place: str, name: str | None) -> QueryScores:
    if not isinstance(scores, dict):
        raise BadInputError(
            f"query {query_id}: {type(scores).__name__}, not an object {{document: score}}", place
        )
    checked: dict[str, float] = {}
    for doc_id, score in scores.items():
        if isinstance(score, dict):
            if name is None:
                raise BadInputError(
                    f"query {query_id}: several scores for document {doc_id}, by "
                    f"{', '.join(map(str, score))}: name one of them with score_name",
                    place,
                )
            if name not in score:
                continue
            score = score[name]
        what = f"query {query_id}, document {doc_id}"
        checked[checked_id(doc_id, place)] = finite(score, what, place)
    return QueryScores(query_id, checked, place)


def finite(value: object, what: str, place: str) -> float:
    """``value`` as a finite number, or BadInputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInputError(f"{what}: score {value!r} is not a finite number", place)
    return float(value)


def _parquet(path: Path) -> Iterator[QueryScores]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    query_id: str | None = None
    scores: dict[str, float] = {}
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [
                next((c for c in wanted if c in names), None)
                for wanted in (QUERY_FIELDS, DOC_FIELDS, ("score",))
            ]
            if None in columns:
                raise BadInputError(
                    f"columns {', '.join(names)}; there must be query_id, doc_id and score",
                    str(path),
                )
            for block in file.iter_batches(1 << 14, columns=columns):
                held = (block.column(c).to_pylist() for c in columns)
                for query, document, value in zip(*held, strict=True):
                    row += 1
                    place = f"{path}:row {row}"
                    query, document = checked_id(query, place), checked_id(document, place)
                    if query != query_id:
                        if query_id is not None:
                            yield QueryScores(query_id, scores, place)
                        query_id, scores = query, {}
                    if document in scores:
                        raise BadInputError(
                            f"document {document} stands twice for query {query}", place
                        )
                    scores[document] = finite(value, f"query {query}, document {document}", place)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"not a Parquet file ({error})", str(path)) from error
    if query_id is not None:
        yield QueryScores(query_id, scores, str(path))
