"""Lucene indexes of anybody: of impacts or of plain text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.java import java
from splade_bridge.engines.lucene_index import LuceneIndex
from splade_bridge.errors import BadInputError
from splade_bridge.inspection.expansion import expansion, from_corpus
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.tally import SAMPLE, Tally
from splade_bridge.inspection.vectors import Ids, finish

CONTENTS = "contents"
TEXT, UNKNOWN = "plain text", "nothing that is known"
POSITIONS = "POSITIONS"
LEAST_MEAN = 4.0
"""Mean frequency from which they are impacts: of texts it is 1 to 2, of impacts x 100 above 20."""


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """What Lucene says of itself, then all posting lists of the field ``contents``.

    Raises:
        BadInputError: a file is damaged.
        MissingToolError: no Java, or no Lucene that reads it.
    """
    java()
    with LuceneIndex(path) as index:
        if found.manifest is None:
            index.check()
        known = index.described()
        statistics = index.statistics()
        fields = {n.partition(" ")[2]: v for n, v in known.items() if n.startswith("field ")}
        found.facts = {
            "lucene": known["versions"],
            "created_by_major": int(known["created_major"]),
            "codecs": known["codecs"],
            "segments": int(known["segments"]),
            "deleted": int(known["deleted"]),
            "fields": fields,
            "documents": statistics.documents,
            "postings": statistics.postings,
            "terms": statistics.terms,
            "frequencies": statistics.frequencies,
            "opened_with": str(index.lucene),
        }
        of = fields.get(CONTENTS, "")
        mean = statistics.frequencies / max(1, statistics.postings)
        kind, why = ("impacts", "its manifest says so") if found.manifest else _kind(of, mean)
        found.facts |= {"holds": kind, "holds_because": why}
        found.what += f" of {kind}"
        if not of:
            found.unknown.append(
                f"postings: it has no field {CONTENTS}, which impacts and texts of Anserini are in"
            )
            return
        if options.quick:
            return
        _read(index, path, found, options, is_text=kind == TEXT)


def _kind(field: str, mean: float) -> tuple[str, str]:
    """Impacts or plain text, and why, from the options of the field and the mean frequency.

    Anserini gives both the same options but for positions, which are left out by default.
    """
    if not field:
        return UNKNOWN, f"it has no field {CONTENTS}"
    if POSITIONS in field.split()[0]:
        return TEXT, "it has positions, which impacts have not"
    told = f"the mean frequency of a posting is {mean:.3g}"
    if mean >= LEAST_MEAN:
        return "impacts", f"{told}, and words of a text seldom come so often"
    return TEXT, f"{told}, as of words in a text; impacts are larger"


def _read(
    index: LuceneIndex, path: Path, found: Inspection, options: InspectOptions, *, is_text: bool
) -> None:
    vocabulary = Vocabulary(observed=True)
    tally = Tally(vocabulary)
    ids = Ids(found)
    for number, (doc_id, _) in enumerate(index.documents()):
        place = f"document {number:,}"
        if doc_id is None:
            found.fault("documents without an id", place, "index them again, each with one")
        ids.add("" if doc_id is None else doc_id.decode("utf-8", "replace"), place)
    tally.begin_lists(ids.count, ids.hashed(), ids.first)
    for raw, docs, frequencies in index.lists():
        try:
            term = vocabulary.add(raw.decode())
        except (UnicodeDecodeError, BadInputError):
            found.fault("terms that are no text", repr(raw), "they are left out", len(docs))
            continue
        tally.add_list(term, docs, frequencies)
    empty = set(tally.empty_rows().tolist())
    tally.end_lists([n for i, n in enumerate(ids.first) if i in empty])
    if is_text:
        found.unknown.append("content: of term frequencies, since the index holds plain text")
    finish(tally, found, options, "frequencies" if is_text else "impacts", with_corpus=False)
    if is_text:
        found.unknown.append("expansion: an index of plain text has none")
    elif options.corpus is not None or not _has_texts(index):
        from_corpus(tally, options.corpus, found)
    else:
        expansion(tally, _texts(index), found, "the stored contents")


def _texts(index: LuceneIndex) -> Iterator[tuple[str, str]]:
    for number, (doc_id, text) in enumerate(index.documents(contents=True)):
        if number == SAMPLE:
            return
        if doc_id and text:
            yield doc_id.decode("utf-8", "replace"), text.decode("utf-8", "replace")


def _has_texts(index: LuceneIndex) -> bool:
    return any(text for _, text in _texts(index))
