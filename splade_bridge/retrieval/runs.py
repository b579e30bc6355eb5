"""Run files: TREC (``qid Q0 docid rank score tag``) and MS MARCO (``qid<TAB>docid<TAB>rank``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

from splade_bridge.data.hits import Hits
from splade_bridge.data.ids import check_ids
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import columns
from splade_bridge.retrieval.choices import RunFormat as RunFormat

Run = dict[str, dict[str, float]]

LAYOUTS = {6: (0, 2, 4), 3: (0, 1, 2)}
"""Columns that hold query, document and score, by how many there are."""

DEFAULT_TAG = "splade-bridge"


def write_hits(out: BinaryIO, hits: Hits, run_format: RunFormat, tag: str = DEFAULT_TAG) -> None:
    """Append the lines of one query.

    Raises:
        BadInputError: an id that would make other columns or lines of it; the index was made from
            what no check had seen.
    """
    query_id = hits.query_id
    check_ids([query_id, *hits.doc_ids], f"results of query {query_id!r}")
    if run_format == "trec":
        rows = zip(hits.doc_ids, range(1, len(hits.doc_ids) + 1), hits.scores.tolist(), strict=True)
        lines = [f"{query_id} Q0 {doc} {rank} {score} {tag}\n" for doc, rank, score in rows]
    else:
        lines = [f"{query_id}\t{doc}\t{rank}\n" for rank, doc in enumerate(hits.doc_ids, start=1)]
    out.write("".join(lines).encode())


def without_document(hits: Hits, doc_id: str, k: int) -> Hits:
    """``hits`` cut to ``k`` without ``doc_id``, as BEIR does with a query's own document."""
    keep = [i for i, found in enumerate(hits.doc_ids) if found != doc_id][:k]
    return hits._replace(doc_ids=[hits.doc_ids[i] for i in keep], scores=hits.scores[keep])


def read_run(path: Path) -> Run:
    """Scores by query and document of a TREC or MS MARCO run, in the file's order.

    A pipe will do: it is read once. MS MARCO runs have no scores: rank r becomes -r.

    Raises:
        BadInputError: a line with another number of columns, a score that is no number, or a
            document twice for one query.
    """
    run: Run = {}
    wanted = "'qid Q0 docid rank score tag' (TREC) or 'qid docid rank' (MS MARCO)"
    for (query_id, doc_id, value), width, place in columns(path, LAYOUTS, wanted, pipe=True):
        try:
            if "_" in value or not value.isascii():  # Python reads 1_0 as 10
                raise ValueError
            score = float(value) if width == 6 else -float(int(value))
        except (ValueError, OverflowError):  # a rank of 400 digits is no float
            raise BadInputError(f"{value[:40]!r} is not a number", place) from None
        if not math.isfinite(score):
            raise BadInputError(f"a score must be finite, not {value}", place)
        found = run.setdefault(query_id, {})
        if doc_id in found:
            raise BadInputError(f"document {doc_id} stands twice for query {query_id}", place)
        found[doc_id] = score
    return run
