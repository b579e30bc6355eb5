"""Rows of tables as records: TSV and CSV, Parquet and Arrow files."""

from __future__ import annotations

import csv as csv_module
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import steady
from splade_bridge.files.lines import MAX_LINE, plain_suffix, text_lines, too_long

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_SUFFIXES = (".parquet", ".arrow")
ROWS_AT_ONCE = 1024

HEADER_IDS = ("docno", "doc_id", "pid", "passage_id", "corpus-id", "query-id", "qid", "query_id")
HEADER_TEXTS = ("query", "body", "passage", "title", "question", "document", "doc")
"""What a first line may call its columns, beside the names of fields that files have."""


def delimited_rows(
    path: Path,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    csv: bool,
    named: Sequence[str] = (),
) -> Iterator[tuple[dict[str, Any], str]]:
    """Records of a TSV file, or of a CSV file with a first line of names.

    A TSV file is ``id<TAB>text``, where further tabs are blanks of the text. If its first line
    holds names and no text, as ``id<TAB>text``, it names the columns.

    Args:
        names: those of the id, and those of the text, the likeliest first: two columns without a
            line of names are called by the first of each.
        named: flags that named them.

    Raises:
        BadInputError: not UTF-8, no tab, a row with another number of columns than the names, or
            a CSV file without names.
    """
    if csv:
        yield from _csv_rows(path, names)
        return
    columns: list[str] | None = None
    first = True
    for row, place in text_lines(path):
        cells = row.split("\t")
        if len(cells) < 2:
            raise BadInputError("no tab: a line must be id<TAB>text", place)
        if first and is_header(cells, names):
            columns = _called(cells, names)
            first = False
            continue
        if first and named:
            raise BadInputError(
                f"the first line names no columns, so {' and '.join(named)} would do "
                "nothing: leave it out (a line is id<TAB>text), or give it a first line of names",
                place,
            )
        first = False
        if columns is None or len(columns) == 2:
            key, text = (columns or (names[0][0], names[1][0]))[:2]
            yield {key: cells[0], text: " ".join(cells[1:])}, place
        else:
            yield _row(columns, cells, place), place


def is_header(cells: list[str], names: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    """Whether the first cell is a name for ids, and another a name for texts."""
    found = [cell.strip().lower() for cell in cells]
    return found[0] in (*map(str.lower, names[0]), *HEADER_IDS) and any(
        cell in (*map(str.lower, names[1]), *HEADER_TEXTS) for cell in found[1:]
    )


def _called(cells: list[str], names: tuple[tuple[str, ...], tuple[str, ...]]) -> list[str]:
    """The names of columns as fields of records are called."""
    found = [cell.strip() for cell in cells]
    lower = [cell.lower() for cell in found]
    # The id is the column of a known name, or else the first.
    if not any(cell in names[0] for cell in found):
        found[0] = names[0][0]
    if not any(cell in names[1] for cell in found):
        known = [i for i, cell in enumerate(lower) if i and cell in HEADER_TEXTS]
        if known:
            found[known[0] if len(known) == 1 else _best(lower, known)] = names[1][0]
    return found


def _best(lower: list[str], known: list[int]) -> int:
    """The text among several columns that could be: not the title, if another is there."""
    return next((i for i in known if lower[i] != "title"), known[0])


def _row(columns: list[str], cells: list[str], place: str) -> dict[str, str]:
    if len(cells) != len(columns):
        raise BadInputError(
            f"{len(cells)} columns, where the first line names {len(columns)} "
            f"({', '.join(columns)})",
            place,
        )
    return dict(zip(columns, cells, strict=True))


def _csv_rows(
    path: Path, names: tuple[tuple[str, ...], tuple[str, ...]]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of CSV as RFC 4180 has it: cells in quotes may hold commas and ends of lines."""
    place = f"{path}:1"
    size = 0

    def lines() -> Iterator[str]:
        nonlocal place, size
        for line, at in text_lines(path, empty=True):
            if not size:
                place = at  # where the row begins
            if (size := size + len(line) + 1) > MAX_LINE:
                raise too_long("a row", place)
            yield line + "\n"

    csv_module.field_size_limit(MAX_LINE)
    reader = csv_module.reader(lines(), strict=True)
    columns: list[str] | None = None
    while True:
        size = 0
        try:
            cells = next(reader, None)
        except csv_module.Error as error:
            raise BadInputError(f"not CSV ({error})", place) from error
        if cells is None:
            return
        if not cells:
            continue
        if columns is None:
            if not is_header(cells, names) and not (
                any(c in names[0] for c in cells) and any(c in names[1] for c in cells)
            ):
                raise BadInputError(
                    f"the first line of a CSV file must name its columns, as {names[0][0]},"
                    f"{names[1][0]}: it has {', '.join(cells)[:80]}. Name others with --id-field "
                    "and --text-field",
                    place,
                )
            columns = _called(cells, names)
            if len(set(columns)) < len(columns):
                raise BadInputError("two columns have the same name", place)
            continue
        yield _row(columns, cells, place), place


def table_rows(
    path: Path, names: Collection[str] | None = None
) -> Iterator[tuple[dict[str, Any], str]]:
    """Records of a Parquet file, or of an Arrow file or stream as Hugging Face datasets writes.

    Args:
        names: of the columns that are read, where they are there; None reads all.

    Raises:
        BadInputError: it is none, or is damaged.
    """
    import pyarrow as pa

    what = "a Parquet" if plain_suffix(path) == ".parquet" else "an Arrow"
    row = 0
    try:
        with steady(path):
            blocks = _parquet(path, names) if what == "a Parquet" else _arrow(path, names)
            for block in blocks:
                for record in block.to_pylist():
                    row += 1
                    yield record, f"{path}:row {row}"
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"not {what} file ({error})", str(path)) from error


def _parquet(path: Path, names: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        there = file.schema_arrow.names
        columns = there if names is None else sorted(set(there) & set(names))
        yield from file.iter_batches(ROWS_AT_ONCE, columns=columns)


def _arrow(path: Path, names: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        try:  # a stream is what datasets writes; a file begins with ARROW1
            opened = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            file = pa.ipc.open_file(mapped)
            blocks = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            blocks = iter(opened)
        for block in blocks:
            block = block.select([n for n in block.schema.names if names is None or n in names])
            for start in range(0, block.num_rows, ROWS_AT_ONCE):
                yield block.slice(start, ROWS_AT_ONCE)
