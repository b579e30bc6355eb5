"""Feeds of ours, and the documents of an engine: see :mod:`splade_bridge.formats.feeds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from splade_bridge.data.store import VALUES
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.source import FeedFiles
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.look import Look
from splade_bridge.inspection.records import Record, count_records

FIELD = "vector"
"""Of the vector, in documents without a manifest."""


def feed(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A feed of ours, with what its engine makes of the weights."""
    manifest = found.manifest
    assert manifest is not None
    found.facts = {k: v for k, v in manifest.options.items() if k != "weights"}
    if account := manifest.option("weights", dict[str, Any], path, {}):
        found.facts["weights_that_the_engine_changes"] = account.get("changed", 0)
    documents = FeedFiles(path, manifest)
    found.what = f"a feed for {documents.feed.engine}"
    _count(documents, found, options, weights=manifest.options.get(VALUES) == "weights")


def documents_of(target: FeedTarget) -> Callable[[Path, Inspection, InspectOptions], None]:
    """What describes documents that are written for an engine, or came out of one."""

    def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
        documents = FeedFiles(path, target=target)
        found.facts = {"target": target, "field": FIELD}
        if target == "elasticsearch":
            found.unknown.append(
                "whether names are escaped: they are taken as they stand, and --from opensearch "
                "reads those of rank_features"
            )
        _count(documents, found, options, weights=False)

    return describe


def _count(
    documents: FeedFiles, found: Inspection, options: InspectOptions, *, weights: bool
) -> None:
    found.facts["files"] = len(documents.files)
    if options.quick:
        return

    def records() -> Iterator[Record]:
        for record in documents.records():
            vector = dict(zip(record.terms, record.values, strict=True))
            yield Record(record.id, vector, "", record.place)

    count_records(records, found, options, weights=weights)


def _bulk(first: dict[str, Any]) -> str | None:
    source = first.get("_source")
    if isinstance(source, dict) and isinstance(source.get(FIELD), dict):
        return f"its first object is a hit with _source.{FIELD}"
    action = first.get("index", first.get("create"))
    if isinstance(action, dict) and "_id" in action:
        return "its first object is an action of a bulk request"
    return None


def _is_sparse(vector: Any) -> bool:
    return isinstance(vector, dict) and all(
        isinstance(vector.get(name), list) for name in ("indices", "values")
    )


def _qdrant(first: dict[str, Any]) -> str | None:
    vectors = first.get("vector")
    if not isinstance(first.get("payload"), dict) or not isinstance(vectors, dict):
        return None
    if _is_sparse(vectors.get(FIELD)):
        return "its first object is a point with a payload and a sparse vector"
    return None


def _milvus(first: dict[str, Any]) -> str | None:
    if "id" in first and _is_sparse(first.get(FIELD)):
        return "its first object is a row with indices and values"
    return None


def _vespa(first: dict[str, Any]) -> str | None:
    fields = first.get("fields")
    if isinstance(fields, dict) and isinstance(fields.get(FIELD), dict):
        return "its first object has fields with a tensor"
    return None


SEEN: dict[FeedTarget, Callable[[dict[str, Any]], str | None]] = {
    "elasticsearch": _bulk, "qdrant": _qdrant, "milvus": _milvus, "vespa": _vespa,
}  # fmt: skip
"""What tells the documents of an engine; for the others of the same form, ``--from`` does."""


def recognises(target: FeedTarget) -> Callable[[Look], str | None]:
    """What recognises documents for ``target``."""
    seen = SEEN.get(target)
    return lambda look: seen(look.first_object) if seen is not None else None
