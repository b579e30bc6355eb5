"""A corpus into a vector store, resumable, by one process or by many."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tokenizers
import torch
import transformers

from splade_bridge import __version__
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.data.store import CORPUS_FILES, PART_ROWS, kept_store, unfinished_store
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.encoder import Encoder, EncodeStats, Progress
from splade_bridge.encoding.parts import (
    CorpusChangedError,
    CorpusEnd,
    CorpusWalk,
    Part,
    PartNote,
    PartStore,
    check_texts,
    files_content,
)
from splade_bridge.encoding.passages import LongOptions, PartEncoder
from splade_bridge.encoding.shards import Shard
from splade_bridge.errors import BadInputError, Interrupted
from splade_bridge.files.finished import tell
from splade_bridge.files.outputs import real_place
from splade_bridge.files.read_ahead import ReadAhead
from splade_bridge.text.corpora import Text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """What an encoder is, told by the process that has loaded it.

    Attributes:
        plan: everything that decides the bytes of the store, apart from the corpus and the
            processor.
        vocabulary: V terms.
        encoding: for the manifest, with nothing counted yet.
    """

    plan: dict[str, Any]
    vocabulary: Vocabulary
    encoding: EncodingInfo


class Runner(Protocol):
    """Who encodes the parts: this process, its children or a cluster."""

    @property
    def provenance(self) -> Provenance:
        """Of the encoder, equal wherever it runs."""
        ...

    @property
    def stats(self) -> EncodeStats:
        """What was done so far."""
        ...

    def run(self, walk: CorpusWalk, store: PartStore, progress: Progress | None) -> CorpusEnd:
        """Encode all parts of ``walk`` into ``store``; return when all are written or on error."""
        ...


class LocalRunner:
    """Encodes in this process; other parts are read, tokenized and written meanwhile."""

    def __init__(self, encoder: PartEncoder) -> None:
        self._encoder = encoder
        self.provenance = provenance(encoder)

    @property
    def stats(self) -> EncodeStats:
        """See :class:`Runner`."""
        return self._encoder.encoder.stats

    def run(self, walk: CorpusWalk, store: PartStore, progress: Progress | None) -> CorpusEnd:
        """See :class:`Runner`."""
        with contextlib.closing(ReadAhead(walk)) as parts:
            encode_parts(self._encoder, parts, store.write, progress)
        assert walk.end is not None
        return walk.end


def encode_to_store(
    texts: Iterable[Text],
    encoder: Encoder,
    out: Path,
    *,
    corpus: str,
    files: Sequence[Path] = (),
    long: LongOptions = LongOptions(),
    shard: Shard | None = None,
    overwrite: bool = False,
    part_rows: int = PART_ROWS,
    progress: Progress | None = None,
) -> Manifest:
    """Encode ``texts`` into the vector store ``out`` in this process; see :func:`fill_store`."""
    return fill_store(
        LocalRunner(PartEncoder(encoder, long)),
        texts,
        out,
        corpus=corpus,
        files=files,
        shard=shard,
        overwrite=overwrite,
        part_rows=part_rows,
        progress=progress,
    )


def fill_store(
    runner: Runner,
    texts: Iterable[Text],
    out: Path,
    *,
    corpus: str,
    files: Sequence[Path] = (),
    shard: Shard | None = None,
    overwrite: bool = False,
    part_rows: int = PART_ROWS,
    progress: Progress | None = None,
) -> Manifest:
    """Encode ``texts`` into the vector store ``out``.

    One part of the corpus is one part of the store, so that what a part holds depends on its own
    texts only: a killed run goes on with the parts that are missing, and the result is byte for
    byte that of an uninterrupted one. A corpus that has changed since is refused. A store that is
    finished, by the same plan and of the same texts, is left as it is.

    Args:
        corpus: what the user called the corpus; part of the plan and the manifest.
        files: that hold the corpus, so that a change in their size or at their ends is noticed
            at once. Without them a change is noticed in texts that were encoded before.
        shard: encode only some parts, for :func:`splade_bridge.encoding.merge.merge_shards`.
        part_rows: texts of a part.

    Raises:
        BadInputError: a bad record, no texts at all, or a corpus that changed between two runs.
        UsageError: ``out`` exists and ``overwrite`` is not set, or was begun with other settings.
        ExternalProgramError: ``out`` cannot be written, or a process died.
        Interrupted: by the user; finished parts stay.
    """
    texts = not_empty(texts, corpus)  # before an old store is touched
    found = runner.provenance
    manifest = fill_parts(
        {**found.plan, "corpus": corpus, "part_rows": part_rows},
        texts,
        out,
        begin=lambda folder: PartStore(folder, found.vocabulary),
        run=lambda walk, store: runner.run(walk, store, progress),
        complete=lambda store, end: store.complete(found.encoding, {"corpus": corpus}, end, shard),
        files=files,
        shard=shard,
        overwrite=overwrite,
        progress=progress,
    )
    report(manifest)
    return manifest


class PartsInTheMaking(Protocol):
    """What collects the parts of an output: :class:`.parts.PartStore`, or parts of another kind."""

    notes: dict[int, PartNote]

    @property
    def texts(self) -> int:
        """Texts whose parts are whole."""
        ...

    def drop_new(self) -> None:
        """Remove what this run has written: it does not belong to the older parts."""
        ...


Parts = TypeVar("Parts", bound=PartsInTheMaking)


def fill_parts(
    plan: dict[str, Any],
    texts: Iterable[Text],
    out: Path,
    *,
    begin: Callable[[Path], Parts],
    run: Callable[[CorpusWalk, Parts], CorpusEnd],
    complete: Callable[[Parts, CorpusEnd], Manifest],
    files: Sequence[Path] = (),
    shard: Shard | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Make what is missing of ``out``, whatever its parts hold; see :func:`fill_store`.

    Args:
        plan: what decides the bytes of ``out``, ``part_rows`` among it.
        begin: opens the parts in a folder; raises BadInputError where they are damaged.
        run: makes the parts of a walk.
        complete: makes the rest, the manifest last.
        files, shard, overwrite, progress: see :func:`fill_store`.

    Raises:
        BadInputError, UsageError, ExternalProgramError, Interrupted: see :func:`fill_store`.
    """
    part_rows: int = plan["part_rows"]
    if files:
        plan = {**plan, CORPUS_FILES: files_content(files)}
    if shard is not None:
        plan = {**plan, "shard": str(shard)}
    if there := kept_store(out, plan, overwrite=overwrite):
        check_texts(out, texts, part_rows, shard)
        tell(out)
        return there
    kept, place = 0, out
    try:
        with unfinished_store(
            out, plan, overwrite=overwrite, inputs=files, pinned=bool(files)
        ) as folder:
            if folder != real_place(out):  # it replaces another one
                place = folder
            try:
                parts = begin(folder)
            except BadInputError:
                if not overwrite:
                    raise
                for part in part_files(folder).values():  # damaged, or of another version
                    part.unlink()
                parts = begin(folder)
            kept = parts.texts
            if parts.notes:
                log.info("%s: going on with %d texts done", out, parts.texts)
                if progress:
                    progress(parts.texts, 0)
            walk = CorpusWalk(texts, part_rows, parts.notes, shard, str(out))
            try:
                end = run(walk, parts)
            except CorpusChangedError:
                parts.drop_new()
                raise
            finally:
                kept = parts.texts
            return complete(parts, end)
    except KeyboardInterrupt:
        what = f"{kept:,} texts are kept in {place}, and the same command goes on from there"
        raise Interrupted(f"interrupted; {what if kept else 'nothing was written'}") from None


def encode_parts(
    encoder: PartEncoder,
    parts: Iterable[Part],
    write: Callable[[int, SparseBatch, PartNote], object],
    progress: Progress | None,
) -> None:
    """Encode ``parts`` and hand each to ``write``.

    While one is encoded the next is tokenized and the last is written. On an error or Ctrl-C what
    was handed over before is still written.
    """
    writing: Future[object] | None = None
    with (
        ThreadPoolExecutor(1, "part-writer") as executor,
        contextlib.closing(ReadAhead(map(encoder.tokenize, parts))) as tokenized,
    ):
        for given in tokenized:
            batch, note = encoder.encode(given, progress)
            if writing:
                writing.result()
            writing = executor.submit(write, given.part.number, batch, note)
    if writing:
        writing.result()


def not_empty(texts: Iterable[Text], corpus: str) -> Iterable[Text]:
    """The same texts, after the first one has been read.

    What can be read twice is returned as it is.

    Raises:
        BadInputError: there is none, or reading it failed.
    """
    stream = iter(texts)
    first = next(stream, None)
    if first is None:
        raise BadInputError("no texts in it", corpus)
    return chain([first], stream) if stream is texts else texts


def report(manifest: Manifest) -> None:
    """Warn of what the encoder could not take as it was: long, empty and damaged texts."""
    counts: Counts = manifest.counts
    encoding = manifest.encoding
    if encoding and encoding.truncated:
        log.warning(
            "%d of %d texts are longer than %d tokens and were cut there",
            encoding.truncated,
            counts.documents,
            encoding.max_length,
        )
    if counts.empty:
        log.warning(
            "%d of %d texts have no terms: %s%s",
            counts.empty,
            counts.documents,
            ", ".join(counts.empty_ids[:5]),
            " ..." if counts.empty > 5 else "",
        )
    if replaced := manifest.options.get("replaced"):
        log.warning("%d texts held lone surrogates, which were read as U+FFFD", replaced)


def provenance(encoder: PartEncoder) -> Provenance:
    """What ``encoder`` is."""
    inner, loaded = encoder.encoder, encoder.encoder.loaded
    plan = {
        "model": loaded.model,
        "revision": loaded.revision,
        "model_sha256": loaded.weights_sha256,
        "settings_sha256": loaded.settings_sha256,
        "vocabulary_sha256": loaded.vocabulary.sha256(),
        "side": inner.side,
        "pooling": loaded.method,
        "max_length": loaded.max_length,
        "long": encoder.long.mode,
        "stride": encoder.long.stride,
        "dtype": inner.dtype,
        "batch_tokens": inner.batch_tokens,
        **({"prompt": loaded.prompt} if loaded.prompt else {}),
        "device": loaded.columns.device.type,
        "tools": {
            "splade-bridge": __version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    return Provenance(plan, loaded.vocabulary, encoder.info())
