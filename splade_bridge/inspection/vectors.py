"""Artefacts that a reader of :mod:`splade_bridge.formats` or an engine gives as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from splade_bridge.conversion.detect import open_vectors
from splade_bridge.data.content import ID, UInt64Array, hashed
from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import read_index
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.forward import ForwardSource
from splade_bridge.formats.pisa_source import CanonicalSource, collection_at
from splade_bridge.formats.postings import PostingListSource
from splade_bridge.inspection.expansion import from_corpus
from splade_bridge.inspection.found import Inspection, InspectOptions, Numbers
from splade_bridge.inspection.tally import SAMPLE, Tally

IDS_AT_ONCE = 10_000


def said_content(manifest: Manifest | None) -> str | None:
    """The content hash in a manifest."""
    return manifest.content if manifest else None


def finish(
    tally: Tally,
    found: Inspection,
    options: InspectOptions,
    numbers: Numbers,
    *,
    with_corpus: bool = True,
) -> None:
    """Put what was counted into ``found``."""
    manifest = found.manifest
    tally.report(found, said_content(manifest))
    found.numbers = numbers
    quantization = manifest.quantization if manifest else None
    found.scale = tally.evidence.guess(numbers, quantization.scale if quantization else None)
    found.check_terms(tally.vocabulary)
    if with_corpus:
        from_corpus(tally, options.corpus, found)


def rows(
    batches: Iterable[ImpactBatch | SparseBatch],
    vocabulary: Vocabulary,
    found: Inspection,
    options: InspectOptions,
    numbers: Numbers,
) -> Tally:
    """Count documents that come as rows."""
    tally = Tally(vocabulary)
    for batch in batches:
        tally.add(batch)
    finish(tally, found, options, numbers)
    return tally


class Ids:
    """The ids of documents in their order: hashed, and with their faults counted."""

    def __init__(self, found: Inspection) -> None:
        self._found = found
        self._guard = DuplicateGuard()
        self._parts: list[UInt64Array] = [np.empty((2, 0), np.uint64)]
        self._waiting: list[str] = []
        self.first: list[str] = []
        self.count = 0

    def add(self, doc_id: str, place: str) -> None:
        """Take the next one."""
        check_id(doc_id, place, self._guard, self._found)
        self.count += 1
        if len(self.first) < SAMPLE:
            self.first.append(doc_id)
        self._waiting.append(doc_id)
        if len(self._waiting) == IDS_AT_ONCE:
            self._hash()

    def _hash(self) -> None:
        if self._waiting:
            # An id that is no Unicode has no hash of its own; the fault says so.
            texts = [t.encode("utf-8", "replace").decode() for t in self._waiting]
            self._parts.append(hashed(texts, ID))
            self._waiting = []

    def hashed(self) -> UInt64Array:
        """uint64[2, n] of all, see :func:`splade_bridge.data.content.hashed`."""
        self._hash()
        return np.concatenate(self._parts, axis=1)


def check_id(doc_id: str, place: str, guard: DuplicateGuard, found: Inspection) -> None:
    """Count an id that a run cannot hold, or that was there before."""
    try:
        checked_id(doc_id, place)
    except BadInputError:
        found.fault("ids that a run cannot hold", f"{place}: {doc_id!r}", "rename them")
        return
    try:
        guard.check(doc_id, place)
    except BadInputError:
        found.fault(
            "ids that were there before",
            f"{place}: {doc_id!r}",
            "ids must be unique in a collection: drop or rename them",
        )


def lists(source: PostingListSource, found: Inspection, options: InspectOptions) -> Tally:
    """Count documents that come as posting lists, without turning them into rows."""
    tally = Tally(source.vocabulary)
    with source.opened():
        ids = Ids(found)
        for doc_id, place in source.document_ids():
            ids.add(doc_id, place)
        tally.begin_lists(ids.count, ids.hashed(), ids.first)
        for term, docs, impacts in source.lists():
            if len(docs) and int(docs[-1]) >= ids.count:
                raise BadInputError(
                    f"a posting of document {int(docs[-1]):,}, but ids of {ids.count:,} documents",
                    str(source.path),
                )
            tally.add_list(term, docs, impacts)
        empty = set(tally.empty_rows().tolist())
        tally.end_lists(_names(empty, source.document_ids()))
    finish(tally, found, options, "impacts")
    return tally


def _names(wanted: set[int], ids: Iterator[tuple[str, str]]) -> list[str]:
    """The ids of some documents; reading ends with the last of them."""
    last = max(wanted, default=-1)
    names = []
    for number, (doc_id, _) in enumerate(ids):
        if number > last:
            break
        if number in wanted:
            names.append(doc_id)
    return names


def store(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A vector store or an export, of weights or of impacts."""
    source = open_vectors(path, weights=True)
    if isinstance(source, ImpactSource):
        impacts(source, found, options)
    else:
        rows(source.batches(), source.vocabulary, found, options, "weights")


def index(path: Path, found: Inspection, options: InspectOptions) -> None:
    """An index of ours that is not Lucene's."""
    source = read_index(path, found.manifest, options.memory)
    if isinstance(source, PostingListSource):
        lists(source, found, options)
    else:
        impacts(source, found, options)


def impacts(source: ImpactSource, found: Inspection, options: InspectOptions) -> None:
    """Any source of impacts."""
    rows(source.batches(), source.vocabulary, found, options, "impacts")


def forward(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A forward store, ours."""
    if options.quick:
        return
    impacts(ForwardSource(path), found, options)


def canonical(path: Path, found: Inspection, options: InspectOptions) -> None:
    """PISA's canonical files."""
    base = collection_at(path)
    if base is None:
        raise BadInputError("not a collection of PISA's canonical files", str(path))
    names = sorted(p.name for p in base.parent.iterdir() if p.name.startswith(f"{base.name}."))
    found.facts = {"base": base.name, "files": names}
    if options.quick:
        return
    lists(CanonicalSource(base, options.memory), found, options)
