"""What a feed is: documents in the form that one engine loads, and how they are read back."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import orjson

from splade_bridge.data.ids import check_size
from splade_bridge.errors import BadInputError
from splade_bridge.formats.feeds.names import PROBLEMS, Naming
from splade_bridge.formats.feeds.weights import Kept
from splade_bridge.formats.term_limits import Problem

QUERIES = "queries.ndjson"
LOAD = "load.md"

Cells = list[tuple[bytes, bytes]]
"""Name and weight of each posting of one document or query, both as JSON."""

Row = tuple[str, list[Any], list[Any], str]
"""A document as it stands in a feed: id, names, weights and the place."""


class Told(NamedTuple):
    """What a page about loading says of one feed.

    Attributes:
        parts: a pattern of the shell for the parts.
        compressed: whether they are gzip.
        halved: how often the weights of the queries were halved.
        k: hits that a query asks for.
    """

    parts: str
    compressed: bool
    halved: int
    k: int


class Feed(abc.ABC):
    """The files of one engine.

    Args:
        field: name of the field, or of the vector, that holds the weights.
        index: name of the index or collection.

    Attributes:
        engine: its name.
        naming: of terms.
        kept: what it keeps of a weight.
        part: name of the parts before their number, and the suffix behind it.
        part_bytes: of a part at most, before compression; one request where parts are requests.
        most_bytes: of one document at most.
        most_id_bytes: of an id at most.
        most_hits: that one query may ask for.
        most_terms: of a query before the engine must be told to take more; None for no limit.
        note: what stands in ``load.md`` of what the engine does, in a sentence or two.
    """

    engine: ClassVar[str]
    naming: ClassVar[Naming]
    kept: ClassVar[Kept]
    part: ClassVar[tuple[str, str]]
    part_bytes: ClassVar[int] = 64 << 20
    most_bytes: ClassVar[int] = 64 << 20
    most_id_bytes: ClassVar[int] = 32_766
    most_hits: ClassVar[int] = 10_000
    most_terms: ClassVar[int | None] = None
    note: ClassVar[str]

    def __init__(self, field: str, index: str) -> None:
        self.field = field
        self.index = index

    @property
    def problem(self) -> Problem:
        """Which terms it cannot hold."""
        return PROBLEMS[self.naming]

    def check_id(self, doc_id: str) -> None:
        """Raise BadInputError for an id that the engine does not take.

        Elasticsearch and OpenSearch refuse the whole request for one such id.
        """
        check_size(doc_id, self.most_id_bytes, self.engine)

    def key(self, doc_id: str) -> str:
        """What tells one document from another in the engine; no two may have the same."""
        return doc_id

    @abc.abstractmethod
    def document(self, doc_id: str, cells: Cells) -> bytes:
        """One document with its line ends."""

    @abc.abstractmethod
    def query(self, cells: Cells, k: int) -> bytes:
        """The body of a search for ``k`` hits, as JSON.

        A query without terms, where it has one in this engine, must find nothing.
        """

    @abc.abstractmethod
    def settings(self) -> dict[str, bytes]:
        """Files by name: what makes the index."""

    @abc.abstractmethod
    def load(self, told: Told) -> str:
        """How the files are loaded, in Markdown."""

    @abc.abstractmethod
    def rows(self, path: Path) -> Iterator[Row]:
        """The documents of one part.

        Raises:
            BadInputError: a line is not what :meth:`document` writes.
        """

    def halvings(self, largest: int) -> int:
        """How often the weights of queries are halved, given the largest; scores are with them."""
        return 0


def joined(cells: Cells) -> bytes:
    """The inside of a JSON object: ``"a":1,"b":2``."""
    return b",".join([b"%b:%b" % cell for cell in cells])


def pairs(found: Any, place: str) -> tuple[list[Any], list[Any]]:
    """Names and weights of an object of them; BadInputError where it is none."""
    if not isinstance(found, dict):
        raise BadInputError("no sparse vector: an object of terms and weights", place)
    return list(found), list(found.values())


def pretty(tree: Any) -> bytes:
    """A tree as a file of JSON for people."""
    return orjson.dumps(tree, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
