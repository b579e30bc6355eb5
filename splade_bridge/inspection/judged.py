"""Runs and judgements: every line that deviates is counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import MAX_LINE, json_object, open_reader, text_lines
from splade_bridge.inspection.found import Distribution, Inspection, InspectOptions
from splade_bridge.inspection.look import SPLIT, Look
from splade_bridge.inspection.tally import Histogram

TREC_RUN, TREC_QRELS, THREE = 6, 4, 3
BEIR_HEADER = ["query-id", "corpus-id", "score"]
MOST_JSON = MAX_LINE


def rows(path: Path) -> Iterator[tuple[list[str], str]]:
    """The columns of each line, and where it stands; comments and blank lines are passed over."""
    for line, place in text_lines(path):
        columns = line.translate({ord(c): " " for c in SPLIT}).strip(" ").split(" ")
        found = [c for c in columns if c]
        if found and not found[0].startswith("#"):
            yield found, place


def by_pair(path: Path, found: Inspection, what: str) -> bool:
    """Whether this is ``{query: {document: number}}``, which is described then."""
    if Look(path).numbers_by_pair is None:
        return False
    with open_reader(path) as stream:
        content = stream.read(MOST_JSON + 1)
    if len(content) > MOST_JSON:
        raise BadInputError(f"an object of more than {MOST_JSON >> 20} MiB", str(path))
    queries = json_object(content, str(path))
    depth: Counter[str] = Counter()
    values = Histogram()
    for query_id, documents in queries.items():
        if not isinstance(documents, dict):
            found.fault("queries without documents", repr(query_id), "mend the object")
            continue
        for doc_id, value in documents.items():
            if type(value) not in (int, float):
                found.fault(
                    f"{what} that are no numbers", f"query {query_id}, document {doc_id}", "mend it"
                )
        depth[query_id] = len(documents)
        numbers = [abs(v) for v in documents.values() if type(v) in (int, float)]
        values.add(np.array(numbers, np.float32))
    found.facts = {
        "queries": len(depth),
        what: sum(depth.values()),
        "depth": _of_counts(depth),
        "layout": "{query: {document: number}}",
    }
    return True


def run(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A TREC run, MS MARCO's of three columns, or an object of JSON."""
    if options.quick or by_pair(path, found, "results"):
        return
    width = 0
    depth: Counter[str] = Counter()
    seen: dict[str, set[str]] = {}
    last: dict[str, float] = {}
    tags: Counter[str] = Counter()
    ties, whole, scores = 0, True, Histogram()
    for columns, place in rows(path):
        width = width or len(columns)
        if len(columns) != width:
            _deviating(found, place, len(columns), width)
            continue
        query_id, doc_id = (columns[0], columns[2]) if width == TREC_RUN else columns[:2]
        score = _number(columns[4] if width == TREC_RUN else columns[2])
        if score is None:
            found.fault("scores that are no numbers", place, "mend the line")
            continue
        if width == TREC_RUN:
            tags[columns[5]] += 1
        documents = seen.setdefault(query_id, set())
        if doc_id in documents:
            found.fault("documents twice for a query", f"{place}: {doc_id!r}", "remove one")
            continue
        documents.add(doc_id)
        depth[query_id] += 1
        value = score if width == TREC_RUN else -score
        if query_id in last and value > last[query_id]:
            found.fault(
                "scores that rise", place, "evaluate orders by score, whatever the order of lines"
            )
        ties += last.get(query_id) == value
        last[query_id] = value
        whole &= value == int(value)
        scores.add(np.array([abs(score)], np.float32))
    found.facts = {
        "queries": len(depth),
        "results": sum(depth.values()),
        "depth": _of_counts(depth),
        "tied_with_the_one_before": ties,
        "integer_scores": whole,
        "tags": dict(tags.most_common(5)),
        "layout": "qid Q0 docid rank score tag" if width == TREC_RUN else "qid docid rank",
    }


def qrels(path: Path, found: Inspection, options: InspectOptions) -> None:
    """TREC judgements of four columns, BEIR's of three, or an object of JSON."""
    if options.quick or by_pair(path, found, "judgements"):
        return
    width = 0
    grades: Counter[int] = Counter()
    seen: dict[str, dict[str, int]] = {}
    header = False
    for columns, place in rows(path):
        if columns == BEIR_HEADER:
            header = True
            continue
        width = width or len(columns)
        if len(columns) != width:
            _deviating(found, place, len(columns), width)
            continue
        query_id = columns[0]
        doc_id = columns[2] if width == TREC_QRELS else columns[1]
        grade = _number(columns[-1])
        if grade is None or grade != int(grade):
            found.fault("grades that are no integers", f"{place}: {columns[-1]!r}", "mend the line")
            continue
        judged = seen.setdefault(query_id, {})
        if doc_id in judged:
            differ = judged[doc_id] != int(grade)
            what = "documents with two grades" if differ else "judgements that are there twice"
            found.fault(what, f"{place}: {doc_id!r}", "remove one")
            continue
        judged[doc_id] = int(grade)
        grades[int(grade)] += 1
    relevant = {q: sum(g > 0 for g in judged.values()) for q, judged in seen.items()}
    found.facts = {
        "queries": len(seen),
        "judgements": sum(grades.values()),
        "grades": {str(g): n for g, n in sorted(grades.items())},
        "judged": _of_counts(Counter({q: len(j) for q, j in seen.items()})),
        "queries_without_relevant": sum(not n for n in relevant.values()),
        "header": header,
        "layout": "query 0 doc grade" if width == TREC_QRELS else "query doc grade",
    }


def _deviating(found: Inspection, place: str, columns: int, width: int) -> None:
    found.fault(
        "lines of another layout",
        f"{place}: {columns} columns, not {width} as in the first line",
        "a line is cut off, or an id holds white space: mend it",
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and text.isascii() and "_" not in text else None


def _of_counts(counts: Counter[str]) -> Distribution | None:
    histogram = Histogram()
    histogram.add(np.array([*counts.values()], np.int64))
    return histogram.distribution()
