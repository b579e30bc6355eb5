"""Run files: TREC (``qid Q0 docid rank score tag``) and MS MARCO (``qid<TAB>docid<TAB>rank``).

``qid docid score`` and JSON are read, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from splade_bridge.data.hits import Hits
from splade_bridge.data.ids import check_ids, checked_id, quoted
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.lines import columns, table_or_json
from splade_bridge.retrieval.choices import RunFormat as RunFormat

Run = dict[str, dict[str, float]]

PackedRun = dict[str, tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]]
"""Numbers and scores of the documents of each query, in the run's order."""

LAYOUTS = {6: (0, 2, 4), 3: (0, 1, 2)}
"""Columns that hold query, document and score, by how many there are."""

DEFAULT_TAG = "splade-bridge"


def write_hits(out: BinaryIO, hits: Hits, run_format: RunFormat, tag: str = DEFAULT_TAG) -> None:
    """Append the lines of one query.

    Raises:
        BadInputError: as :func:`write_ranked`.
    """
    write_ranked(out, hits.query_id, hits.doc_ids, hits.scores.tolist(), run_format, tag)


def write_ranked(
    out: BinaryIO,
    query_id: str,
    doc_ids: list[str],
    scores: Sequence[float],
    run_format: RunFormat = "trec",
    tag: str = DEFAULT_TAG,
) -> None:
    """Append the lines of a ranking.

    Raises:
        BadInputError: an id that would make other columns or lines of it (the index was made from
            what no check had seen), or a query id that makes a comment of its lines.
    """
    if query_id.startswith("#") and doc_ids:
        raise BadInputError(
            f"query {quoted(query_id)}: lines that begin with # are comments for trec_eval, which "
            "would leave its results out: rename it"
        )
    check_ids([query_id, *doc_ids], f"results of query {query_id!r}")
    if run_format == "trec":
        rows = zip(doc_ids, range(1, len(doc_ids) + 1), scores, strict=True)
        lines = [f"{query_id} Q0 {doc} {rank} {score} {tag}\n" for doc, rank, score in rows]
    else:
        lines = [f"{query_id}\t{doc}\t{rank}\n" for rank, doc in enumerate(doc_ids, start=1)]
    out.write("".join(lines).encode())


def check_tag(tag: str) -> None:
    """Raise UsageError for what cannot be the last column of a TREC run."""
    try:
        checked_id(tag, "--tag")
    except BadInputError:
        raise UsageError("--tag must be one word, as run files hold it") from None


def without_document(hits: Hits, doc_id: str, k: int) -> Hits:
    """``hits`` cut to ``k`` without ``doc_id``, as BEIR does with a query's own document."""
    keep = [i for i, found in enumerate(hits.doc_ids) if found != doc_id][:k]
    return hits._replace(doc_ids=[hits.doc_ids[i] for i in keep], scores=hits.scores[keep])


def read_run(path: Path) -> Run:
    """Scores by query and document of a run, in the file's order.

    It is TREC's, three columns, or JSON ``{query: {document: score}}``. Of three columns the last
    is the rank, as in MS MARCO's, where the first line's is 1: rank r becomes -r. Else it is the
    score. A pipe will do: it is read once.

    Raises:
        BadInputError: a line with another number of columns than the first, a score that is no
            number, a document twice for one query, ranks that are not ranks, or scores that look
            like ranks.
    """
    lines, record = table_or_json(path, pipe=True)
    if record is not None:
        return _of_json(record, path)
    run: Run = {}
    third = _Third(path)
    for query_id, doc_id, score, place in _scored(lines, third):
        found = run.setdefault(query_id, {})
        if doc_id in found:
            raise _twice(query_id, doc_id, place)
        found[doc_id] = score
    third.check((query_id, list(found.values())) for query_id, found in run.items())
    return run


def read_packed(path: Path, numbers: dict[str, int]) -> PackedRun:
    """As :func:`read_run`, in 12 bytes a line beside the documents' ids.

    That holds for a run whose lines stand query by query, as tools write them. From the first query
    on that comes back after another, queries are held as :func:`read_run` holds them until the end.

    Args:
        numbers: document id -> number, of all runs that are read together; it grows.

    Raises:
        BadInputError: as :func:`read_run`.
    """
    lines, record = table_or_json(path, pipe=True)
    if record is not None:
        return pack(_of_json(record, path), numbers)
    packed: PackedRun = {}
    held: Run = {}
    third = _Third(path)
    current: str | None = None
    together = True
    names: list[str] = []
    for query_id, doc_id, score, place in _scored(lines, third):
        if query_id != current:
            if together:
                packed |= pack(held, numbers)
                held.clear()
            current = query_id
            if query_id in packed and query_id not in held:
                together, names = False, names or list(numbers)
                places, scores = packed[query_id]
                known = map(names.__getitem__, places.tolist())
                held[query_id] = dict(zip(known, scores.tolist(), strict=True))
        found = held.setdefault(query_id, {})
        if doc_id in found:
            raise _twice(query_id, doc_id, place)
        found[doc_id] = score
    packed |= pack(held, numbers)
    third.check((query_id, scores.tolist()) for query_id, (_, scores) in packed.items())
    return packed


def pack(run: Run, numbers: dict[str, int]) -> PackedRun:
    """``run`` in arrays; see :func:`read_packed`."""
    packed: PackedRun = {}
    for query_id, found in run.items():
        places = [numbers.setdefault(doc_id, len(numbers)) for doc_id in found]
        scores = np.fromiter(found.values(), np.float64, len(found))
        packed[query_id] = np.asarray(places, np.uint32), scores
    return packed


def _scored(
    lines: Iterable[tuple[str, bytes]], third: _Third
) -> Iterator[tuple[str, str, float, str]]:
    """Query, document, score and place of each line."""
    wanted = (
        "'qid Q0 docid rank score tag' (TREC), 'qid docid rank' (MS MARCO) or 'qid docid score'"
    )
    for (query_id, doc_id, value), width, place in columns(lines, LAYOUTS, wanted):
        score = third.score(query_id, value, place) if width == 3 else _number(value, place)
        yield query_id, doc_id, score, place


def _twice(query_id: str, doc_id: str, place: str) -> BadInputError:
    return BadInputError(f"document {doc_id} stands twice for query {query_id}", place)


def _number(value: str, place: str) -> float:
    try:
        if "_" in value or not value.isascii():  # Python reads 1_0 as 10
            raise ValueError
        score = float(value)
    except ValueError:
        raise BadInputError(f"{value[:40]!r} is not a number", place) from None
    if not math.isfinite(score):
        raise BadInputError(f"a score must be finite, not {value[:40]}", place)
    return score


class _Third:
    """The last of three columns: ranks or scores, as the first line says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ranks: bool | None = None  # None before the first line; then whether it has a 1
        self._whole = True  # all of them are whole numbers

    def score(self, query_id: str, value: str, place: str) -> float:
        """The score that a line stands for.

        Raises:
            BadInputError: it is no rank, or no finite number.
        """
        if self._ranks is None:
            self._ranks = value == "1"
        if not self._ranks:
            self._whole = self._whole and value.isdecimal() and value.isascii()
            return _number(value, place)
        if not value.isascii() or not value.isdecimal() or len(value) > 12 or not int(value):
            raise BadInputError(
                f"{value[:40]!r} is not a rank, as the last column of the first line is: ranks are "
                "whole numbers from 1; for scores write six columns, as trec_eval has them",
                place,
            )
        return -float(value)

    def check(self, run: Iterable[tuple[str, list[float]]]) -> None:
        """Look back over the scores of all queries; nothing is wrong if no line had three columns.

        Raises:
            BadInputError: there are ranks, and those of a query come twice or do not begin with 1;
                or scores, and they may be ranks that begin elsewhere or stand in another order.
        """
        if self._ranks is None:
            return
        remedy = "write six columns, as trec_eval has them"
        if self._ranks:
            for query_id, found in run:
                if len(set(found)) < len(found) or max(found) != -1:
                    raise BadInputError(
                        f"query {query_id}: the last column is a rank by the first line, where it "
                        f"is 1, but here it comes twice or does not begin with 1; {remedy}",
                        str(self._path),
                    )
            return
        # Scores that are the whole numbers of a range, each once, are as likely to be ranks.
        several = [sorted(found) for _, found in run if len(found) > 1]
        if self._whole and several and all(_without_a_gap(v) for v in several):
            raise BadInputError(
                "three columns, and the last may be a rank or a score: it does not begin with 1, "
                f"and for each query it is a range of whole numbers; {remedy}",
                str(self._path),
            )


def _without_a_gap(values: list[float]) -> bool:
    return values[-1] - values[0] == len(values) - 1 and len(set(values)) == len(values)


def _of_json(record: dict[str, Any], path: Path) -> Run:
    run: Run = {}
    for query_id, found in record.items():
        place = f"{path}: query {query_id}"
        if not isinstance(found, dict):
            raise BadInputError(f"must be {{document id: score}}, not {quoted(found)}", place)
        if not found:  # found nothing, as a query that a run of lines does not have
            continue
        scores = run.setdefault(checked_id(query_id, place), {})
        for doc_id, score in found.items():
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise BadInputError(f"document {doc_id}: {quoted(score)} is not a number", place)
            scores[checked_id(doc_id, place)] = float(score)
    return run
