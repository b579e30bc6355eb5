"""A feed as a source: what was written for an engine, or came out of one, read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splade_bridge.data.ids import checked_id
from splade_bridge.data.manifest import Manifest, QuantizationInfo
from splade_bridge.data.quantize import QuantizeOptions, Quantizer, for_numbers
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import changed, check_file, stamps
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.base import Feed
from splade_bridge.formats.feeds.names import reader_of
from splade_bridge.formats.feeds.write import FEED_TARGETS, VOCABULARY, feed_of
from splade_bridge.formats.jsonvector import VectorBuilder, VectorRecord, full_batches


class FeedSource(ImpactSource):
    """The documents of a feed; weights that are no integers need a scale, as in JSON vectors.

    Args:
        path: a folder with parts, or one file of an engine's documents.
        target, field: what it was written for; None for what the manifest says.
        options: how to quantize, see :class:`.jsonvector.JsonVectorSource`.

    Raises:
        BadInputError: when made, no parts, no vocabulary where terms are numbers, or a manifest
            that does not say what was written; when read, a line that is not the engine's, or
            files that are not what they were.
        UsageError: see :class:`.jsonvector.JsonVectorSource`.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        options: QuantizeOptions | None = None,
        manifest: Manifest | None = None,
        *,
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
        self._feed: Feed = feed_of(target, field or "vector", "passages")
        self._files = _parts(path, self._feed)
        numbered = self._feed.naming == "number"
        beside = (path if path.is_dir() else path.parent) / VOCABULARY
        known = beside.is_file() and (numbered or manifest is not None)
        if numbered and not known:
            raise BadInputError(
                f"no {VOCABULARY} beside it, which says what terms its numbers stand for", str(path)
            )
        vocabulary = Vocabulary.load(beside) if known else Vocabulary(observed=True)
        super().__init__(path, vocabulary, manifest)
        made = for_numbers(options, path, manifest)
        self._quantizer = made if isinstance(made, Quantizer) else None
        self.clipper = None if isinstance(made, Quantizer) else made
        self._stamps = stamps(path)

    def _read(self) -> Iterator[ImpactBatch]:
        builder = VectorBuilder(self.vocabulary, self._quantizer)
        for _ in full_batches(self._records(), builder, self.path):
            yield builder.take()
        if stamps(self.path) != self._stamps:
            raise changed(self.path)

    def _records(self) -> Iterator[VectorRecord]:
        term_of = reader_of(self._feed.naming, self.vocabulary)
        for file in self._files:
            for doc_id, names, values, place in self._feed.rows(file):
                terms = [term_of(name, place) for name in names]
                if len(set(terms)) != len(terms):
                    raise BadInputError("a term stands twice in this document", place)
                yield VectorRecord(checked_id(doc_id, place), terms, values, place)

    @property
    def _quantized(self) -> QuantizationInfo | None:
        return self._quantizer.info if self._quantizer else super()._quantized


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
