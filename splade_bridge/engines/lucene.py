"""Lucene through a small Java helper (java_conf/src): impacts in, Anserini-compatible index out.

The helper takes a document's impacts as term frequencies, so nothing is written impact-many times
and tokenised again, and whatever is wrong ends it with a message; Anserini's own route loses
documents silently. Queries are scored by Lucene and collected by (score, id), in one JVM that lives
as long as the index is open.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import VOCABULARY, BuildOptions, Engine, ReadBack, Searcher
from splade_bridge.engines.impact_stream import write_stream
from splade_bridge.engines.java import (
    LentPaths,
    anserini_jar,
    answering,
    environment,
    exactly,
    java,
    java_command,
    java_version,
)
from splade_bridge.engines.lucene_index import LuceneIndex, Query, Statistics
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.errors import ExternalProgramError
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.jsonvector import JsonVectorWriter

log = logging.getLogger(__name__)

DOCS_PER_FILE = 100_000
MEGABYTE = 1 << 20


class LuceneEngine(Engine):
    """Builds impact indexes that Anserini and Pyserini open."""

    name = "lucene"
    algorithms = ("exhaustive", "block_max_maxscore")
    options: LuceneOptions

    def check_installed(self) -> None:
        """Look for Java and the jar."""
        java()
        anserini_jar()

    def tools(self) -> dict[str, str]:
        """The jar carries Lucene's and Anserini's version in its name."""
        return {
            "anserini": anserini_jar().name.split("-")[1],
            "Java": str(java_version(java())),
        }

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        heap = max(options.memory, 512 * MEGABYTE)
        if self.options.route == "anserini":
            stats = _index_with_anserini(source, folder, options.threads, heap)
        else:
            stats = _index_with_helper(source, folder, options.threads, heap)
        (folder / "write.lock").unlink(missing_ok=True)
        if stats.ids != stats.documents:
            raise ExternalProgramError(
                f"lucene holds {stats.documents:,} documents, but {stats.ids:,} ids"
            )
        return ReadBack(stats.documents, stats.postings, stats.frequencies)

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Take the vocabulary from beside the index, or from the index itself."""
        self.check_installed()
        index = LuceneIndex(path)
        if manifest is not None:
            return LuceneSearcher(path, manifest, Vocabulary.load(path / VOCABULARY), index)
        log.warning("%s: no manifest; its counts and the origin of its weights are unknown", path)
        try:
            return LuceneSearcher(path, None, Vocabulary(index.terms(), observed=True), index)
        except BaseException:
            index.close()
            raise


class LuceneSearcher(Searcher):
    """One JVM while it is open; any thread may search, and leave a search half-read."""

    algorithms = LuceneEngine.algorithms

    def __init__(
        self, path: Path, manifest: Manifest | None, vocabulary: Vocabulary, index: LuceneIndex
    ) -> None:
        super().__init__(path, manifest, vocabulary)
        self._index = index

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def asked() -> Iterator[Query]:
            for number, query_id in enumerate(queries.ids):
                term_ids, weights = queries.row(number)
                yield Query(query_id, self._terms(term_ids.tolist()), weights)

        exhaustive = algorithm == "exhaustive"
        for query_id, doc_ids, scores, nanoseconds in self._index.search(
            asked(), k, threads=threads, exhaustive=exhaustive
        ):
            yield Hits(query_id, doc_ids, np.rint(scores).astype(np.int64), nanoseconds)

    def _terms(self, term_ids: Sequence[int]) -> list[bytes]:
        return [self.vocabulary[term].encode() for term in term_ids]

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        return self._index.impacts(doc_id, self._terms(term_ids))

    def document_frequencies(self) -> Int64Array:
        """See :class:`Searcher`."""
        return self._index.document_frequencies(self.vocabulary.terms)

    def stored(self, doc_id: str) -> dict[str, str] | None:
        """What the index stores of a document by field (``id``; ``contents`` or ``raw`` if its
        maker stored them), None if it has no such document.
        """
        return self._index.stored(doc_id)

    def close(self) -> None:
        """End the JVM."""
        self._index.close()


def _index_with_helper(source: ImpactSource, folder: Path, threads: int, heap: int) -> Statistics:
    def send(requests: BinaryIO) -> None:
        write_stream(requests, source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)

    buffer = str(heap // MEGABYTE // 4)
    with answering("index", folder, str(threads), buffer, heap=heap, send=send) as answers:
        return Statistics.unpack(exactly(answers, 40))


def _index_with_anserini(source: ImpactSource, folder: Path, threads: int, heap: int) -> Statistics:
    """The reference route: JSON that we wrote, so that nothing in it can be lost, then Anserini.

    Its exit status says nothing, so it is believed only when its counts are the input's. A term
    with white space, or of over 255 characters, does not survive it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="splade-bridge-", dir=folder.parent) as scratch,
        LentPaths() as paths,
    ):
        writer = JsonVectorWriter(Path(scratch), DOCS_PER_FILE, compress=False)
        writer.write(source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)
        command = java_command(
            "io.anserini.index.IndexCollection",
            "-collection", "JsonVectorCollection", "-input", Path(scratch), "-index", folder,
            "-generator", "DefaultLuceneDocumentGenerator", "-threads", str(threads),
            "-impact", "-pretokenized", "-optimize",
            "-memoryBuffer", str(heap // MEGABYTE // 2),
            heap_megabytes=heap // MEGABYTE, name=paths.name,
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, env=environment(), pass_fds=paths.open)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ExternalProgramError(f"Anserini, {folder}: status {done.returncode}: {said[-1]}")
    with LuceneIndex(folder) as index:
        return index.statistics()
