"""Tables of Parquet or Arrow whose rows are vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import all_files
from splade_bridge.formats.columns import (
    SUFFIXES,
    Layout,
    holds_integers,
    schema_of,
    table_files,
    table_records,
)
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.look import Look
from splade_bridge.inspection.records import Record, count_records


def recognise(look: Look) -> str | None:
    """Whether the first of the files has columns of an id and of vectors."""
    try:
        files = table_files(look.path)
        if not files:
            return None
        layout = Layout(schema_of(files[0]), files[0])
    except BadInputError:
        return None
    return f"it has the columns {', '.join((layout.id, *layout.vector))}"


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """All rows; a table whose numbers are of a type of floats holds weights."""
    files = table_files(path)
    if not files:
        raise BadInputError("no Parquet or Arrow files", str(path))
    schema = schema_of(files[0])
    found.facts["files"] = len(files)
    others = [p for p in all_files(path) if p.suffix not in SUFFIXES] if path.is_dir() else []
    found.facts["other_files"] = sorted(p.relative_to(path).as_posix() for p in others)
    found.facts["columns"] = [f"{field.name}: {field.type}" for field in schema][:20]
    found.facts["term_ids"] = Layout(schema, path).by_number
    if options.quick:
        return

    def records() -> Iterator[Record]:
        for record in table_records(path, options.vocabulary):
            vector = dict(zip(record.terms, record.values, strict=True))
            yield Record(record.id, vector, "", record.place)

    count_records(records, found, options, weights=not holds_integers(path))
