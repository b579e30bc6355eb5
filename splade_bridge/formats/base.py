"""What every source of impacts is: a stream of batches that counts itself."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from splade_bridge.data.content import Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, check_ids
from splade_bridge.data.manifest import EncodingInfo, Manifest, QuantizationInfo, VocabularyInfo
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.quantize import Clipper, QuantizeOptions, Quantizer, for_integers
from splade_bridge.data.store import VectorStore, impacts_of
from splade_bridge.data.vector_set import VectorSet
from splade_bridge.data.vectors import ImpactBatch, Int64Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.address import Place
from splade_bridge.files.outputs import MANIFEST

Batch = TypeVar("Batch", ImpactBatch, SparseBatch)


class OrderedLists(NamedTuple):
    """A collection as posting lists.

    Attributes:
        ids: of all documents by their numbers, some thousand at a time.
        blocks: all lists by the bytes of their terms, a long one in several blocks.
        sums: gives int64[documents], the impacts of each, when all ids and blocks were taken.
    """

    ids: Iterator[list[str]]
    blocks: Iterator[ListBlock]
    sums: Callable[[], Int64Array]


class Source(abc.ABC, Generic[Batch]):
    """Vectors of a collection, read once from start to end: :class:`ImpactSource` or
    :class:`WeightSource`.

    Attributes:
        path: where they come from.
        vocabulary: the terms; one that is observed grows while :meth:`batches` runs.
        counts: of what was read so far; complete when :meth:`batches` has ended.
        content: its hash, as far as it was read.
        watch: wraps the stream of batches, for a progress bar.
        manifest: provenance, where the source has one.
    """

    def __init__(self, path: Place, vocabulary: Vocabulary, manifest: Manifest | None) -> None:
        self.path = path
        self.vocabulary = vocabulary
        self.manifest = manifest
        self.counts = Counts()
        self.content = Content(vocabulary)
        self.watch: Callable[[Iterator[Batch]], Iterator[Batch]] = iter

    @property
    def files(self) -> list[Path]:
        """What is read: a file or folder, none of an index that an engine holds."""
        return [self.path] if isinstance(self.path, Path) else []

    def opened(self) -> AbstractContextManager[object]:
        """What must be open while it is read; reading opens it by itself, for each pass anew."""
        return nullcontext()

    def batches(self) -> Iterator[Batch]:
        """All documents in order, some thousand a batch.

        Raises:
            BadInputError: the source breaks its format, an id stands in it twice, or is one that
                a run cannot hold.
        """
        for batch in self.uncounted():
            self.counts.add(batch)
            self.content.add(batch)
            yield batch

    def uncounted(self) -> Iterator[Batch]:
        """:meth:`batches` for whom :attr:`counts` and :attr:`content` do not matter."""
        for batch in self.watch(self._read()):
            given = self._given(batch)
            check_ids(given.ids, str(self.path))
            yield given

    def read_all(self) -> None:
        """Read from start to end for :attr:`counts` and :attr:`content` alone.

        Raises:
            BadInputError: as :meth:`batches`.
        """
        for _ in self.batches():
            pass

    @abc.abstractmethod
    def _read(self) -> Iterator[Batch]:
        """The batches; an implementation must notice ids that come twice, and name the place."""

    def _given(self, batch: Batch) -> Batch:
        """What is made of a batch before it is given."""
        return batch

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Id and text of each document in order, where the source holds texts beside vectors."""
        return None

    @property
    def quantization(self) -> QuantizationInfo | None:
        """How impacts were made, as far as known; complete after :meth:`batches`."""
        return self.manifest.quantization if self.manifest else None

    @property
    def vocabulary_info(self) -> VocabularyInfo:
        """The model's vocabulary, if it is known, else that of the terms which were read."""
        return self.manifest.vocabulary if self.manifest else VocabularyInfo.of(self.vocabulary)

    @property
    def encoding(self) -> EncodingInfo | None:
        """The model behind the impacts, as far as known."""
        return self.manifest.encoding if self.manifest else None

    @property
    def expected_postings(self) -> int | None:
        """Postings to come at most, where that is known before they are read."""
        return self.manifest.counts.postings if self.manifest else None

    @property
    def parent(self) -> dict[str, Any]:
        """What stands in the manifest of an artefact made from this source."""
        known = {"files": [f.sha256 for f in self.manifest.files]} if self.manifest else {}
        return {"path": self.path.name, **known}

    def described(self, kind: str, **more: Any) -> Manifest:
        """The manifest of an artefact that was made from all of this source.

        Args:
            more: further attributes of :class:`Manifest`.
        """
        return Manifest(
            kind=kind,
            vocabulary=self.vocabulary_info,
            counts=self.counts,
            content=str(self.content),
            encoding=self.encoding,
            quantization=self.quantization,
            pruning=self.manifest.pruning if self.manifest else [],
            parents=[self.parent],
            **more,
        )


class ImpactSource(Source[ImpactBatch]):
    """Impacts of a collection.

    Attributes:
        clipper: cuts what was read, where that was asked for.
    """

    def __init__(self, path: Place, vocabulary: Vocabulary, manifest: Manifest | None) -> None:
        super().__init__(path, vocabulary, manifest)
        self.clipper: Clipper | None = None

    def _given(self, batch: ImpactBatch) -> ImpactBatch:
        return self.clipper(batch) if self.clipper else batch

    def ordered_lists(self) -> OrderedLists | None:
        """The posting lists in order, where they stand so and need not be made of documents.

        They are counted and hashed, as :meth:`batches` does it with documents.

        Raises:
            BadInputError: as :meth:`batches`, now or while they are read.
        """
        return None

    @property
    def quantization(self) -> QuantizationInfo | None:
        """How the impacts were made, as far as known; complete after :meth:`batches`."""
        return self.clipper.info(self._quantized) if self.clipper else self._quantized

    @property
    def _quantized(self) -> QuantizationInfo | None:
        """The same before they are clipped."""
        return self.manifest.quantization if self.manifest else None


class WeightSource(Source[SparseBatch]):
    """Float weights of a collection."""


class Quantized(ImpactSource):
    """Weights, quantized while they are read."""

    def __init__(self, weights: WeightSource, options: QuantizeOptions) -> None:
        super().__init__(weights.path, weights.vocabulary, weights.manifest)
        self._weights = weights
        self._quantizer = Quantizer(options)

    def _read(self) -> Iterator[ImpactBatch]:
        return map(self._quantizer, self._weights.uncounted())

    def contents(self) -> Iterator[tuple[str, str]] | None:
        """Those of the weights."""
        return self._weights.contents()

    @property
    def _quantized(self) -> QuantizationInfo | None:
        return self._quantizer.info


class BatchSource(ImpactSource):
    """Batches that are in memory.

    Args:
        path: what the source is called.
    """

    def __init__(
        self,
        path: Place,
        batches: Iterable[ImpactBatch],
        vocabulary: Vocabulary,
        manifest: Manifest | None = None,
    ) -> None:
        super().__init__(path, vocabulary, manifest)
        self._held = list(batches)

    def _read(self) -> Iterator[ImpactBatch]:
        yield from self._held


def each_once(batches: Iterable[Batch], path: Place) -> Iterator[Batch]:
    """``batches``, of which no two rows have the same id.

    Raises:
        BadInputError: two have.
    """
    guard = DuplicateGuard()
    for batch in batches:
        for doc_id in batch.ids:
            guard.check(doc_id, str(path))
        yield batch


class StoreWeights(WeightSource):
    """Float vectors of a store, or in memory."""

    def __init__(self, vectors: Path | VectorSet) -> None:
        store = VectorStore(vectors) if isinstance(vectors, Path) else vectors
        super().__init__(store.path, store.vocabulary, store.manifest)
        self._store = store

    def _read(self) -> Iterator[SparseBatch]:
        return each_once(self._store.batches(), self.path)


class StoreSource(Quantized):
    """Float vectors, of a store or in memory, quantized while they are read."""

    def __init__(self, vectors: Path | VectorSet, options: QuantizeOptions) -> None:
        super().__init__(StoreWeights(vectors), options)


class StoreImpacts(ImpactSource):
    """Impacts that a vector store holds as weights."""

    path: Path

    def __init__(self, store: VectorStore) -> None:
        super().__init__(store.path, store.vocabulary, store.manifest)
        self._weights = StoreWeights(store)

    def _read(self) -> Iterator[ImpactBatch]:
        for batch in self._weights.uncounted():
            yield impacts_of(batch, self.path)


def store_source(store: VectorStore, options: QuantizeOptions | None) -> ImpactSource:
    """The impacts of a vector store: its weights, quantized, or the impacts that it holds.

    Raises:
        UsageError: a scale or a rounding for impacts.
    """
    if not store.holds_impacts:
        return StoreSource(store, options or QuantizeOptions())
    return clipped(StoreImpacts(store), for_integers(options, store.path, store.manifest))


Watch = Callable[[Iterator[Any], int | None], Iterator[Any]]
"""Wraps a stream of batches; told how many documents it will hold, if that is known."""

AnySource = TypeVar("AnySource", bound=Source[Any])


def watched(source: AnySource, watch: Watch | None) -> AnySource:
    """``source``, whose batches pass through ``watch``."""
    if watch is not None:
        known = source.manifest.counts.documents if source.manifest else None
        source.watch = lambda batches: watch(batches, known)
    return source


def clipped(source: ImpactSource, clipper: Clipper | None) -> ImpactSource:
    """``source``, whose impacts are cut by ``clipper``."""
    source.clipper = clipper
    return source


def export_manifest(path: Path) -> Manifest | None:
    """The manifest of the export that a file or folder lies in, if it lies in one."""
    if not (path.parent / MANIFEST).is_file():
        return None
    found = Manifest.load(path.parent)
    return found if found.kind == "export" else None


def refuse_empty(counts: Counts, path: Place) -> None:
    """Raise BadInputError for a source without documents or without a single posting."""
    if not counts.documents:
        raise BadInputError("holds no documents", str(path))
    if not counts.postings:
        raise BadInputError(f"none of its {counts.documents:,} documents has a term", str(path))
