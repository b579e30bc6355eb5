"""PISA from its PyPI wheel, in a worker process; or through the user's own PISA programs."""

from __future__ import annotations

import abc
import contextlib
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.posting_lists import ListBlock
from splade_bridge.data.quantize import EXACT_SCORES_BELOW
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import pisa_programs, pisa_worker
from splade_bridge.engines.base import (
    VOCABULARY,
    BuildOptions,
    ReadBack,
    refuse_beyond_float32,
)
from splade_bridge.engines.findings import Finding, attempt, version_of
from splade_bridge.engines.kept_lists import KeptLists
from splade_bridge.engines.library_process import PATIENCE, LibraryPool, LibraryProcess
from splade_bridge.engines.library_server import NOTHING, Answer
from splade_bridge.engines.list_source import ListEngine, ListSearcher
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.engines.pisa_profile import (
    ALGORITHMS,
    PisaProfile,
    algorithm_for,
    checked,
    resolved,
)
from splade_bridge.engines.pisa_worker import library
from splade_bridge.errors import (
    BadInputError,
    MissingToolError,
    UsageError,
    install,
)
from splade_bridge.files.outputs import MANIFEST
from splade_bridge.files.writing import mapped
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.inverted import inverted
from splade_bridge.formats.pisa import RAW_FILES, number_name, write_canonical
from splade_bridge.formats.postings import PostingList

log = logging.getLogger(__name__)

LISTS = "lists.npy"
FREQUENCIES = "frequencies.npy"


class PisaEngine(ListEngine):
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
        beyond = 0

        def within(blocks: Iterator[ListBlock]) -> Iterator[ListBlock]:
            nonlocal beyond
            for block in blocks:
                beyond += int((block.impacts > EXACT_SCORES_BELOW).sum())
                yield block
            refuse_empty(source.counts, source.path)
            refuse_beyond_float32(source, beyond, "PISA")

        with inverted(source, options.memory, folder.parent) as lists:
            for names in lists.ids:
                ids.add(names)
            ids.close()
            written = write_canonical(folder, lists._replace(blocks=within(lists.blocks)))
        np.save(folder / LISTS, written.terms)
        np.save(folder / FREQUENCIES, written.lengths)
        profile, programs = resolved(self.options), self.programs
        if programs is not None:
            if self.options.reorder:
                pisa_programs.reorder(programs, folder)
            pisa_programs.build(programs, folder, profile.encoding, profile.block_size)
        if library() is None:
            found = pisa_programs.read_back(folder)
        else:
            named = [(number_name(i), n) for i, n in enumerate(written.lengths.tolist())]
            postings, impact_sum = _totals(
                folder, profile, named, len(DocIds(folder)), options.threads
            )
            found = ReadBack(len(DocIds(folder)), postings, impact_sum)
        for raw in RAW_FILES:
            (folder / raw).unlink()
        return found

    def recorded(self) -> dict[str, Any]:
        """What the profile came to."""
        profile = asdict(resolved(self.options)) | {"reorder": self.options.reorder}
        return {f"pisa_{k}": v for k, v in profile.items()}

    def open(self, path: Path, manifest: Manifest | None) -> ListSearcher:
        """Start no process yet; :meth:`Searcher.search` does."""
        assert manifest is not None
        self.check_installed()
        if self.programs is not None:
            return PisaProgramSearcher(path, manifest, self.programs)
        return PisaSearcher(path, manifest)


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
            stack.enter_context(_process(folder, profile.encoding, profile.block_size, documents))
            for _ in range(min(threads, len(lists)))
        ]
        for i, worker in enumerate(workers):
            worker.send("totals", lists[i :: len(workers)])
        for worker in workers:
            n, total = worker.receive()
            postings, impact_sum = postings + n, impact_sum + total
    return postings, impact_sum


class _PisaIndex(ListSearcher):
    """What both ways of running PISA share: names, profile, exact ranking of ties."""

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

    def lists(self) -> Iterator[PostingList]:
        """See :class:`ListSearcher`; by queries of one term each."""
        lengths = mapped(self.path / FREQUENCIES).tolist()
        for number, (term, length) in enumerate(
            zip(mapped(self.path / LISTS).tolist(), lengths, strict=True)
        ):
            yield PostingList(term, *self.posting_list(number, length))

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
    """The wheel's library, one process a thread."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest)
        opening = self.encoding, self.block_size, len(self.doc_ids)
        self._pool = LibraryPool(lambda: _process(path, *opening, PATIENCE))
        self._lists = KeptLists(self._whole_list)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def question(number: int) -> tuple[int, dict[str, float], str] | None:
            lists = self.query_lists(queries, number)
            terms = {number_name(i): float(weight) for i, weight in lists.items()}
            return (k, terms, algorithm) if terms else None

        asked = map(question, range(len(queries)))
        answers = self._pool.ask("best", asked, max(1, min(threads, len(queries))))
        with contextlib.closing(answers):
            for query_id, answer in zip(queries.ids, answers, strict=True):
                yield self.hits(query_id, Answer(*answer) if answer else NOTHING, k)

    def posting_list(self, number: int, length: int) -> tuple[Int32Array, Int32Array]:
        """See :class:`_PisaIndex`."""
        documents, impacts = self._pool.call("postings", number_name(number), length)
        return documents, impacts

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """From whole lists, which one-term queries give: what the engine would add."""
        terms = ((int(term), bool(self._list_of[term] >= 0)) for term in term_ids)
        return self._lists.impacts(self.doc_ids, doc_id, terms)

    def _whole_list(self, term: int) -> tuple[Int32Array, Int32Array]:
        """The list of a term that has one."""
        number, length = int(self._list_of[term]), len(self.doc_ids)
        if self._frequencies is not None:
            length = int(self._frequencies[term])
        found = self.posting_list(number, length)
        if len(found[0]) > length:  # not what was counted when it was built, but what is there
            found = self.posting_list(number, len(self.doc_ids))
        return found

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


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


def _process(
    folder: Path, encoding: str, block_size: int, documents: int, patience: int = 0
) -> LibraryProcess:
    """One process with the index open, which is built where it is not yet.

    Args:
        patience: most seconds of a request; 0 for any, as opening takes that builds.

    Raises:
        ExternalProgramError: the process died.
    """
    module = library()
    assert module is not None
    return LibraryProcess(
        "PISA", pisa_worker.__file__, folder, ("open", encoding, block_size, documents),
        made_of=[str(module)], patience=patience,
    )  # fmt: skip
