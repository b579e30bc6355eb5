"""Queries as sparse vectors: what an index is searched with.

Recognised: a vector store; TSV ``id<TAB>token token ...`` where a token of weight w stands w times
(Anserini's topics); JSON lines ``{"id": ..., "vector": {"term": w}}``. Plain, gzip or zstd. ``-``
and a pipe are TSV. All queries of a set are held in memory.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splade_bridge.data.ids import DuplicateGuard, checked_id, quoted
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import (
    Clipper,
    QuantizeOptions,
    Quantizer,
    for_integers,
    for_numbers,
)
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, MismatchError
from splade_bridge.files.inputs import check_file, is_pipe, is_there
from splade_bridge.files.lines import MAX_LINE, STDIO, plain_suffix, text_lines
from splade_bridge.files.outputs import manifest_file
from splade_bridge.formats.base import ImpactSource, StoreSource, export_manifest
from splade_bridge.formats.jsonvector import VectorBuilder, VectorRecord, read_vectors
from splade_bridge.formats.term_limits import TermLimit, white_space
from splade_bridge.text.corpora import JSON_SUFFIXES, TSV_SUFFIXES

log = logging.getLogger(__name__)

SHOWN = 10

PIECE = 1 << 20
"""Characters of repeated tokens that are counted at once."""


@dataclass(frozen=True)
class Queries:
    """A set of queries: impacts in the ids of its own vocabulary."""

    path: Path
    batch: ImpactBatch
    vocabulary: Vocabulary
    manifest: Manifest | None = None

    def aligned(self, vocabulary: Vocabulary, index: Path) -> ImpactBatch:
        """The same queries in the ids of an index's ``vocabulary``.

        Terms that the index does not know cannot match and are left out. Queries that are empty,
        or become so, stay (they find nothing) and are reported with their ids.

        Raises:
            MismatchError: not one term of any query is known to the index.
        """
        mapping = self.vocabulary.mapping(vocabulary)
        batch = self.batch
        aligned = batch.remap(mapping)
        if batch.indices.size and not aligned.indices.size:
            example = self.vocabulary[int(batch.indices[0])]
            raise MismatchError(
                f"{self.path}: no term of any query (as {example!r}) is in {index}: they were made "
                "with different vocabularies, or by a model that gives documents other terms"
            )
        self._report(aligned, index)
        return aligned

    def _report(self, aligned: ImpactBatch, index: Path) -> None:
        before, after = self.batch.lengths, aligned.lengths
        for what, rows in (
            ("have no terms", np.flatnonzero(before == 0)),
            ("have only terms that no document has", np.flatnonzero((before > 0) & (after == 0))),
        ):
            if len(rows):
                ids = [self.batch.ids[i] for i in rows[:SHOWN].tolist()]
                more = " ..." if len(rows) > SHOWN else ""
                log.warning(
                    "%s: %d of %d queries %s and find nothing in %s: %s%s",
                    self.path, len(rows), len(self.batch), what, index, ", ".join(ids), more,
                )  # fmt: skip
        if unknown := len(self.batch.indices) - len(aligned.indices):
            log.info("%s: %d query terms are in no document of %s", self.path, unknown, index)


def read_queries(path: Path, quantize: QuantizeOptions | None = None) -> Queries:
    """Pre-encoded queries from ``path``.

    Args:
        quantize: of float weights; a vector store takes the defaults for what it does not say.
            Integers can only be clipped.

    Raises:
        BadInputError: not a set of pre-encoded queries, a broken line, or an id that comes twice.
        UsageError: a scale or a rounding for queries of integers.
    """
    stream = path == STDIO or is_pipe(path)
    if not stream and not is_there(path):
        raise BadInputError("no such file or folder", str(path))
    if not stream and not path.is_dir():
        check_file(path)
    if path.is_dir() and manifest_file(path).exists():
        return all_of(StoreSource(path, quantize or QuantizeOptions()))
    suffix = plain_suffix(path)
    manifest = export_manifest(path)
    made: Quantizer | Clipper | None
    if path.is_dir() or (suffix in JSON_SUFFIXES and not stream):
        made = for_numbers(quantize, path, manifest)
        records = read_vectors(path)
    elif stream or suffix in TSV_SUFFIXES:
        made = for_integers(quantize, path, manifest)
        records = _repeated_tokens(path)
    else:
        raise BadInputError(
            "not pre-encoded queries (.tsv, .jsonl or a vector store); to encode text, name a "
            "model with --model",
            str(path),
        )
    vocabulary = Vocabulary(observed=True)
    builder = VectorBuilder(vocabulary, made if isinstance(made, Quantizer) else None)
    guard = DuplicateGuard()
    for record in records:
        guard.check(record.id, record.place)
        builder.add(record)
    if not len(builder):
        raise BadInputError("holds no queries", str(path))
    builder.check_weights(path)
    batch = builder.take()
    if isinstance(made, Clipper):
        batch = made(batch)
        if made.clipped:
            log.warning("%s: %d impacts were clipped to %d", path, made.clipped, made.clip)
    return Queries(path, batch, vocabulary, manifest)


def all_of(source: ImpactSource) -> Queries:
    """Everything in ``source`` as a set of queries.

    Raises:
        BadInputError: what reading the source raises.
    """
    batch = ImpactBatch.concat(source.batches())
    return Queries(source.path, batch, source.vocabulary, source.manifest)


def _repeated_tokens(path: Path) -> Iterator[VectorRecord]:
    for line, place in text_lines(path, pipe=True):
        query_id, tab, tokens = line.partition("\t")
        if not tab:
            raise BadInputError("no tab: a line must be id<TAB>token token ...", place)
        if "\t" in tokens:
            raise BadInputError("a second tab: a line must be id<TAB>token token ...", place)
        counted: Counter[str] = Counter()
        for piece in _pieces(tokens):
            counted.update(piece.split(" "))
        counted.pop("", None)
        yield VectorRecord(checked_id(query_id, place), [*counted], [*counted.values()], place)


def _pieces(tokens: str) -> Iterator[str]:
    """``tokens`` cut at blanks, so that no list of all of them is needed."""
    start = 0
    while start < len(tokens):
        stop = tokens.find(" ", start + PIECE)
        stop = len(tokens) if stop < 0 else stop
        yield tokens[start:stop]
        start = stop


def write_repeated_tokens(
    batches: Iterable[ImpactBatch], vocabulary: Vocabulary
) -> Iterator[bytes]:
    """Lines of Anserini's topics: a token of weight w stands w times.

    Raises:
        BadInputError: a term with white space, which would be read as two; or a query whose line
            would be longer than any that is read.
    """
    remedy = "search with the vectors themselves"
    limit = TermLimit("topics", white_space, remedy, vocabulary)
    for batch in batches:
        limit.check(batch.indices)
        for i, query_id in enumerate(batch.ids):
            ids, weights = batch.row(i)
            tokens = [vocabulary[t] for t in ids.tolist()]
            size = sum(
                (len(t.encode()) + 1) * w for t, w in zip(tokens, weights.tolist(), strict=True)
            )
            if size + len(query_id.encode()) > MAX_LINE:
                raise BadInputError(
                    f"query {quoted(query_id)}: its repeated tokens would be a line of {size:,} "
                    f"bytes, and {MAX_LINE:,} is the most that is read: use a smaller --scale, or "
                    f"{remedy}"
                )
            line = "".join(f"{t} " * w for t, w in zip(tokens, weights.tolist(), strict=True))
            yield f"{query_id}\t{line.rstrip(' ')}\n".encode()
