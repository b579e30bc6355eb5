"""Relevance judgements: TREC (``query 0 doc grade``) and BEIR (``query<TAB>doc<TAB>grade``)."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines

Qrels = dict[str, dict[str, int]]

BEIR_HEADER = ("query-id", "corpus-id", "score")


def read_qrels(path: Path) -> Qrels:
    """Grades by query and document.

    Raises:
        BadInputError: a line with another number of columns, a grade that is not an integer, or
            two grades for one document.
    """
    qrels: Qrels = {}
    for line, place in text_lines(path):
        columns = line.split()
        if not columns or tuple(columns) == BEIR_HEADER:
            continue
        if len(columns) == 4:
            query_id, _, doc_id, grade = columns
        elif len(columns) == 3:
            query_id, doc_id, grade = columns
        else:
            raise BadInputError(
                f"{len(columns)} columns; a line must be 'query 0 doc grade' (TREC) or "
                "'query doc grade' (BEIR)",
                place,
            )
        judged = qrels.setdefault(query_id, {})
        try:
            value = int(grade)
        except ValueError:
            raise BadInputError(f"grade {grade!r} is not an integer", place) from None
        if judged.setdefault(doc_id, value) != value:
            raise BadInputError(f"document {doc_id} was graded {judged[doc_id]} before", place)
    if not qrels:
        raise BadInputError("holds no judgements", str(path))
    return qrels
