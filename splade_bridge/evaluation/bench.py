"""Latency as the efficiency literature reports it, measured the same way for everything compared.

One thread, one query at a time, warm, ``k`` stated; encoding and retrieval apart; mean and
percentiles over the queries. Everything is repeated, and the repeats go round over all that is
compared, so that a busy minute of the machine falls on all alike and shows as a spread; what was
disturbed is repeated again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splade_bridge.data.choices import check_threads
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.vectors import ImpactBatch, Int64Array
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.auto import FILE_NAME
from splade_bridge.engines.base import AUTO, Searcher
from splade_bridge.errors import UsageError, require
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.encode_queries import QueryEncoder, query_texts
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.two_step import KeptShare, TwoStepOptions, TwoStepSearcher, sample_of

ALL = "all"
TOO_NOISY = 0.10
"""Medians of repeats that differ by more do not tell which of two things is faster; such a case is
repeated again, twice at most, and the repeats that are nearest to each other count."""
MOST_TIMES = 3

WARM_SECONDS = 2.0
WARM_QUERIES = 8_000
"""What an engine answers untimed at first, whichever is less: a JVM compiles what it runs anew for
some thousand queries (Lucene on NFCorpus: 0.157 ms a query after 500, 0.100 after 8,000)."""
WARM_SECONDS_AGAIN = 0.2
"""Likewise, of an index that has answered by the same algorithm with other options: a frontier has
hundreds of them."""
PASS_SECONDS = 0.5
MOST_ROUNDS = 5
"""A timed pass goes over the queries so often, whichever is less, after as many untimed queries:
a few hundred queries of 0.05 ms are over before anything else on the machine is, and the caches
still hold what was measured before."""
LOAD_SECONDS = 1.0
LEAST_LOAD = 50
"""Queries a thread of a measurement of throughput, and how long they should last."""
WARM_TEXTS = 20


@dataclass(frozen=True)
class BenchOptions:
    """One to one with the flags of ``splade-bridge bench``.

    Attributes:
        k: documents a query; each is measured.
        algorithms: names, ``auto`` (see :mod:`splade_bridge.engines.auto`) or ``all``; the
            engine's default for an index whose engine has none of them.
        repeat: timed passes that count, after those that are not timed.
        threads: of the runs that measure throughput, which there are none of if it is None;
            latencies are those of one thread.
    """

    k: tuple[int, ...] = (10, 1000)
    algorithms: tuple[str, ...] = ()
    repeat: int = 3
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise UsageError("-k must be 1 or more")
        if self.repeat < 1:
            raise UsageError("--repeat must be 1 or more")
        check_threads(self.threads)


@dataclass(frozen=True)
class Latency:
    """Milliseconds a query."""

    mean: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, nanoseconds: Int64Array) -> Latency:
        """Mean and percentiles over the queries: int64[queries]."""
        p50, p95, p99 = (np.percentile(nanoseconds, [50, 95, 99]) / 1e6).tolist()
        return cls(float(nanoseconds.mean()) / 1e6, p50, p95, p99)


@dataclass(frozen=True)
class Case:
    """One thing to be measured.

    Attributes:
        queries: in the ids of the searcher's vocabulary.
        algorithm: None for the default.
    """

    searcher: Searcher
    queries: ImpactBatch
    k: int
    algorithm: str | None = None


@dataclass(frozen=True)
class Timing:
    """What was measured of a case.

    Attributes:
        latency: over the queries, of which each counts with the median of its repeats.
        medians: p50 of each repeat that counts, in milliseconds.
        spread: the largest of them over the smallest, minus 1.
        queries_per_second: with ``threads`` threads, starting the engine left out; median of the
            repeats. None if it was not measured.
        scored: postings that one pass scored, where the engine tells.
    """

    latency: Latency
    medians: tuple[float, ...]
    spread: float
    queries_per_second: float | None
    threads: int | None
    scored: int | None

    @property
    def noisy(self) -> bool:
        """Whether the machine was too noisy to tell."""
        return self.spread > TOO_NOISY


@dataclass(frozen=True)
class BenchRow:
    """One line of the result.

    Attributes:
        index: its path; of a two-step search that of the pruned index.
        forward: the forward store of a two-step search.
        bytes: size on disk of all that is searched.
        qd_flops: expected number of terms that a query shares with a document, where the engine
            tells; see :meth:`Searcher.matching_terms`.
        scored_share: postings scored, of all in the lists of the queries' terms, where told.
        kept: mean share of the exact top k that was found, where that was asked for or the index is
            approximate and can tell it.
    """

    index: str
    forward: str | None
    engine: str
    algorithm: str
    k: int
    queries: int
    timing: Timing
    bytes: int
    qd_flops: float | None
    scored_share: float | None
    kept: float | None = None


def bench(
    searchers: Sequence[Searcher],
    queries: Queries,
    options: BenchOptions | None = None,
    *,
    exact: Searcher | None = None,
) -> list[BenchRow]:
    """Measure all ``searchers`` with all algorithms and ks that ``options`` name.

    Args:
        exact: an index whose results are the exact ones, to tell how much of them was found.

    Raises:
        MismatchError: queries and an index have nothing in common.
        UsageError: no engine knows an algorithm, or uses threads that are asked for, or there are
            no queries.
        ExternalProgramError: an engine died.
    """
    options = options or BenchOptions()
    if (options.threads or 1) > 1 and not any(searcher.uses_threads for searcher in searchers):
        raise UsageError(
            f"--threads {options.threads} has no effect: {searchers[0].path} is searched in one "
            "thread; leave it out"
        )
    known = {AUTO, ALL}.union(*(s.algorithms for s in searchers))
    if unknown := [name for name in options.algorithms if name not in known]:
        raise UsageError(f"no algorithm {unknown[0]!r}; there are {', '.join(sorted(known))}")
    cases = []
    for searcher in searchers:
        check_queries(searcher, queries)
        batch = searcher.aligned(queries)
        for k in dict.fromkeys(options.k):
            for name in algorithms_of(searcher, batch, k, options.algorithms):
                cases.append(Case(searcher, batch, k, name))
    timings = measure(cases, repeat=options.repeat, threads=options.threads)
    kept = own_shares(cases) if exact is None else kept_shares(cases, exact, queries)
    return [row_of(*told) for told in zip(cases, timings, kept, strict=True)]


def first_steps(
    searchers: Sequence[Searcher],
    ks: Sequence[int],
    two_step: Path | None,
    first_query_terms: int | None,
    candidates: int | None,
) -> Sequence[Searcher]:
    """The same indexes, each as the first of two steps; as they are where ``two_step`` is None.

    Args:
        ks: that are measured; candidates are at least the largest.
        two_step: the forward store with the full vectors.
        first_query_terms, candidates: see :class:`.TwoStepOptions`.

    Raises:
        BadInputError: not a forward store.
        MismatchError: it does not belong to an index.
        UsageError: fewer candidates than the largest k.
    """
    if two_step is None:
        return searchers
    options = TwoStepOptions.of(max(ks), candidates, first_query_terms)
    forward = ForwardStore(two_step)
    return [TwoStepSearcher(searcher, forward, options) for searcher in searchers]


def kept_shares(cases: Sequence[Case], exact: Searcher, queries: Queries) -> Sequence[float | None]:
    """The mean share of the exact top k that each case finds; None where nothing is found exactly.

    Raises:
        MismatchError: queries and ``exact`` have nothing in common.
        ExternalProgramError: an engine died.
    """
    check_queries(exact, queries)
    asked = exact.aligned(queries)
    wanted = [h.doc_ids for h in exact.search(asked, max((case.k for case in cases), default=1))]
    return [_share(case, case.queries, wanted) for case in cases]


def own_shares(cases: Sequence[Case]) -> Sequence[float | None]:
    """The same of some queries, told by an approximate index itself; None of an exact one.

    Raises:
        ExternalProgramError: an engine died.
    """
    known: dict[tuple[int, int], list[list[str]]] = {}
    shares: list[float | None] = []
    for case in cases:
        exact = case.searcher.exact()
        if not case.searcher.approximate or exact.approximate:
            shares.append(None)
            continue
        some = case.queries.take(sample_of(len(case.queries)))
        name = id(case.searcher), case.k
        if name not in known:
            known[name] = [hits.doc_ids for hits in exact.search(some, case.k)]
        shares.append(_share(case, some, known[name]))
    return shares


def _share(case: Case, queries: ImpactBatch, wanted: Sequence[list[str]]) -> float | None:
    """The mean share of the wanted documents that a case finds."""
    share = KeptShare({case.k})
    found = case.searcher.search(queries, case.k, algorithm=case.algorithm)
    for hits, documents in zip(found, wanted, strict=True):
        share.add(hits.doc_ids, documents)
    return share.result().share.get(case.k)


def measure(cases: Sequence[Case], *, repeat: int = 3, threads: int | None = None) -> list[Timing]:
    """Time every case ``repeat`` times or more, in turns, after untimed passes over each.

    Args:
        threads: for throughput; None leaves it out.

    Raises:
        UsageError: a case has no queries, or its engine does not know the algorithm.
        ExternalProgramError: an engine died.
    """
    if not all(len(case.queries) for case in cases):
        raise UsageError("bench: no queries")
    means = [_pass(case, 0).mean for case in cases]
    starts = _starts(cases, means)
    means = [_pass(case, start).mean for case, start in zip(cases, starts, strict=True)]
    fit = [max(1, int(PASS_SECONDS * 1e9 / mean)) for mean in means]
    sizes = [len(case.queries) for case in cases]
    rounds = [max(1, min(MOST_ROUNDS, f // n)) for f, n in zip(fit, sizes, strict=True)]
    warm = [min(f, r * n) for f, r, n in zip(fit, rounds, sizes, strict=True)]
    passes: list[list[_Pass]] = [[] for _ in cases]
    rates: list[list[float]] = [[] for _ in cases]
    for number in range(MOST_TIMES * repeat):
        for i, case in enumerate(cases):
            if number >= repeat and _spread(_nearest(passes[i], repeat)) <= TOO_NOISY:
                continue
            passes[i].append(_pass(case, warm[i], rounds[i]))
            if threads is not None:
                load = max(LEAST_LOAD, int(LOAD_SECONDS * 1e9 / means[i])) * threads
                rates[i].append(_queries_per_second(case, warm[i] * threads, load, threads))
    nearest = [_nearest(measured, repeat) for measured in passes]
    return [_timing(*measured, threads) for measured in zip(nearest, rates, strict=True)]


def _starts(cases: Sequence[Case], means: Sequence[float]) -> list[int]:
    """How many queries each case is asked untimed; ``means`` are nanoseconds of a query."""
    found, known = [], set()
    for case, mean in zip(cases, means, strict=True):
        code = case.searcher.path, case.algorithm
        seconds = WARM_SECONDS_AGAIN if code in known else WARM_SECONDS
        known.add(code)
        found.append(min(WARM_QUERIES, int(seconds * 1e9 / mean)))
    return found


@dataclass(frozen=True)
class _Pass:
    nanoseconds: Int64Array
    scored: int | None

    @property
    def mean(self) -> float:
        return max(1.0, float(self.nanoseconds.mean()))

    @property
    def median(self) -> float:
        return max(1.0, float(np.median(self.nanoseconds)))


def _spread(passes: Sequence[_Pass]) -> float:
    medians = [p.median for p in passes]
    return max(medians) / min(medians) - 1


def _nearest(passes: Sequence[_Pass], size: int) -> Sequence[_Pass]:
    """The ``size`` passes, as they were made, whose medians are nearest to each other."""
    order = sorted(range(len(passes)), key=lambda i: passes[i].median)
    starts = range(len(passes) - size + 1)
    windows = [sorted(order[start : start + size]) for start in starts]
    return min(([passes[i] for i in w] for w in windows), key=_spread)


def _pass(case: Case, warm: int, rounds: int = 1) -> _Pass:
    """``rounds`` times all queries in one call, after ``warm`` that are not timed.

    A query's time is the median of its rounds.
    """
    size = len(case.queries)
    batch = _cycled(case.queries, rounds * size, warm)
    hits = case.searcher.search(batch, case.k, algorithm=case.algorithm)
    found = [(h.nanoseconds, h.scored) for h in itertools.islice(hits, warm, None)]
    nanoseconds, scored = zip(*found, strict=True)
    told = [n for n in scored[:size] if n is not None]
    return _Pass(
        np.median(np.reshape(nanoseconds, (rounds, size)), axis=0).astype(np.int64),
        sum(told) if len(told) == size else None,
    )


def _queries_per_second(case: Case, warm: int, load: int, threads: int) -> float:
    """What ``load`` queries take longer than the start of the engine and ``warm`` queries do.

    Some engines start anew for each call (the user's PISA programs), or for each further thread.
    Results may come in bursts, so the arrival of a single one tells nothing.
    """
    seconds = []
    for size in (warm, warm + load):
        batch = _cycled(case.queries, size)
        started = time.perf_counter()
        for _ in case.searcher.search(batch, case.k, threads=threads, algorithm=case.algorithm):
            pass
        seconds.append(time.perf_counter() - started)
    return load / max(seconds[1] - seconds[0], 1e-9)


def _cycled(batch: ImpactBatch, size: int, before: int = 0) -> ImpactBatch:
    """``size`` queries, all of ``batch`` again and again, and ``before`` that lead up to them."""
    return batch.take(np.arange(-before, size) % len(batch))


def _timing(passes: Sequence[_Pass], rates: list[float], threads: int | None) -> Timing:
    return Timing(
        Latency.of(np.median([p.nanoseconds for p in passes], axis=0)),
        tuple(p.median / 1e6 for p in passes),
        _spread(passes),
        float(np.median(rates)) if rates else None,
        threads,
        passes[0].scored,
    )


def algorithms_of(
    searcher: Searcher, queries: ImpactBatch, k: int, wanted: Sequence[str]
) -> list[str]:
    """The algorithms to time, each once: those wanted that it has, or the default for ``k``."""

    def named() -> Iterator[str]:
        for name in wanted:
            if name == ALL:
                yield from searcher.algorithms
            elif name == AUTO or name in searcher.algorithms:
                yield searcher.algorithm_for(queries, k, name)

    return list(dict.fromkeys(named())) or [searcher.algorithm_for(queries, k, None)]


def row_of(case: Case, timing: Timing, kept: float | None) -> BenchRow:
    """The line of a case that was measured."""
    searcher = case.searcher
    forward = searcher.forward.path if isinstance(searcher, TwoStepSearcher) else None
    index = searcher.first if isinstance(searcher, TwoStepSearcher) else searcher
    frequencies = searcher.document_frequencies()
    share = None
    if timing.scored is not None and frequencies is not None:
        share = timing.scored / max(1, int(frequencies[case.queries.indices].sum()))
    return BenchRow(
        index=str(searcher.path),
        forward=str(forward) if forward else None,
        engine=(index.manifest.engine if index.manifest else None) or "lucene",
        algorithm=searcher.algorithm_for(case.queries, case.k, case.algorithm),
        k=case.k,
        queries=len(case.queries),
        timing=timing,
        bytes=sum(size_on_disk(f) for f in (searcher.path, forward) if isinstance(f, Path)),
        qd_flops=searcher.matching_terms(case.queries),
        scored_share=share,
        kept=kept,
    )


def size_on_disk(folder: Path) -> int:
    """Bytes of all files of an artefact."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != FILE_NAME)


def time_encoding(
    source: str,
    model: str,
    quantize: QuantizeOptions | None = None,
    max_length: int = 256,
    split: str | None = None,
    checkpoint: ModelChoices = ModelChoices(),
) -> tuple[Queries, Latency]:
    """The queries of ``source``, and the time that encoding takes, one query a time, one thread.

    The time is that of tokenizer and model, with the weights in main memory at the end.

    Raises:
        BadInputError: the queries or the model cannot be read.
        MissingToolError: the extra ``encode`` is not installed.
    """
    require("encode", "encoding queries")
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    texts = query_texts(source, split)
    queries = QueryEncoder(model, quantize, max_length, checkpoint)(texts, Path(source))
    options = EncodeOptions(max_length=max_length, threads=1, checkpoint=checkpoint)
    encoder = load_encoder(model, "query", options)
    for text in texts[:WARM_TEXTS]:
        list(encoder.encode([text]))
    nanoseconds = []
    for text in texts:
        started = time.perf_counter_ns()
        list(encoder.encode([text]))
        nanoseconds.append(time.perf_counter_ns() - started)
    return queries, Latency.of(np.array(nanoseconds))
