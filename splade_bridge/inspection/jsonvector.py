"""JsonVectorCollections, of documents or queries: a broken record is counted, and passed over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.folders import members
from splade_bridge.files.json_objects import is_json_lines
from splade_bridge.files.lines import json_object, numbered_lines
from splade_bridge.formats.jsonvector import read_files
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.look import Look
from splade_bridge.inspection.records import BROKEN, Record, count_records
from splade_bridge.text.corpora import JSON_SUFFIXES

ID_FIELDS = ("id", "_id", "docid", "qid", "query_id")
TEXTS = ("contents", "content", "text")


def files_of(path: Path, found: Inspection) -> list[Path]:
    """The file, or those of a folder that are read."""
    if not path.is_dir():
        return [path]
    inside = members(path, JSON_SUFFIXES)
    for other in inside.others:
        found.fault(
            "files that are no JSON",
            other.relative_to(path).as_posix(),
            "move them elsewhere, or leave them out with --skip-others",
        )
    return inside.taken


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Read all records; a second time as weights where one number is none of integers."""
    files = files_of(path, found)
    found.facts["files"] = len(files)
    if options.quick:
        return
    count_records(
        lambda: chain.from_iterable(_records(file, found) for file in files), found, options
    )


def dense(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Vectors that are arrays: only how long the first one is."""
    found.facts["dimensions"] = len(Look(path).first_object["vector"])
    found.unknown.append("all else: only search reads dense vectors, as queries")


def _records(file: Path, found: Inspection) -> Iterator[Record]:
    """Those of one file; what is none is counted."""
    if not is_json_lines(file):
        try:
            for record in read_files([file]):
                pairs = dict(zip(record.terms, record.values, strict=True))
                yield Record(record.id, pairs, "", record.place)
        except BadInputError as error:
            _broken(found, str(error))
        return
    for number, line in numbered_lines(file):
        place = f"{file}:{number}"
        if not line.strip():
            continue
        try:
            record_of = json_object(line, place)
        except BadInputError as error:
            _broken(found, str(error))
            continue
        key = next((record_of[f] for f in ID_FIELDS if f in record_of), None)
        vector = record_of.get("vector")
        if key is None or not isinstance(vector, dict):
            what = "no id" if key is None else "no vector of terms"
            _broken(found, f"{place}: {what}")
            continue
        text = next((record_of[f] for f in TEXTS if isinstance(record_of.get(f), str)), "")
        yield Record(str(key), vector, text, place)


def _broken(found: Inspection, place: str) -> None:
    found.fault(BROKEN, place, "mend or remove them: Anserini skips them")
