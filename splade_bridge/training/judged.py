"""Judged queries with the candidates and teacher scores that other files hold of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from splade_bridge.evaluation.qrels import Qrels, read_qrels
from splade_bridge.files.lines import plain_suffix
from splade_bridge.training.examples import Candidate, DataCounts
from splade_bridge.training.groups import Group
from splade_bridge.training.records import json_groups
from splade_bridge.training.score_files import read_json_qrels, read_scores


def any_qrels(path: Path) -> Qrels:
    """Judgements of TREC or BEIR, or naver's JSON ``{query: {document: grade}}``."""
    if plain_suffix(path) == ".json":
        return read_json_qrels(path)
    return read_qrels(path, pipe=False)


def candidates(path: Path, counts: DataCounts) -> Iterator[Group]:
    """Hard negatives by query: JSON lines of :func:`json_groups`, or scores, or a run.

    Args:
        counts: gets the names of fields that are not read.

    Raises:
        BadInputError: the file breaks its format.
    """
    if plain_suffix(path) in (".jsonl", ".ndjson"):
        yield from json_groups(path, counts, ids=True)
    else:
        for query_id, scores, place in read_scores(path):
            negatives = [Candidate(d, s) for d, s in scores.items()]
            yield Group(query_id, None, [], negatives, None, place)


def scored_candidates(path: Path, name: str | None) -> Iterator[Group]:
    """Every document that a teacher scored as a candidate, with its score."""
    for query_id, scores, place in read_scores(path, name):
        negatives = [Candidate(d, s) for d, s in scores.items()]
        yield Group(query_id, None, [], negatives, scores, place)


def judged_groups(
    qrels: Qrels, found: Iterator[Group] | None, min_grade: int, counts: DataCounts
) -> Iterator[Group]:
    """The groups ``found``, with the positives that ``qrels`` name.

    What is judged above 0 and below ``min_grade`` is neither positive nor negative.

    Args:
        found: None makes a group without candidates of each judged query.
    """
    if found is None:
        found = (Group(q, None, [], [], None, q) for q in qrels)
    seen = set()
    for group in found:
        judged: Mapping[str, int] = qrels.get(group.query_id or "", {})
        positives = [d for d, grade in judged.items() if grade >= min_grade]
        if not positives:
            counts.leave_out("queries without a positive", f"{group.place} {group.query_id}")
            continue
        seen.add(group.query_id)
        negatives = [c for c in group.negatives if judged.get(c.key, 0) <= 0]
        graded = tuple(d for d, grade in judged.items() if 0 < grade < min_grade)
        yield group._replace(positives=positives, negatives=negatives, graded=graded)
    for query_id, judged in qrels.items():
        if query_id not in seen and any(g >= min_grade for g in judged.values()):
            counts.leave_out("judged queries without hard negatives or scores", query_id)
