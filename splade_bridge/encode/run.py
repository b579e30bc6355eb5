"""A corpus into a vector store, resumable."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from splade_bridge import __version__
from splade_bridge.corpora import Text
from splade_bridge.encode.encoder import Encoder, Progress, windows
from splade_bridge.errors import BadInputError, Interrupted
from splade_bridge.manifest import Manifest
from splade_bridge.store import PART_ROWS, VectorStoreWriter, write_store
from splade_bridge.vectors import Counts

log = logging.getLogger(__name__)


def encode_to_store(
    texts: Iterable[Text],
    encoder: Encoder,
    out: Path,
    *,
    corpus: str,
    overwrite: bool = False,
    part_rows: int = PART_ROWS,
    progress: Progress | None = None,
) -> Manifest:
    """Encode ``texts`` into the vector store ``out``.

    One window of the encoder is one part of the store, so that what a part holds depends on its
    own texts only: a killed run goes on after its last whole part, and the result is byte for byte
    that of an uninterrupted one. Each part remembers a digest of its texts; a corpus that has
    changed since is refused.

    Args:
        corpus: what the user called the corpus; part of the plan and the manifest.

    Raises:
        BadInputError: a bad record, no texts at all, or a corpus that changed between two runs.
        UsageError: ``out`` exists and ``overwrite`` is not set, or was begun with other settings.
        Interrupted: by the user; finished parts stay.
    """
    groups = windows(not_empty(texts, corpus), part_rows)  # before an old store is touched
    done = 0
    try:
        with write_store(
            out,
            encoder.loaded.vocabulary,
            _plan(encoder, corpus),
            overwrite=overwrite,
            part_rows=part_rows,
        ) as writer:
            truncated, replaced = _skip_finished(groups, writer, out)
            done = writer.resumed_rows
            if progress and done:
                progress(done, 0)
            for group in groups:
                stats = encoder.stats
                before = stats.truncated, stats.replaced
                batch = encoder.encode_window(group, progress)
                cut, fixed = stats.truncated - before[0], stats.replaced - before[1]
                note = {"texts": texts_digest(group), "truncated": cut, "replaced": fixed}
                writer.add(batch, note)
                truncated, replaced, done = truncated + cut, replaced + fixed, done + len(group)
            manifest = writer.finish(
                encoder.info(truncated), {"corpus": corpus, "replaced": replaced}
            )
    except KeyboardInterrupt:
        kept = done - done % part_rows
        what = f"{kept:,} texts are kept in {out}, and the same command goes on from there"
        raise Interrupted(f"interrupted; {what if kept else 'nothing was written'}") from None
    report(manifest)
    return manifest


def not_empty(texts: Iterable[Text], corpus: str) -> Iterator[Text]:
    """The same texts, after the first one has been read.

    Raises:
        BadInputError: there is none, or reading it failed.
    """
    stream = iter(texts)
    first = next(stream, None)
    if first is None:
        raise BadInputError("no texts in it", corpus)
    return chain([first], stream)


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


def texts_digest(texts: Sequence[Text]) -> str:
    """A hash over ids and texts in order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        for field in (text.id, text.text):
            content = field.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
    return digest.hexdigest()


def _skip_finished(
    groups: Iterator[list[Text]], writer: VectorStoreWriter, out: Path
) -> tuple[int, int]:
    """Pass over the texts of finished parts; what was counted in them.

    Raises:
        BadInputError: they are not the texts that the parts were made from.
    """
    truncated = replaced = 0
    for number, note in enumerate(writer.notes, start=1):
        group = next(groups, [])
        if note.get("texts") != texts_digest(group):
            raise BadInputError(
                f"the corpus is not the one that {out} was begun with: part {number} was made "
                "from other texts. Bring the old corpus back, or pass --overwrite to start anew",
                group[0].place if group else None,
            )
        truncated += note["truncated"]
        replaced += note["replaced"]
    if writer.notes:
        log.info("%s: going on after %d texts", out, writer.resumed_rows)
    return truncated, replaced


def _plan(encoder: Encoder, corpus: str) -> dict[str, Any]:
    """Everything that decides the bytes of the store, apart from the texts and the processor."""
    loaded = encoder.loaded
    return {
        "corpus": corpus,
        "model": loaded.model,
        "revision": loaded.revision,
        "model_sha256": loaded.weights_sha256,
        "settings_sha256": loaded.settings_sha256,
        "vocabulary_sha256": loaded.vocabulary.sha256(),
        "side": encoder.side,
        "pooling": loaded.method,
        "max_length": loaded.max_length,
        "dtype": encoder.dtype,
        "batch_tokens": encoder.batch_tokens,
        "device": loaded.columns.device.type,
        "tools": {
            "splade-bridge": __version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
