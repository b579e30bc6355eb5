"""PISA from its PyPI wheel, in a worker process; or through the user's own PISA programs."""

from __future__ import annotations

import abc
import contextlib
import logging
import os
import pickle
import platform
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import Hits
from splade_bridge.data.invert import Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import EXACT_SCORES_BELOW
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import pisa_programs, pisa_worker
from splade_bridge.engines.base import VOCABULARY, BuildOptions, Engine, ReadBack, Searcher
from splade_bridge.engines.findings import Finding, attempt, version_of
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.engines.pisa_profile import (
    ALGORITHMS,
    PisaProfile,
    algorithm_for,
    checked,
    resolved,
)
from splade_bridge.engines.pisa_worker import Answer, library
from splade_bridge.engines.process import LAST_LINES, EngineProcess, LentPaths
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MissingToolError,
    UsageError,
    install,
)
from splade_bridge.files.outputs import MANIFEST
from splade_bridge.files.writing import mapped
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.pisa import RAW_FILES, number_name, write_canonical
from splade_bridge.formats.postings import PostingList, PostingListSource

log = logging.getLogger(__name__)

LISTS = "lists.npy"
FREQUENCIES = "frequencies.npy"
MOST_TERMS_AHEAD = 500
"""Some 12 kB as a pickle; pipes hold 16 kB (macOS) or more."""
LISTS_KEPT = 1 << 25
"""Bytes of posting lists that an open index keeps, to say what terms add to documents."""
PATIENCE = 600
"""Seconds that the answer to a query may take: on a damaged index it may never come."""


class PisaEngine(Engine):
    """Builds PISA indexes from canonical files."""

    name = "pisa"
    algorithms = ALGORITHMS
    options: PisaOptions = PisaOptions()

    @property
    def programs(self) -> Path | None:
        """The user's own, from the options or ``$PISA_BIN``."""
        named = self.options.bin or os.environ.get("PISA_BIN")
        return Path(named) if named else None

    def check_installed(self) -> None:
        """Look for the user's programs or the wheel."""
        resolved(self.options)
        if self.options.reorder and self.programs is None:
            raise UsageError(
                "reordering documents needs your own PISA programs (--pisa-bin or PISA_BIN): the "
                "wheel cannot do it"
            )
        if self.programs is not None:
            pisa_programs.check(self.programs, reorder=self.options.reorder)
        elif library() is None:
            raise MissingToolError(f"PISA is not installed: {_remedy()}")

    def tools(self) -> dict[str, str]:
        """The wheel's version."""
        version = version_of("pyterrier-pisa")
        return {"pyterrier-pisa": version} if version else {}

    def findings(self) -> list[Finding]:
        """The wheel, and the user's own programs."""
        version = version_of("pyterrier-pisa") if library() else None
        return [
            Finding("PISA library", "engine pisa", version and f"pyterrier-pisa {version}",
                    _remedy()),
            Finding("PISA programs", "engine pisa with --pisa-bin", attempt(self._own),
                    "optional: build PISA and set PISA_BIN"),
        ]  # fmt: skip

    def _own(self) -> str:
        if self.programs is None:
            raise MissingToolError("PISA_BIN is not set")
        pisa_programs.check(self.programs)
        return str(self.programs)

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        ids = DocIdWriter(folder)
        lengths = []
        beyond = 0
        with Transposer(options.memory, folder.parent, source.expected_postings) as transposer:
            for batch in source.batches():
                transposer.add(batch.indptr, batch.indices, batch.impacts)
                ids.add(batch.ids)
                lengths.append(batch.row_sums())
                beyond += int((batch.impacts > EXACT_SCORES_BELOW).sum())
            ids.close()
            refuse_empty(source.counts, source.path)
            if beyond:
                raise BadInputError(
                    f"{beyond:,} of {source.counts.postings:,} impacts are over 2^24, the largest "
                    f"is {source.counts.max_impact:,}; PISA scores in float32, which holds whole "
                    "numbers exactly up to 2^24: take a smaller --scale, or engine exact",
                    str(source.path),
                )
            width = len(source.vocabulary)
            used = write_canonical(folder, transposer, width, np.concatenate(lengths))
            document_frequencies = transposer.column_counts(width)[used]
        np.save(folder / LISTS, used)
        np.save(folder / FREQUENCIES, document_frequencies)
        profile, programs = resolved(self.options), self.programs
        if programs is not None:
            if self.options.reorder:
                pisa_programs.reorder(programs, folder)
            pisa_programs.build(programs, folder, profile.encoding, profile.block_size)
        if library() is None:
            found = pisa_programs.read_back(folder)
        else:
            lists = [(number_name(i), n) for i, n in enumerate(document_frequencies.tolist())]
            postings, impact_sum = _totals(
                folder, profile, lists, len(DocIds(folder)), options.threads
            )
            found = ReadBack(len(DocIds(folder)), postings, impact_sum)
        for raw in RAW_FILES:
            (folder / raw).unlink()
        return found

    def recorded(self) -> dict[str, Any]:
        """What the profile came to."""
        profile = asdict(resolved(self.options)) | {"reorder": self.options.reorder}
        return {f"pisa_{k}": v for k, v in profile.items()}

    def read(
        self, path: Path, manifest: Manifest | None, memory: int, temporary: Path | None
    ) -> ImpactSource:
        """See :class:`Engine`."""
        index = self.open(path, manifest)
        assert isinstance(index, _PisaIndex)
        return PisaSource(index, memory, temporary)

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Start no process yet; :meth:`Searcher.search` does."""
        assert manifest is not None
        self.check_installed()
        if self.programs is not None:
            return PisaProgramSearcher(path, manifest, self.programs)
        return PisaSearcher(path, manifest)


class PisaSource(PostingListSource):
    """The posting lists of a PISA index, by queries of one term each."""

    def __init__(self, index: _PisaIndex, memory: int, temporary: Path | None) -> None:
        super().__init__(index.path, index.vocabulary, index.manifest, memory, temporary)
        self._index = index

    def opened(self) -> AbstractContextManager[object]:
        """The process of PISA."""
        return self._index

    def lists(self) -> Iterator[PostingList]:
        """Those of all terms that a document has."""
        lengths = mapped(self.path / FREQUENCIES).tolist()
        for number, (term, length) in enumerate(
            zip(mapped(self.path / LISTS).tolist(), lengths, strict=True)
        ):
            yield PostingList(term, *self._index.posting_list(number, length))

    def document_ids(self) -> Iterator[tuple[str, str]]:
        """Those beside the index."""
        yield from self._index.doc_ids.placed(self.path)


def _remedy() -> str:
    """What brings PISA, or why no wheel can."""
    system, machine, python = platform.system(), platform.machine(), sys.implementation.name
    if (system, machine, python) == ("Linux", "x86_64", "cpython"):
        return f"{install('pisa')}, or build PISA and set PISA_BIN to the folder of its programs"
    return (
        f"PISA's wheel is for CPython on Linux x86-64 only, and this is {python} on {system} "
        f"{machine}: build PISA and set PISA_BIN to the folder of its programs"
    )


def _totals(
    folder: Path, profile: PisaProfile, lists: list[tuple[str, int]], documents: int, threads: int
) -> tuple[int, int]:
    """Postings and sum of impacts as the index itself has them: much of the time of a build."""
    postings = impact_sum = 0
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(folder, profile.encoding, profile.block_size, documents))
            for _ in range(min(threads, len(lists)))
        ]
        for i, worker in enumerate(workers):
            worker.send("totals", lists[i :: len(workers)])
        for worker in workers:
            n, total = worker.receive()
            postings, impact_sum = postings + n, impact_sum + total
    return postings, impact_sum


class _PisaIndex(Searcher):
    """What both ways of running PISA share: names, profile, exact ranking of ties."""

    path: Path

    algorithms = ALGORITHMS

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest, Vocabulary.load(path / VOCABULARY))
        pairs = tuple[tuple[int, str], ...] | None
        by_k = manifest.option("pisa_algorithms", pairs, path) or ((1000, ALGORITHMS[0]),)
        profile = checked(  # PISA would abort on what it does not know
            PisaProfile(
                manifest.option("pisa_encoding", str, path),
                manifest.option("pisa_block_size", int, path),
                by_k,
            ),
            str(path / MANIFEST),
        )
        self.encoding, self.block_size, self._by_k = (
            profile.encoding, profile.block_size, profile.algorithms,
        )  # fmt: skip
        self.doc_ids = DocIds(path)
        used = mapped(path / LISTS)
        if len(used) and not 0 <= int(used.min()) <= int(used.max()) < len(self.vocabulary):
            raise BadInputError("damaged (a list of no term): build it again", str(path / LISTS))
        self._list_of: Int32Array = np.full(len(self.vocabulary), -1, dtype=np.int32)
        self._list_of[used] = np.arange(len(used), dtype=np.int32)

    def default_algorithm(self, k: int) -> str:
        """What the profile that the index was built with says."""
        return algorithm_for(k, self._by_k)

    def document_frequencies(self) -> Int64Array | None:
        """As counted when the index was built; None for one of an older version."""
        if not (self.path / FREQUENCIES).is_file():
            return None
        frequencies = np.zeros(len(self.vocabulary), dtype=np.int64)
        there = self._list_of >= 0
        found = mapped(self.path / FREQUENCIES)
        if len(found) != np.count_nonzero(there):
            raise BadInputError(
                "damaged (not one for each list): build it again", str(self.path / FREQUENCIES)
            )
        frequencies[there] = found[self._list_of[there]]
        return frequencies

    @abc.abstractmethod
    def posting_list(self, number: int, length: int) -> tuple[Int32Array, Int32Array]:
        """Documents, ascending, and impacts of list ``number``, which has ``length`` postings."""

    def query_lists(self, queries: ImpactBatch, number: int) -> dict[int, int]:
        """List number -> weight of one query; terms without postings are left out."""
        terms, weights = queries.row(number)
        lists = self._list_of[terms]
        there = lists >= 0
        return dict(zip(lists[there].tolist(), weights[there].tolist(), strict=True))

    def hits(self, query_id: str, answer: Answer, k: int) -> Hits:
        """Ids, ranked and cut to k."""
        doc_ids, scores = self.doc_ids.rank(answer.documents, answer.scores, k)
        return Hits(query_id, doc_ids, scores, answer.nanoseconds)


class PisaSearcher(_PisaIndex):
    """The wheel's library, one worker process a thread."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest)
        self._lock = threading.RLock()  # a search that is collected here gives back, too
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._lists: dict[int, tuple[Int32Array, Int32Array]] = {}

    @contextlib.contextmanager
    def _borrowed(self, count: int) -> Iterator[list[Worker]]:
        """Workers that nobody else asks meanwhile: two searches may run at once, half-read."""
        with self._lock:
            while len(self._idle) < count:
                new = Worker(self.path, self.encoding, self.block_size, len(self.doc_ids), PATIENCE)
                self._workers.append(new)
                self._idle.append(new)
            taken = [self._idle.pop() for _ in range(count)]
        try:
            yield taken
        except BaseException:  # answers may be on their way that nobody waits for
            with self._lock:
                self._workers = [w for w in self._workers if w not in taken]
            for worker in taken:
                worker.close()
            raise
        with self._lock:
            self._idle += taken

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        with self._borrowed(max(1, min(threads, len(queries)))) as workers:
            yield from self._search_with(workers, queries, k, algorithm)

    def _search_with(
        self, workers: list[Worker], queries: ImpactBatch, k: int, algorithm: str
    ) -> Iterator[Hits]:
        waiting: deque[tuple[str, Worker | None]] = deque()
        empty = Answer(np.empty(0, np.int64), np.empty(0, np.int64), 0)

        def finish() -> Hits:
            query_id, worker = waiting.popleft()
            return self.hits(query_id, Answer(*worker.receive()) if worker else empty, k)

        for number, query_id in enumerate(queries.ids):
            lists = self.query_lists(queries, number)
            if not lists:
                waiting.append((query_id, None))
                continue
            worker = workers[number % len(workers)]
            terms = {number_name(i): float(weight) for i, weight in lists.items()}
            # One query waits in the pipe while its worker is busy, so that neither side idles. A
            # query that may not fit into the pipe would block us, and an answer the worker.
            ahead = 2 if len(terms) <= MOST_TERMS_AHEAD else 1
            while sum(busy is worker for _, busy in waiting) >= ahead:
                yield finish()
            worker.send("best", terms, k, algorithm)
            waiting.append((query_id, worker))
        while waiting:
            yield finish()

    def posting_list(self, number: int, length: int) -> tuple[Int32Array, Int32Array]:
        """See :class:`_PisaIndex`."""
        with self._borrowed(1) as (worker,):
            documents, impacts = worker.call("postings", number_name(number), length)
        return documents, impacts

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """From whole lists, which one-term queries give: what the engine would add."""
        number = self.doc_ids.find(doc_id)
        if number is None:
            return None
        found = []
        for term in term_ids:
            documents, impacts = self._kept_list(int(term))
            at = int(np.searchsorted(documents, number))
            there = at < len(documents) and documents[at] == number
            found.append(int(impacts[at]) if there else 0)
        return found

    def _kept_list(self, term: int) -> tuple[Int32Array, Int32Array]:
        """A term's posting list; the last ones are kept, since a query's documents share them."""
        if self._list_of[term] < 0:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        with self._lock:
            if (kept := self._lists.pop(term, None)) is not None:
                self._lists[term] = kept  # now the last to go
                return kept
        length = len(self.doc_ids)
        if self._frequencies is not None:
            length = int(self._frequencies[term])
        kept = self.posting_list(int(self._list_of[term]), length)
        if len(kept[0]) > length:  # not what was counted when it was built, but what is there
            kept = self.posting_list(int(self._list_of[term]), len(self.doc_ids))
        with self._lock:
            self._lists[term] = kept
            size = sum(2 * documents.nbytes for documents, _ in self._lists.values())
            while size > LISTS_KEPT and len(self._lists) > 1:
                size -= 2 * self._lists.pop(next(iter(self._lists)))[0].nbytes
        return kept

    @cached_property
    def _frequencies(self) -> Int64Array | None:
        return self.document_frequencies()

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            workers, self._workers, self._idle = self._workers, [], []
        for worker in workers:
            worker.close()


class PisaProgramSearcher(_PisaIndex):
    """The user's own ``evaluate_queries``, which reports no time for each query."""

    def __init__(self, path: Path, manifest: Manifest, programs: Path) -> None:
        super().__init__(path, manifest)
        self._programs = programs

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        lists = [self.query_lists(queries, number) for number in range(len(queries))]
        answers = pisa_programs.search(
            self._programs, self.path, lists, k,
            encoding=self.encoding, block_size=self.block_size, algorithm=algorithm,
            threads=threads, documents=len(self.doc_ids),
        )  # fmt: skip
        for query_id, answer in zip(queries.ids, answers, strict=True):
            yield self.hits(query_id, answer, k)

    def posting_list(self, number: int, length: int) -> tuple[Int32Array, Int32Array]:
        """See :class:`_PisaIndex`."""
        (answer,) = pisa_programs.search(
            self._programs, self.path, [{number: 1}], length,
            encoding=self.encoding, block_size=self.block_size, algorithm="ranked_or", threads=1,
            documents=len(self.doc_ids),
        )  # fmt: skip
        order = np.argsort(answer.documents)
        return answer.documents[order].astype(np.int32), answer.scores[order].astype(np.int32)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """As in :class:`PisaSearcher`."""
        number = self.doc_ids.find(doc_id)
        if number is None:
            return None
        lists = [{int(self._list_of[t]): 1} if self._list_of[t] >= 0 else {} for t in term_ids]
        answers = pisa_programs.search(
            self._programs, self.path, lists, len(self.doc_ids),
            encoding=self.encoding, block_size=self.block_size, algorithm="ranked_or", threads=1,
            documents=len(self.doc_ids),
        )  # fmt: skip
        return [int(a.scores[a.documents == number].sum()) for a in answers]


class Worker(EngineProcess):
    """One process with one open index.

    Args:
        patience: most seconds of a request; 0 for any, as opening takes that builds the index.

    Raises:
        ExternalProgramError: from any method, when the process died; with the end of its log.
    """

    def __init__(
        self, folder: Path, encoding: str, block_size: int, documents: int, patience: int = 0
    ) -> None:
        self._folder = folder
        self._patience = patience
        module = library()
        assert module is not None

        def line(requests: int, answers: int) -> list[str]:
            # -P: nothing that lies in the working directory, or beside the file, is imported.
            program = [sys.executable, "-P", pisa_worker.__file__]
            return [*program, str(requests), str(answers), str(module), str(patience)]

        with LentPaths() as paths:
            name = paths.name(folder)
            super().__init__(line, lend=paths.open)
        try:
            self.call("open", name, encoding, block_size, documents)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Send and receive."""
        self.send(method, *arguments)
        return self.receive()

    def send(self, method: str, *arguments: Any) -> None:
        """Ask for a method of :class:`pisa_worker.Index`."""
        try:
            pickle.dump((method, arguments), self.requests, protocol=pickle.HIGHEST_PROTOCOL)
            self.requests.flush()
        except (OSError, ValueError):  # it is dead, or closed
            raise self._failure() from None

    def receive(self) -> Any:
        """Wait for the answer to the oldest request."""
        try:
            return pickle.load(self.answers)  # noqa: S301 - of our own process
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            raise self._failure() from None

    def _failure(self) -> ExternalProgramError:
        death = self.death()
        if death.status == -signal.SIGALRM:
            return ExternalProgramError(
                f"{self._folder}: PISA did not answer in {self._patience} seconds and was stopped; "
                "is the index damaged? splade-bridge inspect tells"
            )
        said = " | ".join(death.log[-LAST_LINES:]) or "no message"
        return ExternalProgramError(f"{self._folder}: PISA {death.how}: {said}")
