"""Relevance judgements: TREC (``query 0 doc grade``), BEIR (``query<TAB>doc<TAB>grade``) and JSON.

JSON is ``{query: {doc: grade}}``. A BEIR folder stands for its ``qrels/test.tsv``, and the id of an
ir_datasets data set for its judgements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.inputs import is_there
from splade_bridge.files.lines import STDIO, columns, table_or_json
from splade_bridge.text.ir_dataset import dataset_qrels, may_be_dataset
from splade_bridge.text.splits import QRELS_HEADERS, QRELS_LAYOUTS, TEST, split_file

Qrels = dict[str, dict[str, int]]

MAX_GRADE = 10_000
"""trec_eval counts in a table with a place for each grade up to the highest."""

INTEGER = re.compile(r"[+-]?[0-9]+")


def read_qrels(path: Path, *, split: str | None = None, pipe: bool = True) -> Qrels:
    """Grades by query and document.

    Args:
        path: a file, a BEIR folder, or an ir_datasets id.
        split: of a BEIR folder; None for ``test``.
        pipe: take a pipe too; not where the file is read again, for its hash or in another run.

    Raises:
        BadInputError: a line with another number of columns than the first, a grade that is not an
            integer or beyond :data:`MAX_GRADE`, or two grades for one document.
        UsageError: ``split`` for what is no folder.
        MissingToolError: an ir_datasets id without ir_datasets installed.
    """
    if path.is_dir():
        path = split_file(path, split or TEST)
    elif split is not None:
        raise UsageError(f"{path}: --split {split} is for a BEIR folder, and this is none")
    qrels: Qrels = {}
    for query_id, doc_id, grade, place in _judgements(path, pipe=pipe):
        judged = qrels.setdefault(query_id, {})
        if judged.setdefault(doc_id, grade) != grade:
            raise BadInputError(f"document {doc_id} was graded {judged[doc_id]} before", place)
    if not qrels:
        raise BadInputError("holds no judgements", str(path))
    return qrels


def _judgements(path: Path, *, pipe: bool) -> Iterator[tuple[str, str, int, str]]:
    if path != STDIO and not is_there(path) and may_be_dataset(str(path)):
        for query_id, doc_id, grade, place in dataset_qrels(str(path)):
            yield query_id, doc_id, check_grade(grade, place), place
        return
    lines, record = table_or_json(path, pipe=pipe)
    if record is not None:
        yield from _of_json(record, path)
        return
    wanted = "'query 0 doc grade' (TREC) or 'query doc grade' (BEIR)"
    for number, (found, _, place) in enumerate(columns(lines, QRELS_LAYOUTS, wanted)):
        query_id, doc_id, written = found
        if not number and (query_id.lower(), written.lower()) in QRELS_HEADERS:
            continue
        if not INTEGER.fullmatch(written):  # int() takes 1_0, too
            raise BadInputError(f"grade {written[:40]!r} is not an integer", place)
        # Python refuses integers of thousands of digits; such a one is out of range, too.
        value = check_grade(int(written) if len(written) < 20 else MAX_GRADE + 1, place, written)
        yield query_id, doc_id, value, place


def _of_json(record: dict[str, Any], path: Path) -> Iterator[tuple[str, str, int, str]]:
    for query_id, judged in record.items():
        if not isinstance(judged, dict):
            raise BadInputError(
                f"query {quoted(query_id)}: must be {{document id: grade}}, not {quoted(judged)}",
                str(path),
            )
        for doc_id, grade in judged.items():
            place = f"{path}: query {query_id}, document {doc_id}"
            if isinstance(grade, bool) or not isinstance(grade, int | float) or grade % 1:
                raise BadInputError(f"grade {quoted(grade)} is not an integer", place)
            ids = checked_id(query_id, place), checked_id(doc_id, place)
            yield *ids, check_grade(int(grade), place), place


def check_grade(grade: int, place: str, written: str | None = None) -> int:
    """``grade``, if measures can be computed with it.

    Args:
        written: as it stands there.

    Raises:
        BadInputError: it is beyond :data:`MAX_GRADE`.
    """
    if abs(grade) > MAX_GRADE:
        raise BadInputError(
            f"grade {(written or str(grade))[:40]} is out of range: a grade is a small whole "
            f"number, from -{MAX_GRADE:,} to {MAX_GRADE:,}",
            place,
        )
    return grade
