"""Documents drawn from a stream, to be compared with what an engine holds of them."""

from __future__ import annotations

import random

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Float32Array, ImpactBatch, Int32Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import RemoteIndex
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.errors import ExternalProgramError
from splade_bridge.formats.feeds.names import named

SIZE = 10_000
AT_ONCE = 500


class Sample:
    """Each document is in it with the same chance (algorithm R; Vitter, ACM TOMS 11, 1985).

    Args:
        size: documents that are kept, all of fewer.
        seed: of the drawing, so that the same stream gives the same sample.
    """

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._seen = 0
        self._kept: list[tuple[str, Int32Array, Int32Array | Float32Array]] = []

    def add(self, batch: ImpactBatch | SparseBatch) -> None:
        """Draw from the documents of ``batch``."""
        for row, doc_id in enumerate(batch.ids):
            self._seen += 1
            at = self._seen - 1
            if self._seen > self._size:
                at = self._random.randrange(self._seen)
                if at >= self._size:
                    continue
            indices, weights = batch.row(row)
            numbers: Int32Array | Float32Array = weights.copy()
            self._kept[at : at + 1] = [(doc_id, indices.copy(), numbers)]

    def compare(self, index: RemoteIndex, vocabulary: Vocabulary) -> None:
        """Read the sample back.

        Args:
            vocabulary: of the term ids in the sample.

        Raises:
            ExternalProgramError: a document is missing, or is another one.
        """
        for start in range(0, len(self._kept), AT_ONCE):
            some = self._kept[start : start + AT_ONCE]
            ids = [doc_id for doc_id, *_ in some]
            rows = patiently(lambda ids=ids: index.get(ids))  # type: ignore[misc]
            there = {row.doc_id: dict(zip(row.names, row.weights, strict=True)) for row in rows}
            for doc_id, indices, weights in some:
                names = [named(vocabulary[t], t, index.naming) for t in indices.tolist()]
                if there.get(doc_id) != dict(zip(names, weights.tolist(), strict=True)):
                    what = "another vector" if doc_id in there else "nothing"
                    raise ExternalProgramError(
                        f"{index.address}: {index.engine} holds {what} of document "
                        f"{quoted(doc_id)}: load it again (--overwrite)"
                    )
