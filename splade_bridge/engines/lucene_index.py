"""What is asked of an open Lucene index, in the frames of OpenIndex.java."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splade_bridge.data.closing import Closing
from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Float32Array, Int32Array, Int64Array, row_pointers
from splade_bridge.engines.jars import Lucene, lucene_for_reading
from splade_bridge.engines.java_cache import JavaCache, java_cache
from splade_bridge.engines.java_worker import Call, JavaWorker
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    SpladeBridgeError,
    UsageError,
)
from splade_bridge.files.checks import check_once

SEARCH_HEAP = 1 << 30
LEAST_HEAP = 32 << 20
"""Below this a JVM does not start, or ends at its first query."""
TERMS_A_REQUEST = 100_000
MOST_AHEAD, BYTES_AHEAD, HIT_BYTES = 64, 2_000_000, 32
"""Queries that are on their way, and what their answers may take."""

PAGE_POSTINGS = 1 << 18

SEARCH, IMPACTS, TERMS, FREQUENCIES, STORED, STATISTICS, CHECK, IDS = range(1, 9)
LISTS, DOCUMENTS, DESCRIBED = range(16, 19)

_INT = struct.Struct("<i")

DAMAGED = ("CorruptIndexException", "EOFException")
"""What Lucene says of files that are not as it wrote them."""


class Scoring(NamedTuple):
    """How an index is scored.

    Attributes:
        kind: 0 for query weight times stored frequency, 1 for BM25, 2 for BM25 as Anserini's run
            files have it: four decimals, and ties told apart by millionths.
    """

    kind: int = 0
    k1: float = 0.0
    b: float = 0.0


class Query(NamedTuple):
    """Terms and their weights; a term twice counts twice."""

    id: str
    terms: Sequence[bytes]
    weights: npt.ArrayLike


class Found(NamedTuple):
    """The answer to a query: by score descending, then id ascending by code point.

    Attributes:
        scores: float32, one a document.
        nanoseconds: of the search alone.
    """

    query_id: str
    doc_ids: list[str]
    scores: Float32Array
    nanoseconds: int


class Statistics(NamedTuple):
    """What an index says that it holds.

    Attributes:
        ids: different ones.
        frequencies: the sum of impacts, or tokens.
        terms: different ones.
    """

    documents: int
    ids: int
    postings: int
    frequencies: int
    terms: int

    @classmethod
    def unpack(cls, content: bytes) -> Statistics:
        """From a helper's answer."""
        return cls(*struct.unpack("<5q", content))


class ListPage(NamedTuple):
    """Some posting lists; the first may go on with the last list of the page before.

    Attributes:
        terms: n, rising.
        indptr: int64[n + 1], list i is ``documents[indptr[i]:indptr[i + 1]]``.
        documents: int32[nnz], ascending in each list.
        frequencies: int32[nnz].
    """

    terms: list[bytes]
    indptr: Int64Array
    documents: Int32Array
    frequencies: Int32Array


def check_heap(heap: int) -> None:
    """Raise UsageError where a JVM cannot do with so little."""
    if heap < LEAST_HEAP:
        raise UsageError("a JVM needs a heap of 32MiB or more (--memory)")


class LuceneIndex(Closing):
    """An open index in a JVM, which is started when it is first asked, and again if it died.

    Any thread may call any method; a search may be left half-read.

    Args:
        path: the folder of the index.
        lucene: what opens it; None for the newest of those found that can.
        heap: most bytes of the JVM's heap.
        flags: of the JVM; None for those of its cache, see :mod:`.java_cache`.

    Raises:
        BadInputError: from any method: the folder holds no index that can be read.
        ExternalProgramError: from any method: the JVM died.
    """

    def __init__(
        self,
        path: Path,
        lucene: Lucene | None = None,
        heap: int = SEARCH_HEAP,
        flags: Sequence[str] | None = None,
    ) -> None:
        self.path = path
        self._heap = heap
        self._flags = flags
        self.lucene = lucene_for_reading(path) if lucene is None else lucene
        self._starting = threading.Lock()
        self._worker: JavaWorker | None = None

    def worker(self) -> JavaWorker:
        """The one that is alive."""
        with self._starting:
            if self._worker is not None and self._worker.dead:
                self._worker.close()
                self._worker = None
            if self._worker is None:
                self._worker = self._begun()
            return self._worker

    def _begun(self) -> JavaWorker:
        def begun(flags: Sequence[str]) -> JavaWorker:
            return JavaWorker(self.path, self.lucene.class_path, self._heap, self._refused, flags)

        cache = None if self._flags is not None else self._cache()
        if cache is None or not (flags := cache.flags()):
            return begun(self._flags or ())
        try:
            return begun(flags)
        except ExternalProgramError:
            worker = begun(())
            cache.give_up()  # it starts without
            return worker

    def _cache(self) -> JavaCache | None:
        return java_cache(self.lucene.class_path, self._heap)

    def learn(self) -> None:
        """After a search: let a process in the background make the cache of later JVMs, once."""
        if self._flags is None and (cache := self._cache()) is not None:
            cache.make_in_background(self.path, self._heap)

    def finish(self, patience: float) -> None:
        """Let the JVM end by itself, within so many seconds.

        Raises:
            ExternalProgramError: it takes longer.
        """
        self.worker().finish(patience)

    def use_memory(self, heap: int) -> None:
        """Answer from a JVM with this heap from now on; no search may be going on.

        Raises:
            UsageError: a JVM cannot do with so little.
        """
        check_heap(heap)
        if heap != self._heap:
            self.close()
            self._heap = heap

    def _refused(self, kind: str, message: str) -> SpladeBridgeError:
        if kind in ("IndexNotFoundException", "NoSuchFileException"):
            return BadInputError(f"not a Lucene index: {message}", str(self.path))
        if kind in DAMAGED:
            return BadInputError(f"damaged ({message}): make it again", str(self.path))
        return ExternalProgramError(f"lucene {self.path}: {kind}: {message}")

    def search(
        self,
        queries: Iterable[Query],
        k: int,
        *,
        threads: int = 1,
        exhaustive: bool = False,
        scoring: Scoring = Scoring(),
    ) -> Iterator[Found]:
        """The best ``k`` documents of every query, in their order.

        Args:
            threads: how many queries are worked on at once.
            exhaustive: score every document, though it may have no chance.
        """
        head = struct.pack("<iBB2f", min(k, 2**31 - 1), exhaustive, *scoring)
        waiting: deque[str] = deque()
        # So many that neither side waits for the other, and not more: they take memory.
        ahead = max(2 * threads + 2, min(MOST_AHEAD, BYTES_AHEAD // (HIT_BYTES * k)))
        with Call(self.worker(), threads) as call:
            for query in queries:
                # Received by the half and sent by the half: each time costs a change of processes.
                if len(call) >= ahead:
                    while len(call) > ahead // 2:
                        yield _found(waiting.popleft(), call.receive())
                weights = np.asarray(query.weights, "<f4").tobytes()
                call.send(SEARCH, head + _strings(query.terms) + weights, flush=not len(call))
                waiting.append(query.id)
            while waiting:
                yield _found(waiting.popleft(), call.receive())

    def impacts(self, doc_id: str, terms: Sequence[bytes]) -> list[int] | None:
        """The stored frequency of each term in a document, 0 for none; None for no document."""
        found, *impacts = np.frombuffer(
            self._ask(IMPACTS, _string(doc_id.encode()) + _strings(terms)), "<i4"
        ).tolist()
        return impacts if found else None

    def terms(self) -> Iterator[str]:
        """All terms, by code point.

        Raises:
            BadInputError: one is no text.
        """
        last = struct.pack("<B", 0)
        try:
            while page := _unpacked(self._ask(TERMS, last)):
                yield from page
                last = struct.pack("<B", 1) + _string(page[-1].encode())
        except UnicodeDecodeError as error:
            raise BadInputError(f"a term of it is not UTF-8 ({error})", str(self.path)) from error

    def check_ids(self) -> None:
        """Whether every document has an id of its own that a run can hold.

        Indexes that others made need not; every document that was deleted is left out.

        Raises:
            BadInputError: some have not; with their numbers and an example.
        """
        content = self._ask(IDS, b"")
        missing, odd, twice = struct.unpack_from("<3q", content)
        size = struct.unpack_from("<i", content, 28)[0]
        examples = content[32 : 32 + size], content[36 + size :]
        faults = [
            (missing, "{} without an id (in the field id, with binary doc values)", b""),
            (odd, "{} with an id that a run cannot hold, as {}", examples[0]),
            (twice, "{} with an id that another has, as {}", examples[1]),
        ]
        told = [
            text.format(f"{number:,}", quoted(example.decode(errors="replace")))
            for number, text, example in faults
            if number
        ]
        if told:
            raise BadInputError(
                f"of its documents there are {', '.join(told)}: runs could not tell them apart; "
                "index them again, each with an id of its own and no white space in it",
                str(self.path),
            )

    def document_frequencies(self, terms: Sequence[str]) -> Int64Array:
        """int64[len(terms)]: how many documents hold each."""
        parts = [
            self._ask(FREQUENCIES, _strings([t.encode() for t in terms[i : i + TERMS_A_REQUEST]]))
            for i in range(0, len(terms), TERMS_A_REQUEST)
        ]
        return np.frombuffer(b"".join(parts), "<i4").astype(np.int64)

    def stored(self, doc_id: str) -> dict[str, str] | None:
        """The stored fields of a document, by name (the last of a name); None for no document."""
        content = self._ask(STORED, _string(doc_id.encode()))
        if not struct.unpack_from("<i", content)[0]:
            return None
        parts = _unpacked(content[4:])
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def lists(self) -> Iterator[tuple[bytes, Int32Array, Int32Array]]:
        """All posting lists by term; a long one in several parts that follow one another.

        Each is (term, documents int32[n] ascending, frequencies int32[n]). Documents are numbered
        in the order of the index, without those that were deleted.
        """
        for page in self.list_pages():
            ends = page.indptr.tolist()
            for i, term in enumerate(page.terms):
                part = slice(ends[i], ends[i + 1])
                yield term, page.documents[part], page.frequencies[part]

    def list_pages(self) -> Iterator[ListPage]:
        """The same, at most :data:`PAGE_POSTINGS` at a time."""
        with Call(self.worker()) as call:
            call.send(LISTS, struct.pack("<Bi", 0, PAGE_POSTINGS))
            while True:
                content = call.receive()
                end, n = struct.unpack_from("<ii", content)
                if not n:
                    return
                terms, lengths, at = [], [], 8
                for _ in range(n):
                    (size,) = _INT.unpack_from(content, at)
                    at += 4
                    terms.append(content[at : at + size])
                    lengths.append(_INT.unpack_from(content, at + size)[0])
                    at += size + 4
                # The next page is made while this one is worked on.
                last = struct.pack("<B", 1) + _string(terms[-1])
                last += struct.pack("<ii", end, PAGE_POSTINGS)
                call.send(LISTS, last)
                indptr = row_pointers(lengths)
                m = int(indptr[-1])
                documents = np.frombuffer(content, "<i4", m, at)
                yield ListPage(
                    terms, indptr, documents, np.frombuffer(content, "<i4", m, at + 4 * m)
                )

    def documents(self, *, contents: bool = False) -> Iterator[tuple[bytes | None, bytes | None]]:
        """The stored id and contents of all documents in their order; None for what is not there.

        Args:
            contents: whether to read them; None for each where not.
        """
        for found in self.document_pages(contents=contents):
            yield from zip(found[::2], found[1::2], strict=True)

    def document_pages(self, *, contents: bool = False) -> Iterator[list[bytes | None]]:
        """The same, many at a time: id, contents, id, contents, ..."""
        with Call(self.worker()) as call:
            call.send(DOCUMENTS, struct.pack("<iB", 0, contents))
            while True:
                page = call.receive()
                start, n = struct.unpack_from("<ii", page)
                if not n:
                    return
                call.send(DOCUMENTS, struct.pack("<iB", start, contents))
                lengths = np.frombuffer(page, "<i4", 2 * n, 8)
                ends = (row_pointers(np.maximum(lengths, 0)) + 8 + 8 * n).tolist()
                yield [
                    page[ends[i] : ends[i + 1]] if length >= 0 else None
                    for i, length in enumerate(lengths.tolist())
                ]

    def described(self) -> dict[str, str]:
        """Codecs, versions, segments, deletions and fields (``field NAME``), as Lucene has them."""
        parts = _unpacked(self._ask(DESCRIBED, b""))
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def statistics(self) -> Statistics:
        """What the index holds."""
        return Statistics.unpack(self._ask(STATISTICS, b""))

    def check(self) -> None:
        """Compare every file with Lucene's checksum of it, once: see :mod:`.files.checks`.

        Raises:
            BadInputError: one is damaged; Lucene's message names it.
        """
        files = [(p, "Lucene's checksum") for p in sorted(self.path.iterdir()) if p.is_file()]
        check_once(files, lambda: self._ask(CHECK, b""))

    def _ask(self, method: int, content: bytes) -> bytes:
        with Call(self.worker()) as call:
            call.send(method, content)
            return call.receive()

    def close(self) -> None:
        """End the JVM."""
        with self._starting:
            if self._worker is not None:
                self._worker.close()
            self._worker = None


def _string(value: bytes) -> bytes:
    return struct.pack("<i", len(value)) + value


def _strings(values: Sequence[bytes]) -> bytes:
    return struct.pack("<i", len(values)) + b"".join(map(_string, values))


def _unpacked(content: bytes) -> list[str]:
    (n,) = struct.unpack_from("<i", content)
    found, at = [], 4
    for _ in range(n):
        (size,) = struct.unpack_from("<i", content, at)
        found.append(content[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return found


def _found(query_id: str, content: bytes) -> Found:
    nanoseconds, n = struct.unpack_from("<qi", content)
    scores = np.frombuffer(content, "<f4", n, 12)
    starts = row_pointers(np.frombuffer(content, "<i4", n, 12 + 4 * n)).tolist()
    raw = content[12 + 8 * n :]
    text = raw.decode()
    if len(text) == len(raw):
        doc_ids = [text[starts[i] : starts[i + 1]] for i in range(n)]
    else:  # starts count bytes, and some id is not ASCII
        doc_ids = [raw[starts[i] : starts[i + 1]].decode() for i in range(n)]
    return Found(query_id, doc_ids, scores, nanoseconds)
