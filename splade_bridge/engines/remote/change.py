"""Changing an index behind an address that is whole: documents added, replaced, deleted by id.

What the index will hold is reckoned before anything is sent: the content hash is a sum, so the
documents that go are taken from it and those that come are added. That is kept in the index with
what is to be done; each step may be done twice without harm, so a change that was killed goes on
with the same command, and in the end the engine must hold what was reckoned.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from splade_bridge.data.content import MODULUS, Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, quoted
from splade_bridge.data.manifest import Manifest, VocabularyInfo
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.alike import Aligned, check_alike
from splade_bridge.engines.remote.base import RemoteIndex, RemoteOptions
from splade_bridge.engines.remote.choices import Check
from splade_bridge.engines.remote.index import holds_weights, records, vocabulary_of
from splade_bridge.engines.remote.load import (
    LoadOptions,
    Texts,
    Writing,
    check_keys,
    check_stored,
    is_exact,
    origin,
)
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.engines.remote.sample import Sample
from splade_bridge.engines.remote.states import Change, State
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MismatchError,
    UsageError,
)
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.feeds.weights import WeightAccount
from splade_bridge.formats.records import VectorBuilder
from splade_bridge.formats.term_limits import TermLimit

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Documents that are asked for, or deleted, by one request."""
CHANGES = "changes"
"""In the options of the manifest: how often the index was changed since it was loaded."""
MOST_PARENTS = 20
"""Of an index that is changed every day; the first and the last ones are kept."""
FEW = 3
"""Documents that a message names."""


def update(
    index: RemoteIndex,
    opened: Callable[[], ImpactSource],
    options: LoadOptions = LoadOptions(),
    *,
    texts: Texts | None = None,
    plan: Mapping[str, Any] | None = None,
) -> Change:
    """Add the documents of a source to an index of ours; each replaces one of its id as a whole.

    Args:
        opened: gives the source anew; it is read twice.
        options: those of loading that concern documents, and no others.
        texts: stored beside the vectors.
        plan: what tells this change from another one of the same source.

    Returns:
        What was done, with the manifest of the index as it is now.

    Raises:
        BadInputError: the source is broken; an id, a term or a weight that the engine cannot hold;
            the index is not whole.
        MismatchError: documents of another model, side, scale or vocabulary, or without the texts
            that those of the index have; the index is being changed by another command.
        ServerError, ExternalProgramError: the engine failed, or holds something else in the end.
        UsageError: the index is of others, or holds float weights.
    """
    source = opened()
    wanted = _as_kept({"update": {**origin(source), **(plan or {})}})
    state, manifest = _whole(index, wanted)
    check_alike(index, manifest, source)
    _check_fields(index, manifest, options.made)
    vocabulary = vocabulary_of(index)
    if state.change is None:
        known = len(vocabulary)
        change = _reckoned(index, manifest, Aligned(source, vocabulary), options, wanted)
        if index.naming == "number" and len(vocabulary) > known:
            patiently(lambda: index.keep_vocabulary(vocabulary))
        state = _begin(index, state, change)
    begun, change = state, _of(state)

    def keep(loaded: int) -> None:
        index.keep(replace(begun, change=replace(change, loaded=loaded)))

    if change.loaded:
        log.info("%s: goes on after %d documents", index.address, change.loaded)
    aligned = Aligned(opened(), vocabulary)
    work = Writing(index, aligned, change.loaded, keep, options, texts)
    work.run()
    patiently(lambda: index.settle(merge=options.merge))
    return _end(index, state, work.sample, vocabulary, options.check)


def delete(
    index: RemoteIndex,
    ids: Sequence[str],
    *,
    missing_ok: bool = False,
    check: Check | None = None,
) -> Change:
    """Delete documents from an index of ours.

    Args:
        ids: one or more, none twice.
        missing_ok: pass over those that are not there, which are counted; else nothing is deleted
            if there are any.
        check: what is compared in the end, see :func:`.load.check_stored`.

    Returns:
        What was done, with the manifest of the index as it is now.

    Raises:
        BadInputError: some ids are not there; the index is not whole.
        MismatchError: the index is being changed by another command.
        ServerError, ExternalProgramError: the engine failed, or holds something else in the end.
        UsageError: the index is of others.
    """
    together = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    plan = _as_kept({"delete": {"ids": len(ids), "sha256": together}})
    state, manifest = _whole(index, plan)
    vocabulary = vocabulary_of(index)
    if state.change is None:
        going = _Going(index, vocabulary, manifest)
        missing = [doc_id for some in _parts(ids) for doc_id in going.add(some)]
        if missing and not missing_ok:
            named = ", ".join(map(quoted, missing[:FEW])) + ", ..." * (len(missing) > FEW)
            raise BadInputError(
                f"{len(missing):,} of {len(ids):,} documents are not there ({named}), so none was "
                "deleted; --missing-ok passes over them",
                str(index.address),
            )
        deleted = len(ids) - len(missing)
        change = Change(plan, going.left(), deleted=deleted, missing=len(missing))
        if not deleted:
            return replace(change, manifest=manifest)
        state = _begin(index, state, change)
    for some in _parts(ids):
        _deleted(index, some)
    patiently(lambda: index.settle(merge=False))
    return _end(index, state, Sample(), vocabulary, check)


def _deleted(index: RemoteIndex, ids: Sequence[str]) -> None:
    """Delete documents, of which none is there then."""
    patiently(lambda: index.delete(ids))
    if left := patiently(lambda: index.get(ids)):
        raise ExternalProgramError(
            f"{index.address}: {index.engine} still holds document {quoted(left[0].doc_id)}, which "
            "was deleted: give the command again"
        )


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _as_kept(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as it comes back from the engine: with lists."""
    kept: dict[str, Any] = orjson.loads(orjson.dumps(plan))
    return kept


def _whole(index: RemoteIndex, plan: Mapping[str, Any]) -> tuple[State, Manifest]:
    """The state of an index of ours that is whole, or that is being changed by ``plan``."""
    if not patiently(index.exists):
        raise index.missing()
    state = patiently(index.state)
    if state is None:
        raise UsageError(
            f"{index.address}: was not made by splade-bridge, which changes only its own"
        )
    if state.manifest is None:
        raise BadInputError(
            f"is being loaded, or its loading was interrupted after {state.loaded:,} documents: "
            "give the command that began it",
            str(index.address),
        )
    if holds_weights(state):
        raise UsageError(
            f"{index.address}: holds float weights (--keep-weights), and an index of these is made "
            "anew: index --overwrite"
        )
    if state.change is not None and state.change.plan != plan:
        what = ", ".join(state.change.plan)
        raise MismatchError(
            f"{index.address}: another change ({what}) is at work or was interrupted: give the "
            "command that began it, or load the index again (index --overwrite)"
        )
    documents = state.manifest.counts.documents
    if state.change is None and (there := patiently(index.count)) != documents:
        raise MismatchError(
            f"{index.address}: {index.engine} holds {there:,} documents, and its manifest says "
            f"{documents:,}: others have changed it; load it again (index --overwrite)"
        )
    return state, state.manifest


def _of(state: State) -> Change:
    assert state.change is not None
    return state.change


def _check_fields(index: RemoteIndex, manifest: Manifest, made: RemoteOptions) -> None:
    fields = [*made.fields, *made.columns]
    there = [name for kind in ("fields", "columns") for name in manifest.options.get(kind) or ()]
    if sorted(fields) != sorted(there):
        stored = ", ".join(there) or "no texts"
        given = ", ".join(fields) or "none"
        raise MismatchError(
            f"{index.address}: its documents are stored with {stored}, and the new ones would be "
            f"with {given}: a document is replaced as a whole, so give --with-contents and "
            "--fields as they were given when the index was made"
        )


class _Going:
    """Documents that an index holds and will not hold any more, or not as they are.

    Args:
        vocabulary: of the index.
        manifest: of the index as it is.
    """

    def __init__(self, index: RemoteIndex, vocabulary: Vocabulary, manifest: Manifest) -> None:
        self._index, self._vocabulary, self._manifest = index, vocabulary, manifest
        self._counts = Counts()
        self._content = Content(vocabulary)
        self._empty = dict.fromkeys(manifest.counts.empty_ids)

    def add(self, ids: Sequence[str]) -> list[str]:
        """Count those of ``ids`` in that are there; the others."""
        rows = patiently(lambda: self._index.get(ids))
        builder = VectorBuilder(self._vocabulary, None)
        for record in records(self._index, self._vocabulary, rows):
            builder.add(record)
        batch = builder.take()
        self._counts.add(batch)
        self._content.add(batch)
        there = set(batch.ids)
        for doc_id in there:
            self._empty.pop(doc_id, None)
        return [doc_id for doc_id in ids if doc_id not in there]

    @property
    def documents(self) -> int:
        """Those that are there."""
        return self._counts.documents

    def left(self, more: ImpactSource | None = None) -> Manifest:
        """The manifest of the index without them, and with the documents of ``more``.

        The largest impact may be that of a document that goes: it is known again when all is read.
        """
        ours = self._manifest
        old, gone, new = ours.counts, self._counts, more.counts if more else Counts()
        counts = Counts(
            documents=old.documents - gone.documents + new.documents,
            empty=old.empty - gone.empty + new.empty,
            postings=old.postings - gone.postings + new.postings,
            impact_sum=old.impact_sum - gone.impact_sum + new.impact_sum,
            max_impact=max(old.max_impact, new.max_impact),
            empty_ids=[*self._empty, *new.empty_ids][: Counts.KEEP_EMPTY_IDS],
        )
        content = None
        if ours.content is not None:
            come = more.content.total if more else 0
            content = f"{(int(ours.content, 16) - self._content.total + come) % MODULUS:032x}"
        changes = ours.options.get(CHANGES, 0) + 1
        options = {**ours.options, CHANGES: changes}
        return replace(ours, counts=counts, content=content, options=options)


def _reckoned(
    index: RemoteIndex,
    manifest: Manifest,
    source: Aligned,
    options: LoadOptions,
    plan: dict[str, Any],
) -> Change:
    """What an update will do, and what the index will be then; nothing is sent."""
    limit = TermLimit(
        index.engine, index.problem, "load an engine in which terms are numbers", source.vocabulary
    )
    guard, account = DuplicateGuard(), WeightAccount()
    going = _Going(index, source.vocabulary, manifest)
    for batch in source.batches():
        limit.check(batch.indices)
        check_keys(index, guard, batch.ids, source.path)
        account.add(batch, source.vocabulary, index.kept)
        for some in _parts(batch.ids):
            going.add(some)
    refuse_empty(source.counts, source.path)
    made = source.source.quantization
    if not options.allow_loss:
        account.refuse(index.engine, index.kept, made.scale if made else None, str(source.path))
    elif account.changed:
        log.warning("%s: %s will change %s", index.address, index.engine, account.told())
    after = going.left(source)
    ours = after.quantization
    if ours is not None and made is not None:
        ours = replace(
            ours,
            dropped_to_zero=ours.dropped_to_zero + made.dropped_to_zero,
            clipped=ours.clipped + made.clipped,
        )
    lossy = after.options.get("weights_changed", 0) + account.changed
    parents = [*after.parents, source.source.parent]
    after = replace(
        after,
        quantization=ours,
        parents=[*parents[:1], *parents[1:][1 - MOST_PARENTS :]],
        options={**after.options, "weights_changed": lossy},
    )
    if after.vocabulary.observed and index.naming == "number":
        after = replace(after, vocabulary=VocabularyInfo.of(source.vocabulary))
    replaced = going.documents
    return Change(plan, after, source.counts.documents - replaced, replaced)


def _begin(index: RemoteIndex, state: State, change: Change) -> State:
    """Keep what is to be done; the index is no longer what its loading has made."""
    plan = {**state.plan, CHANGES: change.manifest.options[CHANGES]}
    state = replace(state, plan=plan, change=change)
    patiently(lambda: index.keep(state))
    return state


def _end(
    index: RemoteIndex,
    state: State,
    sample: Sample,
    vocabulary: Vocabulary,
    check: Check | None,
) -> Change:
    """Check what the index holds, and let its manifest say that."""
    change = _of(state)
    after = change.manifest
    # What an engine makes of weights is known only when they are read back.
    lossy = not is_exact(after)
    read = check_stored(index, after, sample, vocabulary, check, read=lossy)
    if read is not None:
        after = replace(after, counts=read.counts, content=str(read.content))
        if after.vocabulary.observed and index.naming != "number":
            after = replace(after, vocabulary=VocabularyInfo.of(read.vocabulary))
    documents = after.counts.documents
    patiently(lambda: index.keep(State(state.plan, documents, after)))
    return replace(change, manifest=after)
