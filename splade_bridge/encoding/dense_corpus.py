"""A corpus into a dense index, as ``splade-bridge dense`` is told; the model is loaded last."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.data.vector_set import MEMORY
from splade_bridge.embeddings.build import Recipe, finish_index
from splade_bridge.embeddings.choices import KIND
from splade_bridge.embeddings.vectors import DenseBatch, read_dense_part, write_dense_part
from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.encode_corpus import may_be_ours, role_of
from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.outputs import check_output
from splade_bridge.text.corpora import Corpus, CorpusOptions, Text, corpus_files, tell_splits

if TYPE_CHECKING:
    from splade_bridge.encoding.dense_encoder import DenseEncoder
    from splade_bridge.encoding.encoder import Progress
    from splade_bridge.encoding.parts import CorpusEnd, CorpusWalk, Part, PartNote

log = logging.getLogger(__name__)

COPIES = 4
"""Of a part's vectors that are in memory while it is made: numbers, Parquet, and its bytes."""


@dataclass
class DenseStats:
    """What was done by one call.

    Attributes:
        texts: that were encoded.
        tokens: of these, where the model's tokenizer tells.
        seconds: of encoding.
        build_seconds: of making the index.
    """

    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    build_seconds: float = 0.0


def dense_corpus(
    corpus: str | Iterable[Text],
    out: Path,
    model: str,
    choices: DenseChoices = DenseChoices(),
    *,
    fields: CorpusOptions = CorpusOptions(),
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[Manifest, DenseStats]:
    """Make a dense index of ``corpus`` at ``out``, or go on with one that was stopped.

    Texts are encoded part by part, as :func:`.encode_corpus` does; what a killed call has written
    of them stays. The index is made of all parts at the end, and anew where that was stopped.

    Args:
        corpus: what :func:`splade_bridge.text.corpora.read_texts` reads; or texts themselves.
        model: of sentence-transformers, a folder or a hub name.
        fields: of records, where they have not the usual names.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        BadInputError: a bad record, no texts, no such model, or a corpus that changed.
        UsageError: options that do not fit together, or ``out`` exists.
        MissingToolError: sentence-transformers, faiss or a device is missing.
        ExternalProgramError: ``out`` cannot be written.
        Interrupted: by the user; finished parts stay.
    """
    name = corpus if isinstance(corpus, str) else str(MEMORY)
    named = {"kind": KIND, "corpus": name, "side": choices.side, "part_rows": choices.part_rows,
             **recipe_of(choices).recorded()}  # fmt: skip
    if overwrite or not may_be_ours(out, named):
        check_output(out, overwrite=overwrite)
    role = role_of(choices.side)
    skip, split = fields.skip_others, fields.split
    files: list[Path] = []
    texts: Iterable[Text] = corpus if not isinstance(corpus, str) else Corpus(name, role, fields)
    if isinstance(corpus, str):
        if role == "queries":
            tell_splits(name, fields)
        files = corpus_files(name, role, skip_others=skip, split=split)

    require("dense", "a dense index")
    from splade_bridge.encoding.dense_encoder import DenseEncoder
    from splade_bridge.encoding.progress import known_count, progress_bar
    from splade_bridge.encoding.runner import fill_parts, not_empty, report

    texts = not_empty(iter(texts), name)  # before a model is loaded for nothing
    encoder = DenseEncoder(
        model,
        choices.side,
        similarity=choices.similarity,
        max_length=choices.max_length,
        batch_size=choices.batch_size,
        device=choices.device,
        threads=choices.threads,
        checkpoint=choices.checkpoint,
    )
    _check_memory(encoder.dimension, choices)
    stats = DenseStats()
    count = known_count(name, role, skip_others=skip, split=split) if files else None
    with progress_bar(count, shown=None if progress else False) as bar:
        manifest = fill_parts(
            {**_plan(encoder), **named},
            texts,
            out,
            begin=lambda folder: DenseParts(folder, encoder.dimension),
            run=lambda walk, parts: _encode(encoder, walk, parts, stats, bar),
            complete=lambda parts, _: parts.complete(encoder, name, choices, stats),
            files=files,
            overwrite=overwrite,
            progress=bar,
        )
    report(manifest)
    return manifest, stats


class DenseParts:
    """The parts of a dense index that is being made; each remembers its texts.

    Attributes:
        folder: made ready by :func:`splade_bridge.data.store.unfinished_store`, or empty.
        notes: of the parts that are there, by number.

    Raises:
        BadInputError: a part that is there is damaged.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        from splade_bridge.encoding.parts import note_of

        self.folder = folder
        self.notes: dict[int, PartNote] = {}
        self._dimension = dimension
        for number, file in part_files(folder).items():
            note = note_of(file)
            rows = sum(map(len, read_dense_part(file, dimension=dimension)))
            if rows != note.texts:
                raise BadInputError(f"{rows:,} vectors of {note.texts:,} texts", str(file))
            self.notes[number] = note
        self._old = frozenset(self.notes)

    @property
    def texts(self) -> int:
        """Texts whose parts are whole."""
        return sum(note.texts for note in self.notes.values())

    def write(self, number: int, batch: DenseBatch, note: PartNote) -> None:
        """Write a part."""
        write_dense_part(self.folder, number, batch, note)
        self.notes[number] = note

    def drop_new(self) -> None:
        """Remove what this run has written: it does not belong to the older parts."""
        for number, file in part_files(self.folder).items():
            if number not in self._old:
                file.unlink()

    def complete(
        self, encoder: DenseEncoder, corpus: str, choices: DenseChoices, stats: DenseStats
    ) -> Manifest:
        """Make the index of all parts, and write the manifest.

        Raises:
            UsageError: a graph that is larger than the memory it may have.
            ExternalProgramError: the disk is full, or faiss failed.
        """
        began = time.perf_counter()
        notes = self.notes.values()
        manifest = finish_index(
            self.folder,
            self._dimension,
            recipe_of(choices),
            encoding=encoder.info(sum(note.truncated for note in notes)),
            similarity=encoder.similarity,
            options={"corpus": corpus, "replaced": sum(note.replaced for note in notes)},
        )
        stats.build_seconds = time.perf_counter() - began
        return manifest


def recipe_of(choices: DenseChoices) -> Recipe:
    """How the index is made."""
    return Recipe(
        choices.index_kind,
        choices.hnsw_m,
        choices.hnsw_ef_construction,
        choices.threads or 1,
        choices.memory,
    )


def _encode(
    encoder: DenseEncoder, walk: CorpusWalk, parts: DenseParts, stats: DenseStats, bar: Progress
) -> CorpusEnd:
    """Encode all parts of ``walk``; the next ones are read meanwhile."""
    from splade_bridge.files.read_ahead import ReadAhead

    with contextlib.closing(ReadAhead(walk)) as read:
        for part in read:
            began = time.perf_counter()
            batch, note = _encoded(encoder, part, stats, bar)
            stats.seconds += time.perf_counter() - began
            parts.write(part.number, batch, note)
    assert walk.end is not None
    return walk.end


def _encoded(
    encoder: DenseEncoder, part: Part, stats: DenseStats, bar: Progress
) -> tuple[DenseBatch, PartNote]:
    from splade_bridge.encoding.dense_encoder import SORTED_TOGETHER
    from splade_bridge.encoding.parts import PartNote

    vectors = np.empty((len(part.texts), encoder.dimension), dtype=np.float32)
    truncated = replaced = 0
    for start in range(0, len(part.texts), SORTED_TOGETHER):
        texts = part.texts[start : start + SORTED_TOGETHER]
        found = encoder.encode([text.text for text in texts])
        vectors[start : start + len(texts)] = found.vectors
        truncated, replaced = truncated + found.truncated, replaced + found.replaced
        stats.texts, stats.tokens = stats.texts + len(texts), stats.tokens + found.tokens
        bar(len(texts), found.tokens)
    batch = DenseBatch([text.id for text in part.texts], vectors)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        text = part.texts[bad[0]]
        raise BadInputError(f"the model gives {text.id} a vector that is not finite", text.place)
    note = PartNote(len(part.texts), part.digest, part.before, truncated, 0, replaced)
    return batch, note


def _plan(encoder: DenseEncoder) -> dict[str, Any]:
    """What of the model decides the vectors, apart from the processor."""
    import faiss
    import sentence_transformers
    import torch
    import transformers

    from splade_bridge import __version__

    asked = encoder.checkpoint
    return {
        "model": encoder.model,
        "revision": encoder.revision,
        "model_sha256": encoder.sha256,
        "settings_sha256": encoder.settings_sha256,
        "similarity": encoder.similarity,
        "dimension": encoder.dimension,
        "max_length": encoder.max_length,
        "batch_size": encoder.batch_size,
        "device": encoder.device.type,
        **({"prompt": encoder.prompt} if asked.prompt or asked.prompt_name else {}),
        "tools": {
            "splade-bridge": __version__,
            "faiss": faiss.__version__,
            "sentence-transformers": sentence_transformers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _check_memory(dimension: int, choices: DenseChoices) -> None:
    """Refuse parts that are larger than the memory they may have, before anything is encoded."""
    needed = COPIES * 4 * dimension * choices.part_rows
    if needed > choices.memory or dimension * choices.part_rows >= 1 << 31:
        fits = min(choices.memory // (COPIES * 4 * dimension), (1 << 31) // dimension - 1)
        raise UsageError(
            f"parts of {choices.part_rows:,} vectors of {dimension} numbers take "
            f"{needed / 1e9:,.2f} GB while they are made, and --memory allows "
            f"{choices.memory / 1e9:,.2f}: give --part-rows {fits}, or more memory"
        )
