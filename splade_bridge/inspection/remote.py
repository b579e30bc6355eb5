"""An index behind an address: what its engine is and how it is set, and all that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from splade_bridge.data.ids import quoted
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect_to
from splade_bridge.engines.remote.base import RemoteIndex
from splade_bridge.engines.remote.index import holds_fractions, vocabulary_of
from splade_bridge.engines.remote.load import is_exact
from splade_bridge.engines.remote.patience import patiently
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address, Place
from splade_bridge.formats.feeds.names import Naming, reader_of
from splade_bridge.inspection.found import ContentHash, Inspection, InspectOptions, completed
from splade_bridge.inspection.kinds import inspect_path
from splade_bridge.inspection.records import Record, count_records

KIND = "address"
NAMED: dict[Naming, str] = {
    "term": "named as they are",
    "escaped": "names with %2E for a dot and %25 for a percent sign",
    "number": "numbers, ids of a vocabulary",
}
SAID = ("weights_changed", "changes", "fields")
"""Of the options in the manifest, what is said among the facts."""


def inspect_place(place: Place, options: InspectOptions = InspectOptions()) -> Inspection:
    """What is at a path or behind an address, and all that can be said of it.

    Raises:
        BadInputError: nothing is there, it is of no known kind, or it is ours and damaged.
        MissingToolError: what reads it is not installed.
        ServerError: what is behind an address does not answer, or there is no such index.
        UsageError: an option that is not for it.
    """
    if isinstance(place, Address):
        return _address(place, options)
    if options.field is not None:
        raise UsageError(f"{place}: is no address, and --field is for those alone: leave it out")
    return inspect_path(place, options)


def _address(address: Address, options: InspectOptions) -> Inspection:
    if options.source_format is not None or options.ciff_docids != "gaps":
        raise UsageError(
            f"{address}: is an address, and --from and --ciff-docids are for files: leave them out"
        )
    with connect_to(address, options.field) as index:
        state = patiently(index.state)
        found = Inspection(
            path=str(address),
            kind=KIND,
            what=f"an index in {index.engine}",
            reason="its address says so",
            ours=state is not None,
            bytes=patiently(index.size),
            engine=address.scheme,
            manifest=state.manifest if state else None,
        )
        return completed(found, options, lambda: _describe(index, state, found, options))


def _describe(
    index: RemoteIndex, state: State | None, found: Inspection, options: InspectOptions
) -> None:
    told = patiently(index.told)
    for note in told.pop("notes", []):
        found.fault(
            "settings that make scores inexact", note, "verify it against an index of engine exact"
        )
    documents = patiently(index.count)
    found.facts = {**told, "counted_documents": documents, "terms": NAMED[index.naming]}
    if state is not None:
        _ours(state, found)
    vocabulary = _vocabulary(index, found, options)
    if options.quick:
        return
    count_records(
        lambda: _records(index, vocabulary, found),
        found,
        options,
        weights=state is None and holds_fractions(index),
    )
    _compared(state, found, documents, named=vocabulary is not None)


def _ours(state: State, found: Inspection) -> None:
    """What is kept beside it."""
    manifest = state.manifest
    if manifest is None:
        found.fault(
            "not finished",
            f"{state.loaded:,} documents of {state.plan.get('path')} are known to be stored",
            "give the command that began it: it goes on there",
        )
        return
    found.facts |= {name: manifest.options[name] for name in SAID if manifest.options.get(name)}
    if state.change is not None:
        found.fault(
            "a change that is not finished",
            ", ".join(state.change.plan),
            "give the command that began it: it goes on there",
        )


def _vocabulary(
    index: RemoteIndex, found: Inspection, options: InspectOptions
) -> Vocabulary | None:
    """What names stand for; None where nobody says what numbers do."""
    try:
        return vocabulary_of(index, options.vocabulary)
    except BadInputError as error:
        if found.ours and found.manifest is not None:
            raise
        found.unknown.append(f"terms and content: {error}")
        return None


def _records(
    index: RemoteIndex, vocabulary: Vocabulary | None, found: Inspection
) -> Iterator[Record]:
    """All documents; what stands for no term is counted, and left out."""
    place = str(index.address)
    term_of = None if vocabulary is None else reader_of(index.naming, vocabulary)
    for row in index.rows():
        vector: dict[str, Any] = {}
        where = f"{place}: document {quoted(row.doc_id)}"
        for name, weight in zip(row.names, row.weights, strict=True):
            try:
                term = str(name) if term_of is None else term_of(name, where)
            except BadInputError as error:
                found.fault("names that no term has", str(error), "they match no query: load anew")
                continue
            if term in vector:
                found.fault(
                    "terms that stand twice in a document",
                    f"{where}: {quoted(term)}",
                    "its scores count both: load it anew",
                )
            vector[term] = weight
        yield Record(row.doc_id, vector, "", where)


def _compared(state: State | None, found: Inspection, documents: int, *, named: bool) -> None:
    """What was read beside what the engine and the manifest say."""
    read = found.counts.documents if found.counts else 0
    if state is not None and read != documents:  # chunks that others nest are rows of their own
        found.fault(
            "documents that the engine counts and does not give, or the other way",
            f"{documents:,} counted, {read:,} read",
            "was it changed meanwhile? load it anew",
        )
    computed = found.content.computed if found.content else None
    if not named:
        found.content = None
    elif state is not None and (state.change is not None or not _kept(state)):
        # Neither is a fault of its own: what a manifest says is of before, or of the source.
        found.content = ContentHash(None, computed, None)
        found.unknown.append(
            "whether its content is what was loaded: it is being changed, or the engine has "
            "changed weights"
        )


def _kept(state: State) -> bool:
    return state.manifest is None or is_exact(state.manifest)
