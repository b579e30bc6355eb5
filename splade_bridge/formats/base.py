"""What every source of impacts is: a stream of batches that counts itself."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splade_bridge.corpora import DuplicateGuard
from splade_bridge.manifest import EncodingInfo, Manifest, QuantizationInfo
from splade_bridge.quantize import Quantizer, QuantizeOptions
from splade_bridge.store import VectorStore
from splade_bridge.vectors import Counts, ImpactBatch
from splade_bridge.vocab import Vocabulary


class ImpactSource(abc.ABC):
    """Impacts of a collection, read once from start to end.

    Attributes:
        path: where they come from.
        vocabulary: the terms; one that is observed grows while :meth:`batches` runs.
        counts: of what was read so far; complete when :meth:`batches` has ended.
        manifest: provenance, where the source has one.
        parent: entry for the ``parents`` of what is made from this source.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary, manifest: Manifest | None) -> None:
        self.path = path
        self.vocabulary = vocabulary
        self.manifest = manifest
        self.counts = Counts()

    def batches(self) -> Iterator[ImpactBatch]:
        """All documents in order, some thousand a batch.

        Raises:
            BadInputError: the source breaks its format, or an id stands in it twice.
        """
        guard = DuplicateGuard()
        for batch in self._read():
            for doc_id in batch.ids:
                guard.check(doc_id, str(self.path))
            self.counts.add(batch)
            yield batch

    @abc.abstractmethod
    def _read(self) -> Iterator[ImpactBatch]: ...

    @property
    def quantization(self) -> QuantizationInfo | None:
        """How the impacts were made, as far as known; complete after :meth:`batches`."""
        return self.manifest.quantization if self.manifest else None

    @property
    def encoding(self) -> EncodingInfo | None:
        """The model behind the impacts, as far as known."""
        return self.manifest.encoding if self.manifest else None

    @property
    def parent(self) -> dict[str, Any]:
        """What stands in the manifest of an artefact made from this source."""
        return {"path": self.path.name, "files": [f.sha256 for f in self.manifest.files]} if (
            self.manifest
        ) else {"path": self.path.name}


class StoreSource(ImpactSource):
    """A vector store, quantized while it is read."""

    def __init__(self, path: Path, options: QuantizeOptions) -> None:
        store = VectorStore(path)
        super().__init__(path, store.vocabulary, store.manifest)
        self._store = store
        self._quantizer = Quantizer(options)

    def _read(self) -> Iterator[ImpactBatch]:
        return map(self._quantizer, self._store.batches())

    @property
    def quantization(self) -> QuantizationInfo:
        """The account of this reading."""
        return self._quantizer.info
