"""Files of JSON cut into blocks of lines, and the documents of a block added to a builder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from splade_bridge.errors import BadInputError
from splade_bridge.files.json_objects import is_json_lines, json_objects
from splade_bridge.files.lines import json_object, numbered_lines
from splade_bridge.formats.line_columns import SpelledTerms, ToRecord, columns
from splade_bridge.formats.records import BATCH_ROWS, VectorBuilder, VectorRecord, added

BLOCK_BYTES = 1 << 22


class Lines(NamedTuple):
    """Lines that follow one another in a file."""

    path: Path
    lines: list[tuple[int, bytes]]

    def records(self, to_record: ToRecord) -> Iterator[VectorRecord]:
        """One after another; raises BadInputError for a line that is none."""
        for number, line in self.lines:
            place = f"{self.path}:{number}"
            yield to_record(json_object(line, place), place)

    @property
    def bare(self) -> list[bytes]:
        """Without their numbers."""
        return [line for _, line in self.lines]


class Whole(NamedTuple):
    """A file of JSON that is not one object a line."""

    path: Path

    def records(self, to_record: ToRecord) -> Iterator[VectorRecord]:
        """One after another; raises BadInputError for an object that is none."""
        for value, place in json_objects(self.path):
            yield to_record(value, place)


Block = Lines | Whole


def blocks(files: Sequence[Path]) -> Iterator[Block]:
    """All that is no blank line, cut where a batch is full by its rows.

    Raises:
        BadInputError: a file cannot be read; what stands before the place is yielded before.
    """
    rows = 0
    for path in files:
        if not is_json_lines(path):
            yield Whole(path)
            continue
        lines: list[tuple[int, bytes]] = []
        size = 0
        try:
            for number, line in numbered_lines(path):
                if line and not line.isspace():  # nothing is left of a byte order mark alone
                    lines.append((number, line))
                    size += len(line)
                    rows += 1
                    if rows == BATCH_ROWS or size >= BLOCK_BYTES:
                        yield Lines(path, lines)
                        lines, size, rows = [], 0, rows % BATCH_ROWS
        except BadInputError:
            if lines:
                yield Lines(path, lines)
            raise
        if lines:
            yield Lines(path, lines)


def lines_added(
    files: Sequence[Path], to_record: ToRecord, builder: VectorBuilder
) -> Iterator[None]:
    """Add the documents of ``files`` to ``builder``, and stop wherever a batch may be full.

    Raises:
        BadInputError: see :func:`.records.added`.
    """
    terms = SpelledTerms(builder.vocabulary)
    for block in blocks(files):
        found = columns(block.bare, to_record, terms) if isinstance(block, Lines) else None
        if found is not None and builder.add_columns(found):
            yield
        else:
            yield from added(block.records(to_record), builder)
