"""Texts: corpora, queries, topics of repeated tokens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from splade_bridge.data.ids import DuplicateGuard
from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.tally import Histogram, Tally
from splade_bridge.inspection.vectors import check_id, finish
from splade_bridge.text.corpora import CorpusOptions, Role, read_texts

BATCH = 1024


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A corpus or text queries, as ``encode`` reads them; reading ends at the first fault."""
    if path.is_dir():
        _beir(path, found)
    if options.quick:
        return
    queries_only = path.is_dir() and not any(path.glob("corpus.jsonl*"))
    roles: list[Role] = (
        ["queries"] if queries_only and any(path.glob("queries.jsonl*")) else ["documents"]
    )
    if path.is_dir() and roles == ["documents"] and any(path.glob("queries.jsonl*")):
        roles.append("queries")
    for role in roles:
        _texts(path, role, found)


def _texts(path: Path, role: Role, found: Inspection) -> None:
    words, characters = Histogram(), Histogram()
    count = empty = 0
    empty_ids: list[str] = []
    lengths: list[tuple[int, int]] = []

    def flush() -> None:
        both = np.array(lengths, np.int64).reshape(-1, 2)
        words.add(both[:, 0])
        characters.add(both[:, 1])
        lengths.clear()

    try:
        for text in read_texts(str(path), role, CorpusOptions(skip_others=True)):
            count += 1
            lengths.append((len(text.text.split()), len(text.text)))
            if not text.text:
                empty += 1
                empty_ids.append(text.id) if len(empty_ids) < 3 else None
            if len(lengths) == BATCH:
                flush()
    except BadInputError as error:
        found.fault("what ended reading", str(error), "mend it: all behind it is unknown")
        found.unknown.append(f"{role}: what stands behind the fault")
    flush()
    if empty:
        found.fault("texts that are empty", ", ".join(empty_ids), "no query finds them", empty)
    found.facts[role if path.is_dir() else "content"] = {
        "texts": count,
        "words": words.distribution(),
        "characters": characters.distribution(),
    }


def _beir(path: Path, found: Inspection) -> None:
    judged = sorted(p.name for p in (path / "qrels").glob("*.tsv")) if path.is_dir() else []
    if judged:
        found.facts["qrels"] = judged


def topics(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Queries as repeated tokens: a token of weight w stands w times."""
    if options.quick:
        return
    vocabulary = Vocabulary(observed=True)
    tally = Tally(vocabulary)
    guard = DuplicateGuard()
    ids: list[str] = []
    found_rows: list[Counter[str]] = []

    def flush() -> None:
        rows = [sorted((vocabulary.add(t), n) for t, n in row.items()) for row in found_rows]
        indices = np.array([i for row in rows for i, _ in row], np.int32)
        values = np.array([n for row in rows for _, n in row], np.int32)
        tally.add(ImpactBatch(list(ids), row_pointers([len(r) for r in rows]), indices, values))
        ids.clear()
        found_rows.clear()

    for line, place in text_lines(path):
        query_id, tab, tokens = line.partition("\t")
        if not tab or "\t" in tokens or not query_id:
            found.fault("lines that are not id<TAB>tokens", place, "mend the line")
            continue
        check_id(query_id, place, guard, found)
        ids.append(query_id)
        counted = Counter(tokens.split(" "))
        del counted[""]
        found_rows.append(counted)
        if len(ids) == BATCH:
            flush()
    flush()
    finish(tally, found, options, "impacts", with_corpus=False)
    found.unknown.append("expansion: the texts of the queries are not at hand")
