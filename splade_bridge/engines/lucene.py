"""Lucene through a small Java helper (java_conf/src): impacts in, Anserini-compatible index out.

The helper merges inverted lists, with impacts as term frequencies, into a segment: nothing is
written impact-many times, tokenised and inverted again, and whatever is wrong ends it with a
message; Anserini's own route loses documents silently. Queries are scored by Lucene and collected
by (score, id), in one JVM that lives as long as the index is open.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.quantize import EXACT_SCORES_BELOW
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import VOCABULARY, BuildOptions, Engine, ReadBack, Searcher
from splade_bridge.engines.findings import Finding, attempt
from splade_bridge.engines.jars import (
    Lucene,
    anserini_jar,
    anserini_version,
    fetch_ahead,
    found,
    lucene_for_writing,
    users_anserini,
)
from splade_bridge.engines.java import (
    HELPER,
    MORE_MEMORY,
    answering,
    environment,
    exactly,
    java,
    java_command,
    java_version,
    reason,
)
from splade_bridge.engines.list_stream import write_stream
from splade_bridge.engines.lucene_index import LuceneIndex, Query, Statistics, check_heap
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.process import Death, LentPaths, ended
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError, install
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.writing import asset
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.jsonvector import JsonVectorWriter
from splade_bridge.formats.postings import PostingList, PostingListSource

log = logging.getLogger(__name__)

DOCS_PER_FILE = 100_000
CONTENTS, POSITIONS, NORMS = "contents", "POSITIONS", "norms"
RAW = "raw"
"""The field that Anserini stores documents in as they were read, if it is told to."""
PLAIN_BELOW = 3.0
"""Mean frequency below which an index with norms holds text: that of Anserini's BM25 indexes is
from 1.2 (passages) to 2 (articles), that of its impact indexes from 20 on."""
PRUNES_WELL, PRUNES_UP_TO = 10, 100
"""The Lucene whose pruning pays at every k, and up to which k it pays in older ones."""
MEGABYTE = 1 << 20
HELPER_HEAP = 512 * MEGABYTE
"""Of the JVM that merges lists into a segment: it holds a frame of them."""
HELPER_BUFFER = 64 * MEGABYTE


class LuceneEngine(Engine):
    """Builds impact indexes that Anserini and Pyserini open."""

    name = "lucene"
    algorithms = ("exhaustive", "block_max_maxscore")
    options: LuceneOptions = LuceneOptions()

    def check_installed(self) -> None:
        """Look for Java and a Lucene to write with, which is fetched if it is missing."""
        java()
        self.lucene()

    def takes_memory(self, memory: int) -> bool:
        """As the heap of the JVM."""
        check_heap(memory)
        return True

    def lucene(self) -> Lucene:
        """What an index is written with."""
        if self.options.route == "helper":
            return lucene_for_writing(self.options.version)
        anserini_jar()
        lucene = users_anserini()
        assert lucene is not None
        if self.options.version and not lucene.version.fits(self.options.version):
            raise UsageError(
                f"Anserini's route writes with Anserini's own Lucene, which is {lucene.version} "
                f"and not {self.options.version}"
            )
        return lucene

    def tools(self) -> dict[str, str]:
        """The Lucene that writes, Java, and Anserini where its route is used."""
        anserini = {}
        if self.options.route == "anserini":
            anserini["anserini"] = anserini_version(anserini_jar())
        return anserini | {
            "lucene": str(self.lucene().version),
            "Java": str(java_version(java())),
        }

    def findings(self) -> list[Finding]:
        """Java, each Lucene that is found, Anserini, and the helper."""
        lucene = install("lucene")
        return [
            Finding("Java >= 21", "engine lucene", attempt(_java), f"{lucene}, or set JAVA_HOME"),
            Finding("Lucene", "engine lucene", _found(),
                    f"{lucene}, then splade-bridge doctor --fetch"),
            Finding("Anserini", "index --route anserini", attempt(lambda: anserini_jar().name),
                    f"optional: {install('pyserini')}, or set ANSERINI_JAR"),
            Finding("Lucene helper", "engine lucene", attempt(lambda: str(asset(HELPER))),
                    "pip install splade-bridge again"),
        ]  # fmt: skip

    def fetch(self) -> list[str]:
        """The Lucene that writes, and the newest, which searches."""
        return [f"Lucene {lucene}" for lucene in fetch_ahead()]

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        if self.options.route == "anserini":
            heap = max(options.memory, HELPER_HEAP)
            stats = _index_with_anserini(source, folder, options.threads, heap, self.lucene())
        else:
            stats = _index_with_helper(source, folder, options.memory, self.lucene())
        (folder / "write.lock").unlink(missing_ok=True)
        if stats.ids != stats.documents:
            raise ExternalProgramError(
                f"lucene holds {stats.documents:,} documents, but {stats.ids:,} ids"
            )
        return ReadBack(stats.documents, stats.postings, stats.frequencies)

    def read(
        self, path: Path, manifest: Manifest | None, memory: int, temporary: Path | None
    ) -> ImpactSource:
        """See :class:`Engine`."""
        with self.open(path, manifest) as index:
            vocabulary = index.vocabulary
        return LuceneSource(path, vocabulary, manifest, memory, temporary)

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Take the vocabulary from beside the index, or from the index itself."""
        java()
        index = LuceneIndex(path)
        if manifest is not None:
            return LuceneSearcher(path, manifest, Vocabulary.load(path / VOCABULARY), index)
        log.warning("%s: no manifest; its counts and the origin of its weights are unknown", path)
        try:
            index.check()
            index.check_ids()
            return LuceneSearcher(path, None, Vocabulary(index.terms(), observed=True), index)
        except BaseException:
            index.close()
            raise


class LuceneSource(PostingListSource):
    """The posting lists of a Lucene index: ours or Anserini's, of any number of segments."""

    sorted_terms = True

    def __init__(
        self,
        path: Path,
        vocabulary: Vocabulary,
        manifest: Manifest | None,
        memory: int,
        temporary: Path | None,
    ) -> None:
        super().__init__(path, vocabulary, manifest, memory, temporary)
        self._index = LuceneIndex(path)
        self._users = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The JVM, until the last that has it open is done."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._index.close()

    def lists(self) -> Iterator[PostingList]:
        """Those of the field ``contents``."""
        for block in self.blocks():
            ends = block.indptr.tolist()
            for i, term in enumerate(block.terms.tolist()):
                part = slice(ends[i], ends[i + 1])
                yield PostingList(term, block.docs[part], block.impacts[part])

    def blocks(self) -> Iterator[ListBlock]:
        """Those of the field ``contents``."""
        for page in self._index.list_pages():
            terms = np.array([self._known(term) for term in page.terms], np.int32)
            yield ListBlock(terms, page.indptr, page.documents, page.frequencies)

    def _known(self, term: bytes) -> int:
        known = self.vocabulary.get(term.decode())
        if known is None:
            raise BadInputError(
                f"term {term.decode()!r} is not in the vocabulary beside the index", str(self.path)
            )
        return known

    def document_ids(self) -> Iterator[tuple[str, str]]:
        """The stored field ``id``."""
        for number, doc_id in enumerate(chain.from_iterable(self.id_batches())):
            yield doc_id, f"{self.path}: document {number:,}"

    def id_batches(self) -> Iterator[list[str]]:
        """The stored field ``id``."""
        start = 0
        for page in self._index.document_pages():
            ids = page[::2]
            if None in ids:
                place = f"{self.path}: document {start + ids.index(None):,}"
                raise BadInputError("no stored id", place)
            yield [doc_id.decode() for doc_id in ids if doc_id is not None]
            start += len(ids)

    def contents(self) -> Iterator[tuple[str, str]]:
        """The stored field ``contents``, empty where there is none."""
        with self.opened():
            for doc_id, text in self._index.documents(contents=True):
                yield (doc_id or b"").decode(), (text or b"").decode()


class LuceneSearcher(Searcher):
    """One JVM while it is open; any thread may search, and leave a search half-read."""

    algorithms = LuceneEngine.algorithms

    def __init__(
        self, path: Path, manifest: Manifest | None, vocabulary: Vocabulary, index: LuceneIndex
    ) -> None:
        super().__init__(path, manifest, vocabulary)
        self.index = index
        self._searched = False

    def default_algorithm(self, k: int) -> str:
        """``block_max_maxscore`` where it was measured to be the faster one.

        On a million documents with 170 M postings, asked 300 queries of SPLADE-v3, it was 1.8 times
        as fast as ``exhaustive`` at k = 10 in Lucene 10, and at k = 1000 1.2 times; in 9.9, on 34 M
        postings, 10 to 20 % faster at k = 10, and slower by 40 % at k = 1000.
        """
        pruning = self.index.lucene.version.major >= PRUNES_WELL or k <= PRUNES_UP_TO
        return "block_max_maxscore" if pruning else "exhaustive"

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def asked() -> Iterator[Query]:
            for number, query_id in enumerate(queries.ids):
                term_ids, weights = queries.row(number)
                yield Query(query_id, self._terms(term_ids.tolist()), weights)

        exhaustive = algorithm == "exhaustive"
        told = self.manifest is not None  # by its largest impact, before the search
        for query_id, doc_ids, scores, nanoseconds in self.index.search(
            asked(), k, threads=threads, exhaustive=exhaustive
        ):
            if not told and scores.size and scores[0] >= EXACT_SCORES_BELOW:
                told = True
                log.warning(
                    "%s: query %s scores %d; from %d on Lucene's float32 rounds. A smaller "
                    "--scale keeps scores exact",
                    self.path, query_id, scores[0], EXACT_SCORES_BELOW,
                )  # fmt: skip
            yield Hits(query_id, doc_ids, np.rint(scores).astype(np.int64), nanoseconds)
        self._searched = True

    def _terms(self, term_ids: Sequence[int]) -> list[bytes]:
        return [self.vocabulary[term].encode() for term in term_ids]

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        return self.index.impacts(doc_id, self._terms(term_ids))

    def use_memory(self, memory: int) -> bool:
        """The heap of the JVM."""
        self.index.use_memory(memory)
        return True

    @cached_property
    def plain_text(self) -> str | None:
        """Only of an index that others made: by its positions, or its norms and frequencies.

        Anserini writes norms for impacts, too; but a word comes once or twice in a text, where an
        impact of 8 bits is tens.
        """
        if self.manifest is not None:
            return None
        field = self.index.described().get(f"field {CONTENTS}", "")
        held = self.index.statistics()
        if POSITIONS in field:
            return "it holds the positions of words"
        mean = held.frequencies / max(1, held.postings)
        if NORMS in field.split() and mean < PLAIN_BELOW:
            return f"it has norms, and its frequencies are {mean:.2f} on average"
        return None

    def document_frequencies(self) -> Int64Array:
        """See :class:`Searcher`."""
        return self.index.document_frequencies(self.vocabulary.terms)

    @cached_property
    def stores_texts(self) -> bool:
        """Of an index that others made, where its maker stored them."""
        if self.manifest is not None:
            return False
        if f"field {RAW}" in self.index.described():
            return True
        _, first = next(self.index.documents(contents=True), (None, None))
        return first is not None

    def stored(self, doc_id: str) -> dict[str, str] | None:
        """What the index stores of a document by field (``id``; ``contents`` or ``raw`` if its
        maker stored them), None if it has no such document.
        """
        return self.index.stored(doc_id)

    def close(self) -> None:
        """End the JVM; what later ones start with is made once, when nobody waits for a search."""
        self.index.close()
        if self._searched:
            self.index.learn()


def _java() -> str:
    return f"{java_version(java())} ({java()})"


def _found() -> str | None:
    return attempt(lambda: ", ".join(map(str, found()))) or None


def _index_with_helper(
    source: ImpactSource, folder: Path, memory: int, lucene: Lucene
) -> Statistics:
    def send(requests: BinaryIO) -> None:
        write_stream(requests, source, memory, folder.parent)

    with answering(
        "index", folder, str(HELPER_BUFFER // MEGABYTE),
        class_path=lucene.class_path, heap=HELPER_HEAP, send=send,
    ) as answers:  # fmt: skip
        return Statistics.unpack(exactly(answers, 40))


def _index_with_anserini(
    source: ImpactSource, folder: Path, threads: int, heap: int, lucene: Lucene
) -> Statistics:
    """The reference route: JSON that we wrote, so that nothing in it can be lost, then Anserini.

    Its exit status says nothing, so it is believed only when its counts are the input's. A term
    with white space, or of over 255 characters, does not survive it.
    """
    with (
        scratch_folder(folder.parent) as scratch,
        LentPaths() as paths,
    ):
        writer = JsonVectorWriter(scratch, DOCS_PER_FILE, compress=False)
        writer.write(source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)
        command = java_command(
            "io.anserini.index.IndexCollection",
            "-collection", "JsonVectorCollection", "-input", scratch, "-index", folder,
            "-generator", "DefaultLuceneDocumentGenerator", "-threads", str(threads),
            "-impact", "-pretokenized", "-optimize",
            "-memoryBuffer", str(heap // MEGABYTE // 2),
            class_path=lucene.class_path, heap_megabytes=heap // MEGABYTE, name=paths.name,
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, env=environment(), pass_fds=paths.open)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        death = Death(done.returncode, ended(done.returncode), [x for x in said if x.strip()])
        why = reason(death, heap // MEGABYTE, MORE_MEMORY)
        raise ExternalProgramError(f"Anserini, {folder}: {why}")
    with LuceneIndex(folder, lucene) as index:
        return index.statistics()
