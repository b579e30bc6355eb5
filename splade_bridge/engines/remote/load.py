"""Filling an index behind an address: in blocks, several in flight, once whatever happens.

A document is written under its own id, so writing it again changes nothing; how many documents of
the source are stored is kept in the index itself, and a load that was killed goes on there. What
was loaded is counted, read back and compared before anybody is pointed to it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import orjson

from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.manifest import Manifest, base_tools
from splade_bridge.data.store import VALUES
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import Fields, RemoteIndex, RemoteOptions
from splade_bridge.engines.remote.choices import Check
from splade_bridge.engines.remote.faults import Refused
from splade_bridge.engines.remote.index import remote_source
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.engines.remote.sample import Sample
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, ExternalProgramError, MismatchError, UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.formats.base import ImpactSource, WeightSource, refuse_empty
from splade_bridge.formats.feeds.names import Names
from splade_bridge.formats.feeds.weights import SINGLE, WeightAccount
from splade_bridge.formats.records import RecordImpacts, RecordWeights
from splade_bridge.formats.term_limits import TermLimit

log = logging.getLogger(__name__)


KEEP_SECONDS = 5.0
"""How often it is kept how far the load has come."""
FULL_UP_TO = 1_000_000
"""Documents that are all read back by default; of more a sample."""
FEW_REASONS = 3

Texts = Callable[[Sequence[str]], Sequence[Fields]]
"""What is stored of documents beside their vectors, by their ids."""


@dataclass(frozen=True)
class LoadOptions:
    """How an index is filled.

    Attributes:
        made: what the index is made with.
        check: what is compared after the load; None for ``full`` up to a million documents, and a
            ``sample`` beyond.
        allow_loss: let the engine change weights; it is counted.
        merge: into one segment at the end.
        in_flight: blocks that are written at the same time.
        alias: stands for the new index when it is whole.
        drop_old: throw the index away that the alias stood for.
        overwrite: throw away an index of ours of this name first.
        keep_weights: the source is of float weights, which stay what they are.
        approximate: ``made`` may have options that make results approximate; see
            :func:`.registry.check_approximate`.
    """

    made: RemoteOptions = RemoteOptions()
    check: Check | None = None
    allow_loss: bool = False
    merge: bool = False
    in_flight: int = 4
    alias: str | None = None
    drop_old: bool = False
    overwrite: bool = False
    approximate: bool = False
    keep_weights: bool = False


def load(
    index: RemoteIndex,
    opened: Callable[[], ImpactSource | WeightSource],
    options: LoadOptions = LoadOptions(),
    *,
    texts: Texts | None = None,
    plan: Mapping[str, Any] | None = None,
) -> Manifest:
    """Fill a new index with all documents of a source, and check that it holds them.

    Args:
        opened: gives the source anew, of impacts, or of float weights that are to stay so; those
            that the engine might change are looked through before anything is sent.
        texts: stored beside the vectors.
        plan: what tells this load from another one of the same source.

    Returns:
        The manifest, which is kept in the index.

    Raises:
        BadInputError: the source is broken; an id, a term or a weight that the engine cannot hold.
        MismatchError: an index of this name is being loaded from something else.
        ServerError, ExternalProgramError: the engine failed, or holds something else in the end.
        UsageError: the index is there.
    """
    index.use(options.made)
    index.check_fields(options.made)
    source = opened()
    told = {**origin(source), "options": _plain(options.made), **(plan or {})}
    wanted = orjson.loads(orjson.dumps(told))  # as it comes back from the engine: with lists
    state = _begun(index, wanted, options)
    if state is not None and state.manifest is not None:
        log.info("%s: already there, of the same source and options", index.address)
        _switch(index, options)
        return state.manifest
    if options.alias is not None:
        patiently(lambda: index.aliased(options.alias or ""))  # refused now, or never
    # An index that was begun without --allow-loss is of weights that were all looked at.
    is_looked_at = state is not None and not options.allow_loss
    account = WeightAccount() if is_looked_at else _weights(index, source, opened, options)
    if state is None:
        state = State(wanted)
        terms = None if source.vocabulary.observed else len(source.vocabulary)
        made = replace(options.made, terms=terms)
        patiently(lambda: index.create(made, State(wanted)))
    elif state.loaded:
        log.info("%s: goes on after %d documents", index.address, state.loaded)
    begun = state

    def keep(loaded: int) -> None:
        index.keep(replace(begun, loaded=loaded))

    work = Writing(index, source, state.loaded, keep, options, texts)
    work.run()
    if index.naming == "number":
        patiently(lambda: index.keep_vocabulary(source.vocabulary))
    manifest = source.described(
        "index",
        engine=index.address.scheme,
        options={"weights_changed": account.changed, **_plain(options.made), **_held(source)},
        tools=base_tools(),
    )
    patiently(lambda: index.finish(merge=options.merge))
    check_stored(index, manifest, work.sample, source.vocabulary, options.check)
    patiently(lambda: index.keep(replace(begun, loaded=source.counts.documents, manifest=manifest)))
    _switch(index, options)
    return manifest


def origin(source: ImpactSource | WeightSource) -> dict[str, Any]:
    """What tells a source from others: of an address, whose files nobody sees, the content."""
    known = source.manifest if isinstance(source.path, Address) else None
    return {**source.parent, **({"content": known.content} if known else {})}


def _plain(made: RemoteOptions) -> dict[str, Any]:
    return {name: value for name, value in vars(made).items() if value not in (None, (), {})}


def _held(source: ImpactSource | WeightSource) -> dict[str, Any]:
    """What the manifest says of an index of float weights."""
    return {VALUES: "weights"} if isinstance(source, WeightSource) else {}


def _begun(index: RemoteIndex, plan: Mapping[str, Any], options: LoadOptions) -> State | None:
    """The state of a load of the same plan, whole or not; None for a name that is free."""
    if not patiently(index.exists):
        return None
    state = patiently(index.state)
    if state is None:
        raise UsageError(
            f"{index.address}: is there, and was not made by splade-bridge: name another one"
        )
    same = state.plan == dict(plan)
    if options.overwrite and not (same and state.manifest is None):
        patiently(index.drop)
        return None
    if same:
        return state
    if state.manifest is None:
        raise MismatchError(
            f"{index.address}: is being loaded from {state.plan.get('path')} with other options; "
            "give the command that began it, or --overwrite"
        )
    raise UsageError(f"{index.address}: is there already; --overwrite replaces it")


def _weights(
    index: RemoteIndex,
    source: ImpactSource | WeightSource,
    opened: Callable[[], ImpactSource | WeightSource],
    options: LoadOptions,
) -> WeightAccount:
    """Which weights the engine will change.

    Raises:
        BadInputError: there are any, and they were not allowed.
    """
    account = WeightAccount()
    if isinstance(source, WeightSource):
        if index.kept is SINGLE:  # as they are
            return account
    else:
        counts = source.manifest.counts if source.manifest else None
        if counts is not None and source.clipper is None:
            # A store that holds impacts as weights has not looked, and says 0.
            is_known = counts.max_impact > 0 or not counts.postings
            if is_known and counts.max_impact <= index.kept.whole:
                return account
    looked = opened()
    for batch in looked.batches():
        account.add(batch, looked.vocabulary, index.kept)
    if not options.allow_loss:
        quantized = looked.quantization
        scale = quantized.scale if quantized else None
        account.refuse(index.engine, index.kept, scale, str(looked.path))
    elif account.changed:
        log.warning("%s: %s will change %s", index.address, index.engine, account.told())
    return account


class Writing:
    """Documents of a source on their way: blocks in flight, and how many are known to be stored.

    Args:
        loaded: the first so many documents are stored already.
        keep: is told now and then how many are, and keeps that in the index.
        texts: stored beside the vectors.

    Attributes:
        sample: of the documents, unless something else is checked.
    """

    def __init__(
        self,
        index: RemoteIndex,
        source: ImpactSource | WeightSource,
        loaded: int,
        keep: Callable[[int], None],
        options: LoadOptions,
        texts: Texts | None,
    ) -> None:
        self._index, self._source, self._keep = index, source, keep
        self._options, self._texts = options, texts
        self._is_sampled = options.check in (None, "sample")
        self._flying: deque[tuple[Future[None], int]] = deque()
        self._before = self._loaded = loaded
        self.sample = Sample()
        self._kept_at = time.monotonic()

    def run(self) -> None:
        """Write all that is not stored yet."""
        if self._index.in_process:
            for items in self._blocks():
                self._write(items)
                self._stored(len(items))
        else:
            self._run_in_flight()
        refuse_empty(self._source.counts, self._source.path)

    def _run_in_flight(self) -> None:
        with ThreadPoolExecutor(self._options.in_flight, "load") as pool:
            try:
                for items in self._blocks():
                    self._flying.append((pool.submit(self._write, items), len(items)))
                    if len(self._flying) > self._options.in_flight:
                        self._settle()
                while self._flying:
                    self._settle()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _settle(self) -> None:
        """Wait for the oldest block."""
        future, documents = self._flying.popleft()
        future.result()
        self._stored(documents)

    def _stored(self, documents: int) -> None:
        """What is stored from the beginning on has grown by so many."""
        self._loaded += documents
        if time.monotonic() - self._kept_at > KEEP_SECONDS:
            loaded = self._loaded
            patiently(lambda: self._keep(loaded))
            self._kept_at = time.monotonic()

    def _write(self, items: list[Any]) -> None:
        try:
            patiently(lambda: self._index.write(items))
        except Refused as error:
            told = "; ".join(
                f"document {quoted(doc_id)}: {why}" for doc_id, why in error.reasons[:FEW_REASONS]
            )
            more = len(error.reasons) - FEW_REASONS
            raise BadInputError(
                f"{self._index.engine} refuses {told}{f' and {more:,} more' * (more > 0)}; the "
                "documents beside them are stored",
                str(self._source.path),
            ) from None

    def _blocks(self) -> Iterator[list[Any]]:
        index, source = self._index, self._source
        names = Names(source.vocabulary, index.naming)
        limit = TermLimit(
            index.engine, index.problem, "load an engine in which terms are numbers",
            source.vocabulary,
        )  # fmt: skip
        guard = DuplicateGuard()
        block: list[Any] = []
        size, seen = 0, 0
        for batch in source.batches():
            limit.check(batch.indices)
            check_keys(index, guard, batch.ids, source.path)
            skipped = min(len(batch), max(0, self._before - seen))
            seen += len(batch)
            if self._is_sampled:
                self.sample.add(batch)
            rest = batch.rows(skipped, len(batch))
            # Texts come in the order of all documents, also of those that are stored already.
            fields = self._texts(batch.ids)[skipped:] if self._texts else None
            for item, bytes_ in index.items(rest, names, fields):
                if block and (size + bytes_ > index.block_bytes or len(block) == index.block_rows):
                    yield block
                    block, size = [], 0
                block.append(item)
                size += bytes_
        if block:
            yield block


def check_keys(index: RemoteIndex, guard: DuplicateGuard, ids: Sequence[str], path: Place) -> None:
    """Raise BadInputError for an id that the engine does not take, or whose key it has already.

    Args:
        guard: of the keys of all documents before.
        path: of the source.
    """
    for doc_id in ids:
        index.check_id(doc_id)
    keys = list(map(index.key, ids))
    try:
        guard.check_all(keys)
    except BadInputError:  # which of them it is costs more to say
        for doc_id, key in zip(ids, keys, strict=True):
            guard.check(key, f"{path}: document {quoted(doc_id)}")
        raise


def is_exact(manifest: Manifest) -> bool:
    """Whether an engine keeps all weights of an index of ours as they were given."""
    return not manifest.options.get("weights_changed")


def check_stored(
    index: RemoteIndex,
    wanted: Manifest,
    sample: Sample,
    vocabulary: Vocabulary,
    check: Check | None,
    *,
    read: bool = False,
) -> RecordImpacts | RecordWeights | None:
    """Compare what is stored with what should be.

    Documents are counted; what they hold is compared where the engine keeps weights as they are.

    Args:
        wanted: counts and content of all that should be there.
        sample: documents of a known vector, of the term ids in ``vocabulary``.
        check: None for ``full`` up to a million documents, and a ``sample`` beyond.
        read: read everything back, whatever ``check`` says.

    Returns:
        All documents as they were read back; None where they were not.

    Raises:
        ExternalProgramError: they differ.
    """
    documents = wanted.counts.documents
    there = patiently(index.count)
    if there != documents:
        raise ExternalProgramError(
            f"{index.address}: {index.engine} holds {there:,} documents, and {documents:,} should "
            "be there: the index is not finished; give the command again, or load it anew "
            "(index --overwrite)"
        )
    check = check or ("full" if documents <= FULL_UP_TO else "sample")
    exact = is_exact(wanted)
    if check == "sample" and exact:
        sample.compare(index, vocabulary)
    if not read and (check != "full" or not exact):
        return None
    weights = wanted.options.get(VALUES) == "weights"
    again = remote_source(index, weights=weights, finished=False)
    again.read_all()
    if exact and wanted.content is not None and str(again.content) != wanted.content:
        raise ExternalProgramError(
            f"{index.address}: read back {again.counts.postings:,} postings with content "
            f"{again.content}, and it should be {wanted.counts.postings:,} with {wanted.content}: "
            "load it again (index --overwrite)"
        )
    return again


def _switch(index: RemoteIndex, options: LoadOptions) -> None:
    """Let the alias stand for the index, which is whole."""
    if options.alias is None:
        return
    alias = options.alias
    old = patiently(lambda: index.aliased(alias))
    patiently(lambda: index.point(alias))
    if options.drop_old and old is not None and old != index.address.name:
        # Ours or not, the user has named it by its alias and has asked for it.
        other = type(index)(index.address.with_name(old), index.secrets)
        with other:
            patiently(other.drop)
