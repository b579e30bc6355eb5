"""Seismic: a few blocks of a few lists, chosen by summaries; approximate, and fast for it.

Bruch, Nardini, Rulli and Venturini: Efficient Inverted Indexes for Approximate Retrieval over
Learned Sparse Representations, SIGIR 2024, arXiv 2404.18812. It holds weights as float16, so it
chooses documents, and the vectors that are kept beside it give them their scores: these are exact,
and what is approximate is which documents are found.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.engines import seismic_worker
from splade_bridge.engines.base import BuildOptions, Engine, ReadBack, Searcher
from splade_bridge.engines.findings import Finding, version_of
from splade_bridge.engines.forward import ForwardSearcher, KeptVectors
from splade_bridge.engines.library_process import PATIENCE, LibraryPool, LibraryProcess
from splade_bridge.engines.library_server import NOTHING, Answer
from splade_bridge.engines.seismic_options import SeismicOptions
from splade_bridge.errors import ExternalProgramError, MissingToolError, UsageError, install
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.forward import FORWARD_FOLDER, ForwardSource, ForwardStore, write_forward

log = logging.getLogger(__name__)

PACKAGE, DISTRIBUTION = "seismic", "pyseismic-lsr"
NAME = "lists"
FILE = f"{NAME}.index.seismic"
SEARCHED = ("query_cut", "heap_factor")
"""What a search may say otherwise; all else is of the build."""

HALF_EXACT, HALF_MOST = 2048, 65504
"""Up to the one float16 holds every whole number, beyond the other it is infinite."""

CUTS = (1, 2, 3, 5, 8, 12, 20)
FACTORS = (1.0, 0.9, 0.8, 0.7, 0.5)


class SeismicEngine(Engine):
    """Builds a forward store, and Seismic's index of it."""

    name = "seismic"
    algorithms = ("seismic",)
    approximate = True
    options: SeismicOptions = SeismicOptions()

    def check_installed(self) -> None:
        """Look for the wheel, which is not imported here."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise MissingToolError(f"Seismic is not installed: {install('seismic')}")

    def tools(self) -> dict[str, str]:
        """The wheel's version."""
        version = version_of(DISTRIBUTION)
        return {DISTRIBUTION: version} if version else {}

    def findings(self) -> list[Finding]:
        """The wheel."""
        version = version_of(DISTRIBUTION)
        found = version and f"{DISTRIBUTION} {version}"
        return [Finding("Seismic", "engine seismic", found, f"optional: {install('seismic')}")]

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        counts = write_forward(folder / FORWARD_FOLDER, source, options.memory)
        refuse_empty(source.counts, source.path)
        width, factor = len(source.vocabulary), _factor(counts.max_impact)
        if counts.max_impact > HALF_EXACT:
            log.warning(
                "%s: Seismic holds weights as float16, and the largest impact is %s: to choose "
                "documents impacts are %srounded to 11 significant bits; scores are exact",
                source.path, f"{counts.max_impact:,}",
                "" if factor == 1 else f"divided by {1 / factor:,.0f} and ",
            )  # fmt: skip
        own = {k: v for k, v in asdict(self.options).items() if k not in SEARCHED}
        build = "build", FORWARD_FOLDER, NAME, width, factor, own, options.threads
        with _process(folder, build, threads=options.threads):
            pass
        with _process(folder, ("open", FILE, width)) as opened:
            documents, postings, differing = opened.call("check", FORWARD_FOLDER, factor)
        if differing:
            raise ExternalProgramError(
                f"{differing:,} of {documents:,} documents are in Seismic with other terms or "
                "weights than they were given: the index was thrown away"
            )
        impact_sum = ForwardStore(folder / FORWARD_FOLDER).impact_sum()
        return ReadBack(documents + counts.empty, postings, impact_sum)

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Start no process yet; :meth:`Searcher.search` does."""
        assert manifest is not None
        self.check_installed()
        return SeismicSearcher(path, manifest)

    def read(
        self, path: Path, manifest: Manifest | None, memory: int, temporary: Path | None
    ) -> ImpactSource:
        """The vectors that are kept beside the index; they were compared with it when it was."""
        return ForwardSource(path / FORWARD_FOLDER, manifest)


class SeismicSearcher(Searcher):
    """Asks one process a thread, each with the whole index in its memory.

    Attributes:
        query_cut, heap_factor: see :class:`.SeismicOptions`.
    """

    path: Path

    approximate = True

    def __init__(self, path: Path, manifest: Manifest) -> None:
        store = ForwardStore(path / FORWARD_FOLDER)
        super().__init__(path, manifest, store.vocabulary)
        self._kept = KeptVectors(store)
        chosen = SeismicOptions(
            query_cut=manifest.option("seismic_query_cut", int, path),
            heap_factor=manifest.option("seismic_heap_factor", float, path),
        )
        self._ask(chosen)
        opening = "open", FILE, len(self.vocabulary)
        self._pool = LibraryPool(lambda: _process(path, opening, patience=PATIENCE))

    def _ask(self, chosen: SeismicOptions) -> None:
        self.query_cut, self.heap_factor = chosen.query_cut, chosen.heap_factor
        self.algorithms = (f"query_cut={self.query_cut} heap_factor={self.heap_factor:g}",)

    def algorithm_for(self, queries: ImpactBatch, k: int, algorithm: str | None) -> str:
        """The engine's name stands for what this searcher does, too."""
        named = None if algorithm in SeismicEngine.algorithms else algorithm
        return super().algorithm_for(queries, k, named)

    def approximated(self, own: Mapping[str, Any]) -> SeismicSearcher:
        """See :class:`Searcher`: with another ``query_cut`` or ``heap_factor``."""
        if not own:
            raise UsageError(
                f"{self.path}: Seismic answers approximately by itself; --approximate needs "
                "--seismic-query-cut or --seismic-heap-factor beside it: add one, or leave it out"
            )
        other = copy.copy(self)
        held = {name: getattr(self, name) for name in SEARCHED}
        other._ask(SeismicOptions(**{**held, **own}))
        return other

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`Searcher`."""
        return [{"query_cut": cut, "heap_factor": f} for cut in CUTS for f in FACTORS]

    def exact(self) -> Searcher:
        """See :class:`Searcher`: all of the vectors."""
        return ForwardSearcher(self._kept.store, self.path, self.manifest)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        def question(number: int) -> tuple[Any, ...] | None:
            terms, weights = queries.row(number)
            return (k, terms, weights, self.query_cut, self.heap_factor) if len(terms) else None

        asked = map(question, range(len(queries)))
        answers = self._pool.ask("best", asked, max(1, min(threads, len(queries))))
        with contextlib.closing(answers):
            for number, answer in enumerate(answers):
                rows, _, nanoseconds = Answer(*answer) if answer else NOTHING
                hits = self._kept.rescored(queries.ids[number], *queries.row(number), rows, k)
                yield hits._replace(nanoseconds=hits.nanoseconds + nanoseconds)

    def document_frequencies(self) -> Int64Array:
        """See :class:`Searcher`."""
        return self._kept.store.document_frequencies()

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        return self._kept.store.impacts(doc_id, term_ids)

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def _factor(largest: int) -> float:
    """The power of 2 that brings an impact below the end of float16."""
    return 1.0 if largest <= HALF_MOST else 2.0 ** -math.ceil(math.log2(largest / HALF_MOST))


def _process(
    folder: Path, opening: tuple[Any, ...], *, threads: int = 1, patience: int = 0
) -> LibraryProcess:
    """One process of the library.

    Raises:
        ExternalProgramError: it died.
    """
    return LibraryProcess(
        "Seismic", seismic_worker.__file__, folder, opening, patience=patience,
        environment={**os.environ, "RAYON_NUM_THREADS": str(threads)},
    )  # fmt: skip
