"""What a comparison found: the content of ``results.json``, and all that the report is drawn from.

Means and counts are the same on every machine; what depends on it stands in ``latencies``,
``encoding_ms``, ``reranking_ms``, ``sessions``, ``seconds``, ``machine`` and ``versions`` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from splade_bridge.evaluation.significance import Comparison
from splade_bridge.report.published import Published


@dataclass(frozen=True)
class TimedSearch:
    """Milliseconds of one query's retrieval, by one thread of a warm index.

    Attributes:
        queries: how many were timed, each ``repeat`` times.
        spread: largest over smallest median of the repeats, minus 1.
        session: number of the measurement (see :class:`Session`), from 0.
        p50, p95, p99: percentiles; None of a fusion, where those of its parts do not add up.
    """

    engine: str
    algorithm: str
    k: int
    queries: int
    repeat: int
    mean: float
    p50: float | None
    p95: float | None
    p99: float | None
    spread: float
    session: int = 0


@dataclass(frozen=True)
class Session:
    """One stretch of time in which latencies were measured, interleaved over its cases.

    Attributes:
        load: running processes before it began, over the processors there are.
        anchor: mean of the baseline's cases over the same in session 0; what later sessions
            measured is comparable with the first one only if this is near 1.
        noisy: cases whose repeats differ by more than 10 %.
    """

    started: str
    cases: int
    noisy: int
    load: float
    anchor: float = 1.0


@dataclass(frozen=True)
class IndexResult:
    """One engine's index of a variant.

    Attributes:
        recall: of an approximate engine, the share of the exact top k that it finds, by k.
    """

    engine: str
    bytes: int
    seconds: dict[str, float]
    recall: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class VariantResult:
    """One variant.

    Attributes:
        group: what it belongs to in charts: the sweep, or its own name.
        label: its short name inside the group.
        steps: how it was made, in words.
        postings: of the documents, in both steps if there are two; ``documents`` and ``empty``
            count those.
        query_terms: mean terms of a query as it is searched.
        qd_flops: expected number of terms that a query shares with a document (in the first of
            two steps); None if no engine tells its document frequencies.
        means: measure -> mean; ``per_query``: measure -> query id -> value.
        engines_agree: whether all exact engines wrote the same run, byte for byte.
        encoding_ms: mean time in which one thread encodes a query; None if queries were vectors.
        reranking_ms: time a query that its last step took, loading the model and reading the texts
            included; None for a variant that is not reranked. Latencies are without it.
        overlap: share of the baseline's top k kept, by k; ``rbo``: rank-biased overlap with it.
        tests: measure -> paired test against the baseline; empty for the baseline itself.
        kept_exact: for two steps, the share of the exact top k that it keeps, by k.
        seconds: of the steps that are not one engine's, as encoding.
        bytes: of vectors, or of a forward index, which the variant needs beside its indexes.
        parts: of a fusion, the variants that are fused: counts, sizes and times are sums over
            them, of an index that two of them share once; empty for a variant.
    """

    name: str
    group: str
    label: str
    steps: list[str]
    documents: int
    empty: int
    postings: int
    max_impact: int
    query_terms: float
    qd_flops: float | None
    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    engines_agree: bool
    indexes: list[IndexResult]
    latencies: list[TimedSearch]
    encoding_ms: float | None = None
    reranking_ms: float | None = None
    overlap: dict[int, float] = field(default_factory=dict)
    rbo: float | None = None
    tests: dict[str, Comparison] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    kept_exact: dict[int, float] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)

    def fastest(self, engine: str, k: int) -> TimedSearch | None:
        """The lowest mean among the algorithms that were measured."""
        found = [t for t in self.latencies if (t.engine, t.k) == (engine, k)]
        return min(found, key=lambda t: t.mean, default=None)

    def index(self, engine: str) -> IndexResult:
        """The index of ``engine``."""
        return next(i for i in self.indexes if i.engine == engine)


@dataclass(frozen=True)
class Results:
    """The whole comparison.

    Attributes:
        baseline: name of the variant that the others are held against.
        queries: how many were searched; ``judged`` of them count in the means.
        measures: the first is the one that charts show.
        algorithms: engine -> what was timed.
        persistence: the p of RBO.
        machine: what and where, in words; ``versions``: of what ran.
    """

    title: str
    collection: str | None
    baseline: str
    queries: int
    judged: int
    measures: list[str]
    depth: int
    algorithms: dict[str, list[str]]
    ks: list[int]
    persistence: float
    confidence: float
    variants: list[VariantResult]
    sessions: list[Session]
    machine: dict[str, str]
    versions: dict[str, str]

    @property
    def main(self) -> str:
        """The measure that charts show."""
        return self.measures[0]

    @property
    def engines(self) -> list[str]:
        """Names of the engines."""
        return list(self.algorithms)

    @property
    def base(self) -> VariantResult:
        """The baseline."""
        return next(v for v in self.variants if v.name == self.baseline)

    def others(self) -> Iterator[VariantResult]:
        """All but the baseline."""
        return (v for v in self.variants if v.name != self.baseline)

    def groups(self) -> list[str]:
        """Groups in the order of their first variants."""
        return list(dict.fromkeys(v.group for v in self.variants))
