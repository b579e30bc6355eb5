"""What every engine is: it builds an index from impacts, and answers weighted queries exactly.

Results are integers ordered by score descending, then document id ascending (by code point, which
is Anserini's order), the same in every engine. After a build the engine's own counts must equal
the input's; an index that does not pass is never given its name.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from splade_bridge.data.choices import check_threads
from splade_bridge.data.closing import Closing
from splade_bridge.data.hits import Hits
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest, base_tools
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.findings import Finding
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files.address import Place
from splade_bridge.files.writing import staged_folder
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.queries import Queries

log = logging.getLogger(__name__)

VOCABULARY = "vocabulary.json"


AUTO = "auto"
"""The name that stands for whichever algorithm is the fastest."""


@dataclass(frozen=True)
class BuildOptions:
    """What every engine is told; what only one knows is its own ``options``.

    Attributes:
        threads: for engines that can use several.
        memory: budget in bytes of sorting (and of the JVM's buffers).
    """

    threads: int = 1
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_threads(self.threads)


class ReadBack(NamedTuple):
    """What an engine itself says that its new index holds."""

    documents: int
    postings: int
    impact_sum: int


class Searcher(Closing, abc.ABC):
    """An open index. A context manager; closing ends its processes.

    Attributes:
        path: the index folder, or the address of an index.
        manifest: provenance; None for an index that another tool made.
        vocabulary: the terms that queries may use; others match nothing.
        algorithms: names that :meth:`search` takes.
        approximate: documents among the best may be missing in what it answers.
        exact_scores: what it answers has its exact scores, also where it is approximate.
        uses_threads: whether several threads answer sooner than one.
        knows_terms: whether :attr:`vocabulary` says which terms have a posting; where it does not,
            the engine takes any.
        measure: finds the fastest of them for queries like these and a k; what opens an index
            hands it in.
    """

    algorithms: tuple[str, ...]
    approximate: bool = False
    exact_scores: bool = True
    uses_threads: bool = True
    knows_terms: bool = True
    measure: Callable[[Searcher, ImpactBatch, int], str] | None

    def __init__(self, path: Place, manifest: Manifest | None, vocabulary: Vocabulary) -> None:
        self.path = path
        self.manifest = manifest
        self.vocabulary = vocabulary
        self.measure = None

    def meet(self, vocabulary: Vocabulary) -> None:
        """Hear of the terms of queries, where the engine takes any and has no list of its own."""

    def aligned(self, queries: Queries) -> ImpactBatch:
        """``queries`` in the ids of :attr:`vocabulary`; see :meth:`.queries.Queries.aligned`.

        Raises:
            MismatchError: not one term of any query is known to the index.
        """
        return queries.aligned(self.vocabulary, self.path)

    def search(
        self, queries: ImpactBatch, k: int, *, threads: int = 1, algorithm: str | None = None
    ) -> Iterator[Hits]:
        """The best ``k`` documents with a score above 0, for every query in its order.

        Args:
            queries: in the ids of :attr:`vocabulary`; a query without terms has no hits.
            algorithm: one of :attr:`algorithms`; None for :meth:`default_algorithm`, ``auto`` for
                the fastest.

        Raises:
            UsageError: ``algorithm`` is unknown here, ``k`` below 1, or too many threads.
            ExternalProgramError: the engine died.
        """
        if k < 1:
            raise UsageError(f"k must be 1 or more, not {k}")
        check_threads(threads)
        return self._search(queries, k, threads, self.algorithm_for(queries, k, algorithm))

    def default_algorithm(self, k: int) -> str:
        """What is used for ``k`` where no algorithm is named."""
        return self.algorithms[0]

    def algorithm_for(self, queries: ImpactBatch, k: int, algorithm: str | None) -> str:
        """The algorithm that :meth:`search` uses for these arguments.

        ``auto`` is measured once for an index and a k; see :mod:`splade_bridge.engines.auto`.

        Raises:
            UsageError: ``algorithm`` is unknown here.
        """
        if algorithm == AUTO and self.measure is not None:
            return self.measure(self, queries, k)
        chosen = algorithm or self.default_algorithm(k)
        if chosen not in self.algorithms:
            raise UsageError(
                f"{self.path}: algorithm {chosen!r} is unknown to this engine; it has "
                f"{', '.join(self.algorithms)}, and {AUTO}"
            )
        return chosen

    @abc.abstractmethod
    def _search(
        self, queries: ImpactBatch, k: int, threads: int, algorithm: str
    ) -> Iterator[Hits]: ...

    @abc.abstractmethod
    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> Sequence[float] | None:
        """The impacts of ``term_ids`` in a document as the index has them, 0 for none.

        They are whole numbers, but for float weights that others have put into an engine.

        None if the index has no such document.
        """

    @cached_property
    def stores_texts(self) -> bool:
        """Whether :meth:`stored` may have texts of documents."""
        return False

    def stored(self, doc_id: str) -> Mapping[str, str] | None:
        """What the index stores of a document by field, as far as that is text.

        None if it stores nothing, or has no such document.
        """
        return None

    def exact(self) -> Searcher:
        """What answers exactly where this answers approximately; this, where it is exact.

        It needs no closing of its own, and lives as long as this.
        """
        return self

    def approximated(self, own: Mapping[str, Any]) -> Searcher:
        """The same index, answering with other options of approximation; closed with this.

        Args:
            own: options by their names, without the engine's.

        Raises:
            UsageError: a value that the engine does not take, or it has no such options.
        """
        raise UsageError(
            f"{self.path}: answers exactly, and can do no other: leave --approximate and its "
            "options out"
        )

    def approximations(self) -> list[dict[str, Any]]:
        """What :meth:`approximated` may be given, from quick to thorough; to look for a trade."""
        return []

    def use_memory(self, memory: int) -> bool:
        """Give the process that answers so many bytes; False where no such limit is taken.

        Engines that map their files (PISA, exact) take what the system has for them.
        """
        return False

    @property
    def manifests(self) -> list[Manifest]:
        """Those of all that is searched, as far as there are any."""
        return [] if self.manifest is None else [self.manifest]

    @cached_property
    def plain_text(self) -> str | None:
        """Why the index seems to hold words and how often they come, and not impacts; else None."""
        return None

    def document_frequencies(self) -> Int64Array | None:
        """int64[len(vocabulary)]: the documents that hold each term, None where not told."""
        return None

    @cached_property
    def _frequencies(self) -> Int64Array | None:
        return self.document_frequencies()  # an engine may have to look up every term

    def matching_terms(self, queries: ImpactBatch) -> float | None:
        """QD-FLOPS: how many terms a query and a document are expected to share.

        sum_j p_q(j) p_d(j), where p(j) is the share of queries or documents that hold term j
        (the FLOPS of Paria et al., arXiv 2004.05665, between two sides, as in arXiv 2207.03834).
        None where the engine cannot tell its document frequencies, or there are no queries.
        """
        frequencies = self._frequencies
        if frequencies is None or self.manifest is None or not len(queries):
            return None
        matches = int(frequencies[queries.indices].sum())
        return matches / len(queries) / self.manifest.counts.documents


def limit_memory(searchers: Sequence[Searcher], memory: int | None) -> None:
    """Give every index that takes a limit ``memory`` bytes; None leaves them as they are.

    Raises:
        UsageError: none of them takes one, or it is less than a JVM can do with.
    """
    if memory is None:
        return
    taken = [searcher.use_memory(memory) for searcher in searchers]  # all of them, not the first
    if not any(taken):
        raise memory_for_none(", ".join(str(s.path) for s in searchers))


def memory_for_none(names: str) -> UsageError:
    """Memory is given to what takes no limit of it."""
    return UsageError(
        f"--memory is for the JVM that a Lucene index is open in; {names}: not one, and other "
        "engines map their files: leave it out"
    )


def refuse_beyond_float32(source: ImpactSource, beyond: int, engine: str) -> None:
    """Refuse impacts that an engine which scores in float32 would round.

    Args:
        source: as it was read.
        beyond: how many of its impacts are over 2^24.

    Raises:
        BadInputError: there are such.
    """
    if beyond:
        raise BadInputError(
            f"{beyond:,} of {source.counts.postings:,} impacts are over 2^24, the largest is "
            f"{source.counts.max_impact:,}; {engine} scores in float32, which holds whole numbers "
            "exactly up to 2^24: take a smaller --scale, or engine exact",
            str(source.path),
        )


class Engine(abc.ABC):
    """Builds and opens the indexes of one engine.

    Attributes:
        name: as in the registry.
        algorithms: of its searchers, the default first.
        approximate: its searchers are.
        options: what only this engine knows, an instance of its entry's options in the registry.
    """

    name: ClassVar[str]
    algorithms: ClassVar[tuple[str, ...]]
    approximate: ClassVar[bool] = False
    options: Any = None

    def build(
        self,
        source: ImpactSource,
        out: Path,
        options: BuildOptions = BuildOptions(),
        *,
        overwrite: bool = False,
    ) -> Manifest:
        """Index all of ``source`` in a new folder ``out``.

        Raises:
            BadInputError: the source is broken, or holds no documents or no postings.
            ExternalProgramError: the engine failed, or its counts differ from the input's.
            MissingToolError: the engine is not installed.
            UsageError: ``out`` exists.
        """
        self.check_installed()
        with staged_folder(out, overwrite=overwrite, inputs=source.files) as folder:
            read_back = self._write(source, folder, options)
            self._check(source, read_back)
            source.vocabulary.save(folder / VOCABULARY)
            return source.described(
                "index",
                engine=self.name,
                options=self.recorded(),
                tools=base_tools() | self.tools(),
            ).save(folder)

    def _check(self, source: ImpactSource, found: ReadBack) -> None:
        counts = source.counts
        expected = ReadBack(counts.documents, counts.postings, counts.impact_sum)
        if found != expected:
            raise ExternalProgramError(
                f"{self.name} holds {found.documents:,} documents, {found.postings:,} postings and "
                f"impacts of {found.impact_sum:,} in sum, but was given {expected.documents:,}, "
                f"{expected.postings:,} and {expected.impact_sum:,}: the index was thrown away"
            )
        if counts.empty:
            log.warning(
                "%s: %d of %d documents have no terms and will never be found: %s%s",
                source.path, counts.empty, counts.documents, ", ".join(counts.empty_ids),
                " ..." if counts.empty > len(counts.empty_ids) else "",
            )  # fmt: skip

    def recorded(self) -> dict[str, Any]:
        """Own options for the manifest, ``field`` as ``engine_field``; what an index depends on."""
        return {f"{self.name.replace('-', '_')}_{k}": v for k, v in asdict(self.options).items()}

    def takes_memory(self, memory: int) -> bool:
        """Whether its searchers can be given so many bytes: :meth:`Searcher.use_memory`.

        Raises:
            UsageError: so few are not enough.
        """
        return False

    @abc.abstractmethod
    def check_installed(self) -> None:
        """Raise MissingToolError, with the command that mends it, if the engine cannot run."""

    @abc.abstractmethod
    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack: ...

    @abc.abstractmethod
    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Open the index in folder ``path``."""

    @abc.abstractmethod
    def read(
        self, path: Path, manifest: Manifest | None, memory: int, temporary: Path | None
    ) -> ImpactSource:
        """The documents of the index in folder ``path``, in the order of the index.

        Args:
            memory: budget in bytes of turning posting lists into documents.
            temporary: folder for what does not fit into it.
        """

    def tools(self) -> dict[str, str]:
        """Names and versions of what the engine runs on, for the manifest."""
        return {}

    def findings(self) -> list[Finding]:
        """What the engine needs and what of it is here, for ``doctor``; fetches nothing."""
        return []

    def fetch(self) -> list[str]:
        """Bring now what would be fetched when it is needed; a line for each thing that is there.

        Raises:
            MissingToolError: it cannot be fetched.
        """
        return []
