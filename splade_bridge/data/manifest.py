"""Provenance: what an artefact is, what it was made from, and what must still be true of it.

``manifest.json``, or ``_manifest.json`` in a vector store, is the last file written into an
artefact, so a folder without one is not finished. Nothing in it depends on the time or the machine:
the same input gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from splade_bridge import __version__
from splade_bridge.data.choices import Rounding as Rounding
from splade_bridge.data.choices import Side as Side
from splade_bridge.data.counts import Counts
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, MismatchError
from splade_bridge.files.checks import check_files
from splade_bridge.files.inside import check_all_inside
from splade_bridge.files.outputs import MANIFEST, MARK, STORE_MANIFEST, manifest_file
from splade_bridge.files.typed import Where, as_table, checked, json_file, typed
from splade_bridge.files.writing import atomic_writer, sha256_file

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
SAID = "damaged ({}): make it again"
LARGEST = 1 << 63
STORE_KINDS = ("vectors", "shard", "dense")
"""What is a folder of Parquet parts."""


@dataclass(frozen=True)
class VocabularyInfo:
    """Identity of a vocabulary; hashes are comparable only where neither side is observed."""

    size: int
    sha256: str
    observed: bool

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> VocabularyInfo:
        """Describe ``vocabulary`` as it is now."""
        return cls(len(vocabulary), vocabulary.sha256(), vocabulary.observed)


@dataclass(frozen=True)
class EncodingInfo:
    """How text became weights.

    Attributes:
        sha256: over the checkpoint's weight files.
        truncated: texts longer than ``max_length`` tokens, which were cut.
        long: what became of longer texts: ``truncate``, or windows of ``max_length`` tokens whose
            weights were joined by their maximum (``max``) or became rows of their own, named
            ``id#0``, ``id#1`` and so on (``passages``).
        stride: tokens from one window's start to the next one's; None where there are no windows.
        partner: the same hash of what the checkpoint encodes the other side with: its own where
            both have one network; None where that is not known.
        encoder: what of the checkpoint encoded this side, as ``query`` or ``idf.json``; None for
            the checkpoint as a whole.
        prompt: what was put in front of every text.
    """

    model: str
    revision: str | None
    sha256: str
    side: Side
    pooling: str
    max_length: int
    dtype: str
    truncated: int = 0
    long: str = "truncate"
    stride: int | None = None
    partner: str | None = None
    encoder: str | None = None
    prompt: str = ""


@dataclass(frozen=True)
class QuantizationInfo:
    """How weights became impacts, and what that cost.

    Attributes:
        scale: impact = weight x scale, rounded; None where integers were only clipped.
        rounding: to the nearest (half to even) or down; None as for the scale.
    """

    scale: float | None
    rounding: Rounding | None = "nearest"
    clip: int | None = None
    dropped_to_zero: int = 0
    clipped: int = 0


@dataclass(frozen=True)
class FileInfo:
    """One file of the artefact, relative to its folder."""

    path: str
    bytes: int
    sha256: str


def base_tools() -> dict[str, str]:
    """The tools behind every artefact."""
    return {"splade-bridge": __version__}


@dataclass(frozen=True)
class Manifest:
    """Everything that later steps need to know of an artefact.

    Attributes:
        kind: ``vectors`` (float store), ``shard`` (some parts of one), ``jsonvector``, ``ciff``,
            ``feed``, ``index`` or ``dense`` (dense vectors and an index of them).
        engine: for an index, the engine that reads it.
        counts: documents, empty, postings, impact_sum, max_impact.
        content: hash of all that it holds, 32 hexadecimal digits; see :mod:`.content`.
        pruning: one entry for each pruning step, oldest first.
        parents: manifests or file hashes of what it was made from.
        options: the settings of the step that made it.
    """

    kind: str
    vocabulary: VocabularyInfo
    counts: Counts
    content: str | None = None
    engine: str | None = None
    encoding: EncodingInfo | None = None
    quantization: QuantizationInfo | None = None
    pruning: list[dict[str, Any]] = field(default_factory=list)
    files: list[FileInfo] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=base_tools)
    version: int = FORMAT_VERSION

    def save(self, folder: Path, files: Iterable[Path] | None = None) -> Manifest:
        """Hash ``files`` (all below ``folder`` if None), write the manifest, return it."""
        if files is None:
            own = {folder / MANIFEST, folder / STORE_MANIFEST, folder / MARK}
            files = (p for p in folder.rglob("*") if p.is_file() and p not in own)
        listed = [
            FileInfo(p.relative_to(folder).as_posix(), p.stat().st_size, sha256_file(p))
            for p in sorted(files)
        ]
        complete = dataclasses.replace(self, files=listed)
        name = STORE_MANIFEST if self.kind in STORE_KINDS else MANIFEST
        with atomic_writer(folder / name) as out:
            out.write(orjson.dumps(complete, option=orjson.OPT_INDENT_2))
        return complete

    @classmethod
    def load(cls, folder: Path, *, anew: bool = False) -> Manifest:
        """Read the manifest of ``folder`` and compare its files with it: see :mod:`.files.checks`.

        Args:
            anew: hash the files, whatever is remembered of them.

        Raises:
            BadInputError: no manifest (not an artefact, or a build that did not finish), a
                damaged one, one of a newer format; a file that is missing, was changed, or does
                not belong there and would be read.
        """
        path = manifest_file(folder)
        if not folder.is_dir():
            raise BadInputError("no such folder", str(folder))
        if not path.is_file():
            raise BadInputError(
                f"no {path.name} in it: not made by splade-bridge, or its making was interrupted",
                str(folder),
            )
        where = Where(str(path), said=SAID)
        raw = as_table(json_file(where), where)
        version = checked(int, raw.get("version"), where.inside("version"))
        if version > FORMAT_VERSION:
            raise BadInputError(
                f"format {version} is newer than this splade-bridge: upgrade", str(path)
            )
        manifest = typed(cls, raw, where)
        manifest._check(folder, where)
        check_files(folder, manifest.files, anew=anew)
        _refuse_unlisted(path, {file.path for file in manifest.files})
        return manifest

    def _check(self, folder: Path, where: Where) -> None:
        """Refuse what has its type and cannot be meant: paths out of ``folder``, counts below 0."""
        check_all_inside(folder, (file.path for file in self.files), where.inside("files"))
        counts = where.inside("counts")
        for name, value in vars(self.counts).items():
            if isinstance(value, int) and not 0 <= value < LARGEST:
                counts.inside(name).fail(f"is {value}, which is no count")
        for number, file in enumerate(self.files):
            if file.bytes < 0:  # -1 is what a file that is not there has
                where.inside("files").item(number).inside("bytes").fail("is below 0")
        scale = self.quantization.scale if self.quantization else None
        if scale is not None and scale <= 0:
            where.inside("quantization").inside("scale").fail("must be above 0")

    def option(self, name: str, kind: Any, folder: Path, default: Any = None) -> Any:
        """The setting ``name`` of the step that made the artefact in ``folder``.

        Args:
            kind: its type, see :func:`.checked`; a setting that is missing is ``default``.

        Raises:
            BadInputError: it is of another type.
        """
        where = Where(str(manifest_file(folder)), f"options.{name}", said=SAID)
        return checked(kind, self.options.get(name, default), where)


READ_UNASKED = re.compile(
    r"manifest\.json|part-\d+\.parquet|(jsonvector|forward)/.*"
    r"|(index\.ciff|topics\.(tsv|jsonl|pisa\.txt))(\.gz)?"
    r"|_[0-9a-z]+(_.*)?\..*|(pending_)?segments.*|(quantized|inv|fwd)\..*"
    r"|(bulk|points|rows|feed)-\d+\.(ndjson|jsonl)(\.gz)?"
)
"""Files of a folder that are read without being listed: another manifest, parts of a vector store,
what an export or a feed holds, and the names that Lucene and PISA look for."""


def _refuse_unlisted(manifest: Path, listed: set[str]) -> None:
    """Raise BadInputError for a file that would be read, and that is not the artefact's own."""
    folder, is_store = manifest.parent, manifest.name == STORE_MANIFEST
    ours = {*listed, manifest.name}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = (Path(place) / name).relative_to(folder).as_posix()
            if name.startswith(".") or (is_store and path.startswith("_")):
                continue  # nothing that reads a folder of Parquet files looks at these
            if path not in ours and READ_UNASKED.fullmatch(path):
                raise BadInputError(
                    f"{path} does not belong to it, and would be read: take it away, or make "
                    "the whole again",
                    str(folder),
                )


def check_fit(
    documents: Manifest | None,
    queries: Manifest | None,
    place: str,
    *,
    allow_mismatch: bool = False,
) -> None:
    """Whether queries may be searched in an index of documents.

    Args:
        allow_mismatch: take other models and sides, with a warning.

    Raises:
        MismatchError: both sides know their model's vocabulary, and the two differ; or, as far as
            both are known, documents and queries come from models that do not belong together, or
            were encoded as the other side.

    A differing scale or max_length is logged as a warning: it changes scores, not their meaning.
    """
    if documents is None or queries is None:
        return
    ours, theirs = documents.vocabulary, queries.vocabulary
    if not ours.observed and not theirs.observed and ours.sha256 != theirs.sha256:
        raise MismatchError(
            f"{place}: the queries were encoded with another vocabulary ({theirs.size:,} terms, "
            f"{theirs.sha256[:12]}) than the documents ({ours.size:,} terms, {ours.sha256[:12]}): "
            "encode both sides with checkpoints that share a tokenizer"
        )
    for fault in _faults(documents.encoding, queries.encoding):
        refuse_mismatch(place, fault, allow_mismatch=allow_mismatch)
    scales = documents.quantization, queries.quantization
    known = [q.scale for q in scales if q and q.scale is not None]
    if len(known) == 2 and known[0] != known[1]:
        log.warning(
            "%s: documents are scaled by %g, queries by %g; ranking is the same, scores are not "
            "comparable with other runs",
            place,
            *known,
        )
    encoded = documents.encoding, queries.encoding
    limits = [e.max_length for e in encoded if e]
    if len(limits) == 2 and limits[0] != limits[1]:
        log.warning(
            "%s: documents were read to %d tokens, queries to %d; what is beyond has no weight",
            place,
            *limits,
        )


def refuse_mismatch(place: str, fault: str, *, allow_mismatch: bool) -> None:
    """Raise MismatchError with ``fault``, or log it where that is allowed."""
    if not allow_mismatch:
        raise MismatchError(f"{place}: {fault}; --allow-mismatch takes them all the same")
    log.warning("%s: %s", place, fault)


def _faults(documents: EncodingInfo | None, queries: EncodingInfo | None) -> Iterator[str]:
    """Why vectors of documents and of queries do not belong together."""
    if documents is not None and documents.side == "query":
        yield "the index holds vectors of queries, and not of documents"
    if queries is not None and queries.side == "document":
        yield "the queries were encoded as documents: encode them with --side query"
    if documents is None or queries is None or documents.sha256 == queries.sha256:
        return
    if documents.side == queries.side:  # told above; a partner is of the other side
        return
    partners = documents.partner, queries.partner
    if queries.sha256 == partners[0] or documents.sha256 == partners[1]:
        return  # the two sides of one checkpoint
    if partners == (None, None) and documents.model == queries.model:
        return  # perhaps; artefacts of older versions do not know their partner
    yield (
        f"the documents were encoded by {documents.model} (weights {documents.sha256[:12]}), the "
        f"queries by {queries.model} ({queries.sha256[:12]}): other weights give other terms and "
        "scales. Encode both with one model"
    )
