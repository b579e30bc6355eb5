"""Relevance judgements: TREC (``query 0 doc grade``) and BEIR (``query<TAB>doc<TAB>grade``)."""

from __future__ import annotations

import re
from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import columns

Qrels = dict[str, dict[str, int]]

LAYOUTS = {4: (0, 2, 3), 3: (0, 1, 2)}
"""Columns that hold query, document and grade, by how many there are."""

BEIR_HEADER = ["query-id", "corpus-id", "score"]

MAX_GRADE = 10_000
"""trec_eval counts in a table with a place for each grade up to the highest."""

INTEGER = re.compile(r"[+-]?[0-9]+")


def read_qrels(path: Path, *, pipe: bool = True) -> Qrels:
    """Grades by query and document.

    Args:
        pipe: take a pipe too; not where the file is read again, for its hash or in another run.

    Raises:
        BadInputError: a line with another number of columns, a grade that is not an integer or
            beyond :data:`MAX_GRADE`, or two grades for one document.
    """
    qrels: Qrels = {}
    wanted = "'query 0 doc grade' (TREC) or 'query doc grade' (BEIR)"
    for found, _, place in columns(path, LAYOUTS, wanted, pipe=pipe):
        if found == BEIR_HEADER:
            continue
        query_id, doc_id, grade = found
        judged = qrels.setdefault(query_id, {})
        if not INTEGER.fullmatch(grade):  # int() takes 1_0, too
            raise BadInputError(f"grade {grade[:40]!r} is not an integer", place)
        # Python refuses integers of thousands of digits; such a one is out of range, too.
        value = check_grade(int(grade) if len(grade) < 20 else MAX_GRADE + 1, place, grade)
        if judged.setdefault(doc_id, value) != value:
            raise BadInputError(f"document {doc_id} was graded {judged[doc_id]} before", place)
    if not qrels:
        raise BadInputError("holds no judgements", str(path))
    return qrels


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
