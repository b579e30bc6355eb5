"""Whether documents may be added to an index: they must be of its model, side, scale and terms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.manifest import EncodingInfo, Manifest, QuantizationInfo
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import RemoteIndex
from splade_bridge.errors import MismatchError
from splade_bridge.formats.base import ImpactSource

log = logging.getLogger(__name__)


def check_alike(index: RemoteIndex, ours: Manifest, source: ImpactSource) -> None:
    """Whether documents of ``source`` may stand beside those that ``ours`` tells of.

    What one of the two does not say cannot be compared, and is named in a warning; so is another
    ``max_length`` or another pruning, which changes vectors and not what they mean.

    Raises:
        MismatchError: another vocabulary, model, side, pooling, scale or rounding.
    """
    place = f"{index.address}: {source.path}"
    theirs = source.vocabulary_info
    if not (ours.vocabulary.observed or theirs.observed) and (
        ours.vocabulary.sha256 != theirs.sha256
    ):
        raise MismatchError(
            f"{place} has another vocabulary ({theirs.size:,} terms, {theirs.sha256[:12]}) than "
            f"the index ({ours.vocabulary.size:,} terms, {ours.vocabulary.sha256[:12]}): encode "
            "with the checkpoint of the index"
        )
    _check_model(place, ours.encoding, source.encoding)
    _check_scale(place, ours.quantization, source.quantization)
    pruned = source.manifest.pruning if source.manifest else []
    if pruned != ours.pruning:
        log.warning("%s was not pruned as the documents of the index were", place)


def _check_model(place: str, ours: EncodingInfo | None, theirs: EncodingInfo | None) -> None:
    if ours is None or theirs is None:
        if ours is not theirs:
            which = "it" if theirs is None else "the index"
            log.warning("%s: %s does not say which model made it: not compared", place, which)
        return
    _same(place, "model", (ours.sha256, theirs.sha256), (ours.model, theirs.model))
    for what in ("side", "pooling", "long", "stride"):
        _same(place, what, (getattr(ours, what), getattr(theirs, what)))
    if ours.max_length != theirs.max_length:
        log.warning(
            "%s was read to %d tokens of a text, the index to %d", place, theirs.max_length,
            ours.max_length,
        )  # fmt: skip


def _check_scale(
    place: str, ours: QuantizationInfo | None, theirs: QuantizationInfo | None
) -> None:
    scales = [q.scale if q else None for q in (ours, theirs)]
    if None in scales:
        if scales != [None, None]:
            which = "it" if scales[1] is None else "the index"
            log.warning("%s: the scale of %s is not known: not compared", place, which)
        return
    assert ours is not None and theirs is not None
    _same(place, "scale", (ours.scale, theirs.scale))
    _same(place, "rounding", (ours.rounding, theirs.rounding))


def _same(
    place: str, what: str, values: tuple[Any, Any], shown: tuple[Any, Any] | None = None
) -> None:
    if values[0] == values[1]:
        return
    ours, theirs = shown if shown and shown[0] != shown[1] else values
    raise MismatchError(
        f"{place} has {what} {theirs}, and the index {ours}: their scores would not be comparable; "
        "make its vectors as those of the index were made"
    )


class Aligned(ImpactSource):
    """The documents of a source in the term ids of an index.

    Args:
        vocabulary: of the index; one that is observed grows by the terms that documents use.

    Raises:
        MismatchError: when read, a term that the model of the index does not have.
    """

    def __init__(self, source: ImpactSource, vocabulary: Vocabulary) -> None:
        super().__init__(source.path, vocabulary, source.manifest)
        self.source = source
        self._ids = np.empty(0, np.int32)

    def _read(self) -> Iterator[ImpactBatch]:
        terms = self.source.vocabulary
        for batch in self.source.batches():
            more = len(terms) - len(self._ids)
            self._ids = np.concatenate([self._ids, np.full(more, -1, np.int32)])
            used = np.unique(batch.indices)
            for term_id in used[self._ids[used] < 0].tolist():
                self._ids[term_id] = self._id(terms[term_id])
            yield batch.remap(self._ids)

    def _id(self, term: str) -> int:
        found = self.vocabulary.get(term)
        if found is None and not self.vocabulary.observed:
            raise MismatchError(
                f"{self.path}: the term {quoted(term)} is not in the vocabulary of the index, "
                "which is that of its model: encode with the checkpoint of the index"
            )
        return self.vocabulary.add(term) if found is None else found
