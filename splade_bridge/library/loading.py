"""Indexes behind addresses: loaded, changed and inspected from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from splade_bridge.conversion.corpus_fields import wanted_fields
from splade_bridge.conversion.load_index import Given, delete_documents, load_opened, update_opened
from splade_bridge.data.choices import check_choice
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.choices import Check, FieldType
from splade_bridge.engines.remote.load import LoadOptions
from splade_bridge.engines.remote.states import Change
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.remote import inspect_place
from splade_bridge.library.given import is_place, place, size, source_options
from splade_bridge.library.keywords import Place, Reading, part


def refuse_loading(out: Path, given: Mapping[str, Any]) -> None:
    """Raise UsageError for a keyword of loading where the output is a folder."""
    for name, value in given.items():
        if value:
            raise UsageError(
                f"{out}: {name} has no effect where output is no address, and indexes of files are "
                "made anew: leave it out"
            )


def loaded(
    opened: Callable[[], ImpactSource | WeightSource],
    source: Any,
    address: Address,
    quantize: QuantizeOptions | None,
    own: Any,
    *,
    update: bool,
    with_contents: str | None,
    fields: str | Iterable[str] | None,
    shards: int | None,
    replicas: int | None,
    merge: bool,
    check: str | None,
    allow_loss: bool,
    keep_weights: bool,
    approximate: bool,
    alias: str | None,
    drop_old: bool,
    overwrite: bool,
) -> Manifest:
    """Load an index, or add to one.

    Args:
        opened: gives ``source`` anew, with weights quantized as ``quantize`` says, or as they are
            with ``keep_weights``.
        own: what only the engine knows, an instance of its options.

    Raises:
        UsageError: keywords that do not go together.
        SpladeBridgeError: see :func:`.load_index.load_index` and :func:`.load_index.update_index`.
    """
    new = {
        "shards": shards, "replicas": replicas, "alias": alias, "overwrite": overwrite,
        "keep_weights": keep_weights, "approximate": approximate,
    }  # fmt: skip
    for name, value in new.items():
        if update and value:
            raise UsageError(f"{address}: {name} has no effect with update: leave it out")
    if drop_old and alias is None:
        raise UsageError(f"{address}: drop_old has no effect without alias: leave it out")
    options = LoadOptions(
        RemoteOptions(
            shards,
            replicas,
            ("text",) if with_contents is not None else (),
            asdict(own) if own else {},
        ),
        _check(check),
        allow_loss,
        merge,
        alias=alias,
        drop_old=drop_old,
        overwrite=overwrite,
        approximate=approximate,
        keep_weights=keep_weights,
    )
    where = place(source) if is_place(source) else None
    given = Given(quantize=quantize, with_contents=with_contents, fields=_fields(fields))
    if not update:
        return load_opened(opened, where, address, options, given)
    impacts = cast(Callable[[], ImpactSource], opened)  # keep_weights is of a new index
    return update_opened(impacts, where, address, options, given).manifest


def delete(
    index: Place,
    ids: str | Iterable[str],
    *,
    missing_ok: bool = False,
    check: str | None = None,
) -> Change:
    """Delete documents from an index that an engine holds, and check that it holds the others.

    Args:
        index: its address; it was made by splade-bridge.
        ids: of the documents; one, or several of which none comes twice.
        missing_ok: pass over ids that are not there, and count them; else nothing is deleted if
            there are any.
        check: what is compared in the end: ``full``, ``sample`` or ``count``.

    Returns:
        How many were ``deleted`` and how many ids were ``missing``, and the ``manifest`` of the
        index as it is now.

    Raises:
        BadInputError: ids that are not there, or are none.
        UsageError: an index of files, which is made anew; one that others made; no ids.
        MismatchError: the index is being changed by another call, or was changed by others.
        ServerError, ExternalProgramError: the engine failed, or holds something else in the end.
    """
    wanted = [ids] if isinstance(ids, str) else list(ids)
    return delete_documents(place(index), wanted, missing_ok=missing_ok, check=_check(check))


def inspect(
    artefact: Place,
    *,
    corpus: Place | None = None,
    from_: str | None = None,
    vocabulary: Place | None = None,
    ciff_docids: str = "gaps",
    field: str | None = None,
    quick: bool = False,
    memory: int | str = DEFAULT_MEMORY,
    no_check: bool = False,
) -> Inspection:
    """Say of any file, folder or address what it is, what it holds, and what is wrong with it.

    Args:
        artefact: a path or an address.
        corpus: texts of the documents, for the share of expansion terms.
        from_: what a path is, where that cannot be seen.
        vocabulary: what term ids stand for: a file, or a checkpoint's folder.
        ciff_docids: see :func:`index`.
        field: of an address that others made: the one that holds the vectors.
        quick: tell only what can be told without reading all of it.
        memory: budget in bytes or as ``"2G"``.
        no_check: do not compare files with the hashes in their manifests.

    Returns:
        ``kind``, ``engine``, ``manifest``, ``counts``, ``content``, distributions, ``facts`` that
        only this kind of thing has, ``faults`` and what is ``unknown``: docs/json.md.

    Raises:
        BadInputError: nothing is there, it is of no known kind, or it is ours and damaged.
        MissingToolError: what reads it is not installed.
        ServerError: what is behind an address does not answer, or there is no such index.
        UsageError: an option that is not for it.
    """
    reading: Reading = {
        "from_": from_, "vocabulary": vocabulary, "ciff_docids": ciff_docids, "field": field,
    }  # fmt: skip
    read_as = source_options(part(Reading, reading))
    options = InspectOptions(
        None if corpus is None else str(corpus),
        read_as.source_format,
        read_as.ciff_docids,
        quick,
        not (no_check or quick),
        size(memory),
        read_as.vocabulary,
        read_as.field,
    )
    return inspect_place(place(artefact), options)


def _fields(given: str | Iterable[str] | None) -> dict[str, FieldType | None]:
    if given is None:
        return {}
    return wanted_fields(given if isinstance(given, str) else ",".join(given))


def _check(check: str | None) -> Check | None:
    if check is not None:
        check_choice("check", check, Check)
    return cast("Check | None", check)
