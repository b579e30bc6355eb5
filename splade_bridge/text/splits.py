"""Splits of a BEIR folder: ``qrels/test.tsv`` and its neighbours say which queries are judged."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import columns, placed_lines

QRELS = "qrels"
"""The folder of judgements in a BEIR data set, which holds no texts."""

TEST = "test"
"""The split that is meant where none is named."""

QRELS_LAYOUTS = {4: (0, 2, 3), 3: (0, 1, 2)}
"""Columns that hold query, document and grade, by how many there are."""

QRELS_HEADERS = {
    (query, grade)
    for query in ("query-id", "query_id", "queryid", "qid", "query")
    for grade in ("score", "relevance", "rel", "label", "grade")
}
"""First and last column of a first line that holds names; BEIR's are the first of each."""


def split_file(folder: Path, split: str) -> Path:
    """The judgements of one split of the BEIR data set in ``folder``.

    Raises:
        BadInputError: there are none of that name; the message says which there are.
    """
    for suffix in ("", ".gz", ".zst"):
        if (found := folder / QRELS / f"{split}.tsv{suffix}").is_file():
            return found
    known = ", ".join(splits(folder))
    raise BadInputError(
        f"no {QRELS}/{split}.tsv in this folder" + (f"; --split is one of {known}" * bool(known)),
        str(folder),
    )


def splits(folder: Path) -> list[str]:
    """The names of the splits that have judgements in ``folder``, sorted."""
    return sorted({path.name.split(".")[0] for path in (folder / QRELS).glob("*.tsv*")})


def judged_queries(folder: Path, split: str) -> set[str]:
    """The ids of the queries that ``split`` judges.

    Raises:
        BadInputError: no such split, or a line that breaks the format.
    """
    lines = placed_lines(split_file(folder, split))
    wanted = "'query doc grade' (BEIR)"
    return {
        query_id
        for query_id, _, grade in (found for found, _, _ in columns(lines, QRELS_LAYOUTS, wanted))
        if (query_id.lower(), grade.lower()) not in QRELS_HEADERS
    }
