"""A feed as a source: what was written for an engine, or came out of one, read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splade_bridge.data.ids import checked_id
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import changed, check_file, stamps
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.base import Feed
from splade_bridge.formats.feeds.names import reader_of
from splade_bridge.formats.feeds.write import FEED_TARGETS, VOCABULARY, feed_of
from splade_bridge.formats.records import Records, VectorRecord


class FeedFiles(Records):
    """The documents of a feed, one record each.

    Args:
        path: a folder with parts, or one file of an engine's documents.
        target, field: what it was written for; None for what the manifest says.

    Attributes:
        vocabulary: whole where it came with the feed, else observed.
        files: those with documents.
        feed: the form of the documents.

    Raises:
        BadInputError: no parts, no vocabulary where terms are numbers, or a manifest that does not
            say what was written.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        manifest: Manifest | None = None,
        target: FeedTarget | None = None,
        field: str | None = None,
    ) -> None:
        if target is None and manifest is not None:
            target = manifest.option("target", FeedTarget, path)
        if field is None and manifest is not None:
            field = manifest.option("field", str, path)
        if target is None:
            raise BadInputError(
                "whose documents these are cannot be told; it is one of " + ", ".join(FEED_TARGETS),
                str(path),
            )
        self.feed: Feed = feed_of(target, field or "vector", "passages")
        self.files = _parts(path, self.feed)
        numbered = self.feed.naming == "number"
        beside = (path if path.is_dir() else path.parent) / VOCABULARY
        known = beside.is_file() and (numbered or manifest is not None)
        if numbered and not known:
            raise BadInputError(
                f"no {VOCABULARY} beside it, which says what terms its numbers stand for", str(path)
            )
        super().__init__(path, Vocabulary.load(beside) if known else Vocabulary(observed=True))
        self._stamps = stamps(path)

    def records(self) -> Iterator[VectorRecord]:
        """See :class:`Records`."""
        term_of = reader_of(self.feed.naming, self.vocabulary)
        for file in self.files:
            for doc_id, names, values, place in self.feed.rows(file):
                terms = [term_of(name, place) for name in names]
                if len(set(terms)) != len(terms):
                    raise BadInputError("a term stands twice in this document", place)
                yield VectorRecord(checked_id(doc_id, place), terms, values, place)
        if stamps(self.path) != self._stamps:
            raise changed(self.path)


def _parts(path: Path, feed: Feed) -> list[Path]:
    """The files with documents.

    Raises:
        BadInputError: there are none.
    """
    if not path.is_dir():
        check_file(path)
        return [path]
    stem, suffix = feed.part
    found = sorted(p for s in (suffix, f"{suffix}.gz") for p in path.glob(f"{stem}-*{s}"))
    if not found:
        raise BadInputError(f"no {stem}-*{suffix} in this folder", str(path))
    return found
