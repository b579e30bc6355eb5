"""Vectors to the files that an engine loads: parts of bounded size, what makes the index, queries.

::

    OUT/bulk-00000.ndjson[.gz]   or points-, rows-, feed-: documents in order, parts of bounded size
    OUT/mapping.json             or collection.json, INDEX.sd: what makes the index
    OUT/queries.ndjson           {"id": ..., "body": ...}, a query a line
    OUT/vocabulary.json          the terms in the order of their ids
    OUT/load.md                  the commands that load it

The same vectors give the same files, byte for byte, and a part that is loaded twice replaces its
documents by themselves: a load that was stopped goes on with any part.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from dataclasses import field as made_by
from pathlib import Path
from typing import Any, get_args

import orjson

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.base import LOAD, QUERIES, Cells, Feed, Told
from splade_bridge.formats.feeds.elastic import NeuralSparse, RankFeatures, SparseVector
from splade_bridge.formats.feeds.milvus import Milvus
from splade_bridge.formats.feeds.names import Names
from splade_bridge.formats.feeds.qdrant import Qdrant
from splade_bridge.formats.feeds.vespa import Vespa
from splade_bridge.formats.feeds.weights import WeightAccount
from splade_bridge.formats.queries import Queries
from splade_bridge.formats.term_limits import TermLimit

FEED_TARGETS: tuple[FeedTarget, ...] = get_args(FeedTarget)
FEEDS: dict[FeedTarget, type[Feed]] = {
    "elasticsearch": SparseVector,
    "elasticsearch-rank-features": RankFeatures,
    "opensearch": RankFeatures,
    "opensearch-neural-sparse": NeuralSparse,
    "qdrant": Qdrant,
    "milvus": Milvus,
    "vespa": Vespa,
}
VOCABULARY = "vocabulary.json"

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Of a field and an index: what all of them take, and a shell as it stands."""
DEFAULT_K = 1000


@dataclass
class QueryAccount:
    """What became of the queries.

    Attributes:
        queries: all of them.
        empty: those without a term that the documents have; they find nothing.
        unknown_terms: terms of queries that no document has, left out where terms are numbers.
        halved: times that all their weights were halved; scores are to be doubled as often.
        long: queries of more terms than the engine takes unless it is told to.
    """

    queries: int = 0
    empty: int = 0
    unknown_terms: int = 0
    halved: int = 0
    long: int = 0


@dataclass
class FeedAccount:
    """What a feed is, and what its engine makes of it.

    Attributes:
        target, field, index: as they were asked for.
        parts: files of documents.
        weights: of them, what the engine will change. The files hold the numbers as they are.
        queries: None where there were none.
    """

    target: FeedTarget
    field: str
    index: str
    parts: int = 0
    weights: WeightAccount = made_by(default_factory=WeightAccount)
    queries: QueryAccount | None = None

    def options(self) -> dict[str, Any]:
        """For the manifest, from which a :class:`.source.FeedFiles` knows how to read it."""
        told = {key: value for key, value in asdict(self).items() if value is not None}
        del told["weights"]["floats"]
        return told


def feed_of(target: FeedTarget, field: str, index: str) -> Feed:
    """How ``target`` writes and reads.

    Raises:
        UsageError: an unknown target, or a name that not all engines take.
    """
    if target not in FEEDS:
        raise UsageError(f"--to {target}: one of {', '.join(FEED_TARGETS)}")
    for what, name in (("--field", field), ("--index", index)):
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{what} {name!r}: a name is a lower-case letter, then letters, digits and _, up "
                "to 64 characters, as every engine takes it"
            )
    if field == "id":
        raise UsageError("--field id: the id of a document has this name")
    return FEEDS[target](field, index)


def write_feed(
    target: FeedTarget,
    source: ImpactSource | WeightSource,
    folder: Path,
    *,
    queries: Queries | None = None,
    allow_loss: bool = False,
    gzip: bool = False,
    field: str = "vector",
    index: str = "passages",
    k: int = DEFAULT_K,
    part_bytes: int | None = None,
) -> tuple[Counts, FeedAccount]:
    """Write all that ``target`` loads into ``folder``, which should be a staged one.

    Args:
        source: of impacts, or of weights, which stay what they are.
        queries: also written, as bodies of searches for ``k`` hits.
        allow_loss: write what the engine will change, too; it is counted in any case.
        gzip: compress the parts.
        field, index: names of the field of the weights, and of the index or collection.
        part_bytes: of a part at most before compression, as far as one document fits.

    Returns:
        what was written, and the account, whose ``options()`` belong into the manifest.

    Raises:
        BadInputError: what reading the source raises; an id or a term that the engine cannot
            hold; weights that it would change, without ``allow_loss``.
        UsageError: an unknown target, a name that not all engines take, more hits than the engine
            gives.
    """
    feed = feed_of(target, field, index)
    if not 1 <= k <= feed.most_hits:
        raise UsageError(f"-k {k}: {feed.engine} gives from 1 to {feed.most_hits:,} hits a query")
    account = FeedAccount(target, field, index)
    counts = Counts()
    lines = _lines(feed, source, account.weights, counts, allow_loss)
    stem, suffix = feed.part
    suffix += ".gz" if gzip else ""
    for part in _parts(lines, part_bytes or feed.part_bytes):
        with atomic_writer(folder / f"{stem}-{account.parts:05d}{suffix}", level=4) as out:
            for line in part:
                out.write(line)
        account.parts += 1
    if not allow_loss:
        quantized = source.quantization if isinstance(source, ImpactSource) else None
        scale = quantized.scale if quantized else None
        account.weights.refuse(feed.engine, feed.kept, scale, str(source.path))
    source.vocabulary.save(folder / VOCABULARY)
    if queries is not None:
        account.queries = _write_queries(feed, queries, source.vocabulary, folder, k)
    for name, content in feed.settings().items():
        with atomic_writer(folder / name) as out:
            out.write(content)
    halved = account.queries.halved if account.queries else 0
    with atomic_writer(folder / LOAD) as out:
        told = Told(f"{stem}-*{suffix}", gzip, halved, k)
        out.write(_page(feed, told, account, counts).encode())
    return counts, account


def _lines(
    feed: Feed,
    source: ImpactSource | WeightSource,
    account: WeightAccount,
    counts: Counts,
    allow_loss: bool,
) -> Iterator[bytes]:
    """The documents; none after a weight that is refused, but the account goes on to the end."""
    names = Names(source.vocabulary, feed.naming)
    limit = _limit(feed, source.vocabulary)
    guard = DuplicateGuard()
    for batch in source.batches():
        account.add(batch, source.vocabulary, feed.kept)
        if account.changed and not allow_loss:
            continue
        limit.check(batch.indices)
        for doc_id, cells in zip(batch.ids, _cells(names, batch), strict=True):
            feed.check_id(doc_id)
            guard.check(feed.key(doc_id), f"{source.path}: document {quoted(doc_id)}")
            line = feed.document(doc_id, cells)
            if len(line) > feed.most_bytes:
                raise BadInputError(
                    f"document {quoted(doc_id)} takes {len(line):,} bytes, and {feed.engine} takes "
                    f"{feed.most_bytes:,} at once: prune it"
                )
            yield line
        counts.add(batch)


def _limit(feed: Feed, vocabulary: Vocabulary) -> TermLimit:
    remedy = "write a feed in which terms are numbers (qdrant, milvus)"
    return TermLimit(f"a feed for {feed.engine}", feed.problem, remedy, vocabulary)


def _cells(names: Names, batch: ImpactBatch | SparseBatch) -> Iterator[Cells]:
    if isinstance(batch, ImpactBatch):
        numbers = list(map(b"%d".__mod__, batch.impacts.tolist()))
    else:  # the fewest digits that are this float32 again
        written = orjson.dumps(batch.weights, option=orjson.OPT_SERIALIZE_NUMPY)
        numbers = written[1:-1].split(b",") if len(batch.weights) else []
    found = list(zip(names(batch.indices), numbers, strict=True))
    for start, stop in itertools.pairwise(batch.indptr.tolist()):
        yield found[start:stop]


def _parts(lines: Iterator[bytes], part_bytes: int) -> Iterator[Iterable[bytes]]:
    """``lines`` in parts that must be used up one after another; one at least, perhaps empty."""
    waiting = next(lines, None)

    def part() -> Iterator[bytes]:
        nonlocal waiting
        size = 0
        while waiting is not None and (not size or size + len(waiting) <= part_bytes):
            size += len(waiting)
            yield waiting
            waiting = next(lines, None)

    yield part()
    while waiting is not None:
        yield part()


def _write_queries(
    feed: Feed, queries: Queries, vocabulary: Vocabulary, folder: Path, k: int
) -> QueryAccount:
    batch, terms = queries.batch, queries.vocabulary
    account = QueryAccount(queries=len(batch))
    if feed.naming == "number":
        batch, terms = queries.aligned(vocabulary, folder), vocabulary
        account.unknown_terms = len(queries.batch.indices) - len(batch.indices)
    else:
        _limit(feed, terms).check(batch.indices)
    names = Names(terms, feed.naming)
    account.halved = feed.halvings(int(batch.impacts.max(initial=0)))
    with atomic_writer(folder / QUERIES) as out:
        for query_id, cells in zip(batch.ids, _cells(names, batch), strict=True):
            account.empty += not cells
            account.long += feed.most_terms is not None and len(cells) > feed.most_terms
            if account.halved:
                cells = [
                    (name, orjson.dumps(int(weight) / (1 << account.halved)))
                    for name, weight in cells
                ]
            out.write(b'{"id":%b,"body":%b}\n' % (orjson.dumps(query_id), feed.query(cells, k)))
    return account


def _page(feed: Feed, told: Told, account: FeedAccount, counts: Counts) -> str:
    """``load.md``."""
    lines = [f"# Loading {feed.index} ({counts.documents:,} documents)\n", feed.note, ""]
    if account.weights.changed:
        lines += [
            f"{feed.engine} keeps {feed.kept.words} of a weight and changes "
            f"{account.weights.told()}; the files hold them as they are.\n"
        ]
    if told.halved:
        lines += [
            f"The weights of the queries were halved {told.halved} times, so that they are at most "
            f"64: scores x {1 << told.halved} are those of the impacts.\n"
        ]
    if account.queries and account.queries.long:
        lines += [
            f"{account.queries.long:,} queries have more than {feed.most_terms:,} terms: raise "
            "`indices.query.bool.max_clause_count`.\n"
        ]
    if account.queries and account.queries.empty:
        lines += [
            f"{account.queries.empty:,} of {account.queries.queries:,} queries have no term that "
            "is known here and find nothing; do not ask an engine that refuses such a body.\n"
        ]
    return "\n".join([*lines, feed.load(told)])
