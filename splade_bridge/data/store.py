"""The vector store: float vectors as a folder of Parquet parts.

::

    VECTORS/part-00000.parquet   id: string, indices: list<uint16|uint32>, weights: list<float32>
    VECTORS/part-00001.parquet   every part but the last has ``part_rows`` rows
    VECTORS/_vocabulary.json
    VECTORS/_plan.json           what is being encoded, written first: resuming compares it
    VECTORS/_manifest.json       written last

Parts appear whole (temporary file, fsync, rename). A writer that is opened on a folder with a
plan and no manifest goes on with the whole parts that are there.

What is not a part has a name that begins with ``_``, so that pandas, Polars, DuckDB and others read
the folder as it is. Older stores lack the ``_``: they are read as they are, and one of them that is
not finished has its plan renamed before it is gone on with.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from splade_bridge.data.content import Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import (
    EncodingInfo,
    FileInfo,
    Manifest,
    QuantizationInfo,
    VocabularyInfo,
)
from splade_bridge.data.parts import part_files, part_name, read_note, read_part, write_part
from splade_bridge.data.vector_set import VectorSet
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.checks import unchecked
from splade_bridge.files.finished import check_same
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import (
    MANIFEST,
    MARK,
    OLD_PLAN,
    PLAN,
    STORE_MANIFEST,
    bring_back,
    check_inputs,
    check_output,
    discard,
    has_plan,
    lock_of,
    manifest_file,
    plan_file,
    real_place,
    staging_of,
    swap_in,
    throw_away,
)
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.files.writing import atomic_writer, write_error

log = logging.getLogger(__name__)

PART_ROWS = 8192
VOCABULARY, OLD_VOCABULARY = "_vocabulary.json", "vocabulary.json"
CORPUS_FILES = "corpus_files"
"""Key of a plan: sizes and digests of the corpus's files by name."""
SHARD: Literal["shard"] = "shard"
"""Kind of a folder that holds only every n-th part."""


VALUES = "values"
"""Option in a manifest: ``impacts`` of a vector store whose weights are impacts, ``weights`` of an
export that holds those."""


class OtherPlanError(UsageError):
    """An unfinished store was begun with other settings; ``changes`` are those, in words."""

    def __init__(self, message: str, changes: str) -> None:
        self.changes = changes
        super().__init__(message)


class VectorStore(VectorSet):
    """A finished store, read in batches; see :class:`.VectorSet` for what it gives.

    Args:
        folder: path, as a string too.
        no_check: do not compare the files with the hashes in the manifest.
        manifest: of the store, where it was loaded already.

    Raises:
        BadInputError: the folder is not a finished vector store, or a file of it was changed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        no_check: bool = False,
        manifest: Manifest | None = None,
    ) -> None:
        folder = Path(folder)
        if manifest is None:
            with unchecked(no_check):
                manifest = Manifest.load(folder)
        if manifest.kind != "vectors":
            hint = "; splade-bridge merge puts shards together" * (manifest.kind == SHARD)
            raise BadInputError(f"holds {manifest.kind}, not vectors{hint}", str(folder))
        super().__init__(folder, manifest, Vocabulary.load(vocabulary_file(folder)))

    @property
    def holds_impacts(self) -> bool:
        """Whether its weights are impacts; see :data:`VALUES`."""
        return bool(self.manifest.options.get(VALUES) == "impacts")

    def batches(self, rows: int = 4096) -> Iterator[SparseBatch]:
        """All rows in corpus order, at most ``rows`` a batch.

        Raises:
            BadInputError: a part is damaged, or the rows are not as many as the manifest says.
        """
        counts = Counts()
        for part in part_files(self.path).values():
            for batch in read_part(part, rows):
                if batch.indices.size and int(batch.indices.max()) >= len(self.vocabulary):
                    raise BadInputError("a term id beyond the vocabulary", str(part))
                counts.add(batch)
                yield batch
        if counts != self.manifest.counts:
            raise BadInputError(
                f"holds {counts.documents:,} rows and {counts.postings:,} weights, its manifest "
                f"says {self.manifest.counts.documents:,} and {self.manifest.counts.postings:,}",
                str(self.path),
            )


def impacts_of(batch: SparseBatch, path: Path) -> ImpactBatch:
    """The impacts that a store holds as weights.

    Raises:
        BadInputError: they are not all integers.
    """
    impacts = batch.weights.astype(np.int32)
    if (impacts != batch.weights).any():
        raise BadInputError("holds weights that are no integers: damaged", str(path))
    return ImpactBatch(batch.ids, batch.indptr, batch.indices, impacts)


class VectorStoreWriter:
    """The parts of a store that is being made, in whatever order they come.

    Rows that follow on one another are given to :meth:`add`, which cuts them into parts of
    ``part_rows``; whoever makes parts himself gives them to :meth:`write`. What an earlier run
    left is kept and not written again.

    Attributes:
        folder: made ready by :func:`unfinished_store`, or empty.
        notes: of the parts that are there, by number.

    Raises:
        BadInputError: a part that is there is damaged.
    """

    notes: dict[int, Any]

    def __init__(self, folder: Path, vocabulary: Vocabulary, part_rows: int = PART_ROWS) -> None:
        self.folder = folder
        self.notes = {}
        self._vocabulary = vocabulary
        self._part_rows = part_rows
        self._counts: dict[int, Counts] = {}
        self._next = 0
        self._pending: list[SparseBatch] = []
        self._pending_rows = 0
        self._note: object = {}
        for number, file in part_files(folder).items():
            counts = Counts()
            for batch in read_part(file, 1 << 16):
                if batch.indices.size and int(batch.indices.max()) >= len(vocabulary):
                    raise BadInputError("a term id beyond the vocabulary", str(file))
                counts.add(batch)
            self.written(number, self._note_of(file), counts)
        self._old = frozenset(self.notes)

    def _note_of(self, part: Path) -> Any:
        return read_note(part)

    def write(self, number: int, batch: SparseBatch, note: object) -> None:
        """Write a part; safe in one thread while another makes the next."""
        counts = write_part(self.folder, number, batch, len(self._vocabulary), note)
        self.written(number, note, counts)

    def written(self, number: int, note: Any, counts: Counts) -> None:
        """Take note of a part whose file somebody else has written."""
        self.notes[number], self._counts[number] = note, counts

    def drop_new(self) -> None:
        """Remove what this run has written: it does not belong to the older parts."""
        for number, file in part_files(self.folder).items():
            if number not in self._old:
                file.unlink()

    def add(self, batch: SparseBatch, note: object = None) -> None:
        """Append rows; each time ``part_rows`` are together they become a part.

        ``note`` is kept in the metadata of the parts that end with rows of this batch.

        Raises:
            ValueError: a term id is beyond the vocabulary.
            BadInputError: the part of an earlier run has another number of rows.
        """
        self._note = note or {}
        if batch.indices.size and int(batch.indices.max()) >= len(self._vocabulary):
            raise ValueError("a term id beyond the vocabulary")  # now, not when a part is full
        while len(batch):
            fresh = batch.rows(0, min(len(batch), self._part_rows - self._pending_rows))
            self._pending.append(fresh)
            self._pending_rows += len(fresh)
            if self._pending_rows == self._part_rows:
                self._flush()
            batch = batch.rows(len(fresh), len(batch))

    def _flush(self) -> None:
        batch, number = SparseBatch.concat(self._pending), self._next
        if number not in self.notes:
            self.write(number, batch, self._note)
        elif (rows := self._counts[number].documents) != len(batch):
            raise BadInputError(
                f"{rows:,} rows instead of {len(batch):,}", str(self.folder / part_name(number))
            )
        self._pending, self._pending_rows, self._next = [], 0, number + 1

    def finish(
        self,
        encoding: EncodingInfo | None = None,
        options: dict[str, Any] | None = None,
        *,
        quantization: QuantizationInfo | None = None,
        kind: Literal["vectors", "shard"] = "vectors",
        parts: Iterable[int] | None = None,
        pruning: Sequence[dict[str, Any]] = (),
        parents: Sequence[dict[str, Any]] = (),
        content: str | None = None,
    ) -> Manifest:
        """Write the rows that are left, the vocabulary and the manifest.

        Args:
            quantization: how impacts were made that are held as weights.
            content: its hash, where it is known.
            parts: numbers of those that must be there; all from 0 on without a gap, if None.

        Raises:
            BadInputError: parts are missing, or there are others.
        """
        if self._pending:
            self._flush()
        wanted = sorted(range(len(self.notes)) if parts is None else parts)
        if missing := sorted(set(wanted) ^ set(self.notes)):
            raise BadInputError(f"{part_name(missing[0])} is missing or too many", str(self.folder))
        counts = Counts()
        for number in wanted:
            counts.join(self._counts[number])
        if content is None:
            read, impacts = Content(self._vocabulary), (options or {}).get(VALUES) == "impacts"
            for part in part_files(self.folder).values():  # whoever has made them
                for batch in read_part(part, PART_ROWS):
                    read.add(impacts_of(batch, part) if impacts else batch)
            content = str(read)
        self._vocabulary.save(self.folder / VOCABULARY)
        return Manifest(
            kind=kind,
            vocabulary=VocabularyInfo.of(self._vocabulary),
            counts=counts,
            content=content,
            encoding=encoding,
            quantization=quantization,
            pruning=list(pruning),
            parents=list(parents),
            options=options or {},
        ).save(self.folder, [*part_files(self.folder).values(), self.folder / VOCABULARY])


@contextlib.contextmanager
def write_store(
    folder: Path,
    vocabulary: Vocabulary,
    plan: dict[str, Any],
    *,
    overwrite: bool = False,
    part_rows: int = PART_ROWS,
) -> Iterator[VectorStoreWriter]:
    """A writer for ``folder`` that keeps what an interrupted one with the same plan has written.

    Args:
        plan: everything that decides the bytes of the result (model hash, corpus, options).

    Raises:
        UsageError: a finished store is there and ``overwrite`` is not set, or an unfinished one
            was begun with another plan.
    """
    with unfinished_store(folder, {**plan, "part_rows": part_rows}, overwrite=overwrite) as place:
        yield VectorStoreWriter(place, vocabulary, part_rows)


@contextlib.contextmanager
def unfinished_store(
    folder: Path,
    plan: dict[str, Any],
    *,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
    pinned: bool = True,
) -> Iterator[Path]:
    """``folder`` made ready for parts: locked, with its plan, and with whole parts only.

    What it replaces stays: the new store is made beside it, and is given its name when the context
    ends well. Left with an error before there is a part, the new one is removed; after that, the
    same call goes on with it, whether or not it replaces something.

    Args:
        pinned: whether the plan decides the bytes of the result. If not, ``overwrite`` begins anew.

    Raises:
        UsageError: see :func:`write_store`.
        BadInputError: the unfinished store was begun with another content of the corpus.
        ExternalProgramError: the place cannot be written.
    """
    wanted = orjson.dumps(plan, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    folder = real_place(folder)  # "." has no name that a neighbour could be given
    was_there = folder.exists()
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(folder_lock(lock_of(folder), folder))
            anew = overwrite and not pinned
            place = _prepare(folder, wanted, overwrite=overwrite, anew=anew, inputs=inputs)
        except OSError as error:
            raise write_error(error, folder) from error
        try:
            yield place
        except BaseException:
            if not part_files(place):  # nothing to resume
                throw_away(place, folder)
                if was_there and place == folder:
                    folder.mkdir()
            elif place != folder:
                log.warning("%s: is as it was; what is done of the new one is in %s", folder, place)
            raise
        if place != folder:
            try:
                swap_in(place, folder)
            except OSError as error:
                raise write_error(error, folder) from error


def kept_store(
    out: Path,
    plan: dict[str, Any],
    *,
    overwrite: bool,
    parts: set[FileInfo] | None = None,
) -> Manifest | None:
    """The manifest of ``out``, where it is a finished store, whole and by this plan.

    Args:
        parts: that it must have, in all its files but the vocabulary; any if None.

    Returns:
        None where ``out`` is to be made, or gone on with.

    Raises:
        UsageError: see :func:`splade_bridge.files.finished.check_same`; or it has other parts.
    """
    if overwrite or not manifest_file(out).is_file():
        return None
    manifest, made = None, None
    with contextlib.suppress(BadInputError):  # damaged: it is in the way, as any output
        manifest = Manifest.load(out)
        where = Where(str(plan_file(out)))
        made = as_table(json_file(where), where)
    files = {out / f.path: f.bytes for f in manifest.files} if manifest else {}
    check_same(out, plan, made, files)
    assert manifest is not None
    if parts is not None and parts != listed_parts(manifest):
        raise UsageError(
            f"{out}: exists already, with other parts; name another output or pass --overwrite"
        )
    return manifest


def _prepare(
    folder: Path, wanted: bytes, *, overwrite: bool, anew: bool, inputs: Iterable[Path]
) -> Path:
    """A folder with the plan ``wanted`` and whole parts, perhaps none.

    It is ``folder`` itself, or one beside it where ``folder`` is to be replaced.
    """
    bring_back(folder)
    staging = staging_of(folder)
    begun = has_plan(folder) and not manifest_file(folder).exists()
    if begun and not anew and not (overwrite and _other_plan(folder, wanted)):
        check_inputs(folder, inputs)
        _refuse_other_plan(plan_file(folder), wanted)
        place = folder
    else:
        for spot in (folder, staging):  # killed before there was a plan
            for name in (PLAN, OLD_PLAN):
                for leftover in spot.glob(f".{name}.partial-*"):
                    leftover.unlink()
        check_output(folder, overwrite=overwrite, inputs=inputs)
        place = staging if folder.exists() and any(folder.iterdir()) else folder
        marked = (staging / MARK).exists()
        if place == folder or anew or marked or _other_plan(staging, wanted):
            discard(staging, folder)
    place.mkdir(exist_ok=True)
    for name in (STORE_MANIFEST, MANIFEST, OLD_VOCABULARY):
        (place / name).unlink(missing_ok=True)  # killed before the swap
    for leftover in place.glob(".*.partial-*"):
        leftover.unlink()
    if has_plan(place):
        plan_file(place).replace(place / PLAN)
    else:
        with atomic_writer(place / PLAN) as out:
            out.write(wanted)
    return place


def _other_plan(folder: Path, wanted: bytes) -> bool:
    """Whether what was begun in ``folder`` cannot be gone on with."""
    try:
        return bool(orjson.loads(plan_file(folder).read_bytes()) != orjson.loads(wanted))
    except (OSError, ValueError):
        return True


def _refuse_other_plan(plan_file: Path, wanted: bytes) -> None:
    where = Where(str(plan_file), said="damaged ({}): remove the folder")
    found = as_table(json_file(where), where)
    new = orjson.loads(wanted)
    differing = sorted(k for k in {*found, *new} if found.get(k) != new.get(k))
    if differing == [CORPUS_FILES]:
        raise BadInputError(
            f"the corpus is not the one that {plan_file.parent} was begun with: its files were "
            f"{_listed(found.get(CORPUS_FILES))}, and are {_listed(new.get(CORPUS_FILES))}. Bring "
            "the old corpus back, or pass --overwrite to start anew"
        )
    if differing:
        changes = ", ".join(f"{k}: {found.get(k)!r} -> {new.get(k)!r}" for k in differing)
        raise OtherPlanError(
            f"{plan_file.parent}: holds an unfinished encoding with other settings ({changes}); "
            "run the first command again to finish it, or pass --overwrite to start anew",
            changes,
        )


def _listed(files: object) -> str:
    known = files.items() if isinstance(files, dict) else ()
    return ", ".join(f"{name} ({what})" for name, what in known) or "unknown"


def vocabulary_file(folder: Path) -> Path:
    """The vocabulary of a finished store, beside its manifest and under a name like its."""
    is_old = manifest_file(folder).name == MANIFEST
    return folder / (OLD_VOCABULARY if is_old else VOCABULARY)


def listed_parts(manifest: Manifest) -> set[FileInfo]:
    """All files of a store but its vocabulary."""
    return {f for f in manifest.files if f.path not in (VOCABULARY, OLD_VOCABULARY)}
