"""Relevance judgements: TREC (``query 0 doc grade``) and BEIR (``query<TAB>doc<TAB>grade``)."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import columns

Qrels = dict[str, dict[str, int]]

LAYOUTS = {4: (0, 2, 3), 3: (0, 1, 2)}
"""Columns that hold query, document and grade, by how many there are."""

BEIR_HEADER = ["query-id", "corpus-id", "score"]


def read_qrels(path: Path, *, pipe: bool = True) -> Qrels:
    """Grades by query and document.

    Args:
        pipe: take a pipe too; not where the file is read again, for its hash or in another run.

    Raises:
        BadInputError: a line with another number of columns, a grade that is not an integer, or
            two grades for one document.
    """
    qrels: Qrels = {}
    wanted = "'query 0 doc grade' (TREC) or 'query doc grade' (BEIR)"
    for found, _, place in columns(path, LAYOUTS, wanted, pipe=pipe):
        if found == BEIR_HEADER:
            continue
        query_id, doc_id, grade = found
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
